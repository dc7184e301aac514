"""One pass of SGD over fresh examples, Algorithm 2 of Chen et al. (2021), for many networks.

Before every step an iterate is measured on the example that the step will use, which is fresh to
it, and on test examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from companion.draws import Batches
from companion.experiments.zou2018._descents import united
from companion.experiments.zou2018._problem import Problem
from companion.fleets import train_fleet
from companion.monitors import Moment, Record, together
from companion.networks import ReLUNetwork

# Algorithm 2: one example a step, each used once, in the order of the draw.
ONE_PASS = Batches(1, "once")


@dataclass(frozen=True)
class FreshExamples:
    """Test examples of every member of a fleet, some of them at every step.

    Attributes:
        x: inputs, shape (F, T, d).
        y: labels, shape (F, T).
        each: so many are used at a step, which divides T; after T / each steps they come again.
    """

    x: Tensor
    y: Tensor
    each: int
    together: ClassVar[bool] = True

    def __call__(self, moment: Moment) -> Tensor:
        """Share on the wrong side, and the mean of -l', of every member, shape (F, 2)."""
        start = int(moment.step) * self.each % self.y.shape[1]
        rows = slice(start, start + self.each)
        margins = self.y[:, rows] * moment.network.run(self.x[:, rows]).predictions
        both = torch.stack([(margins < 0).double(), torch.sigmoid(-margins.double())], dim=-1)
        return both.mean(dim=1)


@together
def next_margin(moment: Moment) -> Tensor:
    """y_i f(x_i) of the example that the next step will use; NaN where all have been used."""
    step = int(moment.step)
    if step == moment.y.shape[-1]:
        return torch.full_like(moment.y[..., 0], torch.nan)
    ahead = moment.network.run(moment.x[..., step : step + 1, :]).predictions[..., 0]
    return moment.y[..., step] * ahead


@dataclass(frozen=True)
class Passes:
    """What was measured of W^(0), ..., W^(n-1), each array of shape (F, n).

    Attributes:
        margins: y_i f(x_i) of the example that the next step uses.
        errors: estimates of the 0-1 error.
        slopes: estimates of E_D, the mean of -l' over the distribution.
        last: the networks W^(n).
    """

    margins: np.ndarray
    errors: np.ndarray
    slopes: np.ndarray
    last: Sequence[ReLUNetwork]


def one_pass(
    problems: Sequence[Problem], step_sizes: Sequence[float], tests: FreshExamples
) -> Passes:
    """Algorithm 2 for every problem, on all of its examples.

    Args:
        problems: of n examples each, with networks of one shape.
        step_sizes: eta of each.
        tests: fresh examples for each.
    """
    x, y, subsets = united(problems)
    record: Record = {"margin": next_margin, "tests": tests}
    histories = train_fleet(
        [problem.network for problem in problems],
        x,
        y,
        loss=problems[0].loss,
        step_size=step_sizes,
        steps=len(subsets[0]),
        batches=ONE_PASS,
        subsets=subsets,
        record=record,
        stop=None,
        rotate=False,  # test examples come in the inputs' own coordinates
    )
    margins, tested = (
        np.stack([history.stable()[name][:-1] for history in histories])
        for name in ("margin", "tests")
    )
    return Passes(margins, tested[..., 0], tested[..., 1], [h.network for h in histories])
