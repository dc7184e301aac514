"""Steps lead towards W*, by more than the losses cost (Lemma 6.2), and not far off (eq. 6.3).

Refuted by losses along a run that add up to more than the way towards W* allows; by a loss whose
gradient falls short of inequality (B.3) although the linearisation error is at most 1/4; by an
iterate outside of the ball of eq. (6.3).
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from companion.errors import InputError
from companion.experiments.chen2021._comparators import (
    Comparator,
    late_iterate,
    linearised_fit,
    scaled_distance,
    squared_distance,
)
from companion.experiments.chen2021._linearity import changes
from companion.experiments.chen2021._problem import HalvesSettings, Layers, draw
from companion.experiments.chen2021._tangent import first_order
from companion.experiments.chen2021._targets import Exponents
from companion.experiments.zou2018._problem import Problem
from companion.kernels import empirical_gram
from companion.lab.checks import anyway, at_least, at_most, claim, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import Moment

EXPECTED: dict[str, Outcome] = {
    "chen2021-lem6.2": "outside-regime",
    "chen2021-eq6.3": "outside-regime",
}
# The first iterate with every loss below epsilon, and the start moved by the linearised fit.
KINDS = ("iterate", "linearised")
# By which the linearisation may be off in the proof, (B.2).
QUARTER = 0.25
# Of sums over the weights, as a share of what is compared.
ROUNDING = 1e-9


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L, all weight matrices.
        alphas: exponents of the scaling m^alpha, in increasing order.
        widths: m, in increasing order.
        epsilon: of W*: every loss of the iterate is below it, and every loss of the linearised
            network at most.
        step_share: eta as a share of 1 / (2 max_i ||gradient of f(x_i)||_F^2) at the start, the
            largest step of the proof if gradients did not grow.
        looks: at how many times, evenly up to T, curves are kept.
        most: steps within which W* has to be reached.
    """

    count: Annotated[int, Field(ge=2)] = 12
    dimension: Annotated[int, Field(ge=2)] = 5
    gap: Share = 0.3
    layers: Layers = 3
    alphas: Exponents = (0.1, 0.5)
    widths: SeveralSizes = (24, 72, 216)
    epsilon: Share = 0.5
    step_share: Share = 0.5
    looks: Annotated[int, Field(ge=4)] = 25
    most: Size = 20_000


QUICK = Settings()
PAPER = Settings(seeds=6, alphas=(0.1, 0.25, 0.5), widths=(*QUICK.widths, 648), epsilon=0.2)


def cost(settings: Settings) -> Cost:
    """Eighteen products of (n, m) and (m, m) a layer and iterate: six are the step's."""
    s = settings
    weights = [m * (s.dimension + (s.layers - 2) * m) for m in s.widths]
    radius = 1.5 * np.log(1 + 1 / s.epsilon)
    steps = len(s.alphas) * s.layers * radius**2 * (s.layers + 1) / (s.step_share * s.epsilon)
    return Cost(float(18 * s.count * s.seeds * steps * sum(weights)), 8.0 * 10 * weights[-1])


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Gradient descent on all $L={s.layers}$ weight matrices of networks of width $m$ = "
        f"{listed(s.widths)} that are scaled by $m^\\alpha$, $\\alpha$ = {listed(s.alphas)}, with "
        f"{s.step_share:g} of the largest step that the proof allows at the start, for the $T$ "
        "iterates of Theorem 3.3. They are compared with two networks $W^*$: the first iterate "
        f"with every loss below {s.epsilon:g}, and the start moved as far as the linearised "
        f"network has to be for that. $n={s.count}$ inputs are {s.data}; data and networks are "
        f"drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Find both W*, then compare every iterate with them."""
    s = settings
    found = sweep(
        "runs", partial(_compare, s, device), seed=s.each_seed, alpha=s.alphas, width=s.widths
    )
    found = found.assign_coords(kind=list(KINDS), look=np.arange(1, s.looks + 1) / s.looks)
    return found.assign_attrs(data=s.data)


@dataclass
class Along:
    """The iterates beside one W*, one entry for each of them.

    Attributes:
        other: W*.
        horizon: T.
        squares: sum_l ||W_l - W*_l||_F^2.
        errors: the largest linearisation error of an input, by its size.
        printed: the same with the sign that (B.2) is printed with.
        quotients: the least of (<W - W*, gradient of L_i> + L_i(W*)) / L_i(W) of the inputs whose
            linearisation error is at most 1/4; infinite where there is none. (B.3) has 3/4.
        distances: m^alpha max_l ||W_l - W_l(0)||_F.
    """

    other: Comparator
    horizon: int
    squares: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    printed: list[float] = field(default_factory=list)
    quotients: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    def note(self, moment: Moment) -> None:
        """Take in an iterate, up to W^(T)."""
        if len(self.squares) > self.horizon:
            return
        there = self.other.network.run(moment.x).predictions
        moves = changes(moment.network, self.other.network)
        along = first_order(moment.network, moment.forward, moves)
        change = there - moment.forward.predictions
        slopes = moment.loss.derivatives(moment.forward.predictions, moment.y)
        quotient = (moment.loss.values(there, moment.y) - slopes * along) / moment.losses
        near = (change - along).abs() <= QUARTER
        self.squares.append(squared_distance(moment.network, self.other.network))
        self.errors.append(float((change - along).abs().max()))
        self.printed.append(float((change + along).abs().max()))
        self.quotients.append(float(quotient.where(near, quotient.new_tensor(np.inf)).min()))
        self.distances.append(scaled_distance(moment))


