"""Figures of the chapters on Chen, Cao, Zou and Gu (2021)."""
