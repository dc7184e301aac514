"""Many networks trained together on the same data, each as it would be alone.

Alone, narrow networks are rows of small matrix products. Here the first layers of all members are
one tall matrix and the later ones a batch, narrower members padded with units of weight 0, which
stay at 0. Everything is stored units first, so that no product copies a large factor.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import pad
from tqdm import tqdm

from companion.base.arguments import check_type, positive
from companion.draws import Batches
from companion.errors import InputError
from companion.losses import Loss
from companion.matmul import batched_product, product
from companion.monitors import Log, Moment, Record
from companion.networks import Pass, ReLUNetwork, check_inputs, check_network
from companion.training import (
    DIVERGENCE_ONLY,
    Ending,
    History,
    Stop,
    check_run,
    history_of,
    recorded,
)


def train_fleet(
    networks: Iterable[ReLUNetwork],
    x: Tensor,
    y: Tensor,
    *,
    loss: Loss,
    step_size: float | Iterable[float],
    steps: int,
    batches: Batches | None = None,
    record: Record | None = None,
    stop: Stop | None = DIVERGENCE_ONLY,
    rotate: bool = True,
    progress: bool = False,
) -> list[History]:
    """`train` for many networks at once; each result is that of training the network alone.

    Equal up to rounding, that is: sums run in another order. A member leaves the fleet when its
    run ends. `fleet_memory` says beforehand what it takes.

    Args:
        networks: of one parameterisation and depth, of any widths; they are not changed.
        x: inputs, shape (n, d), the same for all.
        y: labels, shape (n,).
        loss: of one example.
        step_size: eta, for all members or one for each.
        steps: the budget.
        batches: of SGD, the same for all members; None for full batches.
        record: as in `train`; every member has monitors of its own and pays for them.
        stop: as in `train`, looked up for all members at once.
        rotate: train in coordinates of the inputs' own span where that is smaller; see `span`.
        progress: show a bar.

    Returns:
        One history a member, in the order given.

    Raises:
        InputError: as `train`; no member, or members of different kinds.

    Whatever is raised once steps were made has an attribute `history`, the members' histories so
    far in the order given.

    Example:
        >>> x = sphere(count=4, dimension=5, seed=0).x.float()
        >>> fleet = [draw_chen(width, dimension=5, seed=0, depth=2) for width in (8, 16)]
        >>> runs = train_fleet(fleet, x, x[:, 0].sign(), loss=CROSS_ENTROPY, step_size=0.1, steps=3)
        >>> [(run.ending, run.steps) for run in runs]
        [('budget', 3), ('budget', 3)]
    """
    check_type("networks", networks, Iterable, "a list of networks")
    networks = list(networks)
    sizes = _sizes(step_size, len(networks))
    _check_alike(networks, sizes, x)
    _, steps = check_run(networks[0], x, y, loss, sizes[0], steps, batches, stop)
    networks = [network.detached() for network in networks]
    x, y = x.detach(), y.detach()
    basis, inside, coordinates = None, networks, x
    if rotate and len(x) < x.shape[1]:
        basis, coordinates = span(x)
        inside = _into(networks, basis)
    members = [
        _Member(place, network, size, Log({} if record is None else record))
        for place, (network, size) in enumerate(zip(inside, sizes, strict=True))
    ]
    together = _Together(members, coordinates, y, loss)

    def histories() -> list[History]:
        found = together.histories()
        return found if basis is None else _out_of(found, networks, basis)

    with (
        torch.no_grad(),
        tqdm(total=steps, disable=not progress) as bar,
        _nothing_lost(histories),
    ):
        while together.members:
            if not together.part(stop, steps, batches):
                together.descend(batches)
                bar.update()
    return histories()


def span(x: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal basis V of a space that holds the inputs, and the inputs in its coordinates.

    f depends on W_1 only through W_1 x, and descent moves W_1 only along the inputs. So training
    W_1 V on the inputs V^T x is training W_1 on x, exactly: V keeps all inner products of inputs,
    and with them predictions, gradients' norms, distances and patterns.

    Args:
        x: inputs, shape (n, d), n < d.

    Returns:
        V, shape (d, n), and V^T x_i as rows, shape (n, n).
    """
    basis, coordinates = torch.linalg.qr(x.T)
    return basis, coordinates.T


