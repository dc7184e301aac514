"""Gradient descent reaches the loss of a near network W* in time (Theorem 3.3, Assumption 3.2).

Refuted by an average loss above 3 epsilon over the iterates that the theorem counts; by iterations
that grow faster than R^2 / epsilon, or with the width; by a radius R(epsilon) that grows with the
width, or faster than log(1/epsilon). Of Remark 3.4: by a distance that settles after T.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from companion.bounds.chen2021 import equation_6_4_polynomial
from companion.experiments.chen2021._comparators import linearised_fit
from companion.experiments.chen2021._horizons import Run, follow, follow_past
from companion.experiments.chen2021._problem import HalvesSettings, Layers, draw
from companion.experiments.chen2021._targets import (
    Exponents,
    Targets,
    over_inverse,
    per_factor,
)
from companion.lab.checks import at_most, claim, exponent_at_most, exponent_near, note, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "chen2021-ass3.2": "holds",
    "chen2021-thm3.3": "outside-regime",
    "chen2021-rem3.4": "outside-regime",
}
# Where a run did not come so far within the steps it may make.
MAY_BE_MISSING = ("radius", "reached", "share", "ntrf_share", "distance")
UNMET = (
    r"the widths are far below the $[R^4L^{11}]^{1/\alpha}$ that the proof asks for with the "
    "constant 1"
)
# Half way to the next power: from no growth in the width or 1/epsilon to their square root.
HALF_WAY = 0.25
# What the linearisation may be off in the proof of Lemma 6.2.
QUARTER = 0.25


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L, all weight matrices.
        alphas: exponents of the scaling m^alpha, in increasing order.
        widths: m, in increasing order.
        targets: epsilon, in increasing order.
        followed: how many of them, from the largest on, are followed to the horizon T.
        time_step: eta m^(2 alpha).
        octaves: how often T is doubled after T of the largest target, at the largest alpha.
        octaves_width: m of those runs.
        shown: up to this step loss curves are kept.
        most: steps that a run may make.
    """

    count: Annotated[int, Field(ge=2)] = 12
    dimension: Annotated[int, Field(ge=2)] = 5
    gap: Share = 0.3
    seeds: Size = 5
    layers: Layers = 3
    alphas: Exponents = (0.1, 0.25, 0.5)
    widths: SeveralSizes = (24, 48, 96, 192)
    targets: Targets = (0.05, 0.1, 0.2, 0.4)
    followed: Size = 3
    time_step: Positive = 1.0
    octaves: Annotated[int, Field(ge=3)] = 4
    octaves_width: Size = 64
    shown: Annotated[int, Field(ge=4)] = 128
    most: Size = 20_000

    @property
    def followed_targets(self) -> tuple[float, ...]:
        """Those epsilon that are followed to T."""
        return self.targets[-self.followed :]

    @property
    def looks(self) -> list[int]:
        """Steps whose losses are kept, evenly spaced by their logarithms."""
        return sorted({round(2 ** (k / 2)) for k in range(int(2 * math.log2(self.shown)) + 1)})


QUICK = Settings()
PAPER = Settings(
    seeds=8,
    widths=(*QUICK.widths, 384, 768),
    targets=(0.0125, 0.025, *QUICK.targets),
    followed=4,
    octaves=7,
    octaves_width=192,
)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a layer and step; steps as a margin near 0.5 has them."""
    s = settings
    steps = len(s.alphas) * _steps_of(s, s.targets[-s.followed]) / 2
    weights = [m * (s.dimension + (s.layers - 2) * m) for m in s.widths]
    wide = s.octaves_width * (s.dimension + (s.layers - 2) * s.octaves_width)
    past = 2**s.octaves * _steps_of(s, s.targets[-1])
    flops = 6.0 * s.count * s.seeds * (steps * sum(weights) + past * wide)
    return Cost(flops, 8.0 * 8 * weights[-1])


def _steps_of(settings: Settings, target: float) -> float:
    """T of a network whose NTRF margin is about 0.5, roughly."""
    radius = 2 * math.log(1 + 1 / target) / settings.layers**0.5
    return float(settings.layers * radius**2 / (settings.time_step * target))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Gradient descent on all $L={s.layers}$ weight matrices of networks of width $m$ = "
        f"{listed(s.widths)} that are scaled by $m^\\alpha$, $\\alpha$ = {listed(s.alphas)}, with "
        f"$\\eta m^{{2\\alpha}}={s.time_step:g}$, until every loss is below $\\epsilon$ = "
        f"{listed(s.targets[::-1])} and as long as Theorem 3.3 counts iterates; at "
        f"$\\alpha={s.alphas[-1]:g}$ and $m={s.octaves_width}$ also {2**s.octaves} times as long. "
        f"$n={s.count}$ inputs are {s.data}; data and networks are drawn anew for each of "
        f"{s.seeds} seeds, and networks of different widths are independent."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train at every width with every alpha; then once more, far past T."""
    s, draws = settings, settings.each_seed
    found = sweep("horizon", partial(_to_horizon, s, device), seed=draws, width=s.widths)
    past = sweep("past", partial(_past, s, device), seed=draws)
    found = xr.merge([found, past]).assign_coords(
        alpha=list(s.alphas), target=list(s.targets), look=s.looks
    )
    return found.assign_attrs(data=s.data)


