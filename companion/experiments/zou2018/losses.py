"""Assumptions 3.1 to 3.3 and 4.4 of 2018: which losses have which constants, and how sharp.

Refuted by a loss that breaks an inequality with the constants that `companion.losses` has for it,
by a bound that is said not to exist and does, or by a constant that can be 1 % sharper.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.experiments.zou2018._constants import shares_of_cut, values_and_slopes
from companion.lab.checks import at_least, at_most, claim
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Positive, Share
from companion.lab.settings import Settings as PlainSettings
from companion.lab.words import listed, number
from companion.losses import CROSS_ENTROPY, EXPONENTIAL, HINGE, SQUARED_HINGE, Loss

EXPECTED: dict[str, Outcome] = {
    "zou2018-ass3.1": "holds",
    "zou2018-ass3.2": "holds",
    "zou2018-ass3.3L": "holds",
    "zou2018-ass3.3S": "holds",
    "zou2018-ass4.4": "holds",
    "zou2018-losses-sharp": "holds",
}

# Beside the paper's four: one with constants of its own, and one that breaks Assumption 3.2.
CUBED_HINGE = Loss(
    "cubed-hinge",
    of=lambda z: (1 - z).relu() ** 3,
    slope_of=lambda z: -3 * (1 - z).relu() ** 2,
    of_margin=True,
    p=2 / 3,
    alpha_0=float("inf"),
    alpha_1=3.0,
    rho_0=float("inf"),
    rho_1=3.0,
    smoothness=float("inf"),
    lipschitz=float("inf"),
)
SIGMOID = Loss(
    "sigmoid",
    of=lambda z: torch.sigmoid(-z),
    slope_of=lambda z: -torch.sigmoid(z) * torch.sigmoid(-z),
    of_margin=True,
)
PAPERS = (CROSS_ENTROPY, EXPONENTIAL, SQUARED_HINGE, HINGE)
LOSSES = (*PAPERS, CUBED_HINGE, SIGMOID)
# What can be sharper: larger, if it bounds from below, and else smaller.
CONSTANTS = ("alpha_0", "alpha_1", "rho_0", "rho_1", "lipschitz", "smoothness")
# NaN where a loss has no such constant, or an infinite one, which cannot be sharper.
MAY_BE_MISSING = ("floor", "ceiling", "sharper")
# What grows without bound doubles at least from the last grid but one to the last; what is bounded
# keeps its value. Half way between the two, on a logarithmic scale.
UNBOUNDED = 2**0.5


class Settings(PlainSettings):
    """What is run.

    Attributes:
        reaches: margins go from -reach to reach; each twice the one before.
        fineness: margins are spaced by this over the reach, so that grids also refine.
        excess: share by which a constant is made sharper.
        exponents: p with which the hinge is tried.
        halvings: the hinge is looked at within 2^-k of its kink, for k up to this.
        shown: margins that the figure shows go from minus this to this.
    """

    reaches: Annotated[tuple[Positive, ...], Field(min_length=2)] = (5.0, 10.0, 20.0, 40.0)
    fineness: Share = 0.02
    excess: Share = 0.01
    exponents: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.1, 0.25, 0.5, 0.99)
    halvings: Annotated[int, Field(ge=2, le=20, multiple_of=2)] = 20
    shown: Positive = 4.0


QUICK = Settings()
PAPER = Settings(fineness=0.002)


def cost(settings: Settings) -> Cost:
    """Some ten operations a margin, constant and loss."""
    points = [2 * reach**2 / settings.fineness for reach in settings.reaches]
    return Cost(60.0 * len(LOSSES) * sum(points), 60 * max(points))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{len(LOSSES)} losses on grids of margins up to $\\pm$ {listed(map(number, s.reaches))}, "
        f"spaced by {number(s.fineness)} over the reach; with their constants, and with each "
        f"constant {number(s.excess, '.0%')} sharper. No data, no network, no seed."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Evaluate every loss on every grid; nothing is drawn, and all stays on the CPU."""
    s, dtype = settings, getattr(torch, settings.dtype)
    grids = [_margins(reach, s.fineness, dtype) for reach in s.reaches]
    shown = s.shown * torch.arange(-80, 81, dtype=dtype) / 80  # 1, the kink, is one of them
    curves = [[part.numpy() for part in values_and_slopes(loss, shown)] for loss in LOSSES]
    measured = [[_on_grid(loss, margins, s.exponents) for margins in grids] for loss in LOSSES]
    names = list(measured[0][0])
    return xr.Dataset(
        {
            **{
                name: (("loss", "reach"), [[grid[name] for grid in row] for row in measured])
                for name in names
            },
            "sharper": (("loss", "constant"), [_sharper(s, loss, grids[-1]) for loss in LOSSES]),
            "needed": (("exponent", "halving"), _needed_by_hinge(s, dtype)),
            "value": (("loss", "margin"), [value for value, _ in curves]),
            "slope": (("loss", "margin"), [slope for _, slope in curves]),
        },
        {
            "loss": [loss.name for loss in LOSSES],
            "reach": list(s.reaches),
            "constant": list(CONSTANTS),
            "margin": shown.numpy(),
        },
    ).assign_attrs(data="grids of margins")


