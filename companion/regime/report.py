"""What an examination has found, in numbers and in sentences."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from companion.regime.demands import Demand
from companion.regime.quantities import Measured, Quantities


@dataclass(frozen=True)
class Run:
    """The network that was drawn and how it was trained.

    Attributes:
        width: m, of every hidden layer.
        depth: D, the number of hidden layers.
        parameterisation: `du`, `zou` or `chen`.
        loss: its name.
        step_size: eta, for the mean loss.
        largest_stable_step_size: of the frozen kernel; None where no step is small enough for
            all predictions.
        steps: of gradient descent.
        seed: of the network.
        device: where it was trained, e.g. `cpu`.
    """

    width: int
    depth: int
    parameterisation: str
    loss: str
    step_size: float
    largest_stable_step_size: float | None
    steps: int
    seed: int
    device: str


@dataclass(frozen=True)
class Curves:
    """Mean losses along the run, shape (k,) each.

    Attributes:
        step: at which they were looked at.
        measured: of the network.
        predicted: with the kernel frozen at this network's initialisation.
        limit: with the kernel of infinite width, from the same predictions.
        error: share of the examples on the wrong side at the end.
    """

    step: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    limit: np.ndarray
    error: float


@dataclass(frozen=True)
class Departure:
    """How far a run has gone from a frozen kernel; all are shares, 0 for a lazy network.

    Attributes:
        distance: ||W - W(0)||_F over ||W(0)||_F, all trained tensors together.
        distances: the same of every trained tensor.
        patterns: pairs of an input and a unit that have switched on or off since the start.
        of_layers: the same of every hidden layer.
        kernel: ||K - K(0)||_F over ||K(0)||_F, of the empirical NTK at the end.
        tangent: what the tangent at initialisation, taken at the weights at the end, misses of
            the predictions, in root mean square, over the way that these have gone.
        gap: the largest distance of predictions from those of the frozen kernel along the run, in
            root mean square over the inputs, over the farthest way that predictions have gone.
        curve: the largest distance of the measured loss from the predicted one, over the loss at
            the start.
        limit: the same from the loss that infinite width predicts.
    """

    distance: float
    distances: tuple[float, ...]
    patterns: float
    of_layers: tuple[float, ...]
    kernel: float
    tangent: float
    gap: float
    curve: float
    limit: float

    def meanings(self) -> list[tuple[str, float, str]]:
        """Name, share and what it means, one after the other."""
        return [
            ("distance", self.distance, "of their initial norm is how far the weights have moved"),
            ("patterns", self.patterns, "of all pairs of an input and a unit switched on or off"),
            ("kernel", self.kernel, "of its norm is what the empirical kernel has changed by"),
            ("tangent", self.tangent, "of the predictions' way is what the tangent at the start "
             "misses at the final weights"),
            ("gap", self.gap, "of that way is what training with the kernel frozen misses"),
            ("curve", self.curve, "of the first loss is what the frozen kernel misses of the loss "
             "curve"),
            ("limit", self.limit, "of it is what the kernel of infinite width misses"),
        ]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Whether a network on given data is in the regime of the four papers.

    Attributes:
        quantities: of the data.
        demands: what each theorem asks for.
        delta: the failure probability for which it does.
        run: the network and how it was trained.
        curves: predicted and measured.
        departure: how far the run was from a frozen kernel.
        tolerance: the largest `departure.gap` of a network that is called lazy.
    """

    quantities: Quantities
    demands: list[Demand]
    delta: float
    run: Run
    curves: Curves
    departure: Departure
    tolerance: float

    @property
    def lazy(self) -> bool:
        """Whether the frozen kernel predicts this run, by `rule`."""
        return self.departure.gap <= self.tolerance

    @property
    def rule(self) -> str:
        """What is called lazy here, in a sentence."""
        return (
            "A network is called lazy here if all along the run the frozen kernel misses its "
            f"predictions by at most {self.tolerance:.0%} of the farthest way that these have gone."
        )

    @property
    def warnings(self) -> list[str]:
        """What a reader of the numbers should know of the data, in sentences."""
        found, told = self.quantities, []
        if found.normalised:
            told.append(
                f"The inputs were divided by their norms, which were off 1 by {found.norm_gap:.3g} "
                "at most."
            )
        for i, j in found.contradictions:
            told.append(
                f"Inputs {i} and {j} are equal and have different labels: no network fits them, "
                "and no theorem applies."
            )
        inconsistent = {pair[0] for pair in found.contradictions}
        for group in found.duplicates:
            if group[0] not in inconsistent:
                told.append(
                    f"Inputs {', '.join(map(str, group))} are equal: lambda_0 is 0 and theorems on "
                    "lambda_0 or on the distance of all pairs do not apply."
                )
        return told

    @property
    def answer(self) -> str:
        """Whether this network is in the regime of the theorems, and whether it is lazy."""
        if math.isnan(self.departure.gap):
            return f"{self._theorems()} On these data it does not move: its gradients are 0."
        kind = "lazy" if self.lazy else "not lazy"
        return (
            f"{self._theorems()} On these data it is {kind}: the frozen kernel misses its "
            f"predictions by {self.departure.gap:.2g} of the way that they have gone, where "
            f"{self.tolerance:g} is allowed."
        )

    def _theorems(self) -> str:
        width = self.run.width
        speaking = [each for each in self.demands if each.inside and each.algorithm != "none"]
        if not speaking:
            return "No theorem of the four papers speaks of this network on these data."
        within = [each for each in speaking if (each.width or math.inf) <= width]
        known = [each for each in within if each.explicit]
        if known:
            names = ", ".join(f"{each.work}, {each.statement}" for each in known)
            return f"This network is in the regime of {names}."
        if within:
            names = ", ".join(f"{each.work}, {each.statement}" for each in within)
            return (
                f"This network is as wide as {names} asks for up to a constant that nobody knows."
            )
        nearest = min(speaking, key=lambda each: each.width or math.inf)
        factor = nearest.shortfall(width) or math.inf
        return (
            "This network is in the regime of none of the theorems: of those that speak of it, the "
            f"least width is that of {nearest.work}, {nearest.statement}, {factor:.2g} times its "
            f"own, with constants that are {nearest.constants}."
        )

    def told(self) -> dict[str, Any]:
        """All of it for machines, as JSON has it: infinite numbers in words, unknown ones null."""
        found = self.quantities
        quantities: dict[str, Any] = {}
        for each in fields(found):
            value = getattr(found, each.name)
            quantities[each.name] = asdict(value) if isinstance(value, Measured) else value
        demands = [
            {
                **asdict(each),
                "work": each.work,
                "constants": each.constants,
                "speaks_of_it": each.inside,
                "times_the_width": each.shortfall(self.run.width),
            }
            for each in self.demands
        ]
        departure = {
            name: {"share": share, "meaning": meaning}
            for name, share, meaning in self.departure.meanings()
        }
        departure["distance"]["of_each_tensor"] = self.departure.distances
        departure["patterns"]["of_each_layer"] = self.departure.of_layers
        plain: dict[str, Any] = _plain(
            {
                "quantities": quantities,
                "demands": demands,
                "delta": self.delta,
                "run": asdict(self.run),
                "curves": asdict(self.curves),
                "departure": departure,
                "tolerance": self.tolerance,
                "lazy": self.lazy,
                "rule": self.rule,
                "warnings": self.warnings,
                "answer": self.answer,
            }
        )
        return plain


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
