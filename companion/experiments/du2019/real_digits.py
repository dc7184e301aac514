"""On real digits too, lambda_0 > 0 and every step contracts by 1 - eta lambda_0 / 2 (section 5).

Refuted by a least eigenvalue that is zero to rounding, or by a step with a larger ratio. Beside the
bound stands the decay that the limit Gram matrix predicts, direction by direction.
"""

import math
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, FilePath
from torch import Tensor

from companion.bounds.du2019 import explicit_width, theorem_4_1, theorem_4_1_width
from companion.datafiles import digits_source
from companion.datasets import DataSet, digits, own, own_shape
from companion.experiments.du2019._problem import on_data
from companion.experiments.du2019._regime import unmet
from companion.kernels import infinite_width_gram
from companion.lab.checks import anyway, at_least, claim, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import contraction, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Probability, SeededSettings, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed
from companion.linearised import FrozenKernel
from companion.monitors import misfit

EXPECTED: dict[str, Outcome] = {"du2019-digits": "outside-regime"}
DATA = "digits"
PIXELS = 784
Digit = Annotated[int, Field(ge=0, le=9)]


class Settings(SeededSettings):
    """What is run; the seeds are those of the networks, as the data are the same for all.

    Attributes:
        dtype: of the training; eigenvalues are always computed in float64.
        file: an .npz file with your own inputs x (unit rows) and labels y, instead of digits.
        classes: the two digits, labelled +1 and -1.
        per_class: images of each; n is twice as many.
        widths: m, in increasing order.
        step_size: eta as a multiple of 1 / lambda_max(H_inf).
        steps: gradient descent steps.
        delta: failure probability in the explicit width, half of it for each event.
    """

    dtype: Literal["float32", "float64"] = "float32"
    seeds: Size = 2
    file: FilePath | None = None
    classes: tuple[Digit, Digit] = (3, 8)
    per_class: Size = 500
    widths: Sizes = (250, 1000)
    step_size: Annotated[float, Field(gt=0, lt=2)] = 1.0
    steps: Size = 60
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(widths=(500, 2000, 8000), seeds=3, steps=200)


def summary(settings: Settings) -> str:
    """Data, step size, steps, widths and networks."""
    s = settings
    if s.file is None:
        plus, minus = s.classes
        data = (
            f"$n={2 * s.per_class}$ images of handwritten digits, {s.per_class} of {plus} "
            f"(label $+1$) and {s.per_class} of {minus} (label $-1$), as $d={PIXELS}$ pixels "
            "scaled to unit norm"
        )
    else:
        data = f"the inputs and labels of the file {s.file.name}"
    return (
        rf"Gradient descent for {s.steps} steps at $\eta={s.step_size:g}/\lambda_{{\max}}"
        rf"(H^\infty)$ on {data}, for networks with $m$ = {listed(s.widths)} hidden units, "
        f"{s.seeds} of each width."
    )


