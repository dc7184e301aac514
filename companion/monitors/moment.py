"""A network at one step of its training, with what its passes computed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

from torch import Tensor

from companion.kernels import layer_grams
from companion.losses import Loss
from companion.networks import Pass, ReLUNetwork


@runtime_checkable
class Watcher(Protocol):
    """A monitor that looks at every layer during the forward pass, where looking is cheap."""

    def watch(self, moment: "Moment", gate: Tensor) -> None:
        """Take in the next layer's gate, shape (..., n, m_l); see `Pass.gates`."""


@dataclass
class Moment:
    """A network in training, with what its forward and backward pass computed.

    Training changes the network's tensors in place. What a monitor returns and what it puts in
    `memory` is copied where it would change along; what it keeps elsewhere it has to copy itself.

    In a fleet, a monitor that is marked `together` is shown all members at once: the network is a
    `Stack` of F of them, and each tensor below has F as its first dimension, except for inputs and
    labels that all of them share. Other monitors are shown one member after another.

    Attributes:
        network: after `step` steps.
        initial: the network before the first step.
        x: inputs, shape (n, d): all of them, or a batch.
        y: labels, shape (n,).
        loss: of one example; training minimises its mean.
        step: the number of steps made, or the time of a gradient flow.
        memories: what monitors keep from one record to the next, by the names of the monitors.
        watchers: monitors to be shown the forward pass, by name.
        name: of the monitor that is at work.
    """

    network: ReLUNetwork
    initial: ReLUNetwork
    x: Tensor
    y: Tensor
    loss: Loss
    step: float
    memories: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    watchers: Mapping[str, Watcher] = field(default_factory=dict)
    name: str = ""
    _noted: dict[tuple[str, Watcher], list[Tensor]] = field(default_factory=dict)

    @property
    def memory(self) -> dict[str, Tensor]:
        """Tensors that the monitor at work keeps from one record to the next, its own alone.

        Checkpoints hold them. They are replaced, not changed in place, so that a record that fails
        leaves no trace.
        """
        return self.memories.setdefault(self.name, {})

    def noted(self, watcher: Watcher) -> list[Tensor]:
        """What the monitor at work has noted of the forward pass, layer by layer."""
        return self._noted.setdefault((self.name, watcher), [])

    @cached_property
    def forward(self) -> Pass:
        """The forward pass over x."""
        return self.network.run(self.x, self._watch if self.watchers else None)

    def adopt(self, forward: Pass) -> None:
        """Take a forward pass that was made elsewhere, and show it to the watchers."""
        self.__dict__["forward"] = forward
        for gate in forward.gates:
            self._watch(gate)

    @cached_property
    def losses(self) -> Tensor:
        """Loss of every example, shape (n,)."""
        return self.loss.values(self.forward.predictions, self.y)

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Gradient of the mean loss in every trained tensor."""
        slopes = self.loss.derivatives(self.forward.predictions, self.y)
        return self.network.gradients(self.forward, slopes / self.y.shape[-1])

    @cached_property
    def has_numbers(self) -> bool:
        """Whether predictions are numbers; else a run diverges: units are neither on nor off."""
        return bool(self.forward.predictions.isfinite().all())

    @cached_property
    def layer_grams(self) -> list[Tensor]:
        """Gram matrix of the gradients in every trained tensor, shapes (n, n).

        NaN where predictions are no numbers.
        """
        if not self.has_numbers:
            nothing = self.x.new_full((len(self.x), len(self.x)), math.nan)
            return [nothing] * len(self.network.parameters)
        return layer_grams(self.network, self.x)

    def changes(self) -> Iterator[Tensor]:
        """Trained tensors less their initial values, as matrices, made one by one."""
        dimensions = self.network.weights[0].dim()
        for now, start in zip(self.network.parameters, self.initial.parameters, strict=True):
            change = now - start
            yield change if change.dim() == dimensions else change.unsqueeze(-2)

    def _watch(self, gate: Tensor) -> None:
        at_work = self.name
        for name, watcher in self.watchers.items():
            self.name = name
            watcher.watch(self, gate)
        self.name = at_work
