"""ReLU networks in the papers' parameterisations: what they compute, and how they are drawn."""

from companion.networks.initialisation import draw_chen, draw_du, draw_zou
from companion.networks.network import Pass, ReLUNetwork, Trained, check_inputs, check_network

__all__ = [
    "Pass",
    "ReLUNetwork",
    "Trained",
    "check_inputs",
    "check_network",
    "draw_chen",
    "draw_du",
    "draw_zou",
]
