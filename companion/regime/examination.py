"""One network on one set of data: what theory predicts of it, what it does, how far it is lazy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from companion.base.arguments import positive, tensor, whole
from companion.errors import InputError, one_of
from companion.kernels import empirical_gram
from companion.linearised import FrozenKernel
from companion.linearised.limits import Paper, limit_kernel
from companion.losses import Loss, loss_of
from companion.monitors import Every, Moment, PatternDifference, frobenius_distances, training_error
from companion.networks import ReLUNetwork, draw_chen, draw_du, draw_zou
from companion.regime.demands import demands
from companion.regime.quantities import (
    fitting,
    labelled,
    proper_share,
    quantities,
    quantities_memory,
)
from companion.regime.report import Curves, Departure, Report, Run
from companion.training import History, train

_DRAWS: dict[str, Callable[..., ReLUNetwork]] = {"du": draw_du, "zou": draw_zou, "chen": draw_chen}
# Steps at which a run is looked at, about so many.
_LOOKS = 100


def examine(
    x: Tensor,
    y: Tensor,
    *,
    width: int,
    depth: int,
    loss: Loss | str = "cross-entropy",
    parameterisation: Paper = "du",
    step_size: float | None = None,
    steps: int = 100,
    seed: int = 0,
    accuracy: float = 0.1,
    delta: float = 0.1,
    tolerance: float = 0.1,
    normalise: bool = False,
    memory_budget: float | None = None,
) -> Report:
    """Whether a network on given data is in the regime of the four papers, and how far from it.

    Measures the data (`quantities`), tells what each theorem asks for (`demands`), draws a network
    and trains it by gradient descent in float32, beside two predictions: with the kernel frozen as
    it is at initialisation, and with that of infinite width. Data are measured on the CPU; the
    network is trained, and its kernels are taken, on the device that they are given on.

    Args:
        x: inputs, shape (n, d), of norm 1, a tensor or a NumPy array.
        y: labels, shape (n,), of two values, likewise; the larger becomes +1, the other -1.
        width: m, of every hidden layer.
        depth: D, the number of hidden layers.
        loss: of one example, or its name, e.g. `quadratic`.
        parameterisation: how the network is drawn, as in `draw_du`, `draw_zou` or `draw_chen`.
        step_size: eta, for the mean loss; without it, half of the largest stable one.
        steps: of gradient descent.
        seed: of the network, the same one on every device.
        accuracy: eps of the theorems, in (0, 1).
        delta: their failure probability, in (0, 1).
        tolerance: the share of the way that predictions have gone by which the frozen kernel may
            miss them, for the network to be called lazy.
        normalise: whether inputs may be divided by their norms.
        memory_budget: bytes that it may take, see `examination_memory`.

    Raises:
        InputError: as of `quantities`, `demands` and `train`; the budget is exceeded; no step size
            for a loss that has no stable one; or training diverges.

    Example:
        >>> x, y = sphere(count=6, dimension=3, seed=0).x, torch.tensor([1.0, -1.0]).repeat(3)
        >>> report = examine(x, y, width=4096, depth=1, loss="quadratic", steps=20)
        >>> report.lazy, bool(report.departure.kernel < 0.1)
        (True, True)
    """
    width, depth = whole("width", width, least=1), whole("depth", depth, least=1)
    steps, loss = whole("steps", steps, least=1), loss_of(loss)
    if step_size is not None:
        step_size = positive("step_size", step_size)
    for name, share in (("accuracy", accuracy), ("delta", delta), ("tolerance", tolerance)):
        proper_share(name, share)
    draw = _DRAWS[one_of("parameterisation", parameterisation, _DRAWS)]
    x = tensor("x", x)
    device = tensor("y", y, like=x).device
    data = labelled(x, y, normalise=normalise)
    count, dimension = data.x.shape
    _check_memory(count, dimension, width, depth, memory_budget)
    network = draw(width, dimension, seed, depth=depth).to(device)
    inputs, signs = data.x.float().to(device), data.y.float().to(device)
    run, curves, departure = _trained(network, inputs, signs, loss, step_size, steps)
    found = quantities(x, y, depth=depth, accuracy=accuracy, normalise=normalise)
    asked = demands(found, width=width, delta=delta, loss=loss)
    return Report(
        quantities=found,
        demands=asked,
        delta=delta,
        run=Run(width, depth, parameterisation, loss.name, *run, steps, seed, str(device)),
        curves=curves,
        departure=departure,
        tolerance=tolerance,
    )


def examination_memory(count: int, dimension: int, width: int, depth: int) -> int:
    """Bytes that `examine` takes at most, said before it runs.

    Args:
        count: n, of inputs.
        dimension: d.
        width: m, of every hidden layer.
        depth: D, of hidden layers.
    """
    parameters = dimension * width + (depth - 1) * width**2
    # The draw is in float64; then start, now, change, a gradient and what a product makes of it.
    network = (8 + 5 * 4) * parameters + 4 * 6 * depth * count * width
    return quantities_memory(count, dimension, depth) + network


def _check_memory(count: int, dimension: int, width: int, depth: int, budget: float | None) -> None:
    needed = examination_memory(count, dimension, width, depth)
    if budget is None or needed <= budget:
        return
    allowed = fitting(count, budget, lambda n: examination_memory(n, dimension, width, depth))
    advice = f"about {allowed} inputs would fit" if allowed > 1 else "take a smaller width"
    raise InputError(
        f"{count} inputs with width {width} and depth {depth} need about {needed / 1e9:.3g} GB, "
        f"and {budget / 1e9:.3g} GB may be taken; {advice}."
    )


def _trained(
    network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss, step_size: float | None, steps: int
) -> tuple[tuple[float, float | None], Curves, Departure]:
    """Step size and largest stable one; the curves; how far it is from lazy."""
    kernel = empirical_gram(network, x)
    frozen, start = FrozenKernel(kernel), network.predict(x)
    stable = frozen.stable_step_size(loss)
    if step_size is None:
        if stable is None or stable == math.inf:
            raise InputError(
                f"no step size of the {loss.name} loss is stable for certain; give step_size "
                "(--step-size)."
            )
        step_size = stable / 2
    history = _run(network, x, y, loss, step_size, steps)
    at = [int(step) for step in history.at["predictions"]]
    went = torch.from_numpy(history["predictions"])
    predicted, limit = (
        kernel.descent(start, y, step_size=step_size, steps=at, loss=loss).predictions.cpu()
        for kernel in (frozen, FrozenKernel(limit_kernel(network, x)))
    )
    y = y.cpu()
    curves = Curves(
        step=np.array(at),
        measured=_losses(went, y, loss),
        predicted=_losses(predicted, y, loss),
        limit=_losses(limit, y, loss),
        error=float(history["errors"][-1]),
    )
    departure = _departure(network, history, kernel, went, predicted, curves, x)
    return (step_size, stable), curves, departure


def _run(
    network: ReLUNetwork, x: Tensor, y: Tensor, loss: Loss, step_size: float, steps: int
) -> History:
    every = math.ceil(steps / _LOOKS)
    record: dict[str, Any] = {
        "predictions": Every(every, lambda moment: moment.forward.predictions),
        "errors": Every(steps, training_error),
        "patterns": Every(steps, PatternDifference()),
        "distances": Every(steps, frobenius_distances),
        "norms": Every(steps, _norms),
    }
    return train(network, x, y, loss=loss, step_size=step_size, steps=steps, record=record).stable()


def _norms(moment: Moment) -> Tensor:
    """||W_l(0)||_F of every trained tensor."""
    return torch.stack([torch.linalg.vector_norm(each) for each in moment.initial.parameters])


def _losses(predictions: Tensor, y: Tensor, loss: Loss) -> np.ndarray:
    found: np.ndarray = loss.values(predictions.double(), y.double()).mean(dim=-1).numpy()
    return found


def _departure(
    network: ReLUNetwork,
    history: History,
    kernel: Tensor,
    went: Tensor,
    predicted: Tensor,
    curves: Curves,
    x: Tensor,
) -> Departure:
    way = _spread(went - went[0])
    farthest = float(way.max())
    tangent = went[0] + _first_order(network, history.network, x).cpu()
    now = empirical_gram(history.network, x)
    moved, norms = history["distances"][-1], history["norms"][-1]
    units = np.array(network.widths)
    return Departure(
        distance=float(np.linalg.norm(moved) / np.linalg.norm(norms)),
        distances=tuple(float(each) for each in moved / norms),
        patterns=float(history["patterns"][-1] @ units / units.sum()),
        of_layers=tuple(float(each) for each in history["patterns"][-1]),
        kernel=float(torch.linalg.norm(now - kernel) / torch.linalg.norm(kernel)),
        tangent=_share(float(_spread(went[-1] - tangent)), float(way[-1])),
        gap=_share(float(_spread(went - predicted).max()), farthest),
        curve=float(np.abs(curves.measured - curves.predicted).max() / curves.measured[0]),
        limit=float(np.abs(curves.measured - curves.limit).max() / curves.measured[0]),
    )


def _spread(differences: Tensor) -> Tensor:
    """Root mean square over the inputs."""
    return differences.double().square().mean(dim=-1).sqrt()


def _share(part: float, whole_way: float) -> float:
    """NaN where nothing has moved."""
    return part / whole_way if whole_way > 0 else math.nan


@torch.no_grad()
def _first_order(start: ReLUNetwork, end: ReLUNetwork, x: Tensor) -> Tensor:
    """<df(x_i)/dW, W - W(0)> at initialisation, shape (n,), carried forward layer by layer."""
    forward = start.run(x)
    change = torch.zeros_like(x)
    layers = zip(start.weights, end.weights, start.gains, forward.hidden[:-1], forward.gates,
                 strict=True)  # fmt: skip
    for old, new, gain, below, gate in layers:
        change = change @ old.T + below @ (new - old).T
        change.mul_(start.pattern(gate)).mul_(gain)
    output = change @ start.outputs + forward.hidden[-1] @ (end.outputs - start.outputs)
    return start.output_gain * output
