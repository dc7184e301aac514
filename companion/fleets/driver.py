"""Many networks on the same data, trained together shape by shape."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from companion import matmul
from companion.base.arguments import check_type, tensor
from companion.draws import Batches
from companion.errors import InputError
from companion.fleets.groups import Group
from companion.fleets.memory import divided
from companion.fleets.parties import Member, Task
from companion.fleets.rotation import Rotation, span
from companion.losses import Loss
from companion.monitors import Log, Record
from companion.networks import ReLUNetwork, check_inputs
from companion.training import GRADIENT_DESCENT, Checkpoint, History, Optimiser, Schedule, Stop
from companion.training.checkpoints import Kept, monitors_by_content, nothing_lost
from companion.training.run import (
    DIVERGENCE_ONLY,
    below,
    check_budget,
    check_data,
    check_descent,
    within,
)  # fmt: skip

Item = TypeVar("Item")


def train_fleet(
    networks: Iterable[ReLUNetwork] | Mapping[Any, ReLUNetwork],
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss | str,
    step_size: float | Iterable[float],
    steps: int,
    batches: Batches | Iterable[Batches] | None = None,
    subsets: Iterable[Tensor] | None = None,
    optimiser: Optimiser = GRADIENT_DESCENT,
    schedule: Schedule | None = None,
    record: Record | None = None,
    stop: Stop | None = DIVERGENCE_ONLY,
    checkpoint: Checkpoint | None = None,
    memory_budget: float | None = None,
    rotate: bool = True,
    progress: bool = False,
) -> list[History]:
    """`train` for many networks at once; each result is that of training the network alone.

    Equal up to rounding, that is: sums run in another order. Networks of one shape make their steps
    together, one shape after another. A member leaves when its run ends. `fleet_memory` says
    beforehand what it takes.

    Args:
        networks: of any shapes for inputs of one length, in a list or under keys of one's own; they
            are not changed.
        x: inputs, shape (n, d), a tensor or a NumPy array.
        y: labels, shape (n,), likewise.
        loss: of one example, or its name.
        step_size: eta, for all members or one for each.
        steps: the budget.
        batches: of SGD, the same for all members or one for each, with a seed of its own; None for
            full batches.
        subsets: for each member the indices of its examples, shape (k,); without them all have all.
        optimiser: as in `train`.
        schedule: as in `train`.
        record: as in `train`. The monitors of this package measure all members at once, but for
            those that need a Gram matrix; a monitor of one's own is shown one member after another,
            unless it is marked with `together`.
        stop: as in `train`, looked up for all members at once.
        checkpoint: where to keep the fleet.
        memory_budget: bytes that training may take, monitors apart; networks of one shape that take
            more are divided. Without it, what `fleet_memory` says.
        rotate: train in coordinates of the inputs' own span, see `span`, where that is smaller and
            the optimiser's steps are sums of gradients.
        progress: show a bar.

    Returns:
        One history a member, in the order given, with its key or its place in the list as `key`.

    Raises:
        InputError: as `train`; no member, another number of step sizes, batches or subsets, or a
            memory budget that one member exceeds.

    Whatever is raised once steps were made has an attribute `history`, the members' histories so
    far in the order given, and the checkpoint, if there is one, has been written.

    Example:
        >>> x = sphere(count=4, dimension=5, seed=0).x.float()
        >>> fleet = {width: draw_chen(width, dimension=5, seed=0, depth=2) for width in (8, 16)}
        >>> runs = train_fleet(fleet, x, x[:, 0].sign(), loss=CROSS_ENTROPY, step_size=0.1, steps=3)
        >>> [(run.key, run.ending, run.steps) for run in runs]
        [(8, 'budget', 3), (16, 'budget', 3)]
    """
    keys, given = _listed(networks)
    x, y, loss = check_data(given[0], x, y, loss)
    members = _members(given, step_size, batches, subsets, x)
    for member in members:
        descent = check_descent(member.step_size, member.batches, optimiser, schedule)
        own = len(y) if member.subset is None else len(member.subset)
        steps = check_budget(steps, stop, descent, own)
    rotation, coordinates = None, x
    if rotate and optimiser.linear and len(x) < x.shape[1]:
        basis, coordinates = span(x)
        rotation = Rotation(basis)
    by_name = Log({} if record is None else record).record
    task = Task(x, y, loss, by_name, optimiser, schedule, rotation, coordinates)
    groups = divided(members, len(y), optimiser, memory_budget)
    resting = checkpoint is not None
    fleet = _Fleet(keys, [Group(group, task, resting) for group in groups], x.device)
    kept = None
    if checkpoint is not None:
        kept = Kept(checkpoint, fleet, _deciding(members, task, fleet), steps)
    with (
        torch.no_grad(),
        matmul.using(product=fleet.product),
        tqdm(total=steps * len(fleet.groups), disable=not progress) as bar,
        nothing_lost(fleet.histories, kept),
    ):
        for number, group in enumerate(fleet.groups):
            for step in group.steps(stop, steps):
                if kept is not None:
                    kept.save_when_due()
                bar.update(number * steps + int(step) - bar.n)
        if kept is not None:
            kept.save()
        return fleet.histories()


class _Fleet:
    """All groups, as a checkpoint sees them."""

    def __init__(
        self, keys: Sequence[Hashable], groups: Sequence[Group], device: torch.device
    ) -> None:
        self._keys, self.groups = keys, groups
        self.product = matmul.chosen_product(device)

    @property
    def step(self) -> float:
        """The most steps that any member has made."""
        return max(group.step for group in self.groups)

    def histories(self) -> list[History]:
        """Of all members, in the order of their places."""
        found: dict[int, History] = {}
        for group in self.groups:
            found |= group.histories()
        return [replace(found[place], key=key) for place, key in enumerate(self._keys)]

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Of every group."""
        states = [group.state() for group in self.groups]
        tensors: dict[str, Tensor] = {}
        for number, (_, own) in enumerate(states):
            tensors |= below(str(number), own)
        return {"product": self.product, "groups": [told for told, _ in states]}, tensors

    def restore(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.product = told["product"]
        for number, (group, own) in enumerate(zip(self.groups, told["groups"], strict=True)):
            group.restore(own, within(str(number), tensors))


def _deciding(members: Sequence[Member], task: Task, fleet: _Fleet) -> dict[str, object]:
    """What decides a fleet's runs, part by part, for `Kept`."""
    return {
        "inputs": task.x,
        "labels": task.y,
        "networks": [[*vars(member.network).values()] for member in members],
        "loss": task.loss,
        "step sizes": [member.step_size for member in members],
        "batches": [member.batches for member in members],
        "subsets": [member.subset for member in members],
        "optimiser": task.optimiser,
        "schedule": task.schedule,
        "coordinates": task.coordinates,
        "division by memory": [group.places for group in fleet.groups],
        **monitors_by_content(task.record),
    }


def _listed(
    networks: Iterable[ReLUNetwork] | Mapping[Any, ReLUNetwork],
) -> tuple[list[Hashable], list[ReLUNetwork]]:
    """Keys and networks; of a list the places are the keys."""
    check_type("networks", networks, Iterable, "a list of networks, or a mapping to them")
    pairs = [*networks.items()] if isinstance(networks, Mapping) else [*enumerate(networks)]
    if not pairs:
        raise InputError("the fleet is empty; give at least one network.")
    return [key for key, _ in pairs], [network for _, network in pairs]


def _members(
    networks: Sequence[ReLUNetwork],
    step_size: float | Iterable[float],
    batches: Batches | Iterable[Batches] | None,
    subsets: Iterable[Tensor] | None,
    x: Tensor,
) -> list[Member]:
    """The networks with what is their own."""
    for network in networks:
        check_inputs(network, x)
    many = len(networks)
    columns = zip(
        networks,
        _for_each("step sizes", step_size, many),
        _for_each("batches", batches, many),
        _for_each("subsets", subsets, many),
        strict=True,
    )
    return [
        Member(place, network.detached(), size, own, None if rows is None else _rows(rows, x))
        for place, (network, size, own, rows) in enumerate(columns)
    ]


def _for_each(name: str, given: Any, many: int) -> list[Any]:
    """One for every member: that many, or one thing for all of them."""
    single = isinstance(given, str) or getattr(given, "ndim", 1) == 0
    if single or not isinstance(given, Iterable):
        return [given] * many
    each = list(given)
    if len(each) != many:
        raise InputError(
            f"{len(each)} {name} were given for {many} networks; give one for each of them."
        )
    return each


def _rows(subset: object, x: Tensor) -> Tensor:
    """Indices of a member's examples, on the device of the inputs."""
    rows = tensor("a subset", subset)
    whole = not rows.is_floating_point() and not rows.is_complex() and rows.dtype != torch.bool
    if rows.dim() != 1 or len(rows) == 0 or not whole:
        raise InputError(
            f"a subset is {rows.dtype} of shape {tuple(rows.shape)}; the indices of a member's "
            "examples are needed, shape (k,)."
        )
    if not 0 <= int(rows.min()) <= int(rows.max()) < len(x):
        raise InputError(f"a subset holds an index outside 0 to {len(x) - 1}.")
    return rows.to(x.device)
