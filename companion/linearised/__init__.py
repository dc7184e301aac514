"""Training as it would be if the kernel did not move: what the theory predicts of any run.

A network whose Gram matrix K stays as it is has predictions that follow f' = -K l'(f) / n under
gradient flow on the mean loss, and f <- f - (eta / n) K l'(f) under gradient descent. K may be
`empirical_gram` of a network, or a limit such as `infinite_width_ntk`. `FrozenKernel` is that for
any K; `linearise` is that for a network and data, in one call, with the measured run beside it.
"""

from companion.linearised.frozen import FrozenKernel, Prediction, changes
from companion.linearised.trajectory import Measured, Trajectory, linearise

__all__ = [
    "FrozenKernel",
    "Measured",
    "Prediction",
    "Trajectory",
    "changes",
    "linearise",
]
