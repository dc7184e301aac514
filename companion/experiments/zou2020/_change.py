"""How the last hidden outputs differ between two sets of weights, taken apart layer by layer.

The identity in the proof of Lemma 5.3 of Zou et al. (2020), Appendix A.3, for any two of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from companion.networks import ReLUNetwork

# What stands above in the fraction: as printed, as it has to be, or nothing, without S.
Above = Literal["printed", "mended", "without"]
ABOVE: tuple[Above, ...] = ("printed", "mended", "without")


@dataclass(frozen=True)
class Change:
    """Two networks of the same shape on the same inputs: W and W', for the paper's k and k + 1.

    Attributes:
        network: with W.
        other: with W'.
        x: inputs, shape (n, d).
    """

    network: ReLUNetwork
    other: ReLUNetwork
    x: Tensor

    @cached_property
    def layers(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """x_{l-1} of W and the preactivations of W and W', for every layer."""
        below = self.network.run(self.x).hidden
        z, later = (each.preactivations(self.x) for each in (self.network, self.other))
        return list(zip(below, z, later, strict=False))

    def gates(self, above: Above) -> list[Tensor]:
        """The diagonals of Sigma + Sigma~ of every layer, shapes (n, m_l).

        Args:
            above: which preactivation stands above in the fraction of Sigma~: that of W, as
                printed; that of W', with which the identity is one; or none, for Sigma alone.
        """
        found = []
        for _, z, later in self.layers:
            on = (z > 0).to(z)
            switch = (later > 0).to(z) - on
            top = {"printed": z, "mended": later, "without": torch.zeros_like(z)}[above]
            found.append(on + torch.where(switch == 0, 0, switch * top / (later - z)))
        return found

    def gap(self, above: Above) -> float:
        """Distance of the sum over layers from x_L' - x_L, over the latter, for the worst input.

        The sum is formed as Horner does: every layer adds its term to what the next maps on.
        """
        total = torch.zeros_like(self.x)
        weights = zip(self.network.weights, self.other.weights, strict=True)
        layers = zip(self.gates(above), self.layers, weights, strict=True)
        for gate, (below, _, _), (weight, later) in layers:
            total = gate * (total @ later.T + below @ (later - weight).T)
        left = self.other.run(self.x).hidden[-1] - self.network.run(self.x).hidden[-1]
        return float(((total - left).norm(dim=1) / left.norm(dim=1)).max())

    def switched(self) -> float:
        """Share of the pairs of input and unit that are on in one of the networks alone."""
        shares = [float(((z > 0) != (later > 0)).double().mean()) for _, z, later in self.layers]
        return sum(shares) / len(shares)

    def extremes(self, above: Above) -> tuple[float, float]:
        """Least and largest entry of Sigma + Sigma~."""
        gates = self.gates(above)
        return min(float(gate.min()) for gate in gates), max(float(gate.max()) for gate in gates)
