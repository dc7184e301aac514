"""The predicted trajectory of a network on data, in one call, and the measured one beside it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from companion.base.arguments import check_finite, positive, tensor, whole
from companion.errors import InputError, one_of
from companion.kernels import empirical_gram, layer_grams
from companion.kernels.tiles import row_blocks
from companion.linearised.frozen import FrozenKernel
from companion.linearised.limits import Paper, limit_kernel
from companion.losses import Loss, loss_of
from companion.monitors import Moment, frobenius_distances, mean_loss
from companion.networks import ReLUNetwork, check_inputs, check_network
from companion.training import descent, flow


@dataclass(frozen=True)
class Measured:
    """The run itself, at the same steps or times as the prediction, and how far they are apart.

    Attributes:
        predictions: f, shape (k, n).
        losses: mean loss, shape (k,).
        distances: ||W_l - W_l(0)||_F of every trained tensor, shape (k, L).
        test_predictions: f of the test inputs, shape (k, t), or None.
        gap: root mean square over the inputs of f less its prediction, shape (k,).
        test_gap: the same over the test inputs, or None.
    """

    predictions: Tensor
    losses: Tensor
    distances: Tensor
    test_predictions: Tensor | None
    gap: Tensor
    test_gap: Tensor | None


@dataclass(frozen=True)
class Trajectory:
    """What training does under a kernel that does not move.

    Attributes:
        at: steps or times, shape (k,).
        predictions: f, shape (k, n).
        losses: mean loss, shape (k,).
        distance: ||theta - theta(0)||_2 over all trained tensors together, shape (k,): the norm
            of f - f(0) in the space that the kernel reproduces. At infinite width it is the limit.
        distances: ||W_l - W_l(0)||_F of every trained tensor, shape (k, L), in the order of
            `network.parameters`, under the empirical kernel; None if they were not asked for, or
            the kernel is another.
        test_predictions: f of the test inputs, shape (k, t), or None.
        step_size: eta, or None for a flow.
        largest_stable_step_size: for losses of bounded curvature, else None; see
            `FrozenKernel.stable_step_size`.
        impulses: see `Prediction.impulses`, shape (k, n).
        kernel: that ruled.
        measured: the run itself, or None.
    """

    at: Tensor
    predictions: Tensor
    losses: Tensor
    distance: Tensor
    distances: Tensor | None
    test_predictions: Tensor | None
    step_size: float | None
    largest_stable_step_size: float | None
    impulses: Tensor
    kernel: FrozenKernel
    measured: Measured | None


def linearise(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss | str,
    step_size: float | None = None,
    steps: int | Iterable[int] | None = None,
    times: Iterable[float] | None = None,
    test: Tensor | None = None,
    kernel: Literal["empirical", "infinite"] | Tensor = "empirical",
    cross: Tensor | None = None,
    parameterisation: Paper | None = None,
    distances: bool = True,
    measured: bool = False,
    memory_budget: float | None = None,
) -> Trajectory:
    """Gradient descent, or flow, on the mean loss as it would be if the kernel did not move.

    For the quadratic loss it is a closed form, for others the recursion u <- u - (eta/n) K l'(u),
    or an adaptive solver of the flow. Memory: K, once more in float64 if it is not, with
    `distances` one matrix like K for every trained tensor, for the quadratic loss K's
    eigenvectors, and n numbers for every step looked at.

    Args:
        network: at initialisation; its predictions are where the trajectory starts.
        x: inputs, shape (n, d), or a NumPy array.
        y: labels, shape (n,), or a NumPy array.
        loss: of one example, or its name.
        step_size: eta > 0, for the mean loss; without it, half of the largest stable one.
        steps: their number, to look after each from 0 on; or the numbers of steps, increasing,
            after which to look.
        times: instead of steps, of the gradient flow.
        test: inputs, shape (t, d), or a NumPy array, to predict too.
        kernel: the network's own at initialisation, that of its infinitely wide limit in the same
            scale, or any K, shape (n, n).
        cross: K of x with `test`, shape (n, t): needed where K is given and there are test inputs.
        parameterisation: of the limit; without it, what the network's gains say.
        distances: whether to tell the trained tensors' distances apart.
        measured: whether to train the network, too, and look at the same steps or times.
        memory_budget: bytes that each kernel and its working memory may take.

    Raises:
        InputError: arguments of another type or that do not fit, no step size for a loss that has
            no stable one, or as of `empirical_gram`, `infinite_width_ntk` and `FrozenKernel`.

    Example:
        >>> data, network = sphere(6, 5, seed=0), draw_du(4096, 5, seed=0, dtype=torch.float64)
        >>> found = linearise(
        ...     network, data.x, data.y, loss="quadratic", steps=20, measured=True
        ... )
        >>> found.predictions.shape, bool(found.measured.gap[-1] < 0.1)
        (torch.Size([21, 6]), True)
    """
    check_network(network)
    network, loss = network.detached(), loss_of(loss)
    x = check_inputs(network, x).detach()
    y = tensor("y", y, x).detach()
    if test is not None:
        test = check_inputs(network, test, "test").detach()
        check_finite("test input", test)
    if (steps is None) == (times is None):
        raise InputError("give either steps, of gradient descent, or times, of gradient flow.")
    if times is not None and step_size is not None:
        raise InputError("step_size is of gradient descent; the flow of `times` has none.")
    roads = _Kernels(network, kernel, parameterisation, memory_budget)
    gram, terms = roads.of_training(x, distances)
    crossed = None if test is None else roads.with_test(x, test, cross)
    frozen = FrozenKernel(gram)
    stable, start = frozen.stable_step_size(loss), network.predict(x)
    if times is None:
        step_size, looks = _step_size(step_size, stable, loss), _looks(steps)
        found = frozen.descent(start, y, step_size=step_size, steps=looks, loss=loss)
    else:
        found = frozen.flow(start, y, times=times, loss=loss)
    tested = None
    if test is not None and crossed is not None:
        tested = network.predict(test) + found.impulses @ crossed
    run = None
    if measured:
        moments = _walked(network, x, y, loss, step_size, found.at.tolist(), test)
        run = _beside(moments, found.predictions, tested)
    return Trajectory(
        found.at, found.predictions, loss.values(found.predictions, y).mean(dim=-1),
        _norms([gram], found.impulses)[:, 0], _norms(terms, found.impulses) if terms else None,
        tested, step_size, stable, found.impulses, frozen, run,
    )  # fmt: skip


@dataclass(frozen=True)
class _Kernels:
    """The kernel that was asked for: of the training inputs, and of them with others."""

    network: ReLUNetwork
    asked: Literal["empirical", "infinite"] | Tensor
    parameterisation: Paper | None
    budget: float | None

    def of_training(self, x: Tensor, distances: bool) -> tuple[Tensor, list[Tensor]]:
        """K, and where it is the network's own and distances are wanted, its terms."""
        if not isinstance(self.asked, str):
            gram = tensor("kernel", self.asked, x)
            if gram.shape != (len(x), len(x)):
                raise InputError(
                    f"kernel has shape {tuple(gram.shape)}; for {len(x)} inputs "
                    f"({len(x)}, {len(x)}) is needed."
                )
            return gram, []
        if one_of("kernel", self.asked, ("empirical", "infinite")) == "infinite":
            return self._limit(x, None), []
        if not distances:
            return empirical_gram(self.network, x, memory_budget=self.budget), []
        terms = layer_grams(self.network, x, memory_budget=self.budget)
        gram = terms[0].clone()
        for term in terms[1:]:
            gram += term
        return gram, terms

    def with_test(self, x: Tensor, test: Tensor, cross: Tensor | None) -> Tensor:
        """K of x with the test inputs, shape (n, t)."""
        if isinstance(self.asked, str):
            if self.asked == "infinite":
                return self._limit(x, test)
            return empirical_gram(self.network, x, test, memory_budget=self.budget)
        if cross is None:
            raise InputError("the kernel is a matrix; give that of x with test, too, as cross.")
        cross = tensor("cross", cross, x)
        if cross.shape != (len(x), len(test)) or cross.dtype != x.dtype:
            raise InputError(
                f"cross has shape {tuple(cross.shape)}, {cross.dtype}; ({len(x)}, {len(test)}), "
                f"{x.dtype} is needed."
            )
        return cross

    def _limit(self, x: Tensor, other: Tensor | None) -> Tensor:
        return limit_kernel(
            self.network, x, other, parameterisation=self.parameterisation,
            memory_budget=self.budget,
        )  # fmt: skip


