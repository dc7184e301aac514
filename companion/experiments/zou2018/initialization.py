"""At initialisation lengths are kept, outputs are of order 1, few preactivations small (Thm 5.1).

Refuted by lengths that deviate from 1 more slowly falling than m^(-1/2) or faster growing than the
depth, by norms or outputs that grow with the width or the depth, or by more small preactivations
than are claimed in more draws than delta.
"""

import math
from functools import partial

import numpy as np
import torch
import xarray as xr

from companion.experiments.zou2018._layers import (
    GROWTH_VARIANCE,
    growths,
    length_checks,
    length_deviations,
)
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw
from companion.experiments.zou2018._products import norm
from companion.lab.checks import (
    claim,
    equal,
    exponent_at_most,
    exponent_near,
    note,
    probability_at_least,
    slack_factor,
    with_room,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Probability, SeveralSizes, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "zou2018-thm5.1i": "holds",
    "zou2018-thm5.1iii": "holds",
    "zou2018-thm5.1iv": "holds",
    "zou2018-lemA.1-2": "holds",
}
# The outputs' variance: half of the v_j are +1 and half -1, so the mean of relu, of square 1 / pi,
# drops out of the mean of relu^2.
OUTPUT_VARIANCE = 1 - 1 / math.pi


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, of the networks of several widths.
        widths: m, in increasing order.
        depths: L, of the networks of one width.
        depth_width: that width.
        factors: beta as multiples of log(n L / delta) m^(-3/2), the least that (5.1) allows with
            constant 1.
        delta: failure probability.
        matrices: how many W_2 of every width are drawn to see their norm.
    """

    seeds: Count = 60
    depth: Size = 3
    widths: SeveralSizes = (64, 128, 256, 512)
    depths: SeveralSizes = (1, 2, 3, 4, 6)
    depth_width: Size = 256
    factors: Sizes = (1, 4)
    delta: Probability = 0.1
    matrices: Count = 5

    @property
    def logarithm(self) -> float:
        """log(n L / delta)."""
        return math.log(self.count * self.depth / self.delta)

    @property
    def asked(self) -> float:
        """Lemma A.2's L^2 log(n L / delta), its constant put at 1, over the width it is run at."""
        deepest = self.depths[-1]
        deep = deepest**2 * math.log(self.count * deepest / self.delta) / self.depth_width
        return max(deep, self.depth**2 * self.logarithm / self.widths[0])


QUICK = Settings()
PAPER = Settings(
    seeds=200, widths=(64, 128, 256, 512, 1024, 2048), depths=(1, 2, 4, 8, 16), depth_width=2048,
)  # fmt: skip