def _to_horizon(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """Runs with every alpha; and the linearised network's W* at the largest of them."""
    s = settings
    each = [
        draw(s, device, seed=seed, width=width, layers=s.layers, alpha=alpha) for alpha in s.alphas
    ]
    fits = [linearised_fit(each[-1], target) for target in s.targets]
    needed = [s.shown + 1] * len(each)
    needed[-1] = max(needed[-1], *(fit.horizon(s.time_step) for fit in fits))
    runs = [
        follow(problem, s.time_step, s.targets, s.followed_targets, least, s.most)
        for problem, least in zip(each, needed, strict=True)
    ]
    ntrf = [runs[-1].average(fit.epsilon, fit.horizon(s.time_step)) for fit in fits]
    return {
        **_of_runs(s, runs),
        "least_radius": ("target", [fit.radius for fit in fits]),
        "ntrf_epsilon": ("target", [fit.epsilon for fit in fits]),
        "ntrf_share": ("target", ntrf),
    }


def _of_runs(settings: Settings, runs: Sequence[Run]) -> Variables:
    """Arrays whose first dimension is alpha."""
    s = settings
    radii = np.array([[run.radii.get(e, math.nan) for e in s.targets] for run in runs])
    counts = np.ceil(s.layers * radii**2 / (s.time_step * np.array(s.targets)))
    shares = [
        [run.average(e, count) for e, count in zip(s.targets, row, strict=True)][-s.followed :]
        for run, row in zip(runs, counts, strict=True)
    ]
    return {
        "radius": (("alpha", "target"), radii),
        "reached": (("alpha", "target"), [[r.first_below(e) for e in s.targets] for r in runs]),
        "share": (("alpha", "followed"), shares),
        "distance": ("alpha", [run.distance for run in runs]),
        "loss": (("alpha", "look"), [[run.losses[k] for k in s.looks] for run in runs]),
    }


def _past(settings: Settings, device: str, *, seed: int) -> Variables:
    """One run for many times T, at the largest alpha and epsilon."""
    s, width = settings, settings.octaves_width
    problem = draw(s, device, seed=seed, width=width, layers=s.layers, alpha=s.alphas[-1])
    found = follow_past(problem, s.time_step, s.targets[-1], s.octaves, s.most)
    return {
        "past_distance": ("octave", found.distances),
        "past_error": ("octave", found.errors),
        "past_share": ("octave", found.averages),
        "past_horizon": found.horizon,
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents of the sweep over alpha, radii, and what happens after T."""
    s = settings
    wide, first = found.isel(width=-1), s.alphas[0]
    lazy, loose = wide.isel(alpha=-1), wide.isel(alpha=0)
    return {
        "alpha_low": first,
        "alpha_high": s.alphas[-1],
        "distance_low": exponent(found.distance.isel(alpha=0)) - first,
        "distance_high": exponent(found.distance.isel(alpha=-1)) - s.alphas[-1],
        "steps_low": loose.reached.isel(target=0).mean(),
        "steps_high": lazy.reached.isel(target=0).mean(),
        "share": max(float(found.share.max()), float(found.ntrf_share.max())),
        "steps_exponent": exponent(over_inverse(found.reached), "target"),
        "steps_over_radius": exponent(over_inverse(found.reached / found.radius**2), "target"),
        "steps_in_width": exponent(found.reached),
        "radius_in_width": exponent(found.radius),
        "least_in_width": exponent(found.least_radius),
        "radius_over_least": (lazy.radius / lazy.least_radius).mean(),
        "loose_over_least": (loose.radius / lazy.least_radius).mean(),
        "growth": exponent(over_inverse(per_factor(found.radius)), "target"),
        "least_growth": exponent(over_inverse(per_factor(found.least_radius)), "target"),
        "past_factor": 2**s.octaves,
        "past_gain": found.past_distance.diff("octave").mean(),
        "error_at_horizon": found.past_error.isel(octave=0).mean(),
        "error_at_end": found.past_error.isel(octave=-1).min(),
        "past_share": found.past_share.isel(octave=-1).max(),
        "doublings": _doublings(s, found),
        "asked": _asked(s, found),
    }


def _doublings(settings: Settings, found: xr.Dataset) -> float:
    """How often T would have to be doubled for the distance to leave the ball of eq. (6.3)."""
    # T = L R^2 / (eta m^(2 alpha) epsilon), so that L R^2 is:
    square = found.past_horizon * settings.time_step * settings.targets[-1]
    ball = 2 * (3 * square) ** 0.5
    last = found.past_distance.isel(octave=-1)
    gain = found.past_distance.diff("octave").isel(octave=-1)
    return float((settings.octaves + (ball - last) / gain).min())


def _asked(settings: Settings, found: xr.Dataset) -> float:
    """[R^4 L^11]^(1/alpha) of eq. (6.4) with the constant 1 and no logarithm, at its least."""
    radii = found.radius.isel(target=-1).min(("seed", "width"))
    each = zip(radii.values.tolist(), found.alpha.values.tolist(), strict=True)
    return min(equation_6_4_polynomial(radius, settings.layers, alpha) for radius, alpha in each)


def _increments(found: xr.Dataset) -> xr.DataArray:
    """What each doubling of the time past T adds to the distance; `octave` is the factor of T."""
    gains = found.past_distance.diff("octave")
    times = 2.0 ** np.arange(gains.sizes["octave"])
    later: xr.DataArray = gains.assign_coords(octave=times)
    return later


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The average loss at T, exponents in 1/epsilon and in m, and the distance after T."""
    return [_separable(settings, found), _converges(settings, found), _early_stopping(found)]


def _separable(settings: Settings, found: xr.Dataset) -> Verdict:
    s, lazy = settings, found.isel(alpha=-1, width=-1)
    ratio = (lazy.radius / lazy.least_radius).mean("target")
    return claim(
        "chen2021-ass3.2",
        r"there are $R$ and $W^*$ with $\max_l\lVert W_l^*-W_l^{(0)}\rVert_F\le Rm^{-\alpha}$ and "
        r"all $L_i(W^*)<\epsilon$, with an $R$ of the order $\log(1/\epsilon)$ that no width "
        "enters",
        true(r"a run comes to losses below $\epsilon$", found.radius.notnull()),
        exponent_at_most(
            r"$R(\epsilon)$ of trained networks in $m$, for every $\alpha$",
            found.radius,
            0,
            float(np.mean(s.alphas)) / 2,  # half way to distances that do not fall at all
        ),
        exponent_at_most(
            r"$R(\epsilon)$ of the linearised network in $m$", found.least_radius, 0, HALF_WAY
        ),
        exponent_at_most(
            r"what $R$ of trained networks gains per factor e of $1/\epsilon$, in $1/\epsilon$",
            over_inverse(per_factor(found.radius)),
            0,
            HALF_WAY,
            "target",
        ),
        exponent_at_most(
            r"what $R$ of the linearised network gains likewise",
            over_inverse(per_factor(found.least_radius)),
            0,
            HALF_WAY,
            "target",
        ),
        note(
            rf"At $\alpha={s.alphas[-1]:g}$ in the widest networks training goes "
            f"{spread(ratio, '.2f')} times as far as the linearised network has to"
        ),
        holds=r"Every run comes to such a $W^*$, and the radius grows neither with the width nor "
        r"faster than $\log(1/\epsilon)$.",
        fails=r"A run finds no such $W^*$, or the radius grows with the width, or faster than "
        r"$\log(1/\epsilon)$.",
    )


def _converges(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    told = listed(f"{exponent(found.distance.sel(alpha=a)) - a:.2f}" for a in s.alphas)
    return claim(
        "chen2021-thm3.3",
        r"$\frac1T\sum_{t<T}L_S(W^{(t)})\le3\epsilon$ with $T=\lceil LR^2m^{-2\alpha}"
        r"\eta^{-1}\epsilon^{-1}\rceil$, so that with $\eta=\Theta(m^{-2\alpha})$ no width enters "
        r"the iterations and the distance falls like $m^{-\alpha}$",
        at_most(
            r"the average loss over $3\epsilon$, where $W^*$ is an iterate",
            found.share,
        ),
        at_most("the same where $W^*$ is from the linearised network", found.ntrf_share),
        exponent_at_most(
            r"steps to $L_S\le\epsilon$ over $R(\epsilon)^2$, in $1/\epsilon$",
            over_inverse(found.reached / found.radius**2),
            1,
            0,
            "target",
        ),
        exponent_at_most(
            r"steps to $L_S\le\epsilon$ in $m$, for every $\alpha$", found.reached, 0, HALF_WAY
        ),
        exponent_at_most(
            rf"the distance at $T$ in $m$, with $\alpha={s.alphas[-1]:g}$",
            found.distance.isel(alpha=-1) / found.width ** s.alphas[-1],
            -s.alphas[-1],
            s.alphas[-1] / 2,
        ),
        note(rf"With $\alpha$ = {listed(s.alphas)} the distance has the exponents {told}"),
        outside=UNMET,
        holds=r"The average loss over $T$ iterates is below $3\epsilon$ with either $W^*$, the "
        r"steps grow with $R^2/\epsilon$ at most and not with the width, and at the largest "
        r"$\alpha$ the distance falls like $m^{-\alpha}$",
        fails=r"An average loss over $T$ iterates is above $3\epsilon$, or the steps grow faster "
        r"than $R^2/\epsilon$ or with the width, or at the largest $\alpha$ the distance falls "
        "less.",
    )


def _early_stopping(found: xr.Dataset) -> Verdict:
    gains, error = _increments(found), found.past_error
    largest = number(float(error.max()), ".2f", "up")
    crossed = float((error.isel(octave=-1) > QUARTER).mean())
    return claim(
        "chen2021-rem3.4",
        r"the theorem holds up to $T$ only: after it the distance and the linearisation error go "
        "on growing, so that the proof needs early stopping",
        true("each doubling of the time adds to the distance", gains > 0),
        exponent_near("what a doubling adds, in the time", gains, 0, HALF_WAY, "octave"),
        true(
            r"the linearisation error towards $W^*$ is larger at the end than at $T$",
            error.isel(octave=-1) > error.isel(octave=0),
        ),
        note(
            f"The linearisation error is {largest} at most, where the proof needs 1/4 or less; it "
            f"ends above that in {crossed:.0%} of the runs"
        ),
        outside=UNMET,
        holds="After $T$ the distance goes on growing like the logarithm of the time, and the "
        "linearisation error with it",
        fails="After $T$ the distance settles, or grows faster than the logarithm of the time, or "
        "the linearisation error does not grow.",
    )


def _idle(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """Training that makes no progress after its first step."""
    followed = xr.DataArray(list(settings.followed_targets), dims="followed")
    share = found.loss.isel(look=0, drop=True) / (3 * followed)
    return found.assign(share=share.transpose(*found.share.dims))


def _settling(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """A distance that converges."""
    gains = found.past_distance.diff("octave")
    gains = gains * 0.5 ** np.arange(gains.sizes["octave"])
    first = found.past_distance.isel(octave=[0])
    return found.assign(
        past_distance=xr.concat([first, first.values + gains.cumsum("octave")], "octave")
    )


CONTROLS = {
    "chen2021-ass3.2": Lie(
        "no distance falls with the width",
        lambda settings, found: found.assign(radius=found.radius * found.width**found.alpha),
    ),
    "chen2021-thm3.3": Lie("every loss stays what it is after the first step", _idle),
    "chen2021-rem3.4": Lie(
        "each doubling of the time adds half of what it adds, the next a quarter, and so on",
        _settling,
    ),
}