def fleet_memory(networks: Sequence[ReLUNetwork], count: int, dimension: int) -> int:
    """Bytes that `train_fleet` takes, monitors apart, for n = `count` inputs of that dimension."""
    for network in networks:
        check_network(network)
    fleet = len(networks)
    widest = [max(widths) for widths in zip(*(net.widths for net in networks), strict=True)]
    copies = 2 if networks[0].on_at_zero else 1
    inner = min(count, dimension)
    weights = sum(m * below for m, below in zip(widest, [inner, *widest], strict=False))
    signals = 0 if networks[0].trained == "output" else 2 * max(widest)
    numbers: int = fleet * count * (copies * sum(widest) + signals)
    numbers += 2 * count * inner + 3 * fleet * weights
    return networks[0].outputs.element_size() * numbers


@dataclass
class _Member:
    """One network's place in the list, and what it keeps of its own."""

    place: int
    initial: ReLUNetwork
    step_size: float
    log: Log
    start: float = float("nan")
    memory: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _FleetPass:
    """Hidden outputs and gates, shapes (F, m_l, n), and predictions, shape (F, n)."""

    hidden: list[Tensor]
    gates: list[Tensor]
    predictions: Tensor


class _Fleet:
    """Networks of one kind as padded stacks: W_1 of shape (F, m_1, d), W_l (F, m_l, m_{l-1})."""

    def __init__(self, networks: Sequence[ReLUNetwork]) -> None:
        self._networks, self._kind = networks, networks[0]
        self._widths = [net.widths for net in networks]
        widest = [max(widths) for widths in zip(*self._widths, strict=True)]
        shapes = list(zip(widest, [self._kind.dimension, *widest], strict=False))
        self.weights = [
            torch.stack([_padded(net.weights[layer], shape) for net in networks])
            for layer, shape in enumerate(shapes)
        ]
        self.outputs = torch.stack(
            [_padded(net.outputs[None], (1, widest[-1])) for net in networks]
        )
        self._gains = [
            self._column(gains) for gains in zip(*(n.gains for n in networks), strict=True)
        ]
        self._output_gain = self._column([net.output_gain for net in networks])

    def _column(self, numbers: Sequence[float]) -> Tensor:
        return self.outputs.new_tensor(numbers)[:, None, None]

    def run(self, x: Tensor) -> _FleetPass:
        """Forward pass over inputs of shape (n, d)."""
        on_at_zero = self._kind.on_at_zero
        hidden: list[Tensor] = []
        gates: list[Tensor] = []
        for weight, gain in zip(self.weights, self._gains, strict=True):
            scaled = gain * weight
            if hidden:
                gate = batched_product(scaled, hidden[-1])
            else:
                gate = product(scaled.flatten(0, 1), x.T).view(*weight.shape[:2], -1)
            gates.append(gate if on_at_zero else gate.relu_())
            hidden.append(gate.relu() if on_at_zero else gate)
        outputs = self._output_gain * self.outputs
        return _FleetPass(hidden, gates, batched_product(outputs, hidden[-1])[:, 0])

    def descend(self, passed: _FleetPass, x: Tensor, coefficients: Tensor) -> None:
        """Subtract sum_i c_i df(x_i)/dtheta from every trained theta; c of shape (F, n)."""
        scaled = self._output_gain * coefficients[:, None]
        outputs = self.outputs
        if self._kind.trained != "hidden":
            self.outputs = outputs - batched_product(scaled, passed.hidden[-1].mT)
        if self._kind.trained == "output":
            return
        signal = outputs.mT * scaled
        for layer in range(len(self.weights) - 1, -1, -1):
            if any(net.gains[layer] != 1 for net in self._networks):
                signal.mul_(self._gains[layer])
            signal = self._kind.gated(signal, passed.gates[layer])
            below = batched_product(self.weights[layer].mT, signal) if layer else signal
            if layer:
                step = batched_product(signal, passed.hidden[layer - 1].mT)
            else:
                step = product(signal.flatten(0, 1), x).view_as(self.weights[0])
            self.weights[layer].sub_(step)
            signal = below

    def member(self, slot: int) -> ReLUNetwork:
        """The network in that place, without its padding."""
        widths = self._widths[slot]
        shapes = zip(widths, [self._kind.dimension, *widths], strict=False)
        weights = [
            weight[slot, :rows, :columns].clone()
            for weight, (rows, columns) in zip(self.weights, shapes, strict=True)
        ]
        outputs = self.outputs[slot, 0, : widths[-1]].clone()
        return replace(self._networks[slot], weights=tuple(weights), outputs=outputs)

    def member_pass(self, slot: int, passed: _FleetPass, x: Tensor) -> Pass:
        """The forward pass of the network in that place, as it would compute it alone."""
        widths = self._widths[slot]
        hidden, gates = (
            [layer[slot, :width].T for layer, width in zip(layers, widths, strict=True)]
            for layers in (passed.hidden, passed.gates)
        )
        return Pass([x, *hidden], gates, passed.predictions[slot])