def cost(settings: Settings) -> Cost:
    """Forward passes, twice where preactivations are looked at, and norms of square matrices."""
    s = settings
    wide = sum(m * (s.dimension + (s.depth - 1) * m) for m in s.widths)
    deep = sum(s.depth_width * (s.dimension + (k - 1) * s.depth_width) for k in s.depths)
    flops = 2.0 * s.count * s.seeds * (2.5 * wide + deep)
    flops += s.matrices * sum(200 * 8 * m**2 for m in s.widths)
    largest = max(s.widths[-1] ** 2 * max(1, s.depth - 1), s.depth_width**2 * s.depths[-1])
    return Cost(flops, 8 * 1.5 * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Networks with {s.depth} hidden layers of width {listed(s.widths)}, and with "
        f"{listed(s.depths)} layers of width {s.depth_width}, drawn anew {s.seeds} times, each on "
        rf"$n={s.count}$ inputs of its own on the unit sphere of $\mathbb R^{{{s.dimension}}}$ "
        rf"with last coordinate $\mu={s.mu:g}$. Nothing is trained."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Lengths, outputs and small preactivations width by width; lengths and outputs by depth."""
    s = settings
    wide = sweep("widths", partial(_wide, s, device), seed=s.each_seed, width=s.widths)
    deep = sweep("depths", partial(_deep, s, device), seed=s.each_seed, depth=s.depths)
    drawn = range(s.first_seed, s.first_seed + s.matrices)
    norms = sweep("norms", partial(_norm, s, device), matrix=drawn, width=s.widths)
    return xr.merge([wide, deep, norms]).assign_attrs(data=s.data)


def _wide(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    s = settings
    problem = draw(s, device, seed=seed, width=width, depth=s.depth)
    forward = problem.network.run(problem.x)
    small = [_small(s, problem, factor * s.logarithm * width**-1.5) for factor in s.factors]
    crowding, share, law = zip(*small, strict=True)
    return {
        "deviation": ("layer", length_deviations(forward).cpu().numpy()),
        "growth": float(growths(forward).square().mean()),
        "output": ("input", forward.predictions.cpu().numpy()),
        "crowding": ("factor", list(crowding)),
        "share": ("factor", list(share)),
        "law": ("factor", list(law)),
        "factor": ("factor", list(s.factors)),
    }


def _small(settings: Settings, problem: Problem, beta: float) -> tuple[float, float, float]:
    """Preactivations of size at most beta, counted for every layer and input.

    Returns:
        The largest count over m^(3/2) beta, their mean over it, and the mean's expectation: given
        the layer below, erf(beta sqrt(m) / (2 ||x_{l-1}||)) of the units.
    """
    hidden = problem.network.run(problem.x).hidden
    scale = problem.network.widths[0] ** 1.5 * beta
    counts = torch.stack([
        (z.abs() <= beta).sum(dim=1) for z in problem.network.preactivations(problem.x)
    ])  # fmt: skip
    lengths = torch.stack([below.norm(dim=1) for below in hidden[:-1]])
    width = problem.network.widths[0]
    expected = width * torch.erf(beta * math.sqrt(width) / 2 / lengths)
    return tuple(
        float(part) / scale for part in (counts.max(), counts.double().mean(), expected.mean())
    )


def _deep(settings: Settings, device: str, *, seed: int, depth: int) -> Variables:
    s = settings
    problem = draw(s, device, seed=seed, width=s.depth_width, depth=depth)
    forward = problem.network.run(problem.x)
    return {
        "deep_deviation": float(length_deviations(forward)[-1]),
        "deep_output": ("input", forward.predictions.cpu().numpy()),
    }


def _norm(settings: Settings, device: str, *, matrix: int, width: int) -> Variables:
    """||W_2||_2, of a square matrix."""
    problem = draw(settings, device, seed=matrix, width=width, depth=2)
    return {"norm": norm(problem.network.weights[1])}


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents, norms, and the constants that the printed ones can be held against."""
    deviation = found.deviation.isel(layer=-1)
    return {
        "width_slope": exponent(deviation),
        "depth_slope": exponent(found.deep_deviation, "depth"),
        "norm": found.norm.isel(width=-1).mean(),
        "growth_variance": (found.growth * found.width).mean(),
        "limit_variance": OUTPUT_VARIANCE,
        "most_small": found.crowding.max(),
        "asked": settings.asked,
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Exponents one-sided, the two exact moments by their errors, the count by its frequency."""
    return [
        _lengths(settings, found),
        _outputs(settings, found),
        _counts(settings, found),
        _growth(settings, found),
    ]


def _outside(settings: Settings) -> str:
    """Nothing, where widths are at least L^2 log(n L / delta), the lemmas' with constant 1."""
    asked = f"{number(settings.asked, '.2g')} times the widths that were run"
    return f"{asked} are asked for" if settings.asked > 1 else ""


def _lengths(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "zou2018-thm5.1i",
        r"$\lvert\lVert x_{l,i}\rVert_2-1\rvert\le\bar C'L\sqrt{\log(nL/\delta)/m}$ and "
        r"$\lVert W_l\rVert_2\le\bar C'$, with an unknown constant: only the shape is judged",
        *length_checks(found.deviation.isel(layer=-1), found.deep_deviation),
        exponent_at_most(r"$\lVert W_2\rVert_2$ in the width $m$", found.norm, 0.0, 0.05),
        note(
            rf"$\lVert W_2\rVert_2$ is {spread(found.norm.isel(width=-1), '.3f', 'draws')} in the "
            r"widest networks, where $2\sqrt2$ is the limit of square matrices"
        ),
        outside=_outside(settings),
        holds="The lengths keep to 1 ever better in wider networks, their deviation grows no "
        "faster than the depth, and the norm of a matrix does not grow with the width.",
        fails="The lengths keep to 1 less well than is claimed, or a norm grows with the width.",
    )


def _outputs(settings: Settings, found: xr.Dataset) -> Verdict:
    """The Gaussian limit's union bound, with the variance that is exact at every width."""
    s, most = settings, np.abs(found.output).max("input")
    usual = float(most.quantile(1 - s.delta, skipna=False))
    bound = math.sqrt(2 * OUTPUT_VARIANCE * math.log(2 * s.count / s.delta))
    return claim(
        "zou2018-thm5.1iii",
        r"$\lvert\hat y_i\rvert\le\bar C'\sqrt{\log(n/\delta)}$ for all $i$ with probability "
        r"$1-\delta$, whatever width and depth; the companion puts the constant to that of "
        r"Gaussian outputs of variance $1-\frac1\pi$",
        exponent_at_most(
            "the root mean square output in the width $m$", _square(found.output) ** 0.5, 0.0, 0.15
        ),
        exponent_at_most(
            "the root mean square output in the depth $L$",
            _square(found.deep_output) ** 0.5, 0.0, 0.15, "depth",
        ),
        with_room(
            probability_at_least(
                r"networks in which no output is larger than "
                r"$\sqrt{2(1-\frac1\pi)\log(2n/\delta)}$",
                most <= bound,
                1 - s.delta,
            ),
            rf"the largest output of all is {number(most.max(), '.2f', 'up')}, the bound "
            f"{number(bound, '.2f')}",
            rf"the quantile at $1-\delta$ has room for {slack_factor(bound, usual)}",
        ),
        _moment(
            r"mean square of the outputs, against $1-\frac1\pi$",
            _square(found.output) / OUTPUT_VARIANCE,
            0.35,
        ),
        outside=_outside(s),
        holds="Outputs are of order 1 whatever the width and the depth, and all of them keep to "
        "the bound of Gaussian outputs as often as they should.",
        fails="Outputs grow with the width or the depth, or are larger than Gaussian ones.",
    )  # fmt: skip


def _counts(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    kept = (found.crowding <= 2).transpose("factor", ...)
    return claim(
        "zou2018-thm5.1iv",
        r"at most $2m_l^{3/2}\beta$ units of a layer have "
        r"$\lvert\langle w_{l,j},x_{l-1,i}\rangle\rvert\le\beta$, for all $l$ and $i$ with "
        rf"probability $1-\delta={1 - s.delta:g}$, if $\beta\ge\log(nL/\delta)\,m^{{-3/2}}$",
        *(
            with_room(
                probability_at_least(
                    rf"networks with all counts below it, at {factor} times that $\beta$",
                    kept.sel(factor=factor),
                    1 - s.delta,
                ),
                "the largest count over $m^{3/2}\\beta$ is "
                f"{number(found.crowding.sel(factor=factor).max(), '.2f', 'up')}, the mean "
                f"{number(found.share.sel(factor=factor).mean(), '.3f')}",
                f"the mean has room for "
                f"{slack_factor(2.0, float(found.share.sel(factor=factor).mean()))}",
            )
            for factor in s.factors
        ),
        _moment(
            "the count, against its expectation by the error function", found.share / found.law
        ),
        outside=_outside(s),
        holds=r"Small preactivations are as rare as claimed. Their mean number is close to "
        r"$m^{3/2}\beta/\sqrt\pi$, so the printed 2 pays for the rarest layers and inputs.",
        fails="Small preactivations are more frequent than claimed.",
    )


def _growth(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "zou2018-lemA.1-2",
        r"$\lvert\lVert x_{l,i}\rVert_2^2-\lVert x_{l-1,i}\rVert_2^2\rvert\le C\lVert "
        r"x_{l-1,i}\rVert_2^2\sqrt{\log(nL/\delta)/m_l}$; the variance of the ratio is $5/m_l$",
        exponent_near(
            r"the mean square of $\lVert x_{l,i}\rVert_2^2/\lVert x_{l-1,i}\rVert_2^2-1$ in $m$",
            found.growth, -1.0, 0.2,
        ),
        _moment(
            r"that mean square, against $5/m$", found.growth * found.width / GROWTH_VARIANCE
        ),
        *length_checks(found.deviation.isel(layer=-1), found.deep_deviation),
        outside=_outside(settings),
        holds="A layer changes a squared length by a factor of mean 1 and variance $5/m_l$, and "
        "the changes of the layers add up like a random walk, more slowly than the lemma allows.",
        fails="A layer changes lengths by another order than $m^{-1/2}$, or the changes add up "
        "faster than the depth.",
    )  # fmt: skip


def _square(outputs: xr.DataArray) -> xr.DataArray:
    """Mean over the inputs of a network's squared outputs."""
    return (outputs**2).mean("input", skipna=False)


def _moment(what: str, ratio: xr.DataArray, precision: float = 0.25) -> Check:
    """Whether a ratio is 1 on average, as far as its spread over seeds tells."""
    rest = [name for name in ratio.dims if name != "seed"]
    each = ratio.mean(rest, skipna=False)
    error = each.std("seed", ddof=1, skipna=False) / math.sqrt(each.size)
    return equal(what, each.mean(skipna=False), error, 1.0, precision)


CONTROLS = {
    "zou2018-thm5.1i": Lie(
        r"every deviation is multiplied by $m^{1/4}$",
        lambda settings, found: found.assign(deviation=found.deviation * found.width**0.25),
    ),
    "zou2018-thm5.1iii": Lie(
        r"every output is larger by the factor $\sqrt{\pi/(\pi-1)}$, as if the signs of the output "
        "layer were drawn",
        lambda settings, found: found.assign(output=found.output / math.sqrt(OUTPUT_VARIANCE)),
    ),
    "zou2018-thm5.1iv": Lie(
        "in every third draw a layer has three times as many small preactivations",
        lambda settings, found: found.assign(
            crowding=found.crowding.where(found.seed % 3 > 0, 3 * found.crowding)
        ),
    ),
    "zou2018-lemA.1-2": Lie(
        "the variance of the ratio is that of a layer without its mask, $2/m_l$",
        lambda settings, found: found.assign(growth=found.growth * 2 / GROWTH_VARIANCE),
    ),
}