def _margins(reach: float, fineness: float, dtype: torch.dtype) -> Tensor:
    """From -reach to reach, spaced by fineness over reach, as far as whole parts of 1 can be."""
    parts = round(reach / fineness)
    most = round(reach * parts)
    return torch.arange(-most, most + 1, dtype=dtype) / parts


def _on_grid(loss: Loss, margins: Tensor, exponents: tuple[float, ...]) -> dict[str, float]:
    """What the assumptions are about, on one grid."""
    values, slopes = values_and_slopes(loss, margins)
    spacing = float(margins[1] - margins[0])
    steeper, larger = torch.maximum(slopes[1:], slopes[:-1]), values[:-1].maximum(values[1:])
    beyond = values.diff().abs() - spacing * steeper
    return {
        "rise": float(-slopes.min()),
        "jump": float((beyond / larger)[larger > 0].max()),
        "ending": float(values[-1].maximum(slopes[-1])),
        "floor": _floor(loss, margins, exponents),
        "ceiling": _ceiling(loss, margins),
        "least_slope": float(slopes[margins <= 0].min()),
        "steepest": float(slopes.max()),
        "curvature": float(slopes.diff().abs().max()) / spacing,
    }


def _floor(loss: Loss, margins: Tensor, exponents: tuple[float, ...]) -> float:
    """Least -l' over min{alpha_0, alpha_1 l^p}; of the hinge with every p."""
    if loss.alpha_0 is None or loss.alpha_1 is None or loss.p is None:
        return float("nan")
    tried = (loss.p, *exponents) if loss.p == 0 else (loss.p,)
    least = [shares_of_cut(loss, margins, loss.alpha_0, loss.alpha_1, p).min() for p in tried]
    return float(min(least))


def _ceiling(loss: Loss, margins: Tensor) -> float:
    """Largest -l' over min{rho_0, rho_1 l^p}."""
    if loss.rho_0 is None or loss.rho_1 is None or loss.p is None:
        return float("nan")
    return float(shares_of_cut(loss, margins, loss.rho_0, loss.rho_1, loss.p).max())


def _sharper(settings: Settings, loss: Loss, margins: Tensor) -> list[float]:
    """With each constant sharper, by which factor the inequality is off, below 1 if it is broken.

    Shape (constants,). The hinge has no largest alpha_1.
    """
    more, less = 1 + settings.excess, 1 - settings.excess
    grid = _on_grid(loss, margins, settings.exponents)
    found = []
    for name in CONSTANTS:
        constant = getattr(loss, name)
        if constant is None or constant == float("inf") or (loss.p, name) == (0, "alpha_1"):
            found.append(float("nan"))
        elif name.startswith("alpha"):
            found.append(
                _floor(replace(loss, **{name: more * constant}), margins, settings.exponents)
            )
        elif name.startswith("rho"):
            found.append(1 / _ceiling(replace(loss, **{name: less * constant}), margins))
        else:
            reached = grid["steepest" if name == "lipschitz" else "curvature"]
            found.append(less * constant / reached)
    return found


def _needed_by_hinge(settings: Settings, dtype: torch.dtype) -> list[list[float]]:
    """-l' over l^p of the hinge within 2^-k of its kink, shape (exponents, halvings)."""
    margins = 1 - 2.0 ** -torch.arange(1, settings.halvings + 1).to(dtype)
    return [
        shares_of_cut(HINGE, margins, float("inf"), 1.0, p).tolist() for p in settings.exponents
    ]


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Slopes and second derivatives where they are largest, and the edges of the inequalities."""
    last = found.isel(reach=-1)
    of = {loss.name: last.sel(loss=loss.name) for loss in LOSSES}
    return {
        "reach": settings.reaches[-1],
        "excess": settings.excess,
        "cross_entropy_alpha_1": CROSS_ENTROPY.constant("alpha_1"),
        "cross_entropy_curvature": of["cross-entropy"].curvature,
        "squared_hinge_steepest": of["squared-hinge"].steepest,
        "hinge_curvature": of["hinge"].curvature,
        "sigmoid_least_slope": of["sigmoid"].least_slope,
        "loosest": found.sharper.max(),
        "hinge_needed": found.needed.isel(exponent=0, halving=-1),
        "hinge_needed_p": settings.exponents[0],
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Inequalities at every margin of every grid, and growth from grid to grid."""
    papers = found.sel(loss=[loss.name for loss in PAPERS])
    return [
        _assumption_3_1(settings, papers),
        _assumption_3_2(settings, papers),
        _lipschitz(settings, papers),
        _smooth(settings, papers),
        _assumption_4_4(settings, papers),
        _sharp(settings, found),
    ]


