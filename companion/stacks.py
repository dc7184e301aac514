"""Networks of one shape as one, with the members as the first dimension of all that is computed.

Alone, narrow networks are rows of small matrix products. Here the first layers of all members are
one tall matrix and the later ones a batch. Everything is computed units first, so that no product
copies a large factor.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from companion.matmul import batched_product, product
from companion.networks import Pass, ReLUNetwork


@dataclass(frozen=True)
class Stack(ReLUNetwork):
    """F networks of equal shapes, gains and conventions.

    Attributes:
        weights: shapes (F, m_1, d), (F, m_2, m_1), ...
        outputs: shape (F, m_D).
    """

    def __post_init__(self) -> None:
        """Nothing is checked: every member was, when it was made."""

    @classmethod
    def of(cls, networks: Sequence[ReLUNetwork]) -> "Stack":
        """Those networks, whose tensors are copied; the others of their attributes are alike."""
        first, *_ = networks
        weights = zip(*(network.weights for network in networks), strict=True)
        outputs = torch.stack([network.outputs for network in networks])
        return cls(
            tuple(map(torch.stack, weights)), outputs, first.gains, first.output_gain,
            first.trained, first.on_at_zero,
        )  # fmt: skip

    def __len__(self) -> int:
        """F, the number of networks."""
        return len(self.outputs)

    @property
    def dimension(self) -> int:
        """d, the length of an input."""
        return self.weights[0].shape[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """m_1, ..., m_D."""
        return tuple(weight.shape[-2] for weight in self.weights)

    def member(self, place: int) -> ReLUNetwork:
        """One of the networks; its tensors are views."""
        return ReLUNetwork(
            tuple(weight[place] for weight in self.weights), self.outputs[place], self.gains,
            self.output_gain, self.trained, self.on_at_zero,
        )  # fmt: skip

    def members(self, places: Tensor) -> "Stack":
        """Those of the networks, whose tensors are copied."""
        weights = tuple(weight[places] for weight in self.weights)
        return replace(self, weights=weights, outputs=self.outputs[places])

    def run(self, x: Tensor, watch: Callable[[Tensor], None] | None = None) -> Pass:
        """Forward pass over inputs of shape (n, d), or of shape (F, n, d) where members differ.

        Args:
            x: inputs.
            watch: is shown each layer's gate, shape (F, n, m_l).

        Returns:
            Hidden outputs and gates of shapes (F, n, m_l), the inputs as they are, and predictions
            of shape (F, n).
        """
        below, hidden, gates = x.mT, [x], []
        for weight, gain in zip(self.weights, self.gains, strict=True):
            scaled = weight if gain == 1 else gain * weight
            if below.dim() == 2:
                gate = product(scaled.flatten(0, 1), below, relu=not self.on_at_zero)
                gate = gate.view(*weight.shape[:2], -1)
            else:
                gate = batched_product(scaled, below)
                if not self.on_at_zero:
                    gate.relu_()
            gates.append(gate.mT)
            if watch is not None:
                watch(gates[-1])
            below = gate.relu() if self.on_at_zero else gate
            hidden.append(below.mT if self.on_at_zero else gates[-1])
        outputs = self.output_gain * self.outputs.unsqueeze(1)
        return Pass(hidden, gates, batched_product(outputs, below).squeeze(1))

    def signals(self, forward: Pass, coefficients: Tensor | None = None) -> Iterator[Tensor]:
        """Back-propagated signals B_D, ..., B_1 of every member, shapes (F, n, m_l)."""
        return (signal.mT for signal in self._units_first(forward, coefficients))

    def _units_first(self, forward: Pass, coefficients: Tensor | None) -> Iterator[Tensor]:
        """The signals as they are stored, shapes (F, m_l, n)."""
        rows = torch.ones_like(forward.predictions) if coefficients is None else coefficients
        top = self.gains[-1] * self.output_gain * self.outputs
        signal = top.unsqueeze(2) * rows.unsqueeze(1)
        for layer in range(self.depth - 1, -1, -1):
            signal = self.gated(signal, forward.gates[layer].mT)
            yield signal
            if layer:
                signal = batched_product(self.weights[layer].mT, signal)
                if self.gains[layer - 1] != 1:
                    signal.mul_(self.gains[layer - 1])

    def gradients(self, forward: Pass, coefficients: Tensor) -> list[Tensor]:
        """sum_i c_i df(x_i)/dtheta of every member, for c of shape (F, n), as `parameters`."""
        found: list[Tensor] = []
        if self.trained != "output":
            below = forward.hidden[-2::-1]
            pairs = zip(self._units_first(forward, coefficients), below, strict=True)
            found = [_outer_sums(signal, hidden) for signal, hidden in pairs][::-1]
        if self.trained != "hidden":
            rows = self.output_gain * coefficients.unsqueeze(1)
            found.append(batched_product(rows, forward.hidden[-1]).squeeze(1))
        return found


def _outer_sums(signal: Tensor, below: Tensor) -> Tensor:
    """Signals of shape (F, m, n) times inputs of a layer, (n, m'), or (F, n, m')."""
    if below.dim() == 3:
        return batched_product(signal, below)
    return product(signal.flatten(0, 1), below).view(*signal.shape[:2], -1)
