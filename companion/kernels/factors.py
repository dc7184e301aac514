"""The gradient of a ReLU network at an input, layer by layer, is an outer product of two factors.

All that is computed from gradients here is computed from these factors, and never from a Jacobian.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from companion.base.workers import in_order
from companion.kernels.tiles import row_blocks
from companion.networks import ReLUNetwork


@dataclass(frozen=True)
class Factor:
    """Row i of either is a factor of the gradient df(x_i)/dW_l, an outer product.

    Attributes:
        hidden: h_{l-1}, shape (n, m_{l-1}).
        signal: B_l, shape (n, m_l).
    """

    hidden: Tensor
    signal: Tensor


def factors_of(network: ReLUNetwork, x: Tensor) -> list[Factor]:
    """The factors of every trained tensor, in the order of `network.parameters`.

    Args:
        network: without derivatives.
        x: inputs, shape (n, d).
    """
    forward = network.run(x)
    factors = []
    if network.trained != "output":
        signals = list(network.signals(forward))[::-1]
        factors = [Factor(*pair) for pair in zip(forward.hidden[:-1], signals, strict=True)]
    if network.trained != "hidden":
        gain = x.new_full((len(x), 1), network.output_gain)
        factors.append(Factor(forward.hidden[-1], gain))
    return factors


def kept_per_input(network: ReLUNetwork) -> int:
    """Numbers that the factors of one input are, the input itself aside."""
    hidden = [*network.widths[:-1], *network.widths]  # outputs below, and signals
    of_hidden = 0 if network.trained == "output" else sum(hidden)
    return of_hidden + (0 if network.trained == "hidden" else network.widths[-1] + 1)


def passing_per_input(network: ReLUNetwork) -> int:
    """Numbers that `factors_of` has in hand for one input, those it returns included.

    Hidden outputs, gates where they are apart, signals, and one of either in passing.
    """
    copies = 2 if network.on_at_zero else 1
    if network.trained == "output":  # there are no signals
        return copies * sum(network.widths) + 1
    return (copies + 1) * sum(network.widths) + 2 * max(network.widths) + 1


def rows_together(rows: int, count: int) -> int:
    """How many of n = `count` inputs, in blocks of `rows`, run through the network at once.

    With few of them a product spends its time on the weights; but two halves can run at a time.
    """
    return max(rows, min(_RUN_TOGETHER, math.ceil(count / 2)) // rows * rows)


_RUN_TOGETHER = 256


class _Last(threading.local):
    """The block that a thread asked for last, and its factors."""

    start = -1
    factors: Sequence[Factor] = ()


class Factors:
    """The factors of blocks of inputs: all kept, or computed where they are used.

    Args:
        network: without derivatives.
        x: inputs, shape (n, d).
        rows: of a block.
        workers: threads that compute them, if they are kept.
        kept: whether they are.
    """

    def __init__(
        self, network: ReLUNetwork, x: Tensor, rows: int, *, workers: int, kept: bool
    ) -> None:
        self._network, self._x = network, x
        self.blocks = row_blocks(len(x), rows)
        self._kept: dict[int, Sequence[Factor]] | None = None
        if kept:
            together = rows_together(rows, len(x)) // rows
            groups = [self.blocks[k : k + together] for k in range(0, len(self.blocks), together)]
            found = in_order(self._of_group, groups, workers)
            self._kept = {start: factors for group in found for start, factors in group.items()}
        self._last = _Last()

    def of(self, block: slice) -> Sequence[Factor]:
        """Those of one of `blocks`."""
        if self._kept is not None:
            return self._kept[block.start]
        # Tiles come row by row: a thread needs the same rows again.
        if self._last.start != block.start:
            self._last.factors = ()  # their memory is needed for the next ones
            self._last.factors = factors_of(self._network, self._x[block])
            self._last.start = block.start
        return self._last.factors

    def _of_group(self, blocks: list[slice]) -> dict[int, Sequence[Factor]]:
        """Those of neighbouring blocks, by where they start."""
        first = blocks[0].start
        factors = factors_of(self._network, self._x[first : blocks[-1].stop])
        return {
            block.start: [
                Factor(
                    f.hidden[block.start - first : block.stop - first],
                    f.signal[block.start - first : block.stop - first],
                )
                for f in factors
            ]
            for block in blocks
        }