def _assumption_3_1(settings: Settings, papers: xr.Dataset) -> Verdict:
    rounding = _of_quotients(settings)
    return claim(
        "zou2018-ass3.1",
        r"the hinge, the squared hinge, the exponential and the cross-entropy are continuous with "
        r"$\ell'\le0$, and $\ell$ and $\ell'$ tend to 0 as the margin grows",
        at_most(r"$\ell'$ at any margin", papers.rise, 0.0),
        at_most(
            r"what $\ell$ changes between neighbouring margins beyond its slope times their "
            r"distance, over $\ell$",
            papers.jump,
            rounding,
        ),
        at_most(
            r"$\ell$ and $\lvert\ell'\rvert$ at the largest margin",
            papers.ending.isel(reach=-1),
            math.exp(-settings.reaches[-1] / 2),
        ),
        holds="None of the four losses rises or jumps between neighbouring margins, and at the "
        "largest margins loss and slope are all but gone.",
        fails="One of the four losses rises, jumps, or stays away from 0.",
    )


def _assumption_3_2(settings: Settings, papers: xr.Dataset) -> Verdict:
    rounding = 8 * float(np.finfo(settings.dtype).eps)
    return claim(
        "zou2018-ass3.2",
        r"$-\ell'\ge\min\{\alpha_0,\alpha_1\ell^p\}$ for the cross-entropy "
        r"($\frac12,\frac1{2\log2},1$), the exponential ($\infty,1,1$), the squared hinge "
        r"($\infty,2,\frac12$) and the hinge ($1,1$ and any $p$)",
        at_least(
            r"$-\ell'$ over $\min\{\alpha_0,\alpha_1\ell^p\}$, at any margin",
            papers.floor,
            1 - rounding,
        ),
        holds="All four losses are steep where they are large, with these constants.",
        fails="One of the four losses is too flat for its constants.",
    )


def _lipschitz(settings: Settings, papers: xr.Dataset) -> Verdict:
    bounded, free = (papers.steepest.sel(loss=names) for names in (_LIPSCHITZ, _NOT_LIPSCHITZ))
    most = max(loss.constant("lipschitz") for loss in PAPERS if loss.name in _LIPSCHITZ)
    return claim(
        "zou2018-ass3.3L",
        r"$\lvert\ell'\rvert\le1$ for the cross-entropy and the hinge; no bound for the "
        "exponential and the squared hinge (version 1, remark 4.3)",
        at_most(
            r"$\lvert\ell'\rvert$ of the cross-entropy and the hinge, at any margin",
            bounded,
            most * (1 + 4 * float(np.finfo(settings.dtype).eps)),
        ),
        at_least(
            r"growth of the largest $\lvert\ell'\rvert$ of the exponential and the squared hinge "
            "as the reach doubles",
            _growth(free),
            UNBOUNDED,
        ),
        holds="The slopes of the cross-entropy and the hinge are bounded by 1; those of the "
        "exponential and the squared hinge grow as far as one looks.",
        fails="A slope that should be bounded by 1 is not, or one that should grow does not.",
    )


def _smooth(settings: Settings, papers: xr.Dataset) -> Verdict:
    rounding = _of_quotients(settings)
    bounded, free = (papers.curvature.sel(loss=names) for names in (_SMOOTH, _NOT_SMOOTH))
    constants = xr.DataArray(
        [loss.constant("smoothness") for loss in PAPERS if loss.name in _SMOOTH],
        coords={"loss": _SMOOTH},
    )
    return claim(
        "zou2018-ass3.3S",
        r"$\lvert\ell''\rvert\le\lambda$ with $\lambda=\frac14$ for the cross-entropy and 2 for "
        "the squared hinge; no bound for the exponential, and none for the hinge, whose slope "
        "jumps",
        at_most(
            r"differences of $\ell'$ over those of the margin, over $\lambda$, of the "
            "cross-entropy and the squared hinge",
            bounded / constants,
            1 + rounding,
        ),
        at_least(
            "growth of the largest such quotient of the exponential and the hinge as the reach "
            "doubles and the spacing halves",
            _growth(free),
            UNBOUNDED,
        ),
        holds="The cross-entropy and the squared hinge are smooth with these constants; for the "
        "exponential and the hinge the quotients grow as far, and as closely, as one looks.",
        fails="A quotient that should be bounded is not, or one that should grow does not.",
    )


