"""Gradient descent, stochastic gradient descent and gradient flow on ReLU networks."""

from companion.training.checkpoints import Checkpoint
from companion.training.continuous import flow, prediction_velocity
from companion.training.discrete import descent, train, training_memory
from companion.training.history import Ending, History, history_of, recorded
from companion.training.run import DIVERGENCE_ONLY, Stop, check_run

__all__ = [
    "DIVERGENCE_ONLY",
    "Checkpoint",
    "Ending",
    "History",
    "Stop",
    "check_run",
    "descent",
    "flow",
    "history_of",
    "prediction_velocity",
    "recorded",
    "train",
    "training_memory",
]
