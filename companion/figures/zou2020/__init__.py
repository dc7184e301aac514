"""Figures of the chapters on Zou, Cao, Zhou and Gu (2020)."""
