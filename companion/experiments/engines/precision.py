"""float32 and bfloat16 products change what is observed less than another initialisation would.

Refuted for a precision by an observable whose deviation from float64 is, at some step, more than a
tenth of its standard deviation over seeds.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from companion.datasets import DataSet, sphere
from companion.lab.experiment import Cost
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Positive, Size
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.losses import CROSS_ENTROPY
from companion.matmul import Precision, using
from companion.monitors import Distances, PatternDifference, mean_loss
from companion.networks import draw_zou
from companion.training import train

EXPECTED: dict[str, Outcome] = {"engines-float32": "holds", "engines-bfloat16": "fails"}
# tf32 joins them on CUDA, where it exists; it is shown there and no claim is made.
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
OBSERVABLES = ("loss", "pattern", "frobenius", "spectral")
SHARE = 0.1


class Settings(BaseSettings):
    """What is run.

    Attributes:
        dtype: of the run that the others are compared with.
        count: n, inputs on the sphere with labels -1 and +1 at random.
        dimension: d.
        depth: hidden layers, Zou et al.'s parameterisation.
        width: m.
        seeds: independent draws of the network; the data is the same for all.
        step_size: eta times m.
        steps: gradient descent steps on the mean cross-entropy.
    """

    dtype: Literal["float64"] = "float64"
    count: Annotated[int, Field(ge=2)] = 400
    dimension: Dimension = 20
    depth: Size = 5
    width: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    seeds: Annotated[int, Field(ge=3)] = 5
    step_size: Positive = 1.0
    steps: Size = 60


QUICK = Settings()
PAPER = Settings(count=500, depth=10, width=256, seeds=10, steps=100)


def cost(settings: Settings) -> Cost:
    """Six products of (n, m) and (m, m) a layer and step; float64 counts as two precisions."""
    s = settings
    flops = 4 * 6.0 * s.seeds * s.steps * s.count * s.depth * s.width**2
    return Cost(flops, 8 * (3 * s.depth * s.width**2 + 3 * s.depth * s.count * s.width))


def run(settings: Settings, device: str) -> Result:
    """Every seed in float64, and in each precision from the same weights."""
    data = sphere(settings.count, settings.dimension, seed=0)
    precisions = (*PRECISIONS, "tf32") if device == "cuda" else PRECISIONS
    arrays = sweep(
        "runs",
        lambda seed: _train(settings, data, device, precisions, seed),
        seed=range(settings.seeds),
    )
    deviations = np.stack([_deviation(arrays, precision) for precision in precisions])
    arrays["deviation"] = deviations
    arrays["precisions"], arrays["observables"] = np.array(precisions), np.array(OBSERVABLES)
    values = {
        f"{name}_{precision}": float(deviations[p, o].max())
        for p, precision in enumerate(precisions)
        for o, name in enumerate(OBSERVABLES)
    }
    return Result(
        experiment="engines/precision",
        settings=settings.model_dump(mode="json"),
        values={**values, "loss_left": float(arrays["float64"][:, 0, -1].mean()), "allowed": SHARE},
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}, random signs",
    )


def _train(
    settings: Settings, data: DataSet, device: str, precisions: Sequence[Precision], seed: int
) -> dict[str, np.ndarray]:
    """Observables along the run, shape (4, steps + 1), for every precision."""
    found = {"float64": _observed(settings, data, device, seed, torch.float64)}
    for precision in precisions:
        with using(precision=precision):
            found[precision] = _observed(settings, data, device, seed, torch.float32)
    return found


def _observed(
    settings: Settings, data: DataSet, device: str, seed: int, dtype: torch.dtype
) -> np.ndarray:
    s, near = settings, data.to(dtype, device)
    network = draw_zou(s.width, s.dimension, seed, depth=s.depth, dtype=dtype, device=device)
    history = train(
        network, near.x, near.y.sign(), loss=CROSS_ENTROPY, step_size=s.step_size / s.width,
        steps=s.steps,
        record={"loss": mean_loss, "pattern": PatternDifference(), "distance": Distances()},
    )  # fmt: skip
    distances = history["distance"]
    return np.stack(
        [
            history["loss"].astype(float),
            history["pattern"].mean(axis=1),
            np.sqrt((distances[..., 0].astype(float) ** 2).sum(axis=1)),
            distances[..., 1].max(axis=1).astype(float),
        ]
    )


def _deviation(arrays: dict[str, np.ndarray], precision: str) -> np.ndarray:
    """Largest deviation over seeds, in standard deviations over seeds, shape (4, steps + 1)."""
    exact = arrays["float64"]
    spread = exact.std(axis=0, ddof=1)
    apart = np.abs(arrays[precision] - exact).max(axis=0)
    shares: np.ndarray = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
    return shares


def judge(result: Result) -> list[Verdict]:
    """The largest deviation of every observable along the run against a tenth of the spread."""
    return [_judge(result, precision, p) for p, precision in enumerate(PRECISIONS)]


def _judge(result: Result, precision: str, place: int) -> Verdict:
    most = result.arrays["deviation"][place].max(axis=1)
    fit = bool((most <= SHARE).all())
    told = ", ".join(f"{name} {value:.2g}" for name, value in zip(OBSERVABLES, most, strict=True))
    seeds, worst = result.settings["seeds"], OBSERVABLES[int(most.argmax())]
    return Verdict(
        f"engines-{precision}",
        "holds" if fit else "fails",
        f"deviations below {SHARE} of the standard deviation over seeds",
        f"largest deviation from float64 over {seeds} seeds and all steps, in standard deviations: "
        f"{told}",
        f"{SHARE} standard deviations over {seeds} seeds",
        f"Products in {precision} change "
        + (
            "none of the four observables by as much as a tenth of what another seed changes."
            if fit
            else f"observables by more than a tenth of what another seed changes, {worst} most."
        ),
    )
