"""The monitors: functions of a `Moment`, or objects called with one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from companion.kernels import empirical_gram, lambda_min, layer_grams, spectral_norm
from companion.monitors.moment import Moment
from companion.spectra import bounds_of, least_eigenvalue, start_directions, subspace_step

Marked = TypeVar("Marked", bound=Callable[[Moment], Tensor])


def together(monitor: Marked) -> Marked:
    """Mark a monitor that can be shown all members of a fleet at once; see `Moment`.

    It gives one value a member, stacked along the first dimension. Of inputs and of the first layer
    it may use only what no rotation of the inputs' space changes, such as norms: a fleet with fewer
    inputs than dimensions is kept in coordinates of the inputs' span.
    """
    monitor.together = True  # type: ignore[attr-defined]
    return monitor


@together
def mean_loss(moment: Moment) -> Tensor:
    """L_S, the mean of the examples' losses."""
    return moment.losses.mean(dim=-1)


@together
def largest_loss(moment: Moment) -> Tensor:
    """max_i l_i, the quantity of Assumption 3.2 of Chen et al. (2021)."""
    return moment.losses.amax(dim=-1)


@together
def largest_slope(moment: Moment) -> Tensor:
    """max_i |l'|: bounded along a run, it replaces a Lipschitz loss (Zou et al., 2018)."""
    return moment.loss.derivatives(moment.forward.predictions, moment.y).abs().amax(dim=-1)


@together
def training_error(moment: Moment) -> Tensor:
    """Share of the examples that are not on the right side, y f <= 0."""
    wrong = ~(moment.forward.predictions * moment.y > 0)  # NaN is wrong, too
    return wrong.to(moment.y.dtype).mean(dim=-1)


@together
def gradient_norms(moment: Moment) -> Tensor:
    """||gradient of L_S in W_l||_F for every trained tensor, shape (L,)."""
    dimensions = moment.network.weights[0].dim()
    norms = [
        torch.linalg.vector_norm(each, dim=(-2, -1) if each.dim() == dimensions else -1)
        for each in moment.gradients
    ]
    return torch.stack(norms, dim=-1)


@together
def frobenius_distances(moment: Moment) -> Tensor:
    """||W_l - W_l(0)||_F for every trained tensor, shape (L,)."""
    norms = [torch.linalg.vector_norm(change, dim=(-2, -1)) for change in moment.changes()]
    return torch.stack(norms, dim=-1)


def separations(moment: Moment) -> Tensor:
    """Least distance of normalised hidden outputs of different labels, shape (D + 1,).

    phi of the inputs first, then ||x_l,i / ||x_l,i|| - x_l,j / ||x_l,j|| || of every layer: Zou et
    al. (2018), Theorem 5.1 (ii). Costs as much as a Gram matrix of each layer. If all examples
    have one label there is no such pair, and the distance is infinite.
    """
    positive = moment.y > 0
    # Looked up once, as each look waits for the device.
    ones, others = (flags.nonzero()[:, 0] for flags in (positive, ~positive))
    found = []
    for hidden in moment.forward.hidden:
        unit = hidden / torch.linalg.vector_norm(hidden, dim=1, keepdim=True)
        found.append(least_distance(unit[ones], unit[others]))
    return torch.stack(found)


def least_distance(a: Tensor, b: Tensor) -> Tensor:
    """Least Euclidean distance of a row of `a`, shape (p, q), to one of `b`, shape (r, q)."""
    # Row by row of tiles; the closest pair of each is measured again without cancellation.
    if len(a) == 0 or len(b) == 0:
        return a.new_full((), math.inf)
    closest = []
    for rows in torch.split(a, 1024):
        nearest = torch.cdist(rows, b).min(dim=1)
        i = nearest.values.argmin(keepdim=True)  # with a dimension it stays on the device
        closest.append(torch.linalg.vector_norm(rows[i] - b[nearest.indices[i]]))
    return torch.stack(closest).min()


@together
def misfit(moment: Moment) -> Tensor:
    """||u - y||^2, the squared distance of predictions from labels: Du et al. (2019)."""
    return (moment.forward.predictions - moment.y).double().square().sum(dim=-1)


@together
def unit_distances(moment: Moment) -> Tensor:
    """Largest and root mean square distance of a unit from initialisation, shape (L, 2).

    For hidden layers ||w_r - w_r(0)||_2 over the rows of every W_l, for output weights the size
    of a_r - a_r(0): Du et al. (2019), Lemma 3.3, and Lemma A.5.
    """
    found, dimensions = [], moment.network.weights[0].dim()
    for change, now in zip(moment.changes(), moment.network.parameters, strict=True):
        # The output weights are one row, of which each entry belongs to a unit.
        units = change if now.dim() == dimensions else change.mT
        far = torch.linalg.vector_norm(units, dim=-1)
        mean = torch.linalg.vector_norm(far, dim=-1) / far.shape[-1] ** 0.5
        found.append(torch.stack([far.amax(dim=-1), mean], dim=-1))
    return torch.stack(found, dim=-2)


def gram_lambda_min(moment: Moment) -> float:
    """Least eigenvalue of the empirical NTK's Gram matrix, from all eigenvalues in float64."""
    first, *others = moment.layer_grams
    return _if_finite(lambda_min, sum(others, first))


def layer_lambda_mins(moment: Moment) -> np.ndarray:
    """The same for the Gram matrix of every trained tensor alone, shape (L,)."""
    return np.array([_if_finite(lambda_min, gram) for gram in moment.layer_grams])