def _compare(settings: Settings, device: str, *, seed: int, alpha: float, width: int) -> Variables:
    """One network: both W*, and the run beside them."""
    s = settings
    problem = draw(s, device, seed=seed, width=width, layers=s.layers, alpha=alpha)
    eta = s.step_share / (2 * float(problem.gram.diagonal().max()))
    scale = problem.network.output_gain
    others = [first_below(problem, eta, s.epsilon, s.most), linearised_fit(problem, s.epsilon)]
    each = [Along(other, other.horizon(eta * scale**2)) for other in others]
    losses, steepest = list[float](), 0.0
    for moment in islice(problem.moments(eta), max(along.horizon for along in each) + 1):
        for along in each:
            along.note(moment)
        losses.append(float(moment.losses.mean()))
        squares = empirical_gram(moment.network, moment.x).diagonal()
        steepest = max(steepest, float(squares.max()))
    kept = [summed_up(along, np.array(losses), eta, s.looks) for along in each]
    found: dict[Hashable, Any] = {"step": 2 * eta * steepest}
    for name in kept[0]:
        both = np.stack([one[name] for one in kept])
        found[name] = (("kind", "look")[: both.ndim], both)
    return found


def first_below(problem: Problem, step_size: float, epsilon: float, most: int) -> Comparator:
    """The first iterate with every loss below epsilon.

    Raises:
        InputError: there is none within `most` steps, or the start is one.
    """
    for step, moment in enumerate(islice(problem.moments(step_size), most + 1)):
        if float(moment.losses.max()) < epsilon:
            if step == 0:
                raise InputError(
                    f"at initialisation every loss is below {epsilon:g}, so there is no descent to "
                    "look at; choose a smaller epsilon."
                )
            return late_iterate(moment)
    raise InputError(f"after {most} steps a loss is still above {epsilon:g}; give more.")


