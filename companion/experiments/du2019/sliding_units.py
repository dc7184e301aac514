"""The predictions move as H(t) (y - u) along gradient flow: equations (5)-(7).

Refuted where units slide along a kink: there neither indicator, 0 or 1, gives their velocity, and
what gradient descent misses of the identity does not vanish with the step size. A fraction in place
of the indicator, as a differential inclusion allows, is refuted by a share that does not vanish
with it either.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.bounds.du2019 import approach_correlation, sliding_share
from companion.experiments.du2019._problem import Problem, draw
from companion.kernels import empirical_gram
from companion.lab.checks import Check, claim, identity
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, SeveralSizes, Size, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.networks import draw_du

EXPECTED: dict[str, Outcome] = {"du2019-eq5-7": "fails", "du2019-fn-inclusion": "holds"}
SPHERE, ONE_SIGNED = "sphere", "one-signed"
# Of the two inputs and the unit that show it: x_1^T x_2, the labels, where the unit starts, along
# x_1 (on either side) and across it, and its descent.
COSINE, LABELS, START = 0.6, (-1.0, 1.5), (0.25, 0.75)
DURATION, STEPS = 2.0, 200


class Settings(SphereSettings):
    """What is run.

    Attributes:
        widths: m, in increasing order.
        windows: parts of equal length that the time is cut into, each of as many steps as there are
            windows; one run for each number, in increasing order.
        horizon: the time that is covered, as a multiple of 1 / lambda_0; in the control of
            1 / lambda_max of its limit Gram matrix, as long as its residuals keep their sign.
    """

    seeds: Size = 6
    widths: SeveralSizes = (50, 200, 800)
    windows: SeveralSizes = (8, 16, 32)
    horizon: Positive = 1.0

    @property
    def steps(self) -> int:
        """Steps of all the runs of one network."""
        return sum(number**2 for number in self.windows)


QUICK = Settings()
PAPER = Settings(seeds=10, widths=(50, 200, 800, 3200), windows=(8, 16, 32, 64))


def cost(settings: Settings) -> Cost:
    """Steps in two worlds, each with its Gram matrix, and every pair once put on its kink."""
    s = settings
    step = s.count * (6 * s.dimension + 3 * s.count)
    start = 2 * s.count**2 * (s.count + s.dimension)
    flops = 2 * s.seeds * sum(m * (s.steps * step + start) for m in s.widths)
    return Cost(flops, 8 * max(s.widths) * (8 * s.count + 4 * s.dimension))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Descend in both worlds, from every seed at every width, with every step size."""
    s = settings
    found = sweep(
        "runs", partial(_descend, s, device),
        world=(SPHERE, ONE_SIGNED), seed=s.each_seed, width=s.widths,
    )  # fmt: skip
    return found.assign(_two_inputs()).assign_attrs(data=s.data)


def one_signed(problem: Problem) -> Problem:
    """The same network where no unit can slide: every x_i^T x_j and every y_i - u_i is positive.

    There each term of d(w_r^T x_i)/dt = a_r sum_j (y_j - u_j) x_i^T x_j 1_jr / sqrt(m) has the sign
    of a_r, on both sides of every kink. So a unit crosses a kink at most once, as long as no
    residual changes its sign.
    """
    x = problem.x.abs()
    return Problem(problem.network, x, problem.network.predict(x) + 1)


def _descend(settings: Settings, device: str, *, world: str, seed: int, width: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=width)
    rate = problem.lambda_0
    if world == ONE_SIGNED:
        problem = one_signed(problem)
        rate = problem.lambda_largest
    time = settings.horizon / rate
    runs = [_follow(problem, time, number) for number in settings.windows]
    slide, meet = _meetings(problem)
    return {
        "windows": list(settings.windows),
        "time": time,
        "velocity_error": problem.velocity_error(),
        "sliding_flux": slide,
        "flux": meet,
        **{name: ("windows", [told[name] for told in runs]) for name in runs[0]},
    }


@dataclass(frozen=True)
class _Step:
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


