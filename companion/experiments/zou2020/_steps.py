"""Single steps, taken apart as in the proof of Lemma 5.3, and the largest that descends by half."""

import math
from collections.abc import Sequence
from itertools import pairwise, takewhile

import torch
from torch import Tensor

from companion.experiments.zou2018._gradients import (
    QUOTIENTS,
    GradientQuotients,
    least_quotient_of_largest,
    separation_of,
)
from companion.experiments.zou2018._paths import path_of, path_record
from companion.experiments.zou2018._problem import Problem
from companion.kernels import lambda_max, layer_grams
from companion.lab.sweep import Variables
from companion.monitors import Every, Moment
from companion.networks import ReLUNetwork
from companion.spectra import spectral_norm_bounds

# Between these multiples of n / lambda_max(K) the largest step size is looked for. A quadratic of
# the largest curvature that the cross-entropy can have, lambda_max(K) / 4n, would have it at 4.
BRACKET = (0.25, 64.0)


def along(problem: Problem, step_size: float, steps: int, every: int) -> Variables:
    """What a run of gradient descent earns, how far it leads, and its gradients' quotients.

    Args:
        problem: at initialisation.
        step_size: eta.
        steps: of the run.
        every: quotients and spectral distances are looked at every so many steps.

    Returns:
        Variables of a dataset: those of `path_of`; the `QUOTIENTS`, look by look; the least
        quotient with max_i |c_i| in the place of the sum, at the worse end; and phi.
    """
    record = {**path_record(every), "quotients": Every(every, GradientQuotients())}
    history = problem.train(step_size, steps, record).stable()
    ends = [problem.layer_grams[-1], layer_grams(history.network, problem.x)[-1]]
    of_largest = min(least_quotient_of_largest(gram, problem.y) for gram in ends)
    columns = zip(QUOTIENTS, history["quotients"].T, strict=True)
    return {
        **path_of(history, step_size),
        **{name: ("look", column) for name, column in columns},
        "least_of_largest": of_largest / problem.network.widths[-1],
        "separation": separation_of(problem.x, problem.y),
    }


def anatomy(
    problem: Problem, moment: Moment, step_sizes: Sequence[float]
) -> dict[str, list[float]]:
    """What a step adds to -eta ||gradient||^2, in two parts, for several step sizes.

    `smooth` is the loss after the step with the activation patterns before it, less the loss before
    and -eta ||gradient||^2, over M (eta ||gradient||)^2; `flips` is what the flips add to that,
    over the same; `flips_of_bound` is what they add over tau^(1/3) sqrt(M log M) eta ||gradient||
    times the mean of |l'|, which Lemma 5.3 allows up to a factor C'' L^(8/3). Its tau is the
    larger spectral distance of both ends from initialisation, from below.

    Args:
        problem: that is being trained.
        moment: before the step.
        step_sizes: each for a step of its own from that moment.
    """
    network, width = moment.network, max(moment.network.widths)
    patterns = [network.pattern(gate).to(moment.x.dtype) for gate in moment.forward.gates]
    slope = float(problem.loss.derivatives(moment.forward.predictions, moment.y).abs().mean())
    before, square = float(moment.losses.mean()), _square(moment)
    here, rows = spectral_distance(network, moment.initial), []
    for eta in step_sizes:
        pairs = zip(network.parameters, moment.gradients, strict=True)
        after = network.moved([weight - eta * gradient for weight, gradient in pairs])
        frozen = _mean_loss(problem, frozen_predictions(after, patterns, moment.x))
        flips = _mean_loss(problem, after.predict(moment.x)) - frozen
        tau = max(here, spectral_distance(after, moment.initial))
        allowed = tau ** (1 / 3) * math.sqrt(width * math.log(width) * square) * eta * slope
        unit = width * eta**2 * square
        rows.append(((frozen - before + eta * square) / unit, flips / unit, flips / allowed))
    names = ("smooth", "flips", "flips_of_bound")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def frozen_predictions(network: ReLUNetwork, patterns: Sequence[Tensor], x: Tensor) -> Tensor:
    """Predictions with given activation patterns in place of the network's own, shape (n,).

    Args:
        network: of Zou et al., whose gains are 1.
        patterns: of ones and zeros, shapes (n, m_1), ..., (n, m_L).
        x: inputs, shape (n, d).
    """
    hidden = x
    for weight, pattern in zip(network.weights, patterns, strict=True):
        hidden = (hidden @ weight.T) * pattern
    return hidden @ network.outputs


def spectral_distance(network: ReLUNetwork, start: ReLUNetwork) -> float:
    """The largest ||W_l - W_l(0)||_2 of a layer, from below and within 5 %."""
    changes = [now - then for now, then in zip(network.weights, start.weights, strict=True)]
    moved = [change for change in changes if bool(change.any())]
    return max((float(spectral_norm_bounds(each, 0.05).lower) for each in moved), default=0.0)


def largest_step_size(problem: Problem, steps: int, resolution: float) -> float:
    """Bisect, on a logarithmic scale, for the step size up to which eq. (5.1) holds at every step.

    Args:
        problem: at initialisation.
        steps: how many of them have to descend by eta/2 ||gradient||^2.
        resolution: relative distance at which to stop.
    """
    unit = len(problem.y) / lambda_max(problem.gram)
    low, high = (multiple * unit for multiple in BRACKET)
    while high > low * (1 + resolution):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if descends(problem, middle, steps) else (low, middle)
    return low


def descends(problem: Problem, step_size: float, steps: int) -> bool:
    """Whether each of the first steps takes eta/2 ||gradient||^2 off the loss or more, (5.1)."""
    seen = ((float(m.losses.mean()), _square(m)) for m in problem.moments(step_size))
    pairs = zip(range(steps), pairwise(seen), strict=False)
    kept = takewhile(lambda pair: _enough(*pair[1], step_size), pairs)
    return sum(1 for _ in kept) == steps


def _enough(before: tuple[float, float], after: tuple[float, float], step_size: float) -> bool:
    (loss, square), (later, _) = before, after
    return later - loss <= -step_size / 2 * square  # NaN is not enough


def _square(moment: Moment) -> float:
    """||gradient of L_S||_F^2 over all layers."""
    return float(sum(torch.linalg.vector_norm(each).square() for each in moment.gradients))


def _mean_loss(problem: Problem, predictions: Tensor) -> float:
    return float(problem.loss.values(predictions, problem.y).mean())
