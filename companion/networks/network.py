"""ReLU networks in the papers' parameterisations: their passes and their exact gradients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from companion.base.arguments import check_type, positive, real, tensor
from companion.errors import InputError
from companion.matmul import product

Trained = Literal["hidden", "output", "all"]


@dataclass(frozen=True)
class Pass:
    """What one forward pass of a `ReLUNetwork` computed.

    Attributes:
        hidden: [h_0, ..., h_D], the inputs and every layer's outputs, shapes (n, d), (n, m_1), ...
        gates: one tensor of shape (n, m_l) per hidden layer, from which `ReLUNetwork.pattern`
            reads which units are on: the layer's outputs, or its preactivations where the
            derivative of relu at 0 is 1.
        predictions: f(x_i), shape (n,).
    """

    hidden: list[Tensor]
    gates: list[Tensor]
    predictions: Tensor


@dataclass(frozen=True)
class ReLUNetwork:
    """A fully connected ReLU network without biases, in any of the papers' parameterisations.

    h_0 = x, h_l = gain_l relu(W_l h_{l-1}), f(x) = output_gain a . h_D, with D hidden layers.
    The papers differ in the gains, the initial variances, what is trained, and relu'(0):
    `draw_du`, `draw_zou`, `draw_chen`.

    Attributes:
        weights: (W_1, ..., W_D), shapes (m_1, d), (m_2, m_1), ..., tensors or NumPy arrays of one
            dtype on one device. They may be parameters of torch modules: predictions can be
            differentiated, while what is computed from them besides carries no derivatives.
        outputs: a, shape (m_D,).
        gains: gain_1, ..., gain_D, positive.
        output_gain: the factor at the output.
        trained: `hidden` for W_1, ..., W_D, `output` for the output weights a, `all` for both.
        on_at_zero: whether relu'(0) is 1, as in Du et al. (2019); in the others it is 0.

    Raises:
        InputError: `trained` is none of the three, or weights and gains do not fit each other.
    """

    weights: tuple[Tensor, ...]
    outputs: Tensor
    gains: tuple[float, ...]
    output_gain: float
    trained: Trained = "hidden"
    on_at_zero: bool = False

    def __post_init__(self) -> None:
        if self.trained not in get_args(Trained):
            raise InputError(f"trained is {self.trained!r}; choose hidden, output or all.")
        check_type("weights", self.weights, tuple | list, "a tuple with one matrix for each layer")
        check_type("gains", self.gains, tuple | list, "a tuple with one number for each layer")
        parts = {
            "weights": tuple(tensor("weights", weight) for weight in self.weights),
            "outputs": tensor("outputs", self.outputs),
            "gains": tuple(positive("a gain", gain) for gain in self.gains),
            "output_gain": real("output_gain", self.output_gain),
        }
        for name, part in parts.items():
            object.__setattr__(self, name, part)
        _check_chain(self.weights, self.outputs, self.gains)

    @property
    def depth(self) -> int:
        """D, the number of hidden layers: L - 1 for Chen et al. (2021), who count matrices."""
        return len(self.weights)

    @property
    def dimension(self) -> int:
        """d, the length of an input."""
        return self.weights[0].shape[1]

    @property
    def widths(self) -> tuple[int, ...]:
        """m_1, ..., m_D."""
        return tuple(weight.shape[0] for weight in self.weights)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The trained tensors, W_1, ..., W_D first and the output vector last."""
        hidden = () if self.trained == "output" else self.weights
        return hidden if self.trained == "hidden" else (*hidden, self.outputs)

    def moved(self, parameters: Sequence[Tensor]) -> "ReLUNetwork":
        """The network with other trained tensors of the same shapes, as many as `parameters`."""
        if len(parameters) != len(self.parameters):
            raise InputError(
                f"{len(parameters)} tensors were given to a network of which "
                f"{len(self.parameters)} are trained."
            )
        weights = self.weights if self.trained == "output" else tuple(parameters[: self.depth])
        outputs = self.outputs if self.trained == "hidden" else parameters[-1]
        return replace(self, weights=weights, outputs=outputs)

    def training(self, trained: Trained) -> "ReLUNetwork":
        """The same network with another choice of what is trained."""
        return replace(self, trained=trained)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "ReLUNetwork":
        """The same network on another device or in another precision."""
        check_type("dtype", dtype, torch.dtype | None, "a torch dtype, such as torch.float64")
        weights = tuple(weight.to(device, dtype) for weight in self.weights)
        return replace(self, weights=weights, outputs=self.outputs.to(device, dtype))

    def detached(self) -> "ReLUNetwork":
        """The same tensors without derivatives: of parameters of torch modules, say."""
        weights = tuple(weight.detach() for weight in self.weights)
        return replace(self, weights=weights, outputs=self.outputs.detach())

    def run(self, x: Tensor, watch: Callable[[Tensor], None] | None = None) -> Pass:
        """Forward pass over inputs of shape (n, d).

        Args:
            x: inputs.
            watch: is shown each layer's gate, from the first on, while it is still in the cache.
        """
        hidden, gates = [x], []
        for weight, gain in zip(self.weights, self.gains, strict=True):
            gate = _scaled_product(gain, hidden[-1], weight, relu=not self.on_at_zero)
            if watch is not None:
                watch(gate)
            gates.append(gate)
            hidden.append(gate.relu() if self.on_at_zero else gate)
        return Pass(hidden, gates, torch.mv(hidden[-1], self.output_gain * self.outputs))

    def predict(self, x: Tensor) -> Tensor:
        """Predictions f(x_i), shape (n,), from inputs of shape (n, d), a tensor or NumPy array."""
        return self.run(check_inputs(self, x)).predictions

    def preactivations(self, x: Tensor) -> list[Tensor]:
        """W_l h_{l-1} of every layer, without its gain, shapes (n, m_1), (n, m_2), ..."""
        below = self.run(check_inputs(self, x)).hidden
        return [h @ weight.T for h, weight in zip(below, self.weights, strict=False)]

    def pattern(self, gate: Tensor) -> Tensor:
        """Which units of a layer are on, boolean, shape (n, m_l), from one of `Pass.gates`."""
        # Outputs of relu are positive or 0, and conversion is the quickest comparison with 0.
        return gate >= 0 if self.on_at_zero else gate.bool()

    @torch.no_grad()
    def signals(self, forward: Pass, coefficients: Tensor | None = None) -> Iterator[Tensor]:
        """Back-propagated signals, the last layer's first: B_D, ..., B_1.

        df(x_i)/dW_l is the outer product of B_l[i] and h_{l-1}[i]: Zou et al. (2018), section 3.

        Args:
            forward: of this network.
            coefficients: c, shape (n,), to multiply row i of every B_l with.

        Yields:
            B_l, shape (n, m_l).
        """
        top = self.gains[-1] * self.output_gain * self.outputs
        rows = torch.ones_like(forward.predictions)
        if coefficients is not None:
            rows = tensor("coefficients", coefficients, rows)
        # Laid out as the layer's outputs are, so that the products that follow copy nothing.
        signal = torch.empty_like(forward.gates[-1])
        signal = self.gated(torch.mul(rows[:, None], top, out=signal), forward.gates[-1])
        yield signal
        for layer in range(self.depth - 1, 0, -1):
            signal = self.gated(product(signal, self.weights[layer]), forward.gates[layer - 1])
            if self.gains[layer - 1] != 1:
                signal.mul_(self.gains[layer - 1])
            yield signal

    @torch.no_grad()
    def gradients(self, forward: Pass, coefficients: Tensor) -> list[Tensor]:
        """sum_i c_i df(x_i)/dtheta for every trained tensor theta, in the order of `parameters`.

        Args:
            forward: of this network.
            coefficients: c, shape (n,), a tensor or a NumPy array; the derivatives of the loss in
                the predictions.
        """
        coefficients = tensor("coefficients", coefficients, forward.predictions)
        found: list[Tensor] = []
        if self.trained != "output":
            below = forward.hidden[-2::-1]
            pairs = zip(self.signals(forward, coefficients), below, strict=True)
            found = [product(signal.T, hidden) for signal, hidden in pairs][::-1]
        if self.trained != "hidden":
            found.append(torch.mv(forward.hidden[-1].T, self.output_gain * coefficients))
        return found

    def gated(self, signal: Tensor, gate: Tensor) -> Tensor:
        """`signal` with the entries of units that are off set to 0, in place and in one pass.

        Whatever stood there, NaN too: it is chosen, not multiplied.
        """
        # In place as torch allows it: this operation is declared to bear that memory overlaps
        # (`set_check_mem_overlap(false)` in its Activation.cpp), entry by entry on any device.
        threshold = 0.0
        if self.on_at_zero:  # the largest number below 0, so that 0 itself is above
            threshold = -torch.finfo(gate.dtype).smallest_normal * torch.finfo(gate.dtype).eps
        torch.ops.aten.threshold_backward.grad_input(signal, gate, threshold, grad_input=signal)
        return signal


