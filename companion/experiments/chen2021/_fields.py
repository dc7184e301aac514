"""Fields of Assumption 4.6 of Chen et al. (2021), and the increment that Proposition 4.7 builds."""

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from companion.networks import ReLUNetwork

# Units whose output weight is below this over sqrt(m) are left alone, as the proof has it.
CUT = 0.47
# What is left of gamma.
QUARTER = 1 / 4


@dataclass(frozen=True)
class DirectionField:
    """u(z) of Assumption 4.6, the direction of sum_i q_i y_i x_i 1{<z, x_i> > 0}.

    With q of the dual problem for a sample of directions it is optimal on that sample, and it is
    defined for every z.

    Attributes:
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        q: weights, shape (n,), at least 0.
    """

    x: Tensor
    y: Tensor
    q: Tensor

    def at(self, z: Tensor) -> Tensor:
        """u(z), shape (k, d), of norm 1, or 0 where no input is on."""
        sums = self.active(z) @ ((self.q * self.y)[:, None] * self.x)
        norms = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
        return sums / torch.where(norms > 0, norms, torch.ones_like(norms))

    def active(self, z: Tensor) -> Tensor:
        """1{<z, x_i> > 0}, shape (k, n)."""
        return (z @ self.x.T > 0).to(z)

    def gains(self, z: Tensor) -> Tensor:
        """y_i 1{<z, x_i> > 0} <u(z), x_i>, shape (k, n), whose means are the margins."""
        return self.active(z) * (self.at(z) @ self.x.T) * self.y


def proof_increment(field: DirectionField, network: ReLUNetwork) -> Tensor:
    """U of the proof, shape (m, d): u(z_r) / (m a_r) for units with |a_r| >= 0.47 / sqrt(m).

    Args:
        field: u.
        network: f = m^alpha a . relu(W x); its rows w_r are sqrt(2/m) z_r, and u is asked for
            their directions alone.
    """
    (weights,), outputs = network.weights, network.outputs
    width = len(outputs)
    large = outputs.abs() >= CUT / width**0.5
    factors = torch.where(large, 1 / (width * outputs), torch.zeros_like(outputs))
    return factors[:, None] * field.at(weights)


def large_outputs() -> float:
    """The share of output weights that are not below the cut: of |N(0, 1)| >= 0.47."""
    return float(2 * stats.norm.sf(CUT))


def least_constant() -> float:
    """What Hoeffding's inequality needs in place of 32, derived by the companion.

    Each y_i <df(x_i)/dW, U> / m^alpha is a mean over m independent units of numbers between -1 and
    1, with the expectation p gamma or more, where p is `large_outputs()`. It is below gamma / 4
    for one of n inputs with probability n exp(-m (p - 1/4)^2 gamma^2 / 2) at most.
    """
    return 2 / (large_outputs() - QUARTER) ** 2
