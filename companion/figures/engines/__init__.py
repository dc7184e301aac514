"""Figures of the pages on the engines."""
