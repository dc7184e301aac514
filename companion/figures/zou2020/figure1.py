"""Figures of the experiment zou2020/figure1: the paper's Figures 1-3 on MNIST."""

from companion.figures.panels import Drawing
from companion.figures.zou2020 import _images
from companion.lab.results import Result

SHOWS = {
    "zou2020-fig1": "zou2020-fig1",
    "zou2020-fig2": "zou2020-fig2",
    "zou2020-fig2-iteration": "zou2020-fig2",
    "zou2020-fig3": "zou2020-fig3",
    "zou2020-fig3-iteration": "zou2020-fig3",
}


def fig1(result: Result) -> Drawing:
    """Training loss against the step, and against k eta m."""
    return _images.losses(result, "")


def fig2(result: Result) -> Drawing:
    """Distance from initialisation in three readings."""
    return _images.distances(result, "")


def fig3(result: Result) -> Drawing:
    """Share of activations changed in three readings."""
    return _images.flips(result, "")


def fig23_layers(result: Result) -> Drawing:
    """Distances and flips layer by layer."""
    return _images.layers(result)
