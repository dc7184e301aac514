"""The predictions move as H(t) (y - u) along gradient flow: equations (5)-(7).

Refuted where units slide along a kink: there neither indicator, 0 or 1, gives their velocity, and
what gradient descent misses of the identity does not vanish with the step size. A fraction in place
of the indicator, as a differential inclusion allows, is refuted by a share that does not vanish
with it either.
"""

import math
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import xarray as xr
from scipy import stats

from companion.bounds.du2019 import approach_correlation, sliding_share
from companion.experiments.du2019._kinks import (
    COSINE,
    STEPS,
    Pairs,
    meetings,
    span,
    steps_of,
    two_inputs,
)
from companion.experiments.du2019._problem import Problem, draw
from companion.lab.checks import CONFIDENCE, at_most, claim, identity, note, true, vanishes
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Answer, Check, Outcome, Verdict
from companion.lab.settings import Positive, SeveralSizes, Size, SphereSettings
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, on_sphere

EXPECTED: dict[str, Outcome] = {"du2019-eq5-7": "fails", "du2019-fn-inclusion": "holds"}
SPHERE, ONE_SIGNED = "sphere", "one-signed"


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
    windows: SeveralSizes = (5, 10, 20)
    horizon: Positive = 1.0

    @property
    def steps(self) -> int:
        """Steps of all the runs of one network."""
        return sum(number**2 for number in self.windows)


QUICK = Settings()
PAPER = Settings(seeds=10, widths=(50, 200, 800, 3200), windows=(5, 10, 20, 40))


def cost(settings: Settings) -> Cost:
    """Steps in two worlds, each with its Gram matrix, and every pair once put on its kink."""
    s = settings
    step = s.count * (6 * s.dimension + 3 * s.count)
    start = 2 * s.count**2 * (s.count + s.dimension)
    flops = 2 * s.seeds * sum(m * (s.steps * step + start) for m in s.widths)
    return Cost(flops, 8 * max(s.widths) * (8 * s.count + 4 * s.dimension))


