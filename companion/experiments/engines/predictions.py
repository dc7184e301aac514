"""What a kernel that does not move predicts is what training does, the more so the wider.

Refuted by a gap between predicted and measured predictions that does not fall with the width.
Beside it, on digits that were held out, the errors of the networks and of kernel regression, where
training would end at infinite width.
"""

from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from scipy import stats
from torch import Tensor

from companion.datafiles import digits_source
from companion.datasets import DataSet, digits
from companion.draws import independent_seed
from companion.kernels import gram_operator
from companion.lab.checks import (
    CONFIDENCE,
    anyway,
    claim,
    falls,
    identity,
    note,
    probability_at_least,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import PowerLaw
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import SeededSettings, SeveralSizes, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.linearised import linearise
from companion.networks import ReLUNetwork, draw_zou
from companion.regression import KernelRegression
from companion.spectra import largest_eigenvalue

EXPECTED: dict[str, Outcome] = {
    "engines-predicted": "holds",
    "engines-regression": "holds",
    "engines-operator-exact": "holds",
}
DATA = "digits"
PIXELS = 784
TOLERANCE = 1e-6  # of the solver that asks the operator
Digit = Annotated[int, Field(ge=0, le=9)]


class Settings(SeededSettings):
    """What is run; the seeds are those of the networks, as the data are the same for all.

    Attributes:
        dtype: of networks and kernels; systems are always solved in float64.
        classes: the two digits, labelled +1 and -1.
        per_class: images of each to train on; n is twice as many.
        held_out: images of each to test on.
        depth: hidden layers, Zou et al.'s parameterisation.
        widths: m, even and in increasing order.
        steps: gradient descent steps on the mean quadratic loss, at half the largest stable step
            size of the network's kernel.
    """

    dtype: Literal["float32", "float64"] = "float32"
    seeds: Size = 5
    classes: tuple[Digit, Digit] = (3, 8)
    per_class: Size = 100
    held_out: Size = 400
    depth: Size = 2
    widths: SeveralSizes = (32, 128, 512)
    steps: Size = 100

    @property
    def looks(self) -> list[int]:
        """After how many steps predictions are compared: 0, and some on a logarithmic scale."""
        return sorted({0, *(round(step) for step in np.geomspace(1, self.steps, 20))})


QUICK = Settings()
PAPER = Settings(widths=(64, 256, 1024, 4096), seeds=10, steps=400)


def summary(settings: Settings) -> str:
    """Data, networks, step size, steps."""
    s, (plus, minus) = settings, settings.classes
    return (
        f"{s.steps} steps of gradient descent on the mean quadratic loss, at half the largest "
        f"stable step size, for networks with {s.depth} hidden layers of $m$ = "
        f"{listed(s.widths)} units, {s.seeds} of each width, all drawn independently, on "
        f"$n={2 * s.per_class}$ images of handwritten digits, as many of {plus} (label $+1$) as of "
        f"{minus} (label $-1$), scaled to unit norm; beside each run stands the trajectory of its "
        f"frozen kernel. {2 * s.held_out} other images are held out."
    )


def cost(settings: Settings) -> Cost:
    """Six products of a layer's inputs and weights a step; a Gram matrix, and some forward passes.

    The weights, their gradient and their values at the start are alive together, as are all
    layers' outputs of the held-out images.
    """
    s = settings
    count, tested = 2 * s.per_class, 2 * s.held_out
    flops, memory = 0.0, 0.0
    for width in s.widths:
        weights = width * PIXELS + (s.depth - 1) * width**2
        run = 6 * s.steps * count + 2 * (len(s.looks) + 3) * tested
        flops += s.seeds * (weights * run + 4 * count * (count + tested) * s.depth * width)
        memory = max(memory, 3 * weights + (2 * count + tested) * s.depth * width)
    size = 4 if s.dtype == "float32" else 8
    return Cost(flops, size * memory + 8 * (PIXELS + count) * (count + tested))


def run(settings: Settings, device: str) -> xr.Dataset:
    """Kernel regression, and every network beside what its kernel predicts.

    Raises:
        InputError: there are no digits here, or too few of them.
    """
    s = settings
    both = digits(digits_source(), s.classes, s.per_class + s.held_out)
    both = both.to(getattr(torch, s.dtype), device)
    count = 2 * s.per_class
    known, others = (
        DataSet(both.x[rows], both.y[rows], both.source)
        for rows in (slice(count), slice(count, None))
    )
    found = sweep("runs", partial(_one, s, known, others), seed=s.each_seed, width=s.widths)
    model = KernelRegression("ntk", depth=s.depth).fit(known.x, known.y)
    told: Variables = {
        "steps": ("step", s.looks),
        "kernel_wrong": ("image", _wrong(model.predict(others.x), others)),
        "norm": model.norm(),
    }
    return found.assign(told).assign_attrs(
        data=f"{both.source}, the last {2 * s.held_out} held out"
    )


def _one(
    settings: Settings, known: DataSet, others: DataSet, *, seed: int, width: int
) -> Variables:
    """A network's run and its prediction, and where the prediction ends."""
    s, drawn = settings, independent_seed(seed, len(known.y), width)
    network = draw_zou(
        width, PIXELS, drawn, depth=s.depth, dtype=known.x.dtype, device=known.x.device
    )
    found = linearise(
        network, known.x, known.y, loss="quadratic", steps=s.looks, test=others.x,
        distances=False, measured=True,
    )  # fmt: skip
    run = found.measured
    assert run is not None
    assert run.test_predictions is not None
    assert found.test_predictions is not None
    ended, without_start = _ends(network, known, others)
    operator = gram_operator(network, known.x)
    return {
        "largest": float(found.kernel.eigenvalues[-1]),
        "largest_by_operator": largest_eigenvalue(operator, tolerance=TOLERANCE).value,
        "gap": ("step", run.gap.double().cpu().numpy()),
        "loss": ("step", run.losses.double().cpu().numpy()),
        "predicted_loss": ("step", found.losses.double().cpu().numpy()),
        "error": ("step", _wrong(run.test_predictions, others).mean(axis=1)),
        "predicted_error": ("step", _wrong(found.test_predictions, others).mean(axis=1)),
        "wrong": ("image", _wrong(run.test_predictions[-1], others)),
        "ended_wrong": ("image", _wrong(ended, others)),
        "without_start_wrong": ("image", _wrong(without_start, others)),
    }


def _ends(network: ReLUNetwork, known: DataSet, others: DataSet) -> tuple[Tensor, Tensor]:
    """Predictions after infinitely many steps under the frozen kernel; those of a start at 0."""
    start, model = network.predict(known.x), KernelRegression(network)
    ended = network.predict(others.x) + model.fit(known.x, known.y - start).predict(others.x)
    return ended, model.fit(known.x, known.y).predict(others.x)


def _wrong(predictions: Tensor, data: DataSet) -> np.ndarray:
    return np.asarray((~(predictions * data.y > 0)).cpu())


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The gap and its power of the width, and all errors with what the images leave open."""
    gap = _gap(found)
    law = PowerLaw.through(gap)
    told = {
        "gap_narrow": gap.isel(width=0).mean(),
        "gap_wide": gap.isel(width=-1).mean(),
        "gap_exponent": law.exponent,
        "gap_exponent_low": law.low,
        "gap_exponent_high": law.high,
        "narrow": min(settings.widths),
        "wide": max(settings.widths),
        "loss_left": found.loss.isel(width=-1, step=-1).mean(),
        "predicted_loss_left": found.predicted_loss.isel(width=-1, step=-1).mean(),
        "norm": found.norm,
        "operator_off": abs(_off(found)).max(),
        "tested": found.sizes["image"],
    }
    for name, wrong in _errors(settings, found).items():
        told[name] = wrong.mean()
        told[f"{name}_low"], told[f"{name}_high"] = _interval(wrong)
    return told


def _gap(found: xr.Dataset) -> xr.DataArray:
    """The largest distance of a run from its prediction, (seed, width)."""
    gap: xr.DataArray = found.gap.max("step", skipna=False)
    return gap


def _off(found: xr.Dataset) -> xr.DataArray:
    """The largest eigenvalue by the operator, relative to that of the matrix, less 1."""
    off: xr.DataArray = found.largest_by_operator / found.largest - 1
    return off


def _rounding(settings: Settings) -> float:
    """What the solver may leave, and sums over n inputs in the dtype of the run."""
    return TOLERANCE + 2 * settings.per_class * float(np.finfo(settings.dtype).eps)


def _errors(settings: Settings, found: xr.Dataset) -> dict[str, np.ndarray]:
    """Whether each held-out image is mistaken, (image,): by the kernel, by the widest networks."""
    return {
        "kernel": found.kernel_wrong.values.astype(bool),
        "network": _of_one_each(found.wrong),
        "ended": _of_one_each(found.ended_wrong),
        "without_start": _of_one_each(found.without_start_wrong),
    }


def _of_one_each(wrong: xr.DataArray) -> np.ndarray:
    """Every image by one of the widest networks, in turn, so that no two answers share a draw.

    Classes alternate, so two images that follow each other have the same network.
    """
    widest = wrong.isel(width=-1).transpose("seed", "image").values.astype(bool)
    images = np.arange(widest.shape[1])
    return np.asarray(widest[images // 2 % len(widest), images])


def _interval(wrong: np.ndarray) -> tuple[float, float]:
    """Clopper's and Pearson's, of the probability of a mistake."""
    found = stats.binomtest(int(wrong.sum()), wrong.size).proportion_ci(CONFIDENCE)
    return float(found.low), float(found.high)


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The gap from width to width; which of kernel and network errs where only one does."""
    gap, law = _gap(found), PowerLaw.through(_gap(found))
    errors = _errors(settings, found)
    kernel, network = errors["kernel"], errors["network"]
    return [
        claim(
            "engines-predicted",
            "The largest root mean square distance of a run's predictions from those of its frozen "
            "kernel falls with the width",
            falls("the largest distance of the run", gap, "width"),
            note(
                f"A power law through all runs has the exponent {law.exponent:.2f} ({law.low:.2f} "
                f"to {law.high:.2f})"
            ),
            holds="The wider the network, the closer its run to the prediction of its kernel.",
            fails="A wider network is not closer to the prediction of its kernel.",
        ),
        claim(
            "engines-regression",
            "Kernel regression mistakes fewer of the images held out than the trained networks do: "
            "where one of the two is wrong, it is the network in more than half of all cases",
            probability_at_least(
                "an image that only one of the two mistakes is mistaken by the network",
                network[kernel != network],
                0.5,
            ),
            note(f"Errors are {_told(kernel)} of the kernel and {_told(network)} of the networks"),
            holds="Kernel regression mistakes fewer of the held-out images than the networks do "
            f"after {settings.steps} steps.",
            fails="Kernel regression mistakes no fewer of the held-out images than the networks do "
            f"after {settings.steps} steps.",
        ),
        claim(
            "engines-operator-exact",
            "The largest eigenvalue of the Gram matrix is found without the matrix, from products "
            "of gradients alone",
            anyway(
                identity(
                    "the largest eigenvalue by the operator over that of the matrix, less 1",
                    _off(found),
                    _rounding(settings),
                    f"the solver's {number(TOLERANCE, '.0e')} and rounding in sums over the inputs",
                )
            ),
            holds="The operator has the largest eigenvalue of the matrix, in every network.",
            fails="The operator has another largest eigenvalue than the matrix.",
        ),
    ]


def _told(wrong: np.ndarray) -> str:
    low, high = _interval(wrong)
    return f"{wrong.mean():.1%} ({low:.1%} to {high:.1%})"


def _as_far_as_the_narrower(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    widest = found.width == max(settings.widths)
    return found.assign(gap=found.gap.where(~widest, found.gap.isel(width=-2)))


def _mistaken_in_turn(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """Of the images that only one of the two mistakes, the kernel mistakes every other one."""
    errors = _errors(settings, found)
    kernel, network = errors["kernel"].copy(), errors["network"].copy()
    places = np.flatnonzero(kernel != network)
    kernel[places], network[places] = True, False
    kernel[places[::2]], network[places[::2]] = False, True
    return found.assign(
        kernel_wrong=found.kernel_wrong.copy(data=kernel),
        wrong=found.wrong.copy(data=np.broadcast_to(network, found.wrong.shape)),
    )


def _larger(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(largest_by_operator=found.largest * (1 + 2 * _rounding(settings)))


CONTROLS = {
    "engines-predicted": Lie(
        "the widest networks are as far from their prediction as those of the width before",
        _as_far_as_the_narrower,
    ),
    "engines-regression": Lie(
        "of the images that only one of the two mistakes, each mistakes half", _mistaken_in_turn
    ),
    "engines-operator-exact": Lie(
        "the operator's eigenvalue is off by twice what rounding and the solver explain", _larger
    ),
}
