"""Gradient descent, stochastic gradient descent and gradient flow on ReLU networks."""

from companion.training.checkpoints import Checkpoint
from companion.training.continuous import flow, prediction_velocity
from companion.training.discrete import descent, train, training_memory
from companion.training.history import Ending, History
from companion.training.optimisers import (
    GRADIENT_DESCENT,
    Adam,
    Cosine,
    GradientDescent,
    Momentum,
    Optimiser,
    Schedule,
    StepDecay,
    Warmup,
)
from companion.training.run import DIVERGENCE_ONLY, Stop

__all__ = [
    "DIVERGENCE_ONLY",
    "GRADIENT_DESCENT",
    "Adam",
    "Checkpoint",
    "Cosine",
    "Ending",
    "GradientDescent",
    "History",
    "Momentum",
    "Optimiser",
    "Schedule",
    "StepDecay",
    "Stop",
    "Warmup",
    "descent",
    "flow",
    "prediction_velocity",
    "train",
    "training_memory",
]
