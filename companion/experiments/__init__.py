"""Experiments, one module per claim or group of claims, in a folder per paper."""
