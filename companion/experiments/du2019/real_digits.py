"""On real digits too, lambda_0 > 0 and every step contracts by 1 - eta lambda_0 / 2 (section 5).

Refuted by a least eigenvalue that is zero to rounding, or by a step with a larger ratio. Beside the
bound stands the decay that the limit Gram matrix predicts, direction by direction.
"""

from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, FilePath
from torch import Tensor

from companion.bounds.du2019 import explicit_width, theorem_4_1, theorem_4_1_width
from companion.datafiles import digits_source
from companion.datasets import DataSet, digits, own, own_shape
from companion.dynamics import gradient_descent, linearised_misfit
from companion.experiments.du2019._regime import unmet_width
from companion.kernels import infinite_width_gram
from companion.lab.experiment import Cost
from companion.lab.fits import contraction, spread
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Probability, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import TwoLayer, draw_two_layer
from companion.observables import misfit

EXPECTED: dict[str, Outcome] = {"du2019-digits": "outside-regime"}
DATA = "digits"


class Settings(BaseSettings):
    """What is run.

    Attributes:
        dtype: of the training; eigenvalues are always computed in float64.
        file: an .npz file with your own inputs x (unit rows) and labels y, instead of digits.
        classes: the two digits, labelled +1 and -1.
        per_class: images of each; n is twice as many.
        widths: m, in increasing order.
        seeds: independent initialisations; the data is the same for all.
        step_size: eta as a multiple of 1 / lambda_max(H_inf).
        steps: gradient descent steps.
        delta: failure probability in the explicit width, half of it for each event.
    """

    dtype: Literal["float32", "float64"] = "float32"
    file: FilePath | None = None
    classes: tuple[
        Annotated[int, Field(ge=0, le=9)],
        Annotated[int, Field(ge=0, le=9)],
    ] = (3, 8)
    per_class: Size = 500
    widths: Sizes = (250, 1000)
    seeds: Size = 2
    step_size: Annotated[float, Field(gt=0, lt=2)] = 1.0
    steps: Size = 60
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(widths=(500, 2000, 8000), seeds=3, steps=200)
PIXELS = 784


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
    return Cost(
        flops + 10 * count**3,
        8 * 6 * count**2 + size * max(s.widths) * (4 * count + 4 * dimension),
    )


def run(settings: Settings, device: str) -> Result:
    """Spectrum of H_inf, then every width from every seed, against the linearised decay.

    Raises:
        InputError: there are no digits here, too few of them, or the file is refused.
    """
    data = _data(settings).to(torch.float64, device)
    limit = infinite_width_gram(data.x)
    eigenvalues, vectors = torch.linalg.eigh(limit)
    step_size = settings.step_size / float(eigenvalues[-1])
    train = partial(_train, settings, data, eigenvalues, vectors, step_size)
    arrays = sweep("runs", train, seed=range(settings.seeds), width=settings.widths)
    arrays["eigenvalues"] = eigenvalues.cpu().numpy()
    return Result(
        experiment="du2019/real_digits",
        settings=settings.model_dump(mode="json"),
        values=_values(settings, data, limit, arrays),
        arrays=arrays,
        data=data.source,
    )


def _data(settings: Settings) -> DataSet:
    if settings.file is not None:
        return own(settings.file)
    return digits(digits_source(), settings.classes, settings.per_class)


def _train(
    settings: Settings,
    data: DataSet,
    eigenvalues: Tensor,
    vectors: Tensor,
    step_size: float,
    *,
    seed: int,
    width: int,
) -> dict[str, np.ndarray]:
    """One run, with the residual's coordinates in the eigenbasis of H_inf before and after."""
    near = data.to(getattr(torch, settings.dtype), data.x.device)
    network = draw_two_layer(width, data.x.shape[1], seed, near.x.dtype, near.x.device)
    trajectory = gradient_descent(
        network,
        near.x,
        near.y,
        step_size=step_size,
        steps=settings.steps,
        record={"misfit": misfit},
    )
    before, after = (_coordinates(each, near, vectors) for each in (network, trajectory.network))
    steps = torch.arange(settings.steps + 1, dtype=torch.float64, device=vectors.device)
    return {
        "misfit": trajectory["misfit"],
        "linearised": linearised_misfit(eigenvalues, before, step_size, steps).cpu().numpy(),
        "before": before.cpu().numpy(),
        "after": after.cpu().numpy(),
    }