def _check_chain(weights: Sequence[Tensor], outputs: Tensor, gains: Sequence[float]) -> None:
    """Refuse weights that are no chain of layers, or of several kinds, or with other gains."""
    if not weights or len(gains) != len(weights):
        raise InputError(
            f"there are {len(weights)} weights and {len(gains)} gains; one of each is needed for "
            "every hidden layer, at least one."
        )
    shapes = [tuple(each.shape) for each in (*weights, outputs)]
    tables = all(len(shape) == 2 for shape in shapes[:-1]) and len(shapes[-1]) == 1
    if not tables or any(below[0] != above[-1] for below, above in pairwise(shapes)):
        raise InputError(
            f"weights and outputs have shapes {', '.join(map(str, shapes))}; they must be "
            "(m_1, d), (m_2, m_1), ..., (m_D,)."
        )
    kinds = {(each.dtype, each.device) for each in (*weights, outputs)}
    if len(kinds) > 1 or not outputs.is_floating_point():
        told = " and ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise InputError(f"weights are {told}; all need one floating dtype on one device.")


def _scaled_product(gain: float, rows: Tensor, weight: Tensor, relu: bool) -> Tensor:
    """The product gain W h for every row h, or its relu, with the smaller factor scaled."""
    if gain == 1:
        return product(rows, weight.T, relu=relu)
    if len(rows) < len(weight):
        return product(gain * rows, weight.T, relu=relu)
    return product(rows, (gain * weight).T, relu=relu)


def check_network(network: ReLUNetwork) -> None:
    """Raise `InputError` for what is no `ReLUNetwork`."""
    check_type("network", network, ReLUNetwork, "a ReLUNetwork, such as draw_zou(...) gives")


def check_inputs(network: ReLUNetwork, x: Tensor, name: str = "x") -> Tensor:
    """The inputs as a tensor; those that the network does not take are refused.

    Args:
        network: that is to take them.
        x: the inputs. A NumPy array becomes a tensor of the weights' dtype and device.
        name: of the argument that holds them.

    Raises:
        InputError: no `ReLUNetwork`, or x is neither tensor nor array, not of shape (n, d) with
            n >= 1, not float32 or float64, or of another dtype or device than the weights.
    """
    check_network(network)
    weight = network.weights[0]
    x = tensor(name, x, weight)
    if x.dim() != 2 or len(x) == 0 or x.shape[1] != network.dimension:
        raise InputError(
            f"inputs have shape {tuple(x.shape)}; the network takes (n, {network.dimension})."
        )
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"inputs are {x.dtype}; they must be torch.float32 or torch.float64.")
    if x.dtype != weight.dtype:
        raise InputError(
            f"inputs are {x.dtype} but weights {weight.dtype}; convert one to the other."
        )
    return x
