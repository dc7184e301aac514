"""What a fleet takes in memory, and how it is divided so that it takes no more than it may."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

from companion.errors import InputError
from companion.fleets.parties import Member
from companion.networks import ReLUNetwork, check_network
from companion.training import GRADIENT_DESCENT, Optimiser
from companion.training.discrete import held_per_input

Item = TypeVar("Item")


def fleet_memory(
    networks: Iterable[ReLUNetwork] | Mapping[Any, ReLUNetwork],
    count: int,
    dimension: int,
    optimiser: Optimiser = GRADIENT_DESCENT,
    *,
    subsets: bool = False,
) -> int:
    """Bytes that `train_fleet` takes, monitors apart, for n = `count` inputs of that dimension.

    Args:
        networks: to be trained.
        count: n, of every member.
        dimension: d.
        optimiser: that trains them.
        subsets: whether every member has inputs of its own.
    """
    given = [*networks.values()] if isinstance(networks, Mapping) else [*networks]
    for network in given:
        check_network(network)
    return max(
        _memory(group[0], len(group), count, dimension, optimiser, subsets)
        for group in _alike(given, shape_of)
    )


def divided(
    members: Sequence[Member], count: int, optimiser: Optimiser, budget: float | None
) -> Iterator[Sequence[Member]]:
    """Members that train together: of one shape, and few enough for the memory.

    Args:
        members: of the fleet.
        count: n, of inputs.
        optimiser: that trains them.
        budget: bytes, or None.

    Raises:
        InputError: one member takes more than the budget.
    """
    for group in _alike(members, _trained_alike):
        first, most = group[0], len(group)
        own = count if first.subset is None else len(first.subset)
        case = (own, first.network.dimension, optimiser, first.subset is not None)
        while budget is not None and (needed := _memory(first.network, most, *case)) > budget:
            if most == 1:
                raise InputError(
                    f"memory_budget is {budget:.3g} bytes; one network of widths "
                    f"{first.network.widths} on {own} inputs needs {needed:.3g}."
                )
            most = (most + 1) // 2
        yield from (group[start : start + most] for start in range(0, len(group), most))


def shape_of(network: ReLUNetwork) -> Hashable:
    """What networks have in common that are layers of one stack."""
    return (
        network.widths, network.gains, network.output_gain, network.trained, network.on_at_zero
    )  # fmt: skip


def _trained_alike(member: Member) -> Hashable:
    batches = member.batches and (member.batches.size, member.batches.order)
    return shape_of(member.network), batches, None if member.subset is None else len(member.subset)


def _alike(items: Sequence[Item], kind: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items by their kind, in the order in which the kinds come up."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return list(groups.values())


def _memory(
    network: ReLUNetwork, fleet: int, count: int, dimension: int, optimiser: Optimiser, own: bool
) -> int:
    """Bytes for so many networks of that shape, with inputs of their own or with the same."""
    inner = min(count, dimension) if optimiser.linear and not own else dimension
    below = [inner, *network.widths]
    weights = sum(m * inputs for m, inputs in zip(network.widths, below, strict=False))
    numbers = fleet * count * held_per_input(network)
    numbers += 2 * count * inner * (fleet if own else 1)
    # The most at the end, where what is left of the members is copied out of what they trained in.
    numbers += max(5 + 2 * optimiser.copies, 4 + 3 * optimiser.copies) * fleet * weights
    if inner < dimension:  # the basis of the inputs' span, and the first layers out of it
        numbers += dimension * (count + 3 * fleet * network.widths[0])
    places = torch.int64.itemsize * fleet * count if own else 0
    return network.outputs.element_size() * numbers + places