def _padded(matrix: Tensor, shape: tuple[int, int]) -> Tensor:
    rows, columns = matrix.shape
    return pad(matrix, (0, shape[1] - columns, 0, shape[0] - rows))


class _Together:
    """The members still under way, and the histories of those that have ended."""

    def __init__(self, members: list[_Member], x: Tensor, y: Tensor, loss: Loss) -> None:
        self.members, self.ended = members, dict[int, History]()
        self._fleet = _Fleet([member.initial for member in members])
        self._x, self._y, self._loss = x, y, loss
        # The layout in which no product copies the inputs.
        self._by_columns = x.T.contiguous().T
        self._passed: _FleetPass | None = None
        self._step = 0

    @property
    def passed(self) -> _FleetPass:
        """The forward pass over all examples; with batches made only where it is asked for."""
        if self._passed is None:
            self._passed = self._fleet.run(self._by_columns)
        return self._passed

    def histories(self) -> list[History]:
        """Of all members in their places: whole, or of those still under way so far."""
        so_far = {
            member.place: recorded(member.log, self._fleet.member(slot), self._step, "interrupted")
            for slot, member in enumerate(self.members)
        }
        return [history for _, history in sorted((so_far | self.ended).items())]

    def part(self, stop: Stop | None, steps: int, batches: Batches | None) -> bool:
        """Record what is due and part with members whose run ends here; whether any did."""
        for slot, member in enumerate(self.members):
            if member.log.due(self._step):
                member.log.note(self._moment(slot))
        endings = self._endings(stop, steps, batches)
        for slot, ending in enumerate(endings):
            if ending is not None:
                member = self.members[slot]
                unrecorded = bool(member.log.due(self._step, last=True))
                moment = self._moment(slot, last=True, with_pass=unrecorded)
                self.ended[member.place] = history_of(member.log, moment, ending)
        staying = [slot for slot, ending in enumerate(endings) if ending is None]
        if len(staying) == len(self.members):
            return False
        networks = [self._fleet.member(slot) for slot in staying]
        self.members = [self.members[slot] for slot in staying]
        self._passed = None
        if networks:
            self._fleet = _Fleet(networks)
        return True

    def descend(self, batches: Batches | None) -> None:
        """One step of all members."""
        if batches is None:
            x, y, passed = self._by_columns, self._y, self.passed
        else:
            rows = batches.rows(self._step, len(self._y)).to(self._y.device)
            x, y = self._x[rows], self._y[rows]
            passed = self._fleet.run(x)
        sizes = y.new_tensor([member.step_size for member in self.members])
        slopes = self._loss.derivatives(passed.predictions, y)
        self._fleet.descend(passed, x, slopes * (sizes[:, None] / len(y)))
        self._passed = None
        self._step += 1

    def _moment(self, slot: int, last: bool = False, with_pass: bool = True) -> Moment:
        member, network = self.members[slot], self._fleet.member(slot)
        moment = Moment(
            network, member.initial, self._by_columns, self._y, self._loss, self._step,
            member.memory, member.log.watchers(self._step, last),
        )  # fmt: skip
        if with_pass:
            moment.adopt(self._fleet.member_pass(slot, self.passed, self._by_columns))
        return moment

    def _endings(
        self, stop: Stop | None, steps: int, batches: Batches | None
    ) -> list[Ending | None]:
        budget: Ending | None = "budget" if self._step >= steps else None
        if stop is None or not stop.looks(self._step, len(self._y), batches):
            return [budget] * len(self.members)
        predictions = self.passed.predictions
        losses = self._loss.values(predictions, self._y).mean(dim=1).tolist()
        errors = (~(predictions * self._y > 0)).to(self._y.dtype).mean(dim=1).tolist()
        if self._step == 0:
            for member, loss in zip(self.members, losses, strict=True):
                member.start = loss
        return [
            stop.ending(loss, error, member.start) or budget
            for loss, error, member in zip(losses, errors, self.members, strict=True)
        ]


