"""Figures of the experiment zou2020/figure1_cifar10: Figures 1-3 on CIFAR-10."""

from companion.figures.panels import Drawing
from companion.figures.zou2020 import _images
from companion.lab.results import Result

SHOWS = {
    "zou2020-fig1-cifar10": "zou2020-fig1-cifar10",
    "zou2020-fig2-cifar10": "zou2020-fig2-cifar10",
    "zou2020-fig2-iteration-cifar10": "zou2020-fig2-cifar10",
    "zou2020-fig3-cifar10": "zou2020-fig3-cifar10",
    "zou2020-fig3-iteration-cifar10": "zou2020-fig3-cifar10",
}


def fig1_cifar10(result: Result) -> Drawing:
    """Training loss against the step, and against k eta m."""
    return _images.losses(result, "-cifar10")


def fig2_cifar10(result: Result) -> Drawing:
    """Distance from initialisation in three readings."""
    return _images.distances(result, "-cifar10")


def fig3_cifar10(result: Result) -> Drawing:
    """Share of activations changed in three readings."""
    return _images.flips(result, "-cifar10")


def fig23_layers_cifar10(result: Result) -> Drawing:
    """Distances and flips layer by layer."""
    return _images.layers(result)