def _steps(problem: Problem, step_size: float) -> Iterator[_Step]:
    moments = problem.moments(step_size)
    now = next(moments)
    while True:
        u, on = now.forward.predictions, now.forward.gates[0] >= 0
        predicted = step_size * empirical_gram(now.network, problem.x) @ (problem.y - u)
        now = next(moments)
        after, change = now.forward.gates[0] >= 0, now.forward.predictions - u
        yield _Step(u - problem.y, on, after, change, predicted)


def _follow(problem: Problem, time: float, windows: int) -> dict[str, float]:
    """Descend for `time`, in `windows` windows of `windows` steps.

    Returns, by name: `missed`, the lengths of e(k) over those of the predicted steps, each summed
    over the steps; `unflipped`, the largest of the steps; `indicator` and `fraction`, the same as
    `missed` for windows instead of steps, see `_window`; `positive`, whether every y_i > u_i at
    every step; and what `_Pairs` counted.
    """
    step_size, pairs = time / windows**2, _Pairs(problem)
    walk = _steps(problem, step_size)
    lengths, spans, unflipped, positive = [], [], 0.0, True
    for _ in range(windows):
        steps = list(islice(walk, windows))
        for step in steps:
            pairs.take(step)
            unflipped = max(unflipped, step.unflipped)
            positive = positive and bool((step.residual < 0).all())
            lengths.append([float(step.error.norm()), float(step.predicted.norm())])
        spans.append(_window(problem, steps, step_size))
        pairs.close_window()
    missed, predicted = np.sum(lengths, axis=0)
    indicator, fraction, changed = np.sum(spans, axis=0)
    return {
        "missed": missed / predicted,
        "unflipped": unflipped,
        "positive": positive,
        "indicator": indicator / changed,
        "fraction": fraction / changed,
        **pairs.counts(),
    }


def _window(problem: Problem, steps: list[_Step], step_size: float) -> list[float]:
    """How far off a window's change of u is predicted, in two ways, and how large it is.

    Of equal knowledge. With the indicators of every step: sum_k eta H(k) (y - u(k)). With
    fractions: theta_ir, the share of the steps in which unit r is active at input i, takes the
    indicator's place in H, and the mean residual that of the residual. A pair that keeps
    switching is active at x_i in the very steps in which it moves off the kink on that side; the
    first sum counts these moves, while theta has the two sides cancel.
    """
    theta = torch.stack([step.on for step in steps]).to(problem.x).mean(dim=0)
    gram = (problem.x @ problem.x.T) * (theta @ theta.T) / theta.shape[1]
    residual = torch.stack([step.residual for step in steps]).mean(dim=0)
    change = torch.stack([step.change for step in steps]).sum(dim=0)
    with_indicators = torch.stack([step.predicted for step in steps]).sum(dim=0)
    with_fractions = -len(steps) * step_size * gram @ residual
    parts = (change - with_indicators, change - with_fractions, change)
    return [float(part.norm()) for part in parts]


class _Pairs:
    """Which (input, unit) pairs switched how often, and how they met their kink first."""

    def __init__(self, problem: Problem) -> None:
        shape = problem.count, len(problem.network.outputs)
        self._problem = problem
        self._switches = torch.zeros(shape, dtype=torch.int32, device=problem.x.device)
        self._held = torch.zeros_like(self._switches, dtype=torch.bool)
        self._early: list[int] = []

    def take(self, step: _Step) -> None:
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


def _meetings(problem: Problem) -> tuple[float, float]:
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


def _two_inputs() -> Variables:
    """One unit on two inputs that slides along the kink of the first, and solved for at it.

    From both sides of the kink: `path`, the parts of w along x_1 and across it. Of the second half
    of the time, for the unit that starts below: `theta`, the share of steps in which it is active
    at x_1, and the fraction that keeps w^T x_1 at 0; `sliding_rate`, at which |u_2 - y_2| falls.
    Of the moment when it comes to the kink: `kink`, its place, and `velocity` of w just below, just
    above, and with that fraction.
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
        "path": (("side", "tick", "axis"), paths),
        "kink": ("axis", paths[0][at]),
        "velocity": (
            ("by", "axis"), [below, above, fractions[at] * above + (1 - fractions[at]) * below]
        ),
        "theta": ("road", theta),
        "sliding_rate": np.log(residuals[half, 1] / residuals[-1, 1]) * 2 / DURATION,
    }  # fmt: skip
