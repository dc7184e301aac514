"""Tests of one experiment in one worker, so that its quick run is computed once."""

import pytest

from companion.lab import catalog


def experiments() -> list[object]:
    """Every experiment, as parameters."""
    return [grouped(name, name) for name in catalog.experiments()]


def figures() -> list[object]:
    """Every figure, as parameters, in the group of the experiment that it shows."""
    return [grouped(identifier, name) for identifier, name in catalog.figures().items()]


def grouped(value: str, experiment: str, *more: object) -> object:
    """A parameter, or several, whose test runs in the worker of that experiment."""
    return pytest.param(value, *more, marks=pytest.mark.xdist_group(experiment))