def cost(settings: Settings) -> Cost:
    """One eigenvalue problem; two products of (n, d) and (d, m) a step.

    Raises:
        InputError: the file is refused.
    """
    s, count, dimension = settings, 2 * settings.per_class, PIXELS
    if s.file is not None:
        count, dimension = own_shape(s.file)
    flops = s.seeds * s.steps * sum(4 * count * dimension * width for width in s.widths)
    size = 4 if s.dtype == "float32" else 8
    memory = 8 * 6 * count**2 + size * max(s.widths) * (4 * count + 4 * dimension)
    return Cost(flops + 10 * count**3, memory)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Spectrum of H_inf, then every width from every seed, against the linearised decay.

    Raises:
        InputError: there are no digits here, too few of them, or the file is refused.
    """
    s, data = settings, _data(settings).to(torch.float64, device)
    limit = infinite_width_gram(data.x)
    kernel = FrozenKernel(limit)
    step_size = s.step_size / float(kernel.eigenvalues[-1])
    train = partial(_train, s, device, data, kernel, step_size)
    found = sweep("runs", train, seed=s.each_seed, width=s.widths)
    entries, cosines = limit.abs().fill_diagonal_(0), (data.x @ data.x.T).fill_diagonal_(0)
    constants: Variables = {
        "eigenvalues": ("rank", kernel.eigenvalues.cpu().numpy()),
        "step_size": step_size,
        "largest_entry": float(entries.max()),
        "closest_cosine": float(cosines.max()),
        "mean_cosine": float(cosines.sum()) / (len(cosines) * (len(cosines) - 1)),
        "labels_squared": float(data.y.square().sum()),
    }
    return found.assign(constants).assign_attrs(data=data.source)


def _data(settings: Settings) -> DataSet:
    if settings.file is not None:
        return own(settings.file)
    return digits(digits_source(), settings.classes, settings.per_class)


def _train(
    settings: Settings,
    device: str,
    data: DataSet,
    kernel: FrozenKernel,
    step_size: float,
    *,
    seed: int,
    width: int,
) -> Variables:
    """One run, with the residual's coordinates in the eigenbasis of H_inf before and after."""
    problem = on_data(data, settings, device, seed=seed, width=width)
    history = problem.train(step_size, settings.steps, {"misfit": misfit}).stable()

    def coordinates(predictions: Tensor) -> np.ndarray:
        return np.asarray(((predictions.to(data.y) - data.y) @ kernel.vectors).cpu())

    start = problem.network.predict(problem.x)
    steps, eta = range(settings.steps + 1), step_size * len(data.y)
    decay = kernel.descent(start.to(data.y), data.y, step_size=eta, steps=steps).predictions
    return {
        "misfit": ("step", history["misfit"]),
        "linearised": ("step", (decay - data.y).square().sum(dim=1).cpu().numpy()),
        "before": ("rank", coordinates(start)),
        "after": ("rank", coordinates(history.network.predict(problem.x))),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The spectrum, and what is left of the misfit."""
    eigenvalues, step_size = found.eigenvalues.values, float(found.step_size)
    count, lambda_0 = len(eigenvalues), float(eigenvalues[0])
    left = found.misfit.isel(step=-1) / found.misfit.isel(step=0)
    return {
        "count": count,
        "lambda_0": lambda_0,
        "lambda_max": eigenvalues[-1],
        # Two inputs alone bound the least eigenvalue: lambda_0 <= 1/2 - |H_ij|.
        "pair_bound": 0.5 - found.largest_entry,
        "closest_cosine": found.closest_cosine,
        "mean_cosine": found.mean_cosine,
        "median_eigenvalue": np.median(eigenvalues),
        "step_size": step_size,
        "bound_left": theorem_4_1(np.array(settings.steps), step_size, lambda_0, 1.0),
        "misfit_left": left.isel(width=-1).mean(),
        "least_removed": _removed(settings, found).min(),
        "off_linearised": _off(settings, found).max(),
        "needed_width": _needed_width(settings, found),
        "largest_width": max(settings.widths),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """What every step removes against the bound; distance from the linearised decay."""
    eigenvalues = found.eigenvalues.values
    # eigh returns the eigenvalues of a matrix that differs by about n eps lambda_max.
    rounding = len(eigenvalues) * np.finfo(float).eps * float(eigenvalues[-1])
    return [
        claim(
            "du2019-digits",
            r"$\lambda_0>0$, and a step of gradient descent removes at least the share "
            r"$\eta\lambda_0/2$ of $\lVert u(k)-y\rVert^2$.",
            anyway(
                at_least(
                    r"$\lambda_0$, which rounding could lift above 0",
                    eigenvalues[0],
                    rounding,
                    ".2g",
                )
            ),
            at_least(
                r"the share of $\lVert u(k)-y\rVert^2$ that a step removes, over $\eta\lambda_0/2$",
                _removed(settings, found),
                1.0,
            ),
            note(
                f"At $m={max(settings.widths)}$ the misfit, divided by what $H^\\infty$ alone "
                f"predicts, is off 1 by at most {spread(_off(settings, found))}"
            ),
            outside=unmet(_needed_width(settings, found), max(settings.widths)),
            holds=f"On {found.attrs['data']}, every step contracts at least as fast as the theorem "
            f"says, with {settings.seeds} networks of each of {len(settings.widths)} widths on "
            "one set of data",
            fails=f"On {found.attrs['data']}, a step contracts less than the theorem says, or "
            r"$\lambda_0$ is zero to rounding.",
        )
    ]


def _removed(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Share of the squared residual that a step removes, over what the theorem promises."""
    # Where the residual is down at rounding a step says nothing: 0 is below every bound.
    left = contraction(found.misfit, found.width, settings.dtype).fillna(0.0)
    removed: xr.DataArray = (1 - left) / (found.step_size * found.eigenvalues.isel(rank=0) / 2)
    return removed


def _off(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Largest relative distance of a misfit from the linearised decay, at the largest width."""
    widest = found.isel(width=-1)
    ratios = contraction(found.misfit, found.width, settings.dtype).isel(width=-1)
    above_rounding = ratios.notnull().all("step") & (widest.linearised > 0)
    off: xr.DataArray = abs(widest.misfit / widest.linearised - 1)
    return off.where(above_rounding, 0.0).max("step")


def _needed_width(settings: Settings, found: xr.Dataset) -> float:
    lambda_0, squares = float(found.eigenvalues[0]), float(found.labels_squared)
    if lambda_0 <= 0:
        return math.inf
    count = found.sizes["rank"]
    return explicit_width(theorem_4_1_width, count, lambda_0, settings.delta, squares)


def _too_slow(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    share = 0.99 * found.step_size * found.eigenvalues.isel(rank=0) / 2
    steps = xr.DataArray(np.arange(settings.steps + 1), dims="step")
    bound = found.misfit.isel(step=0) * (1 - share) ** steps
    return found.assign(misfit=bound.transpose(*found.misfit.dims))


CONTROLS = {
    "du2019-digits": Lie(
        r"every step removes 1 % less of the squared residual than $\eta\lambda_0/2$", _too_slow
    ),
}