def _coordinates(network: TwoLayer, data: DataSet, vectors: Tensor) -> Tensor:
    """Coordinates of u - y in the columns of `vectors`, shape (n,)."""
    return vectors.T @ (network.predict(data.x) - data.y).to(vectors.dtype)


def _values(
    settings: Settings, data: DataSet, limit: Tensor, arrays: dict[str, np.ndarray]
) -> dict[str, float | int]:
    count, squares = len(data.y), float(data.y.square().sum())
    lambda_0, largest = float(arrays["eigenvalues"][0]), float(arrays["eigenvalues"][-1])
    cosines = (data.x @ data.x.T).fill_diagonal_(0)
    off_diagonal = limit.abs() - torch.diag(limit.diagonal())
    misfits = arrays["misfit"]
    step_size = settings.step_size / largest
    return {
        "count": count,
        "lambda_0": lambda_0,
        "lambda_max": largest,
        # Two inputs alone bound the least eigenvalue: lambda_0 <= 1/2 - |H_ij|.
        "pair_bound": 0.5 - float(off_diagonal.max()),
        "closest_cosine": float(cosines.max()),
        "mean_cosine": float(cosines.sum()) / (count * (count - 1)),
        "median_eigenvalue": float(np.median(arrays["eigenvalues"])),
        "step_size": step_size,
        "bound_left": float(theorem_4_1(np.array(settings.steps), step_size, lambda_0, 1.0)),
        "misfit_left": float((misfits[:, -1, -1] / misfits[:, -1, 0]).mean()),
        "needed_width": explicit_width(theorem_4_1_width, count, lambda_0, settings.delta, squares),
        "largest_width": max(settings.widths),
    }


def judge(result: Result) -> list[Verdict]:
    """Worst ratio of successive misfits to the bound; distance from the linearised decay."""
    a, v = result.arrays, result.values
    misfits, lambda_0 = a["misfit"], float(v["lambda_0"])
    widths = np.array(result.settings["widths"])[:, None]
    ratios = contraction(misfits, widths, result.settings["dtype"])
    worst = float(np.nanmax(ratios)) / (1 - float(v["step_size"]) * lambda_0 / 2)
    # eigh returns the eigenvalues of a matrix that differs by about n eps lambda_max.
    rounding = int(v["count"]) * np.finfo(float).eps * float(v["lambda_max"])
    gone = np.isnan(ratios).any(axis=-1)[..., None] | (a["linearised"] == 0)
    off = np.abs(np.divide(misfits, a["linearised"], out=np.ones_like(misfits), where=~gone) - 1)
    off = off.max(axis=-1)
    seen = worst <= 1 and lambda_0 > rounding
    return [
        Verdict(
            "du2019-digits",
            "outside-regime" if seen else "fails",
            r"$\lambda_0>0$; ratio of successive $\lVert u-y\rVert^2$ at most $1-\eta\lambda_0/2$",
            rf"$\lambda_0={lambda_0:.4f}$; largest ratio divided by the bound: {worst:.4f}; "
            f"largest deviation from the linearised decay at m={max(result.settings['widths'])} "
            f"{spread(off[:, -1])}",
            rf"$\lambda_0$ above rounding ({rounding:.0e}); ratio 1, exactly",
            f"On {result.data}, every step of every run contracts at least as fast as the theorem "
            f"says; but {unmet_width(result)}."
            if seen
            else f"On {result.data}, a step contracts less than the theorem says, or lambda_0 is "
            "zero to rounding.",
        )
    ]
