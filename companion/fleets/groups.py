"""The members of one shape from their first step to the end of the last one's run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from companion.fleets.parties import Member, Party, Task
from companion.monitors import Log
from companion.networks import ReLUNetwork
from companion.training import Ending, History, Stop
from companion.training.run import below, within

# How a member ended: the network, its steps, and why.
End = tuple[ReLUNetwork, float, Ending]


class Group:
    """The members of one shape: those under way, and what is left of those that have ended.

    What they need in memory is taken when the first step is asked for, and given back at the end.

    Args:
        members: of one shape.
        task: of the fleet.
        resting: whether members that come to the budget are kept as they are, so that a checkpoint
            can go on with them.
    """

    def __init__(self, members: Sequence[Member], task: Task, resting: bool) -> None:
        self._members, self._task, self._resting = list(members), task, resting
        self._party: Party | None = None
        self._begun = False
        # What was recorded, by the places of the members that recorded it together.
        self._logs: list[tuple[list[int], Log]] = []
        self._ended: dict[int, End] = {}
        # The same of members at the budget, for this time.
        self._last: list[tuple[list[int], Log]] = []
        self._stopped: dict[int, End] = {}

    @property
    def places(self) -> list[int]:
        """Of the members."""
        return [member.place for member in self._members]

    @property
    def step(self) -> float:
        """The most steps that any member has made."""
        ended = [step for _, step, _ in self._ended.values()]
        return max([*ended, 0 if self._party is None else self._party.run.step])

    def steps(self, stop: Stop | None, budget: int) -> Iterator[float]:
        """Make the steps; yields their number at every state from which the group can go on."""
        if not self._begun:
            self._party, self._begun = Party.begin(self._members, self._task), True
        while self._party is not None:
            run = self._party.run
            yield run.step
            moment = run.moment()
            run.log.note(moment)
            endings = run.endings(moment, stop, budget)
            if all(ending == "budget" for ending in endings):
                self._rest(self._party)
                return
            if any(endings):
                # The budget's own wait for the next look, at which they are all that is left.
                self._part(self._party, [None if e == "budget" else e for e in endings])
            else:
                run.descend(moment)

    def histories(self) -> dict[int, History]:
        """Place -> what was recorded so far."""
        logs, ends = [*self._logs, *self._last], {**self._ended, **self._stopped}
        if self._party is not None:
            run, networks = self._party.run, self._party.networks
            logs.insert(len(self._logs), (self._party.places, run.log))
            under_way: Ending = "interrupted"
            for slot, place in enumerate(self._party.places):
                ends.setdefault(place, (networks.member(slot), run.step, under_way))
        arrays = [(places, log.at, log.arrays()) for places, log in logs]
        return {
            member.place: _history(
                member.place, arrays, ends.get(member.place, (member.network, 0, "interrupted"))
            )
            for member in self._members
        }

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that it takes to go on from here; see `Run.state`."""
        told: dict[str, Any] = {
            "begun": self._begun,
            "logs": [],
            "ended": [(place, step, how) for place, (_, step, how) in self._ended.items()],
        }
        tensors: dict[str, Tensor] = {}
        for number, (places, log) in enumerate(self._logs):
            own, values = log.state()
            told["logs"].append((places, own))
            tensors |= below(f"log {number}", values)
        for place, (network, _, _) in self._ended.items():
            tensors |= {f"ended {place}/{k}": item for k, item in enumerate(network.parameters)}
        if self._party is not None:
            run, own_tensors = self._party.run.state()
            told |= {"run": run, "places": self._party.places}
            tensors |= below("run", own_tensors)
        return told, tensors

    def restore(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._begun = told["begun"]
        of_place = {member.place: member for member in self._members}
        for number, (places, own) in enumerate(told["logs"]):
            log = Log(self._task.record, leading=1)
            log.restore(own, within(f"log {number}", tensors))
            self._logs.append((places, log))
        for place, step, how in told["ended"]:
            network = of_place[place].network
            ended = [tensors[f"ended {place}/{k}"] for k in range(len(network.parameters))]
            here = [tensor.to(network.outputs.device) for tensor in ended]
            self._ended[place] = network.moved(here), step, how
        if "run" in told:
            under_way = [of_place[place] for place in told["places"]]
            self._party = Party.begin(under_way, self._task)
            self._party.run.restore(told["run"], within("run", tensors))

    def _part(self, party: Party, endings: Sequence[Ending | None]) -> None:
        """Go on without those whose run ends, when all of theirs has been recorded."""
        leaving = [slot for slot, ending in enumerate(endings) if ending is not None]
        staying = [slot for slot, ending in enumerate(endings) if ending is None]
        gone, ends = self._end(party, leaving, [ending for ending in endings if ending])
        self._logs += [(party.places, party.run.log), gone]
        self._ended |= ends
        self._party = party.part(staying) if staying else None

    def _rest(self, party: Party) -> None:
        """End all that are left, at the budget."""
        everyone = range(len(party.members))
        gone, self._stopped = self._end(party, everyone, ["budget"] * len(party.members))
        self._last = [gone]
        if not self._resting:
            self._last = [(party.places, party.run.log), gone]
            self._party = None

    @staticmethod
    def _end(
        party: Party, slots: Sequence[int], endings: Sequence[Ending]
    ) -> tuple[tuple[list[int], Log], dict[int, End]]:
        """What those members record once more at their end, and how they are then."""
        gone = party.part(slots)
        gone.run.log.note(gone.run.moment(last=True), last=True)
        networks, step = gone.networks, gone.run.step
        ends = {
            place: (networks.member(slot), step, ending)
            for slot, (place, ending) in enumerate(zip(gone.places, endings, strict=True))
        }
        return (gone.places, gone.run.log), ends


def _history(
    place: int,
    recorded: Sequence[tuple[list[int], Mapping[str, list[float]], Mapping[str, np.ndarray]]],
    end: End,
) -> History:
    """One member's part of what was recorded together."""
    own = [(at, values, places.index(place)) for places, at, values in recorded if place in places]
    names = own[0][0] if own else {}
    at = {name: np.array([step for each, _, _ in own for step in each[name]]) for name in names}
    values = {
        name: [found[name][:, slot] for each, found, slot in own if each[name]] for name in names
    }
    joined = {name: np.concatenate(some) if some else np.zeros(0) for name, some in values.items()}
    return History(at, joined, *end)
