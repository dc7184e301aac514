"""Right-hand sides of the bounds on errors of Chen et al. (2021), arXiv version 2.

Those of Theorem 3.8 and Lemma 6.6 have all their constants. Theorem 3.5 hides its own, which are 1
here, and logarithms, which are left out, so that only powers are told. Plain numbers or arrays in,
the same out. Arguments that several functions share:

* layers: L, all weight matrices; radius: R and accuracy: epsilon of Assumption 3.2;
* count: n, of examples; delta: the probability of failure.
"""

import math
from typing import Any

import numpy as np


def theorem_3_8(layers: int, radius: Any, count: Any, accuracy: Any, delta: float) -> Any:
    """Error of the uniform iterate of one pass: 8 L^2 R^2 / n + 8 log(1/delta) / n + 24 epsilon."""
    return (8 * (layers * radius) ** 2 + 8 * math.log(1 / delta)) / count + 24 * accuracy


def theorem_3_8_step_size(
    layers: int, radius: Any, count: Any, accuracy: Any, width: int, alpha: float
) -> Any:
    """Eta of Theorem 3.8 with the constant 1: m^-2alpha min{L R^2 / (n epsilon), 1 / L}."""
    return np.minimum(layers * radius**2 / (count * accuracy), 1 / layers) / width ** (2 * alpha)


def theorem_3_5_rising(layers: int, radius: Any, count: Any, width: Any) -> Any:
    """The branch that grows with the width: 4^L L^2 R sqrt(m / n)."""
    return 4.0**layers * layers**2 * radius * np.sqrt(width / count)


def theorem_3_5_falling(layers: int, radius: Any, count: Any, width: Any, alpha: float) -> Any:
    """The branch that falls with the width: L^(3/2) R / sqrt(n) + L^(11/3) R^(4/3) m^(-alpha/3)."""
    level = layers**1.5 * radius / np.sqrt(count)
    return level + layers ** (11 / 3) * radius ** (4 / 3) * width ** (-alpha / 3)


def theorem_3_5(layers: int, radius: Any, count: Any, width: Any, alpha: float) -> Any:
    """The lesser of the two branches, to be added to twice the training loss."""
    rising = theorem_3_5_rising(layers, radius, count, width)
    return np.minimum(rising, theorem_3_5_falling(layers, radius, count, width, alpha))


def lemma_6_6(seen: Any, count: Any, delta: float, factor: float = 4.0) -> Any:
    """What the mean of E_D along a pass may be: 4 times the mean of E_i, and 4 log(1/delta) / n.

    Args:
        seen: mean of E_i(W^(i-1)) over the n examples.
        count: n.
        delta: probability of failure.
        factor: the paper's 4, or another one.
    """
    return factor * (seen + math.log(1 / delta) / count)