def _if_finite(measure: Callable[[Tensor], float], gram: Tensor) -> float:
    """What `measure` says of a matrix, NaN of one that a diverging run has made no matrix."""
    return measure(gram) if bool(gram.isfinite().all()) else math.nan


def layer_gram_drifts(moment: Moment) -> np.ndarray:
    """||G_l - G_l(0)||_2 for the Gram matrix of every trained tensor, shape (L,)."""
    drifts = []
    for layer, gram in enumerate(moment.layer_grams):
        key = f"gram at the start/{layer}"
        if key not in moment.memory:
            begun = moment.step == 0
            moment.memory[key] = gram if begun else layer_grams(moment.initial, moment.x)[layer]
        drifts.append(_if_finite(spectral_norm, gram - moment.memory[key]))
    return np.array(drifts)


def certified_lambda_min(moment: Moment) -> Tensor:
    """Least eigenvalue of the empirical NTK's Gram matrix, and a lower bound, shape (2,).

    Costs a Gram matrix and what `least_eigenvalue` does.
    """
    gram, bounds = empirical_gram(moment.network, moment.x), [math.nan, math.nan]
    if moment.has_numbers and bool(gram.isfinite().all()):
        least = least_eigenvalue(gram)
        bounds = [least.value, least.lower]
    return torch.tensor(bounds, dtype=torch.float64, device=moment.x.device)


@dataclass(frozen=True)
class Distances:
    """Distances of every trained tensor from initialisation, in both norms, shape (L, 3).

    Columns: ||W_l - W_l(0)||_F, and ||W_l - W_l(0)||_2 between a lower and an upper bound. The
    bounds come from one step of subspace iteration that goes on from the last record's
    directions, so each record costs two thin products a layer. They are tight along a run where
    a few directions hold most of the change, as on images; with inputs in random directions the
    first layer's change has no such directions, and its upper bound stays far from the lower one.

    Attributes:
        directions: how many are kept; more of them make the upper bound tighter.
        first: steps of the iteration at the first record that finds a change.
    """

    directions: int = 8
    first: int = 4
    together: ClassVar[bool] = True

    def __call__(self, moment: Moment) -> Tensor:
        """Measure and keep the directions for the next record."""
        if moment.step == 0:
            fleet = moment.network.weights[0].shape[:-2]
            return moment.x.new_zeros(*fleet, len(moment.network.parameters), 3)
        steps = []
        for layer, change in enumerate(moment.changes()):
            key = f"{self.directions} directions/{layer}"
            directions = moment.memory.get(key)
            if directions is None:
                directions = self._first_directions(change)
            steps.append(step := subspace_step(change, directions))
            moment.memory[key] = step.directions
        return bounds_of(steps).movedim(0, -1)

    def _first_directions(self, change: Tensor) -> Tensor:
        directions = start_directions(change, self.directions)
        for _ in range(self.first - 1):
            directions = subspace_step(change, directions).directions
        return directions


@dataclass(frozen=True)
class PatternDifference:
    """Share of the pairs (input, unit) of every layer that switched on or off, shape (D,).

    Attributes:
        since: `start` compares with initialisation (the ratio of Zou et al., 2020, Figure 3, layer
            by layer), `last` with the last record: the flips of a step.
    """

    since: Literal["start", "last"] = "start"
    together: ClassVar[bool] = True

    def watch(self, moment: Moment, gate: Tensor) -> None:
        """Compare the next layer's pattern with the one kept."""
        counts = moment.noted(self)
        key = f"pattern since {self.since}/{len(counts)}"
        pattern = moment.network.pattern(gate)
        if key not in moment.memory:
            moment.memory[key] = self._first(moment, len(counts), pattern)
        kept = moment.memory[key]
        if self.since == "start":
            counts.append(count_true(pattern.bitwise_xor_(kept)))
        else:
            counts.append(count_true(pattern.bitwise_xor(kept)))
            moment.memory[key] = pattern

    def __call__(self, moment: Moment) -> Tensor:
        """The shares of the pass just made."""
        forward = moment.forward
        if not moment.noted(self):  # no run has shown it the pass
            for gate in forward.gates:
                self.watch(moment, gate)
        shares = [
            count.double() / (width * moment.x.shape[-2])
            for count, width in zip(moment.noted(self), moment.network.widths, strict=True)
        ]
        return torch.stack(shares, dim=-1)

    def _first(self, moment: Moment, layer: int, pattern: Tensor) -> Tensor:
        """What the first record compares with."""
        if self.since == "last" or moment.step == 0:
            return pattern.clone()
        gates = moment.initial.run(moment.x).gates
        return moment.initial.pattern(gates[layer])


def count_true(flags: Tensor) -> Tensor:
    """Number of true entries of the last two dimensions of a boolean tensor, shape (..., n, m).

    On the CPU torch's own count is several times slower, enough to be felt in a training step.
    There eight flags are added at once as the bytes of a word, at most 128 to a byte, so that none
    overflows.
    """
    if flags.device.type != "cpu":
        return flags.sum(dim=(-2, -1))
    dense = flags if flags.is_contiguous() else flags.mT.contiguous()
    octets = dense.flatten(-2).view(torch.uint8)
    whole = octets.shape[-1] // 1024 * 1024
    if whole == 0 or (octets.dim() > 1 and octets.shape[-1] % 8):  # words would cross members
        return octets.sum(dim=-1)
    words = octets[..., :whole].view(torch.int64)
    sums = words.view(*words.shape[:-1], 128, -1).sum(dim=-2)
    return sums.view(torch.uint8).sum(dim=-1) + octets[..., whole:].sum(dim=-1)
