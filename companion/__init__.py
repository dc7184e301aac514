"""Executable companion to four papers on gradient descent for over-parameterized ReLU networks."""

from importlib.metadata import version

__version__ = version("companion")