@contextmanager
def _nothing_lost(histories: Callable[[], list[History]]) -> Iterator[None]:
    """What stops a fleet carries the members' histories along."""
    try:
        yield
    except Exception as error:
        error.history = histories()  # type: ignore[attr-defined]
        raise


def _sizes(step_size: float | Iterable[float], members: int) -> list[float]:
    """One step size for every member."""
    single = isinstance(step_size, str) or getattr(step_size, "ndim", 1) == 0
    if isinstance(step_size, Iterable) and not single:
        return [positive("step_size", size) for size in step_size]
    return [positive("step_size", step_size)] * members


def _check_alike(networks: Sequence[ReLUNetwork], step_sizes: Sequence[float], x: Tensor) -> None:
    if not networks:
        raise InputError("the fleet is empty; give at least one network.")
    if len(step_sizes) != len(networks):
        raise InputError(
            f"{len(step_sizes)} step sizes were given for {len(networks)} networks; give one for "
            "all or one for each."
        )
    first = networks[0]
    for place, net in enumerate(networks):
        check_inputs(net, x)
        kinds = [(n.depth, n.trained, n.on_at_zero) for n in (first, net)]
        if kinds[0] != kinds[1]:
            raise InputError(
                f"network {place} differs from network 0 in depth or parameterisation; the members "
                "of a fleet must be of one kind."
            )


def _into(networks: Sequence[ReLUNetwork], basis: Tensor) -> list[ReLUNetwork]:
    """The networks with W_1 V in place of W_1."""
    inside = product(torch.cat([net.weights[0] for net in networks]), basis)
    split = torch.split(inside, [net.widths[0] for net in networks])
    return [
        replace(net, weights=(first, *net.weights[1:]))
        for net, first in zip(networks, split, strict=True)
    ]


def _out_of(
    histories: Sequence[History], networks: Sequence[ReLUNetwork], basis: Tensor
) -> list[History]:
    """The trained networks in the inputs' own coordinates: off their span nothing has moved."""
    start = torch.cat([net.weights[0] for net in networks])
    inside = torch.cat([history.network.weights[0] for history in histories])
    moved = start + product(inside - product(start, basis), basis.T)
    firsts = torch.split(moved, [net.widths[0] for net in networks])
    trained = [
        replace(history.network, weights=(first, *history.network.weights[1:]))
        for history, first in zip(histories, firsts, strict=True)
    ]
    return [replace(h, network=net) for h, net in zip(histories, trained, strict=True)]
