"""Units at the kinks of a ReLU network: which switch, which are held there, what H misses of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from companion.experiments.du2019._problem import Problem
from companion.kernels import empirical_gram
from companion.lab.sweep import Variables
from companion.networks import draw_du

# Of the two inputs and the unit that show it: x_1^T x_2, the labels, where the unit starts, along
# x_1 (on either side) and across it, and its descent.
COSINE, LABELS, START = 0.6, (-1.0, 1.5), (0.25, 0.75)
DURATION, STEPS = 2.0, 200


@dataclass(frozen=True)
class Step:
    """A step of gradient descent: u(k) - y, who is active before and after, and u's change.

    `predicted` is eta H(k) (y - u(k)), the change that equations (5)-(7) give it.
    """

    residual: Tensor
    on: Tensor
    after: Tensor
    change: Tensor
    predicted: Tensor

    @property
    def error(self) -> Tensor:
        """e(k) = u(k+1) - u(k) - eta H(k) (y - u(k))."""
        return self.change - self.predicted

    @property
    def unflipped(self) -> float:
        """Largest |e_i| where no unit switched at input i, over ||u - y||."""
        clean = self.error[~(self.on != self.after).any(dim=1)].abs()
        return float(clean.max() / self.residual.norm()) if len(clean) else 0.0


def steps_of(problem: Problem, step_size: float) -> Iterator[Step]:
    """Gradient descent, step by step and without end."""
    moments = problem.moments(step_size)
    now = next(moments)
    while True:
        u, on = now.forward.predictions, now.forward.gates[0] >= 0
        predicted = step_size * empirical_gram(now.network, problem.x) @ (problem.y - u)
        now = next(moments)
        after, change = now.forward.gates[0] >= 0, now.forward.predictions - u
        yield Step(u - problem.y, on, after, change, predicted)


def span(problem: Problem, steps: list[Step], step_size: float) -> list[float]:
    """How far off a window's change of u is predicted, in two ways, and how large it is.

    Of equal knowledge. With the indicators of every step: sum_k eta H(k) (y - u(k)). With
    fractions: theta_ir, the share of the steps in which unit r is active at input i, takes the
    indicator's place in H, and the mean residual that of the residual. A unit that slides moves
    down to the kink while it is active and up to it while it is not; the indicators count the one
    without the other, with fractions the two cancel.
    """
    theta = torch.stack([step.on for step in steps]).to(problem.x).mean(dim=0)
    gram = (problem.x @ problem.x.T) * (theta @ theta.T) / theta.shape[1]
    residual = torch.stack([step.residual for step in steps]).mean(dim=0)
    change = torch.stack([step.change for step in steps]).sum(dim=0)
    with_indicators = torch.stack([step.predicted for step in steps]).sum(dim=0)
    with_fractions = -len(steps) * step_size * gram @ residual
    parts = (change - with_indicators, change - with_fractions, change)
    return [float(part.norm()) for part in parts]


class Pairs:
    """Which (input, unit) pairs switched how often, and how they met their kink first."""

    def __init__(self, problem: Problem) -> None:
        shape = problem.count, len(problem.network.outputs)
        self._problem = problem
        self._switches = torch.zeros(shape, dtype=torch.int32, device=problem.x.device)
        self._held = torch.zeros_like(self._switches, dtype=torch.bool)
        self._early: list[int] = []

    def take(self, step: Step) -> None:
        """Count the switches of a step."""
        flips = step.on != step.after
        inputs, units = (flips & (self._switches == 0)).nonzero(as_tuple=True)
        speeds = _approach(self._problem, step.residual, step.on[:, units], inputs, units)
        self._held[inputs, units] = torch.stack(speeds).amin(dim=0) > 0
        self._switches += flips

    def close_window(self) -> None:
        """Note what was met in the first one."""
        if not self._early:
            self._early = [int((self._switches > 0).sum()), int(self._held.sum())]

    def counts(self) -> dict[str, int]:
        """How many pairs switched (`hits`), three times or more (`returned`); held at first.

        `held` pairs are pushed to the kink from both sides when they meet it first;
        `early_hits` and `early_held` are those of the first window.
        """
        hits, held = int((self._switches > 0).sum()), int(self._held.sum())
        returned = int((self._switches >= 3).sum())
        early, early_held = self._early
        return {
            "hits": hits, "returned": returned, "held": held,
            "early_hits": early, "early_held": early_held,
        }  # fmt: skip


def _approach(
    problem: Problem, residual: Tensor, on: Tensor, inputs: Tensor, units: Tensor
) -> tuple[Tensor, Tensor]:
    """Speeds, times sqrt(m), at which w_r^T x_i comes to 0 from below and from above.

    Args:
        problem: with its inputs and output weights.
        residual: u - y, shape (n,).
        on: which inputs each of k pairs' unit is active at, shape (n, k).
        inputs: i of each pair, shape (k,).
        units: r of each pair, shape (k,).
    """
    signs = problem.network.outputs[units]
    pull = (problem.x @ problem.x[inputs].T) * residual[:, None] * on
    own = signs * residual[inputs]
    pull[inputs, torch.arange(len(inputs), device=inputs.device)] = 0
    below = -signs * pull.sum(dim=0)
    return below, own - below


def meetings(problem: Problem) -> tuple[float, float]:
    """At the start, how many pairs meet their kink per time so that they slide, and in any way.

    Every pair is put on its kink, by taking w_r^T x_i x_i off w_r. From each side pairs come as
    fast as they move there, as the density of w_r^T x_i is the same on both; in units of it.
    """
    (weights,) = problem.network.weights
    gates, units = problem.x @ weights.T, torch.arange(len(weights), device=weights.device)
    slide = meet = 0.0
    for i, near in enumerate(problem.x @ problem.x.T):
        on = gates - near[:, None] * gates[i] >= 0
        pair = torch.full_like(units, i)
        below, above = _approach(problem, problem.residual, on, pair, units)
        slide += float((below + above)[(below > 0) & (above > 0)].sum())
        meet += float((below.clamp(min=0) + above.clamp(min=0)).sum())
    return slide, meet


def two_inputs() -> Variables:
    """One unit on two inputs that slides along the kink of the first, and solved for at it.

    From both sides of the kink: `path`, the parts of w along x_1 and across it, at the times of
    `clock`. Of the second half of the time, for the unit that starts below: `theta`, the share of
    steps in which it is active at x_1, and the fraction that keeps w^T x_1 at 0; `sliding_rate`, at
    which |u_2 - y_2| falls. Of the moment when it comes to the kink: `kink`, its place, and
    `velocity` of w just below, just above, and with that fraction.
    """
    x = torch.tensor([[1.0, 0.0], [COSINE, math.sqrt(1 - COSINE**2)]], dtype=torch.float64)
    y = torch.tensor(LABELS, dtype=torch.float64)
    paths = []
    for side in (-1, 1):
        weights = torch.tensor([[side * START[0], START[1]]], dtype=torch.float64)
        unit = replace(draw_du(1, 2, 0), weights=(weights,), outputs=torch.ones(1).double())
        moments = Problem(unit, x, y).moments(DURATION / STEPS)
        paths.append([m.network.weights[0][0].tolist() for m in islice(moments, STEPS + 1)])
    gates = np.array(paths[0]) @ x.T.numpy()
    residuals = np.maximum(gates, 0) - LABELS
    fractions = -COSINE * residuals[:, 1] / residuals[:, 0]
    at, half = int((gates[:, 0] >= 0).argmax()), STEPS // 2
    below = -residuals[at, 1] * x[1].numpy()
    above = below - residuals[at, 0] * x[0].numpy()
    theta = [(gates[half:, 0] >= 0).mean(), fractions[half:].mean()]
    return {
        "clock": ("tick", np.linspace(0, DURATION, STEPS + 1)),
        "path": (("side", "tick", "axis"), paths),
        "kink": ("axis", paths[0][at]),
        "velocity": (
            ("by", "axis"), [below, above, fractions[at] * above + (1 - fractions[at]) * below]
        ),
        "theta": ("road", theta),
        "sliding_rate": np.log(residuals[half, 1] / residuals[-1, 1]) * 2 / DURATION,
    }  # fmt: skip