def _step_size(step_size: float | None, stable: float | None, loss: Loss) -> float:
    if step_size is not None:
        return positive("step_size", step_size)
    if stable is None or stable == math.inf:
        raise InputError(
            f"no step size of the {loss.name} loss is stable for certain, or any is; give one."
        )
    return stable / 2


def _looks(steps: int | Iterable[int] | None) -> list[int]:
    """After how many steps to look."""
    if isinstance(steps, Iterable) and getattr(steps, "ndim", True):
        return [whole("a number of steps", step, least=0) for step in steps]
    return list(range(whole("steps", steps, least=0) + 1))


def _norms(grams: list[Tensor], impulses: Tensor) -> Tensor:
    """Square roots of c G c for every row c of the impulses, shape (k, number of matrices)."""
    columns = []
    for gram in grams:
        squares = torch.zeros(len(impulses), dtype=torch.float64, device=impulses.device)
        # In float64, as duplicates with other labels pull at each other; some rows at a time.
        exact = impulses.double()
        for rows in row_blocks(len(gram), 512):
            squares += (exact[:, rows] * (exact @ gram[rows].double().T)).sum(dim=1)
        columns.append(squares.clamp(min=0).sqrt())
    return torch.stack(columns, dim=1).to(impulses.dtype)


def _walked(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    step_size: float | None,
    at: list[float],
    test: Tensor | None,
) -> dict[str, Tensor]:
    """The run itself: what `Measured` holds, name by name, at those steps or times."""
    record: dict[str, Callable[[Moment], Tensor]] = {
        "predictions": lambda moment: moment.forward.predictions,
        "losses": mean_loss,
        "distances": frobenius_distances,
    }
    if test is not None:
        record["test_predictions"] = lambda moment: moment.network.predict(test)
    if step_size is None and at[-1] > 0:
        clock = [0.0, *(time for time in at if time > 0)]
        values = flow(network, x, y, loss=loss, times=clock, record=record).values
        return {name: torch.from_numpy(found)[-len(at) :].to(x) for name, found in values.items()}
    noted: dict[str, list[Tensor]] = {name: [] for name in record}
    for moment in descent(network, x, y, loss=loss, step_size=step_size or 1.0):
        if moment.step in at[len(noted["losses"]) :][:1]:
            for name, monitor in record.items():
                noted[name].append(monitor(moment).clone())
        if len(noted["losses"]) == len(at):
            break
    return {name: torch.stack(found) for name, found in noted.items()}


def _beside(found: dict[str, Tensor], predictions: Tensor, tested: Tensor | None) -> Measured:
    """What was measured, with its distance from the prediction."""

    def gap(name: str, predicted: Tensor) -> Tensor:
        return (found[name] - predicted).square().mean(dim=-1).sqrt()

    test_gap = None if tested is None else gap("test_predictions", tested)
    return Measured(
        found["predictions"], found["losses"], found["distances"], found.get("test_predictions"),
        gap("predictions", predictions), test_gap,
    )  # fmt: skip