def summed_up(along: Along, losses: np.ndarray, step_size: float, looks: int) -> dict[str, Any]:
    """Both sides of Lemma 6.2 and of eq. (6.3) after 1, ..., T steps, and at some of these times.

    Args:
        along: the iterates 0, ..., T beside W*.
        losses: L_S of the iterates, at least T of them.
        step_size: eta.
        looks: how many times, evenly up to T.

    Returns:
        Name -> numbers or arrays of shape (looks,): `share`, eta sum L_S over the way towards W*
        and 2 t eta epsilon, at most 1 by Lemma 6.2; `ball`, the distance from the start over
        2 sqrt(3 L) R m^-alpha; `apart`, that from W* over the root of ||W(0) - W*||^2 and
        2 t eta epsilon; of all times their largest, and of the first also of the times up to which
        the linearisation error is at most 1/4.
    """
    count, star = along.horizon, along.other
    steps, squares = np.arange(1, count + 1), np.array(along.squares)
    allowed = squares[0] + 2 * steps * step_size * star.epsilon
    way = allowed - squares[1:]
    spent = step_size * np.cumsum(losses[:count])
    share = np.divide(spent, way, out=np.full(count, np.inf), where=way > 0)
    apart = np.sqrt(squares[1:] / allowed)
    layers = len(star.network.parameters)
    ball = np.array(along.distances[1:]) / (2 * np.sqrt(3 * layers) * star.radius)
    errors = np.array(along.errors)
    close = np.maximum.accumulate(errors[:count]) <= QUARTER
    at = np.ceil(count * np.arange(1, looks + 1) / looks).astype(int) - 1
    return {
        "share": share[at],
        "ball": ball[at],
        "apart": apart[at],
        "error": errors[at],
        "most_share": share.max(),
        "close_share": share[close].max(initial=0),
        "time_close": close.mean(),
        "most_ball": ball.max(),
        "most_apart": apart.max(),
        "quotient": min(along.quotients),
        "near": np.isfinite(along.quotients).mean(),
        "printed": along.printed[0],
        "horizon": count,
        "radius": star.radius,
        "epsilon": star.epsilon,
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Extremes of all runs, and how often the linearisation error is small."""
    lazy = found.isel(width=-1, alpha=-1)
    return {
        "share": found.most_share.max(),
        "close": (found.time_close == 1).mean(),
        "quotient": found.quotient.min(),
        "error": found.error.max(),
        "step_kept": (found.step <= 1).mean(),
        "printed": found.printed.min(),
        "ball": found.most_ball.max(),
        "apart": found.most_apart.max(),
        "tau": lazy.radius.min() / settings.widths[-1] ** settings.alphas[-1],
        "tau_asked": _tau(settings),
    }


def _tau(settings: Settings) -> float:
    """The radius of Lemma 6.2 with the constant 1, at the largest width and alpha."""
    s, width = settings, settings.widths[-1]
    logarithm = float(np.log(width)) ** -1.5
    return float(s.layers**-2.25 * width ** (-0.75 * s.alphas[-1]) * logarithm)


def _unmet(settings: Settings, found: xr.Dataset) -> str:
    """In which way the hypothesis of both statements is unmet; nothing if W* is near enough."""
    s, width = settings, settings.widths[-1]
    far = float(found.isel(width=-1, alpha=-1).radius.min()) / width ** s.alphas[-1]
    if far <= _tau(s):
        return ""
    return (
        rf"$W^*$ is at a distance of {number(far, '.2g', 'down')} or more, where the lemma's "
        rf"radius $\tau$ is {number(_tau(s), '.1e', 'up')} with the constant 1"
    )


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Inequalities at every step, those of the proof wherever what it uses is the case."""
    outside = _unmet(settings, found)
    return [_lemma(settings, found, outside), _ball(found, outside)]


def _lemma(settings: Settings, found: xr.Dataset, outside: str) -> Verdict:
    kept = int((found.step <= 1).sum())
    printed = number(float(found.printed.min()), ".2f", "down")
    return claim(
        "chen2021-lem6.2",
        r"$\sum_l\lVert W_l^{(0)}-W_l^*\rVert_F^2-\sum_l\lVert W_l^{(t)}-W_l^*\rVert_F^2\ge"
        r"\eta\big[\sum_{s<t}L_S(W^{(s)})-2t\epsilon\big]$",
        at_most(
            r"$\eta\sum_{s<t}L_S(W^{(s)})$ over the way towards $W^*$ and $2t\eta\epsilon$, at "
            r"every $t\le T$",
            found.most_share,
            1 + ROUNDING,
        ),
        anyway(
            at_most(
                "the same as long as the linearisation error is at most 1/4 and no gradient is too "
                "steep for the step",
                found.close_share.where(found.step <= 1, 0),
                1 + ROUNDING,
            )
        ),
        anyway(
            at_least(
                r"$\big(\langle W^{(t)}-W^*,\nabla L_i\rangle+L_i(W^*)\big)/L_i(W^{(t)})$ of an "
                "example whose linearisation error is at most 1/4, (B.3)",
                found.quotient,
                0.75 - ROUNDING,
                ".4g",
            )
        ),
        note(
            "Read with the sign that (B.2) is printed with, what should be at most 1/4 is "
            f"{printed} or more at the start. The explicit step size of the proof was kept in "
            f"{kept} of {found.step.size} runs"
        ),
        outside=outside,
        holds=r"Every iterate has come nearer to $W^*$ by at least what the losses before it ask "
        "for, and (B.3) holds wherever the linearisation is as close as the proof needs",
        fails=r"An iterate has come less near to $W^*$ than the losses before it ask for, or (B.3) "
        "fails where the linearisation is close.",
    )


def _ball(found: xr.Dataset, outside: str) -> Verdict:
    return claim(
        "chen2021-eq6.3",
        r"$\lVert W_l^{(t)}-W_l^{(0)}\rVert_F\le2\sqrt{CL}\,Rm^{-\alpha}$ for every $t\le T$, and "
        r"$C=3$ follows from Lemma 6.2",
        at_most(
            r"$\max_l\lVert W_l^{(t)}-W_l^{(0)}\rVert_F$ over $2\sqrt{3L}\,Rm^{-\alpha}$",
            found.most_ball,
        ),
        at_most(
            r"$\lVert W^{(t)}-W^*\rVert_F$ over the root of "
            r"$\lVert W^{(0)}-W^*\rVert_F^2+2t\eta\epsilon$",
            found.most_apart,
            1 + ROUNDING,
        ),
        outside=outside,
        holds=r"No iterate up to $T$ leaves the ball, and none is farther from $W^*$ than "
        "the lemma allows",
        fails=r"An iterate leaves the ball, or is farther from $W^*$ than the lemma allows.",
    )


CONTROLS = {
    "chen2021-lem6.2": Lie(
        r"the losses along a run add up to three times as much",
        lambda settings, found: found.assign(
            most_share=3 * found.most_share, close_share=3 * found.close_share
        ),
    ),
    "chen2021-eq6.3": Lie(
        r"the iterates draw away from $W^*$ by the factors by which they come nearer",
        lambda settings, found: found.assign(most_apart=1 / found.most_apart),
    ),
}
