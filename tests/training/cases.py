"""Runs that several files of tests look at."""

import torch

from companion.datasets import sphere
from companion.monitors import (
    Distances,
    Every,
    PatternDifference,
    mean_loss,
    training_error,
)
from companion.networks import draw_zou
from companion.training.run import Run

RECORD = {
    "loss": mean_loss,
    "error": Every(3, training_error),
    "pattern": PatternDifference(),
    "flips": PatternDifference("last"),
    "distance": Every(2, Distances()),
}


LIVE = {
    "weights": lambda m: m.network.weights[0],
    "slice": lambda m: m.network.weights[1][:2, ::2],
    "flat": lambda m: m.network.weights[1].flatten(),
    "turned": lambda m: m.network.weights[0].detach().T,
    "outputs": lambda m: m.network.outputs,
    "array": lambda m: m.network.weights[0].numpy(),
    "hidden": lambda m: m.forward.hidden[1][:, :2],
    "inputs": lambda m: m.forward.hidden[0],
    "gradient": lambda m: m.gradients[0],
}


def case(draw=draw_zou, width=8, depth=3, count=10, seed=0, dtype=torch.float64):
    network = draw(width, 4, seed, depth=depth, dtype=dtype)
    data = sphere(count, 4, seed)
    return network, data.x.to(dtype), data.y.sign().to(dtype)


def spoilt(number):
    x = torch.ones(10, 4, dtype=torch.float64)
    x[3, 2] = number
    return x


def counted(monkeypatch):
    """The steps that runs make from here on."""
    made = []
    descend = Run.descend
    monkeypatch.setattr(Run, "descend", lambda self, *a: made.append(1) or descend(self, *a))
    return made
