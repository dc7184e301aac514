"""The published curves of Figure 1, and how far ours are from them."""

import math
from typing import Protocol

import numpy as np
import xarray as xr
from scipy import stats

from companion.lab.catalog import published
from companion.lab.checks import slack_factor
from companion.lab.results import Check
from companion.lab.words import number

# Of the paper's figure.
COUNT = DIMENSION = 1000
# How far a value read off the published logarithms may be from the one drawn.
READING = 0.014
# Half of the last digit of what was read off the other two panels.
DIGIT = 5e-6
# One-sided level of three standard deviations.
LEVEL = 0.99865


class FigureSettings(Protocol):
    """What decides whether a published curve is one of the same run."""

    @property
    def count(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    @property
    def widths(self) -> tuple[int, ...]: ...

    @property
    def steps(self) -> int: ...


def published_curves(panel: str, settings: FigureSettings) -> dict[int, np.ndarray]:
    """Width -> published curve, of the widths that were run, if the rest is as in the paper."""
    curves = published(f"du2019_fig1{panel}")
    sizes = settings.count, settings.dimension, settings.steps
    if sizes != (COUNT, DIMENSION, len(curves["epoch"])):
        return {}
    return {m: curves[f"width_{m}"] for m in settings.widths if f"width_{m}" in curves}


def beside_published(
    settings: FigureSettings,
    found: xr.Dataset,
    panel: str,
    quantity: xr.DataArray,
    power: float,
    what: str,
) -> Check:
    """How far logarithms are from the published ones, against what one run differs from another.

    The published run and ours start from other residuals; both are divided by the power of their
    misfit after one epoch that the quantity is proportional to. A curve's distance is the root
    mean square over all epochs.
    """
    curves, first = published_curves(panel, settings), published_curves("a", settings)
    question = f"{what} over the published one"
    seeds, widths = found.sizes["seed"], found.sizes["width"]
    if seeds < 2:
        return Check(
            "unclear", question, "not compared", "two seeds, which tell the spread", kind="picture"
        )
    scaled = np.log(quantity.isel(step=slice(1, None)) / found.misfit.isel(step=1) ** power)
    ours = scaled.sel(convention="inferred")
    # Of one run, from all widths; the published one is a run more.
    variance = ours.var("seed", ddof=1).mean() * (1 + 1 / seeds)
    noise = stats.t.ppf(LEVEL, widths * (seeds - 1)) * float(np.sqrt(variance))
    gaps = {
        m: ours.sel(width=m).mean("seed").values - np.log(curve) + power * first[m][0]
        for m, curve in curves.items()
    }
    off = {m: math.sqrt(np.square(gap).mean()) for m, gap in gaps.items()}
    reading = power * READING + max(float((DIGIT / curve).mean()) for curve in curves.values())
    farthest, most = max(off.values()), noise + reading
    return Check(
        "unclear" if not math.isfinite(farthest + most) else "yes" if farthest <= most else "no",
        question,
        "at the last epoch "
        + ", ".join(f"{math.exp(gap[-1]):.3f} ($m={m}$)" for m, gap in gaps.items())
        + "; over all epochs off by "
        + ", ".join(f"{distance:.3f} ($m={m}$)" for m, distance in off.items())
        + " in the root mean square of the logarithm",
        f"at most {number(most, '.3f')}, of which {number(noise, '.3f')} is what two runs differ "
        "by and the rest reading",
        slack_factor(most, farthest),
        kind="picture",
    )
