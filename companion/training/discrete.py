"""Gradient descent, full-batch and stochastic."""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from companion import matmul
from companion.base.arguments import check_type
from companion.draws import Batches
from companion.losses import Loss
from companion.monitors import Moment, Record
from companion.networks import ReLUNetwork, check_network
from companion.training.checkpoints import Checkpoint, Kept, nothing_lost
from companion.training.history import Ending, History, history_of
from companion.training.run import DIVERGENCE_ONLY, Run, Stop, check_run


def train(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    step_size: float,
    steps: int,
    batches: Batches | None = None,
    record: Record | None = None,
    stop: Stop | None = DIVERGENCE_ONLY,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> History:
    """Gradient descent on the mean loss, W <- W - eta grad L_S(W), or SGD on batches.

    Zou et al. (2018, 2020), section 3; Chen et al. (2021), Algorithms 1 and 2.

    Args:
        network: at initialisation; it is not changed. Its convention decides what is trained.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example.
        step_size: eta > 0, for the mean loss; n times the one for a sum, as in Du et al. (2019).
        steps: the budget.
        batches: of SGD; None for full batches.
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

    Whatever is raised once steps were made has an attribute `history`, a `History` of the run so
    far, and the checkpoint, if there is one, has been written.
    """
    step_size, steps = check_run(network, x, y, loss, step_size, steps, batches, stop)
    run = Run.of(network, x, y, loss, record)
    kept = None
    if checkpoint is not None:
        check_type("checkpoint", checkpoint, Checkpoint, "Checkpoint('run.npz')")
        kept = Kept(checkpoint, run, {"step size": step_size, "batches": batches}, steps)
    ending: Ending = "budget"
    with (
        torch.no_grad(),
        matmul.using(product=run.product),
        tqdm(total=steps, initial=run.step, disable=not progress) as bar,
        nothing_lost(run, kept),
    ):
        for moment in run.moments(step_size, batches):
            if kept is not None:
                kept.save_when_due()
            bar.update(run.step - bar.n)
            run.log.note(moment)
            found = run.ending(moment, stop, steps, batches)
            if found is not None:
                ending = found
                break
        if kept is not None:
            kept.save()
        return history_of(run.log, run.moment(last=True), ending)


def descent(
    network: ReLUNetwork,
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    step_size: float,
    batches: Batches | None = None,
) -> Iterator[Moment]:
    """The moments of gradient descent one after another, for whoever looks at single steps.

    A moment lasts until the next is asked for: then its network's tensors change in place, while
    what its passes computed stays as it was.

    Args:
        network: at initialisation; it is not changed.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example; its mean is minimised.
        step_size: eta > 0.
        batches: of SGD; None for full batches.

    Yields:
        The moment before the first step, after one step, after two, ... without end; with batches
        of order `once` until all examples have been used.

    Raises:
        InputError: arguments as in `train`.
    """
    step_size, _ = check_run(network, x, y, loss, step_size, 0, batches, None)
    moments = Run.of(network, x, y, loss, None).moments(step_size, batches)
    if batches is not None and batches.order == "once":
        return islice(moments, 1 + math.ceil(len(x) / batches.size))
    return moments


def training_memory(network: ReLUNetwork, count: int) -> int:
    """Bytes that `train` takes for n = `count` inputs, monitors apart, said before it runs.

    A `PatternDifference` adds one byte a unit and input.

    Args:
        network: to be trained.
        count: n, of inputs.
    """
    check_network(network)
    copies = 2 if network.on_at_zero else 1
    signals = 0 if network.trained == "output" else 2 * max(network.widths)
    units = copies * sum(network.widths) + signals
    parameters = sum(parameter.numel() for parameter in network.parameters)
    return network.outputs.element_size() * (count * (network.dimension + units) + 2 * parameters)