def summary(settings: Settings) -> str:
    """Data, widths, seeds and steps, in words."""
    s = settings
    steps = listed(windows**2 for windows in s.windows)
    return (
        f"Gradient descent on the first layer of networks of width {listed(s.widths)}, in {steps} "
        f"steps up to the same time, from each of {s.seeds} seeds: on "
        f"{on_sphere(s.count, s.dimension)} until $t={s.horizon:g}/\\lambda_0$, and, as a control, "
        "on the absolute values of these inputs with labels $u(0)+1$ until "
        f"$t={s.horizon:g}/\\lambda_{{\\max}}$."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Descend in both worlds, from every seed at every width, with every step size."""
    s = settings
    found = sweep(
        "runs", partial(_descend, s, device),
        world=(SPHERE, ONE_SIGNED), seed=s.each_seed, width=s.widths,
    )  # fmt: skip
    return found.assign(two_inputs()).assign_attrs(data=s.data)


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
    slide, meet = meetings(problem)
    return {
        "windows": list(settings.windows),
        "time": time,
        "velocity_error": problem.velocity_error(),
        "sliding_flux": slide,
        "flux": meet,
        **{name: ("windows", [told[name] for told in runs]) for name in runs[0]},
    }


def _follow(problem: Problem, time: float, windows: int) -> dict[str, float]:
    """Descend for `time`, in `windows` windows of `windows` steps.

    Returns, by name: `missed`, the lengths of e(k) over those of the predicted steps, each summed
    over the steps; `unflipped`, the largest of the steps; `indicator` and `fraction`, the same as
    `missed` for windows instead of steps, see `span`; `positive`, whether every y_i > u_i at
    every step; and what `Pairs` counted.
    """
    step_size, pairs = time / windows**2, Pairs(problem)
    walk = steps_of(problem, step_size)
    lengths, spans, unflipped, positive = [], [], 0.0, True
    for _ in range(windows):
        steps = list(islice(walk, windows))
        for step in steps:
            pairs.take(step)
            unflipped = max(unflipped, step.unflipped)
            positive = positive and bool((step.residual < 0).all())
            lengths.append([float(step.error.norm()), float(step.predicted.norm())])
        spans.append(span(problem, steps, step_size))
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


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Shares of what is missed and of the pairs that slide, and what the companion derives."""
    main, control = (found.sel(world=world) for world in (SPHERE, ONE_SIGNED))
    finest, pairs = main.isel(windows=-1), main.isel(windows=-1).sum("seed")
    total = pairs.sum("width")
    derived = [
        sliding_share(approach_correlation(settings.count, settings.dimension, variance))
        for variance in (math.inf, 1.0)
    ]
    return {
        "steps": max(settings.windows) ** 2,
        "share_exponent": exponent(finest.missed),
        "share_smallest_width": finest.missed.isel(width=0).mean(),
        "share_largest_width": finest.missed.isel(width=-1).mean(),
        "last_factor": _last_factors(main.missed).mean(),
        "control_last_factor": _last_factors(control.missed).mean(),
        "fraction_last_factor": _last_factors(main.fraction).mean(),
        "indicator_share": finest.indicator.mean(),
        "fraction_share": finest.fraction.mean(),
        "fraction_over_indicator": (finest.fraction / finest.indicator).mean(),
        "switched": total.hits,
        "returned_share": total.returned / total.hits,
        "held_share": total.held / total.hits,
        "control_switched": control.isel(windows=-1).hits.sum(),
        "derived_independent": derived[0],
        "derived": derived[1],
        "share_at_start": total.sliding_flux / total.flux,
        "early_hits": total.early_hits,
        "early_share": total.early_held / total.early_hits,
        "theta": found.theta[0],
        "theta_solved": found.theta[1],
        "sliding_rate": found.sliding_rate,
        "sliding_rate_solved": 1 - COSINE**2,
    }


def _last_factors(samples: xr.DataArray) -> xr.DataArray:
    """By which factors something falls between the two finest step sizes."""
    factors: xr.DataArray = samples.isel(windows=-1) / samples.isel(windows=-2)
    return factors


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """By the pairs that keep switching and by what no step size removes; by a control without."""
    main, control = (found.sel(world=world) for world in (SPHERE, ONE_SIGNED))
    return [_dynamics(settings, main, control), _inclusion(found, main)]


def _dynamics(settings: Settings, main: xr.Dataset, control: xr.Dataset) -> Verdict:
    """Of equations (5)-(7).

    A pair that keeps switching and a share that does not vanish refute them together and where the
    control is well, not one without the other.
    """
    exact, slides, levels = _identity(settings, main)
    instrument = _instrument(settings, control)
    if not slides.answer == levels.answer == "no" or instrument.answer != "yes":
        slides, levels = (
            replace(check, answer="unclear") if check.answer == "no" else check
            for check in (slides, levels)
        )
    finest = main.missed.isel(windows=-1)
    return claim(
        "du2019-eq5-7",
        r"$\dot u=H(t)(y-u)$: exact where nothing switches, and what gradient descent misses of it "
        "elsewhere vanishes with the step size",
        exact,
        slides,
        levels,
        instrument,
        holds="Exact where no preactivation is 0, and what is missed elsewhere vanishes with the "
        "step size: no unit stays on a kink.",
        fails="The identity is off even where no preactivation is 0."
        if exact.answer == "no"
        else "With the printed indicators, 0 or 1, it is exact where no preactivation is 0, but "
        "not where a unit slides along a kink: at the finest step size a share of "
        f"{spread(finest.isel(width=0))} is missing at the least width and "
        f"{spread(finest.isel(width=-1))} at the largest. The authors know that strictly the flow "
        "is a differential inclusion: a footnote of the draft says so, and with its fractions the "
        "identity is judged in a row of its own.",
    )


def _inclusion(found: xr.Dataset, main: xr.Dataset) -> Verdict:
    """Of the same with fractions in place of the indicators."""
    finest = main.isel(windows=-1)
    return claim(
        "du2019-fn-inclusion",
        r"$\dot u=H_\theta(t)(y-u)$ with fractions $\theta_{ir}\in[0,1]$ on the kinks",
        vanishes(
            "share of a window's change that fractions miss, width by width",
            main.fraction, "windows", 0.5, r"what vanishes like the root of the window's length",
        ),
        at_most(
            "what fractions miss over what indicators miss, finest windows",
            finest.fraction / finest.indicator,
        ),
        at_most(
            "two inputs: the time that the unit is active, off the fraction that keeps it on its "
            "kink, in steps",
            abs(found.theta[0] - found.theta[1]) * (STEPS // 2), 1.0,
        ),
        holds="With the share of time that a pair is active in place of its indicator, what is "
        "missed vanishes: in the finest windows it is "
        f"{spread((finest.fraction / finest.indicator).mean('width'))} of what indicators miss.",
        fails="Fractions in place of the indicators do not repair the identity.",
    )  # fmt: skip


def _identity(settings: Settings, world: xr.Dataset) -> list[Check]:
    """What is asked of equations (5)-(7) in a world: exactness, no sliding, no plateau."""
    rounding = float(np.finfo(settings.dtype).eps) ** 0.5
    generic = [world.velocity_error.max(), world.unflipped.max()]
    return [
        identity(
            "both sides where nothing switches: velocities, and steps",
            generic, rounding, "the root of rounding",
        ),
        _none_slide(world.isel(windows=-1)),
        vanishes(
            r"share of the steps that $\eta H(k)(y-u(k))$ misses, width by width",
            world.missed, "windows", 1.0, r"what vanishes like $\sqrt\eta$",
        ),
    ]  # fmt: skip


def _none_slide(finest: xr.Dataset) -> Check:
    """Whether no pair that switches keeps switching; no, if a share of them does in every draw."""
    what = "share of the switched pairs that switch three times or more, finest step size"
    pairs = finest[["returned", "hits"]].sum("width")
    share = (pairs.returned / pairs.hits).values
    asked = f"0; with {CONFIDENCE:.0%} confidence above 0 it is refuted"
    half = np.inf
    if len(share) > 2:
        quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(share) - 1)
        half = float(quantile * share.std(ddof=1) / math.sqrt(len(share)))
    answer: Answer = "unclear"
    if (share == 0).all():
        answer = "yes"
    elif share.mean() - half > 0:
        answer = "no"
    return Check(answer, what, spread(pairs.returned / pairs.hits), asked, kind="mean")


def _instrument(settings: Settings, control: xr.Dataset) -> Check:
    """Whether the same questions are answered with yes where no unit can slide."""
    asked = [
        true("every residual keeps its sign", control.positive),
        *_identity(settings, control),
    ]
    wrong = [check for check in asked if check.answer != "yes"]
    if wrong:
        return Check("unclear", "the control", f"{wrong[0].what}: {wrong[0].measured}")
    return note(
        f"the control, where no unit can slide: {asked[-2].measured} and {asked[-1].measured}"
    )


def _control_as_main(_: Settings, found: xr.Dataset) -> xr.Dataset:
    """The control's numbers in both worlds."""
    return found.isel(world=[1, 1]).assign_coords(world=found.world)


def _without_repair(_: Settings, found: xr.Dataset) -> xr.Dataset:
    """Fractions that miss as much as the indicators."""
    return found.assign(fraction=found.indicator)


CONTROLS = {
    "du2019-eq5-7": Lie("inputs and labels are those of the control", _control_as_main),
    "du2019-fn-inclusion": Lie("fractions miss what indicators miss", _without_repair),
}
