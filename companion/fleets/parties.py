"""Members of one shape that make their steps together, and what single monitors see of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from companion.draws import Batches
from companion.fleets.rotation import Rotation
from companion.losses import Loss
from companion.monitors import Every, Log, Moment, Monitor, Watcher, as_numbers
from companion.networks import Pass, ReLUNetwork
from companion.stacks import Stack
from companion.training.optimisers import Optimiser, Schedule
from companion.training.run import Course, Descent, Run


@dataclass(frozen=True)
class Member:
    """One network of a fleet, and what is its own.

    Attributes:
        place: in the order in which the networks were given.
        network: at initialisation.
        step_size: eta.
        batches: of SGD, or None.
        subset: indices of its examples, or None for all of them.
    """

    place: int
    network: ReLUNetwork
    step_size: float
    batches: Batches | None
    subset: Tensor | None


@dataclass(frozen=True)
class Task:
    """What the members of a fleet have in common.

    Attributes:
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        loss: of one example.
        record: name -> monitor and when.
        optimiser: what a step does with the gradient.
        schedule: of the step size, or None.
        rotation: into the coordinates in which they train, or None.
        coordinates: the inputs in these, shape (n, n), or x.
    """

    x: Tensor
    y: Tensor
    loss: Loss
    record: Mapping[str, Every]
    optimiser: Optimiser
    schedule: Schedule | None
    rotation: Rotation | None
    coordinates: Tensor

    @cached_property
    def by_columns(self) -> Tensor:
        """The inputs in the layout in which a network alone sees them."""
        return self.x.T.contiguous().T

    @cached_property
    def columns(self) -> Tensor:
        """The coordinates in that layout, once for all parties."""
        return self.by_columns if self.rotation is None else self.coordinates.T.contiguous().T

    @cached_property
    def rows(self) -> Tensor:
        """The coordinates by rows, from which a batch is gathered several times as fast."""
        return self.coordinates.contiguous()


class Party:
    """Members of one shape that make their steps together.

    Args:
        members: of one shape, batches of one size and order, and subsets of one size.
        task: of the fleet.
        initial: the members' networks at initialisation, in the coordinates in which they train.
        x: their inputs, shape (n, d), or (F, n, d) where members have their own.
        y: their labels, shape (n,) or (F, n).
        courses: what the looks at each have seen.
    """

    def __init__(
        self,
        members: Sequence[Member],
        task: Task,
        initial: Stack,
        x: Tensor,
        y: Tensor,
        courses: list[Course],
    ) -> None:
        self.members, self._task, self._initial = list(members), task, initial
        record = {
            name: item if getattr(item.monitor, "together", False) else self._each(item)
            for name, item in task.record.items()
        }
        log, descent = Log(record, leading=1), self._descent()
        self.run = Run(initial, x, y, task.loss, log, descent, courses=courses)
        if descent.batches and x.dim() == 2:
            self.run.x = task.rows

    @classmethod
    def begin(cls, members: Sequence[Member], task: Task) -> "Party":
        """The members before their first step."""
        networks = [member.network for member in members]
        inside = networks if task.rotation is None else task.rotation.into(networks)
        subsets = [member.subset for member in members if member.subset is not None]
        if subsets:
            rows = torch.stack(subsets)
            x, y = task.coordinates.T[:, rows].movedim(0, 1).mT, task.y[rows]
        else:
            x, y = task.columns, task.y
        return cls(members, task, Stack.of(inside), x, y, [Course() for _ in members])

    def part(self, slots: Sequence[int]) -> "Party":
        """Those of the members with all that is theirs, to go on by themselves."""
        old, chosen = self.run, torch.tensor(slots, device=self.run.y.device)
        shared = old.y.dim() == 1 or len(slots) == len(self.members)
        x, y = old.by_columns, old.y
        if not shared:
            x, y = x[chosen], y[chosen]
        members = [self.members[slot] for slot in slots]
        courses = [replace(old.courses[slot]) for slot in slots]
        party = Party(members, self._task, self._initial.members(chosen), x, y, courses)
        run = party.run
        run.network = run.initial.moved([parameter[chosen] for parameter in old.parameters])
        run.kept = [[tensor[chosen] for tensor in own] for own in old.kept]
        run.step, run.product = old.step, old.product
        run.log.follow(old.log)
        run.memories = {
            name: {key: kept[chosen] for key, kept in memory.items()}
            if name in self._task.record
            else memory
            for name, memory in old.memories.items()
        }
        return party

    @property
    def places(self) -> list[int]:
        """Of the members, in their order."""
        return [member.place for member in self.members]

    @property
    def networks(self) -> Stack:
        """As they are, in the inputs' own coordinates."""
        return self._outside(self.run.network)

    def _descent(self) -> Descent:
        """How the members descend; what all have in common is one."""
        sizes = tuple(member.step_size for member in self.members)
        batches = tuple(member.batches for member in self.members if member.batches is not None)
        return Descent(
            sizes[0] if len(set(sizes)) == 1 else sizes,
            batches[:1] if len(set(batches)) == 1 else batches,
            self._task.optimiser,
            self._task.schedule,
        )

    def _each(self, item: Every) -> Every:
        """The values of a monitor that takes one network, stacked over the members."""

        def each(moment: Moment) -> Tensor:
            nets = self._outside(moment.network)
            ones = [self._one(moment, nets, slot, item.monitor) for slot in range(len(nets))]
            return torch.stack([as_numbers(moment.name, item.monitor(one)) for one in ones])

        return Every(item.steps, each)

    def _outside(self, networks: ReLUNetwork) -> Stack:
        assert isinstance(networks, Stack)
        rotation = self._task.rotation
        if rotation is None:
            return networks
        return rotation.out_of(networks, [member.network for member in self.members])

    def _one(self, moment: Moment, networks: Stack, slot: int, monitor: Monitor) -> "_OneOfMany":
        member, task = self.members[slot], self._task
        x, y = task.by_columns, task.y
        if member.subset is not None:
            x, y = task.x[member.subset], task.y[member.subset]
        name = f"{moment.name} of member {member.place}"
        watchers: dict[str, Watcher] = {name: monitor} if isinstance(monitor, Watcher) else {}
        return _OneOfMany(
            networks.member(slot), member.network, x, y, task.loss, moment.step, moment.memories,
            watchers, name, whole=moment, slot=slot,
        )  # fmt: skip


@dataclass
class _OneOfMany(Moment):
    """The moment of one member, whose forward pass is a part of the fleet's."""

    whole: Moment | None = None
    slot: int = 0

    @cached_property
    def forward(self) -> Pass:
        """The forward pass over x."""
        assert self.whole is not None
        passed = self.whole.forward
        hidden, gates = (
            [layer[self.slot] for layer in layers] for layers in (passed.hidden[1:], passed.gates)
        )
        for gate in gates:
            self._watch(gate)
        return Pass([self.x, *hidden], gates, passed.predictions[self.slot])