def _assumption_4_4(settings: Settings, papers: xr.Dataset) -> Verdict:
    rounding = 8 * float(np.finfo(settings.dtype).eps)
    named = [loss for loss in PAPERS if loss.rho_1 is not None]
    needed = papers.needed
    middle = needed.sizes["halving"] // 2
    return claim(
        "zou2018-ass4.4",
        r"$\lvert\ell'\rvert\le\min\{\rho_0,\rho_1\ell^p\}$ with the $p$ of Assumption 3.2 for the "
        r"cross-entropy ($1,1$), the exponential ($\infty,1$) and the squared hinge ($\infty,2$); "
        "for the hinge with no $p>0$",
        at_most(
            r"$\lvert\ell'\rvert$ over $\min\{\rho_0,\rho_1\ell^p\}$, at any margin",
            papers.ceiling.sel(loss=[loss.name for loss in named]),
            1 + rounding,
        ),
        at_least(
            r"growth of the hinge's $\lvert\ell'\rvert/\ell^p$, at any $p$ tried, from half of the "
            "halvings of the distance from its kink to all of them",
            needed.isel(halving=-1) / needed.isel(halving=middle - 1),
            UNBOUNDED,
        ),
        holds="Three losses are no steeper than their size allows; the hinge is as steep at its "
        "kink, where it vanishes, as elsewhere, so no constants will do.",
        fails="One of the three losses is too steep for its constants, or the hinge is not.",
    )


def _sharp(settings: Settings, found: xr.Dataset) -> Verdict:
    stated = found.sharper.values[np.isfinite(found.sharper.values)]
    return claim(
        "zou2018-losses-sharp",
        "no finite constant of these losses can be sharper",
        at_most(
            f"what is left of the {stated.size} inequalities, each with one constant "
            f"{number(settings.excess, '.0%')} sharper, at the worst margin",
            stated,
            1 - settings.excess / 10,
            ".4f",
        ),
        holds="Every finite constant is the best: made a little sharper, its inequality breaks at "
        "some margin.",
        fails="An inequality survives with a sharper constant.",
    )


def _of_quotients(settings: Settings) -> float:
    """What rounding does to differences over the spacing, which divides its effect on a margin."""
    finest = settings.reaches[-1] ** 2 / settings.fineness
    return 8 * finest * float(np.finfo(settings.dtype).eps)


def _growth(samples: xr.DataArray) -> xr.DataArray:
    """From each grid to the next."""
    return samples.isel(reach=slice(1, None)) / samples.isel(reach=slice(None, -1)).values


_LIPSCHITZ, _NOT_LIPSCHITZ = ["cross-entropy", "hinge"], ["exponential", "squared-hinge"]
_SMOOTH, _NOT_SMOOTH = ["cross-entropy", "squared-hinge"], ["exponential", "hinge"]


def _told(name: str, factor: float) -> Callable[[Settings, xr.Dataset], xr.Dataset]:
    """A result in which one array is a little larger or smaller."""
    return lambda settings, found: found.assign({name: factor * found[name]})


CONTROLS = {
    "zou2018-ass3.1": Lie(
        r"somewhere $\ell'$ of every loss is $10^{-12}$",
        lambda settings, found: found.assign(rise=0 * found.rise + 1e-12),
    ),
    "zou2018-ass3.2": Lie("every slope is 0.1 % smaller", _told("floor", 0.999)),
    "zou2018-ass3.3L": Lie("every slope is 0.1 % larger", _told("steepest", 1.001)),
    "zou2018-ass3.3S": Lie("every quotient is 0.1 % larger", _told("curvature", 1.001)),
    "zou2018-ass4.4": Lie("every slope is 0.1 % larger", _told("ceiling", 1.001)),
    "zou2018-losses-sharp": Lie(
        "with every sharper constant the inequality just survives",
        lambda settings, found: found.assign(sharper=0 * found.sharper + 1),
    ),
}
