"""Gradient descent, full-batch and stochastic."""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from companion import matmul
from companion.draws import Batches
from companion.losses import Loss
from companion.monitors import Log, Moment, Record
from companion.networks import ReLUNetwork, check_network
from companion.training.checkpoints import Checkpoint, Kept, deciding, nothing_lost, stepping
from companion.training.history import Ending, History
from companion.training.optimisers import GRADIENT_DESCENT, Optimiser, Schedule
from companion.training.run import (
    DIVERGENCE_ONLY,
    Run,
    Stop,
    check_budget,
    check_data,
    check_descent,
)


def train(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss | str,
    step_size: float,
    steps: int,
    batches: Batches | None = None,
    optimiser: Optimiser = GRADIENT_DESCENT,
    schedule: Schedule | None = None,
    record: Record | None = None,
    stop: Stop | None = DIVERGENCE_ONLY,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> History:
    """Gradient descent on the mean loss, W <- W - eta grad L_S(W), or SGD on batches.

    Zou et al. (2018, 2020), section 3; Chen et al. (2021), Algorithms 1 and 2.

    Args:
        network: at initialisation; it is not changed. Its convention decides what is trained.
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), likewise.
        loss: of one example, or its name, e.g. `cross-entropy`.
        step_size: eta > 0, for the mean loss; n times the one for a sum, as in Du et al. (2019).
        steps: the budget.
        batches: of SGD; None for full batches.
        optimiser: what a step does with the gradient: `Momentum()` or `Adam()` instead of descent.
        schedule: the factor of the step size at step 0, 1, ...: `Cosine(1000)`, or any function.
        record: name -> monitor, or `Every(steps, monitor)`. Monitors see all examples. With full
            batches they share the forward pass of the step; with batches each record costs one.
        stop: when to end early; None never looks, so that nothing waits for the device.
        checkpoint: where to keep the run.
        progress: show a bar.

    Raises:
        InputError: arguments of another type, inputs, labels, step size, steps or batches that do
            not fit, a checkpoint that cannot be written, is damaged or is of another run, or a
            monitor that gives no numbers; all before the first step. Later, a monitor that gives
            numbers of another shape.

    Whatever is raised once steps were made, KeyboardInterrupt too, has an attribute `history`, a
    `History` of the run so far, and the checkpoint, if there is one, has been written.
    """
    x, y, loss = check_data(network, x, y, loss)
    descent = check_descent(step_size, batches, optimiser, schedule)
    steps = check_budget(steps, stop, descent, len(y))
    run = Run(network.detached(), x, y, loss, Log({} if record is None else record), descent)
    kept = (
        None
        if checkpoint is None
        else Kept(checkpoint, run, deciding(run, **stepping(descent)), steps)
    )
    ending: Ending | None = None
    with (
        torch.no_grad(),
        matmul.using(product=run.product),
        tqdm(total=steps, initial=int(run.step), disable=not progress) as bar,
        nothing_lost(run.history, kept),
    ):
        for moment in run.moments():
            if kept is not None:
                kept.save_when_due()
            bar.update(run.step - bar.n)
            run.log.note(moment)
            (ending,) = run.endings(moment, stop, steps)
            if ending is not None:
                break
        # Before the last records, which a run with a larger budget would not make here.
        if kept is not None:
            kept.save()
        run.log.note(run.moment(last=True), last=True)
        return run.history(ending or "budget")


def descent(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss | str,
    step_size: float,
    batches: Batches | None = None,
    optimiser: Optimiser = GRADIENT_DESCENT,
    schedule: Schedule | None = None,
) -> Iterator[Moment]:
    """The moments of gradient descent one after another, for whoever looks at single steps.

    A moment lasts until the next is asked for: then its network's tensors change in place, while
    what its passes computed stays as it was.

    Args:
        network: at initialisation; it is not changed.
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), likewise.
        loss: of one example, or its name; its mean is minimised.
        step_size: eta > 0.
        batches: of SGD; None for full batches.
        optimiser: as in `train`.
        schedule: as in `train`.

    Yields:
        The moment before the first step, after one step, after two, ... without end; with batches
        of order `once` until all examples have been used.

    Raises:
        InputError: arguments as in `train`.
    """
    x, y, loss = check_data(network, x, y, loss)
    how = check_descent(step_size, batches, optimiser, schedule)
    check_budget(0, None, how, len(y))
    moments = Run(network.detached(), x, y, loss, Log({}), how).moments()
    if batches is not None and batches.order == "once":
        return islice(moments, 1 + math.ceil(len(x) / batches.size))
    return moments


def training_memory(
    network: ReLUNetwork, count: int, optimiser: Optimiser = GRADIENT_DESCENT
) -> int:
    """Bytes that `train` takes for n = `count` inputs, monitors apart, said before it runs.

    A `PatternDifference` adds one byte a unit and input.

    Args:
        network: to be trained.
        count: n, of inputs.
        optimiser: that trains it.
    """
    check_network(network)
    parameters = sum(parameter.numel() for parameter in network.parameters)
    numbers = count * (network.dimension + held_per_input(network))
    numbers += (2 + optimiser.copies) * parameters
    if optimiser.copies:  # what a step makes of them, parameter by parameter
        numbers += max(parameter.numel() for parameter in network.parameters)
    return network.outputs.element_size() * numbers


def held_per_input(network: ReLUNetwork) -> int:
    """Numbers that a step holds for each input: outputs, gates where they are apart, signals."""
    copies = 2 if network.on_at_zero else 1
    signals = 0 if network.trained == "output" else 2 * max(network.widths)
    return copies * sum(network.widths) + signals
