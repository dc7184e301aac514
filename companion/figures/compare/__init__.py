"""Figures of the theorems side by side."""
