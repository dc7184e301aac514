"""Figures of the chapters on Du, Zhai, Poczos and Singh (2019)."""
