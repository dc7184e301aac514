"""Gradient descent and gradient flow on two-layer networks, with recording as an argument."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from companion.base.arguments import check_finite, check_tensors, check_type, real, whole
from companion.errors import DivergedError, InputError
from companion.networks import TwoLayer
from companion.observables import InitialState, State

Observable = Callable[[State], float]
Layers = Literal["first", "both"]
# The squared residual of a stable run never grows by this much; past it the run is called diverged.
DIVERGENCE_FACTOR = 1e6


@dataclass(frozen=True)
class Every:
    """Record an observable only at multiples of `steps` (and at the last step)."""

    steps: int
    observable: Observable


@dataclass(frozen=True)
class Trajectory:
    """What a run recorded.

    Attributes:
        at: name -> steps (or times) at which it was recorded, shape (k,).
        values: name -> recorded values, shape (k,).
        network: after the last step.
        diverged_at: the step at which the squared residual had grown `DIVERGENCE_FACTOR`-fold or
            was no longer finite; None for a run that stayed stable.
    """

    at: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    network: TwoLayer
    diverged_at: int | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def gradient_descent(
    network: TwoLayer,
    x: Tensor,
    y: Tensor,
    *,
    step_size: float,
    steps: int,
    record: Mapping[str, Observable | Every],
    layers: Layers = "first",
    stop_when_diverged: bool = False,
) -> Trajectory:
    """Full-batch gradient descent on the half-sum squared loss: Du et al. (2019), eq. (3)-(4).

    Args:
        network: at initialisation; it is not changed.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        step_size: eta, positive.
        steps: number of steps; observables are recorded at 0, 1, ..., steps.
        record: name -> observable, or `Every(steps, observable)`.
        layers: train the first layer only (the paper's main results) or both.
        stop_when_diverged: return the trajectory up to the divergence instead of raising.

    Raises:
        InputError: step_size not positive, steps negative, or what is no tensor or `TwoLayer`.
        DivergedError: the run does not stay finite at this step size.
    """
    step_size, steps = real("step_size", step_size), whole("steps", steps, least=0)
    if not step_size > 0 or not math.isfinite(step_size):
        raise InputError(f"step_size is {step_size}; it must be a positive number.")
    network, x, y = _entered(network, x, y)
    notebook = _Notebook(record)
    initial = InitialState(network, x)
    weights, outputs = network.weights.clone(), network.outputs.clone()
    start = float("nan")
    for step in range(steps + 1):
        state = State(network.moved(weights, outputs), initial, x, y, step)
        size = float(state.residual.double().square().sum())
        start = size if step == 0 else start
        if not size <= max(start, 1e-12) * DIVERGENCE_FACTOR:
            if stop_when_diverged:
                return notebook.trajectory(state.network, diverged_at=step)
            raise DivergedError(
                f"gradient descent diverges at step_size={step_size:g}: the squared residual grew "
                f"from {start:.3g} past {DIVERGENCE_FACTOR:.0e} times that by step {step}; choose "
                "a step size below 2 / lambda_max(H(0))."
            )
        notebook.note(state, last=step == steps)
        if step == steps:
            break
        weights_step = state.network.weight_gradient(x, state.preactivations, state.residual)
        if layers == "both":
            outputs_step = state.network.output_gradient(state.preactivations, state.residual)
            outputs = outputs - step_size * outputs_step
        weights = weights.sub(weights_step, alpha=step_size)
    return notebook.trajectory(state.network)


def gradient_flow(
    network: TwoLayer,
    x: Tensor,
    y: Tensor,
    *,
    times: Sequence[float],
    record: Mapping[str, Observable],
    layers: Layers = "first",
    tolerance: float = 1e-5,
) -> Trajectory:
    """Gradient flow dw/dt = -dL/dw by an adaptive Dormand-Prince solver (torchdiffeq).

    Args:
        network: at time 0; it is not changed.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        times: increasing, starting at 0; observables are recorded at each.
        record: name -> observable.
        layers: train the first layer only or both.
        tolerance: relative and absolute error the solver keeps per step. The right-hand side
            jumps where a unit switches on or off, and units may slide along such a place, so the
            cost of narrow networks grows like its inverse.

    Raises:
        InputError: times do not start at 0 or do not increase, or what is no tensor or `TwoLayer`.
    """
    check_tensors(x=x)
    grid = torch.tensor(times, dtype=torch.float64, device=x.device)
    if len(times) < 2 or times[0] != 0 or not bool((grid.diff() > 0).all()):
        raise InputError("times must start at 0 and increase, with at least two of them.")
    network, x, y = _entered(network, x, y)
    notebook = _Notebook(record)
    initial = InitialState(network, x)
    state = State(network, initial, x, y, 0)
    notebook.note(state, last=True)
    velocity = _velocity(network, x, y, layers)
    # One interval at a time: recorded states are steps of the solver, not its interpolation, which
    # overshoots where a unit switches, and no more than one of them is in memory.
    for start, end in pairwise(grid):
        parameters = (state.network.weights, state.network.outputs)
        span = torch.stack([start, end])
        solution = odeint(
            velocity, parameters, span, rtol=tolerance, atol=tolerance, method="dopri5",
            options={"step_t": span[1:]},
        )  # fmt: skip
        moved = network.moved(*(values[-1] for values in solution))
        state = State(moved, initial, x, y, float(end))
        notebook.note(state, last=True)
    return notebook.trajectory(state.network)


def _entered(network: TwoLayer, x: Tensor, y: Tensor) -> tuple[TwoLayer, Tensor, Tensor]:
    """The arguments of a run, checked and without derivatives, which would pile up in it."""
    check_type("network", network, TwoLayer, "a TwoLayer; train takes a ReLUNetwork")
    check_tensors(x=x, y=y)
    check_finite("input", x)
    network = network.moved(network.weights.detach(), network.outputs.detach())
    return network, x.detach(), y.detach()


def _velocity(
    network: TwoLayer, x: Tensor, y: Tensor, layers: Layers
) -> Callable[[Tensor, tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
    def velocity(_: Tensor, parameters: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        weights, outputs = parameters
        now = network.moved(weights, outputs)
        preactivations = now.preactivations(x)
        residual = now.predict_from(preactivations) - y
        first = -now.weight_gradient(x, preactivations, residual)
        if layers == "first":
            return first, torch.zeros_like(outputs)
        return first, -now.output_gradient(preactivations, residual)

    return velocity


def prediction_velocity(
    network: TwoLayer, x: Tensor, y: Tensor, layers: Layers = "first"
) -> Tensor:
    """du/dt of gradient flow: the derivative of the predictions along the flow's direction.

    By automatic differentiation of the network, so that it can be compared with Gram matrices.

    Args:
        network: with no preactivation at 0, where there is no derivative.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        layers: which layers move.

    Returns:
        Shape (n,).
    """
    parameters = (network.weights, network.outputs)
    direction = _velocity(network, x, y, layers)(torch.zeros(()), parameters)

    def predictions(weights: Tensor, outputs: Tensor) -> Tensor:
        return network.moved(weights, outputs).predict(x)

    velocity: Tensor
    _, velocity = torch.autograd.functional.jvp(  # type: ignore[no-untyped-call]
        predictions, parameters, direction
    )
    return velocity


def linearised_misfit(
    eigenvalues: Tensor, coordinates: Tensor, step_size: float, steps: Tensor
) -> Tensor:
    """||u(k) - y||^2 of gradient descent with a Gram matrix that does not move.

    Args:
        eigenvalues: of the Gram matrix, shape (n,).
        coordinates: of u(0) - y in its eigenbasis, shape (n,).
        step_size: eta.
        steps: shape (k,).

    Returns:
        sum_j (1 - eta lambda_j)^(2k) c_j^2, shape (k,).
    """
    factors = (1 - step_size * eigenvalues).abs()
    return (factors[None, :] ** (2 * steps[:, None]) * coordinates.square()).sum(dim=1)


def linearised_flow_misfit(eigenvalues: Tensor, coordinates: Tensor, times: Tensor) -> Tensor:
    """||u(t) - y||^2 of gradient flow with a Gram matrix that does not move, shape (k,)."""
    decay = torch.exp(-2 * eigenvalues[None, :] * times[:, None])
    misfits: Tensor = (decay * coordinates.square()).sum(dim=1)
    return misfits


def linearised_distances(
    network: TwoLayer, x: Tensor, y: Tensor, gram: Tensor, *, step_size: float, steps: int
) -> Tensor:
    """||w_r(k) - w_r(0)|| of gradient descent if no activation flipped and `gram` ruled.

    The residual then follows (I - eta gram)^k (u(0) - y), and each unit adds up its gradients.

    Args:
        network: at initialisation, of width m.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        gram: shape (n, n); H(0), or its infinite-width limit.
        step_size: eta.
        steps: k.

    Returns:
        Shape (m,).
    """
    preactivations = network.preactivations(x)
    residual = network.predict_from(preactivations) - y
    total = torch.zeros_like(residual)
    for _ in range(steps):
        total = total + step_size * residual
        residual = residual - step_size * torch.mv(gram, residual)
    distances: Tensor = network.weight_gradient(x, preactivations, total).norm(dim=1)
    return distances


class _Notebook:
    """Collects observables at the steps they ask for."""

    def __init__(self, record: Mapping[str, Observable | Every]) -> None:
        self._record = {
            name: item if isinstance(item, Every) else Every(1, item)
            for name, item in record.items()
        }
        self._at: dict[str, list[float]] = {name: [] for name in record}
        self._values: dict[str, list[float]] = {name: [] for name in record}

    def note(self, state: State, *, last: bool) -> None:
        for name, item in self._record.items():
            if last or state.step % item.steps == 0:
                self._at[name].append(state.step)
                self._values[name].append(item.observable(state))

    def trajectory(self, network: TwoLayer, diverged_at: int | None = None) -> Trajectory:
        return Trajectory(
            {name: np.array(at) for name, at in self._at.items()},
            {name: np.array(values) for name, values in self._values.items()},
            network,
            diverged_at,
        )
