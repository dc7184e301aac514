"""Gradient flow: descent with infinitely small steps."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor
from torchdiffeq import odeint

from companion.base.arguments import check_type, positive, real
from companion.errors import InputError
from companion.losses import Loss
from companion.monitors import Record
from companion.networks import ReLUNetwork
from companion.training.checkpoints import nothing_lost
from companion.training.history import History, history_of
from companion.training.run import Run, check_data


def flow(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    times: Iterable[float],
    record: Record,
    tolerance: float = 1e-5,
) -> History:
    """Gradient flow dW/dt = -grad L_S(W) by an adaptive Dormand-Prince solver (torchdiffeq).

    Args:
        network: at time 0; it is not changed.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example; the flow decreases its mean.
        times: increasing, starting at 0; monitors are recorded at each.
        record: name -> monitor.
        tolerance: relative and absolute error the solver keeps per step. The right-hand side
            jumps where a unit switches, so narrow networks cost more.

    Raises:
        InputError: arguments of another type, inputs or labels that do not fit, times that do not
            start at 0 or increase, a tolerance that is not positive, or a monitor as in `train`.

    Whatever is raised later has an attribute `history`, as in `train`.
    """
    check_data(network, x, y, loss)
    check_type("times", times, Iterable, "a list of numbers")
    grid = torch.tensor([real("a time", time) for time in times], dtype=torch.float64)
    if len(grid) < 2 or grid[0] != 0 or not bool((grid.diff() > 0).all()):
        raise InputError("times must start at 0 and increase, with at least two of them.")
    tolerance = positive("tolerance", tolerance)
    run = Run.of(network, x, y, loss, record)
    run.log.note(run.moment())

    # The solver runs by the clock of the summed loss: its first step, which depends on the unit of
    # time, would be some thirty times too short by that of the mean, anew in every interval.
    n = len(y)

    def velocity(_: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        moment = replace(run.moment(), network=run.initial.moved(parameters), watchers=())
        return tuple(-n * gradient for gradient in moment.gradients)

    with torch.no_grad(), nothing_lost(run):
        # Interval by interval: recorded states are steps of the solver, not its interpolation.
        for time, span in zip(grid[1:], (grid / n).to(x.device).unfold(0, 2, 1), strict=True):
            solution = odeint(
                velocity, tuple(run.parameters), span, rtol=tolerance, atol=tolerance,
                method="dopri5", options={"step_t": span[1:]},
            )  # fmt: skip
            run.parameters = [values[-1] for values in solution]
            run.step = float(time)
            run.log.note(run.moment(last=True), last=True)
        return history_of(run.log, run.moment(last=True), "budget")


def prediction_velocity(network: ReLUNetwork, x: Tensor, y: Tensor, *, loss: Loss) -> Tensor:
    """du/dt of gradient flow: the derivative of the predictions along minus the gradient.

    By automatic differentiation of the forward pass, so that it can be compared with Gram
    matrices: of the mean loss it is -K l'(u) / n.

    Args:
        network: with no preactivation at 0, where there is no derivative.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example.

    Returns:
        Shape (n,).

    Raises:
        InputError: arguments of another type, or inputs or labels that do not fit.
    """
    check_data(network, x, y, loss)
    moment = Run.of(network, x, y, loss, None).moment()
    direction = tuple(-gradient for gradient in moment.gradients)
    with torch.enable_grad():
        _, velocity = torch.autograd.functional.jvp(  # type: ignore[no-untyped-call]
            lambda *parameters: moment.network.moved(parameters).predict(x),
            moment.network.parameters,
            direction,
        )
    found: Tensor = velocity
    return found
