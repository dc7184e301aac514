"""A network at one step of its training, with what its passes computed."""

from collections.abc import Iterator
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
        """Take in the next layer's gate, shape (n, m_l); see `Pass.gates`."""


@dataclass
class Moment:
    """A network in training, with what its forward and backward pass computed.

    Training changes the network's tensors in place. What a monitor returns and what it puts in
    `memory` is copied where it would change along; what it keeps elsewhere it has to copy itself.

    Attributes:
        network: after `step` steps.
        initial: the network before the first step.
        x: inputs, shape (n, d): all of them, or a batch.
        y: labels, shape (n,).
        loss: of one example; training minimises its mean.
        step: the number of steps made, or the time of a gradient flow.
        memory: tensors that monitors keep from one record to the next; checkpoints hold them. They
            are replaced, not changed in place, so that a record that fails leaves no trace.
        watchers: monitors to be shown the forward pass.
        watched: what each of them noted of it, layer by layer.
    """

    network: ReLUNetwork
    initial: ReLUNetwork
    x: Tensor
    y: Tensor
    loss: Loss
    step: float
    memory: dict[str, Tensor] = field(default_factory=dict)
    watchers: tuple[Watcher, ...] = ()
    watched: dict[Watcher, list[Tensor]] = field(default_factory=dict)

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
        return self.network.gradients(self.forward, slopes / len(self.y))

    @cached_property
    def layer_grams(self) -> list[Tensor]:
        """Gram matrix of the gradients in every trained tensor, shapes (n, n)."""
        return layer_grams(self.network, self.x)

    def changes(self) -> Iterator[Tensor]:
        """Trained tensors less their initial values, as matrices, made one by one."""
        for now, start in zip(self.network.parameters, self.initial.parameters, strict=True):
            yield (now - start).reshape(-1, now.shape[-1])

    def _watch(self, gate: Tensor) -> None:
        for watcher in self.watchers:
            watcher.watch(self, gate)
