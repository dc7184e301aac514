"""Gradient flow: descent with infinitely small steps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchdiffeq import odeint
from tqdm import tqdm

from companion import matmul
from companion.base.arguments import check_type, positive, real, whole
from companion.base.interrupts import uninterrupted
from companion.errors import InputError
from companion.losses import Loss
from companion.monitors import Log, Record
from companion.networks import ReLUNetwork
from companion.training.checkpoints import Checkpoint, Kept, deciding, nothing_lost
from companion.training.history import Ending, History
from companion.training.run import Run, Stop, check_data, check_stop

# Of an interval between two times; taken whatever its error, which so short a step has not.
_LEAST_STEP = 1e-12


def flow(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss | str,
    times: Iterable[float],
    record: Record,
    tolerance: float = 1e-5,
    most_evaluations: int = 1_000_000,
    stop: Stop | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> History:
    """Gradient flow dW/dt = -grad L_S(W) by an adaptive Dormand-Prince solver (torchdiffeq).

    Args:
        network: at time 0; it is not changed.
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), likewise.
        loss: of one example, or its name; the flow decreases its mean.
        times: increasing, starting at 0; monitors are recorded at each.
        record: name -> monitor.
        tolerance: relative and absolute error the solver keeps per step. The right-hand side
            jumps where a unit switches, so narrow networks cost more.
        most_evaluations: of the gradient, six for every step that the solver tries; a flow that
            slides along a kink takes ever smaller ones. A run that goes on from a checkpoint
            counts anew.
        stop: looked up at every time; `every` and `plateau` count times, not steps.
        checkpoint: where to keep the run, from one of the times to the next.
        progress: show a bar.

    Raises:
        InputError: arguments of another type, inputs or labels that do not fit, times that do not
            start at 0 or increase, a tolerance that is not positive, a checkpoint or a monitor as
            in `train`; later, more evaluations than allowed, or a flow that the solver cannot
            follow.

    Whatever is raised later has an attribute `history`, as in `train`.
    """
    x, y, loss = check_data(network, x, y, loss)
    check_type("times", times, Iterable, "a list of numbers")
    grid = torch.tensor([real("a time", time) for time in times], dtype=torch.float64)
    if len(grid) < 2 or grid[0] != 0 or not bool((grid.diff() > 0).all()):
        raise InputError("times must start at 0 and increase, with at least two of them.")
    tolerance = positive("tolerance", tolerance)
    counted = _Counted(whole("most_evaluations", most_evaluations, least=1))
    check_stop(stop)
    run = Run(network.detached(), x, y, loss, Log(record))
    kept = None
    if checkpoint is not None:
        # Where the times lie decides where the solver's steps end.
        how = deciding(run, tolerance=tolerance, times=grid)
        kept = Kept(checkpoint, run, how, float(grid[-1]))
    begun = int((grid < run.step).sum())
    ending: Ending | None = None
    with (
        torch.no_grad(),
        matmul.using(product=run.product),
        tqdm(total=len(grid) - 1, initial=begun, disable=not progress) as bar,
        nothing_lost(run.history, kept),
    ):
        # Interval by interval: recorded states are steps of the solver, not its interpolation.
        for place in range(begun, len(grid)):
            if run.step < float(grid[place]):
                _advance(run, grid[place - 1 : place + 1], tolerance, counted)
                bar.update()
            if kept is not None:
                kept.save_when_due()
            moment = run.moment(last=True)
            run.log.note(moment, last=True)
            (ending,) = run.endings(moment, stop, float(grid[-1]), place)
            if ending is not None:
                break
        if kept is not None:
            kept.save()
        return run.history(ending or "budget")


@dataclass
class _Counted:
    """Evaluations of the gradient, of which there may be so many."""

    most: int
    made: int = 0

    def one_more(self, time: float) -> None:
        if self.made >= self.most:
            raise InputError(
                f"the flow has taken {self.made} evaluations of the gradient by time {time:g}, as "
                "many as most_evaluations allows; take a larger tolerance, earlier times, or "
                "descent with small steps."
            )
        self.made += 1


def _advance(run: Run, interval: Tensor, tolerance: float, counted: _Counted) -> None:
    """Follow the flow from one time to the next."""
    # The solver runs by the clock of the summed loss: its first step, which depends on the unit of
    # time, would be some thirty times too short by that of the mean, anew in every interval.
    n = len(run.y)

    def velocity(_: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        counted.one_more(run.step)
        moment = replace(run.moment(), network=run.initial.moved(parameters), watchers={})
        return tuple(-n * gradient for gradient in moment.gradients)

    span = (interval / n).to(run.x.device)
    # Where a trial step overflows, torchdiffeq goes back to the least step, which else is 0.
    options = {"step_t": span[1:], "min_step": _LEAST_STEP * float(interval.diff()) / n}
    try:
        solution = odeint(
            velocity, run.parameters, span, rtol=tolerance, atol=tolerance,
            method="dopri5", options=options,
        )  # fmt: skip
    except AssertionError as stuck:  # so torchdiffeq says that no step is small enough
        raise InputError(
            f"the flow cannot be followed beyond time {run.step:g} to tolerance {tolerance:g} "
            f"({stuck}); take a larger tolerance, earlier times, or descent with small steps."
        ) from None
    with uninterrupted():
        run.network = run.initial.moved([values[-1] for values in solution])
        run.step = float(interval[1])


def prediction_velocity(network: ReLUNetwork, x: Tensor, y: Tensor, *, loss: Loss | str) -> Tensor:
    """du/dt of gradient flow: the derivative of the predictions along minus the gradient.

    By automatic differentiation of the forward pass, so that it can be compared with Gram
    matrices: of the mean loss it is -K l'(u) / n.

    Args:
        network: with no preactivation at 0, where there is no derivative.
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), likewise.
        loss: of one example, or its name.

    Returns:
        Shape (n,).

    Raises:
        InputError: arguments of another type, or inputs or labels that do not fit.
    """
    x, y, loss = check_data(network, x, y, loss)
    moment = Run(network.detached(), x, y, loss, Log({})).moment()
    direction = tuple(-gradient for gradient in moment.gradients)
    with torch.enable_grad():
        _, velocity = torch.autograd.functional.jvp(  # type: ignore[no-untyped-call]
            lambda *parameters: moment.network.moved(parameters).predict(x),
            moment.network.parameters,
            direction,
        )
    found: Tensor = velocity
    return found
