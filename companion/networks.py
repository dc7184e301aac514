"""ReLU networks in the papers' parameterisations: drawn on the CPU from a seed, exact gradients."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from companion.datasets import check_sizes
from companion.draws import cpu_generator


@dataclass(frozen=True)
class TwoLayer:
    """The two-layer network of Du et al. (2019), eq. (1): f(x) = a . relu(W x) / sqrt(m).

    Attributes:
        weights: W, shape (m, d); row r is the weight vector w_r.
        outputs: a, shape (m,).
    """

    weights: Tensor
    outputs: Tensor

    @property
    def width(self) -> int:
        """The number of hidden units m."""
        return self.weights.shape[0]

    def preactivations(self, x: Tensor) -> Tensor:
        """w_r . x_i for all inputs and units, shape (n, m), from inputs of shape (n, d)."""
        return x @ self.weights.T

    def predict(self, x: Tensor) -> Tensor:
        """Predictions u_i = f(x_i), shape (n,)."""
        return self.predict_from(self.preactivations(x))

    def predict_from(self, preactivations: Tensor) -> Tensor:
        """Predictions from preactivations of shape (n, m)."""
        return preactivations.relu() @ self.outputs / math.sqrt(self.width)

    def weight_gradient(self, x: Tensor, preactivations: Tensor, residual: Tensor) -> Tensor:
        """Gradient of the half-sum squared loss in W, Du et al. (2019), eq. (4).

        Args:
            x: inputs, shape (n, d).
            preactivations: shape (n, m). The derivative of relu at 0 is 1, as in the paper.
            residual: u - y, shape (n,).

        Returns:
            Row r is dL/dw_r, shape (m, d).
        """
        active = (preactivations >= 0).to(x.dtype)
        per_unit = self.outputs / math.sqrt(self.width)
        return (active.mul_(residual[:, None]).T @ x).mul_(per_unit[:, None])

    def output_gradient(self, preactivations: Tensor, residual: Tensor) -> Tensor:
        """Gradient of the half-sum squared loss in a, Du et al. (2019), eq. (12), shape (m,)."""
        return residual @ preactivations.relu() / math.sqrt(self.width)

    def moved(self, weights: Tensor, outputs: Tensor | None = None) -> "TwoLayer":
        """The network with other parameters of the same shapes."""
        return replace(self, weights=weights, outputs=self.outputs if outputs is None else outputs)


def draw_two_layer(
    width: int,
    dimension: int,
    seed: int,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> TwoLayer:
    """Initialisation of Du et al. (2019), section 3: w_r ~ N(0, I), a_r uniform on {-1, +1}.

    Drawn in float64 by a CPU generator, then cast and moved, so every device starts from the
    same numbers.

    Raises:
        InputError: width or dimension below 1.
    """
    check_sizes(width=width, dimension=dimension)
    generator = cpu_generator("weights", seed)
    weights = torch.randn(width, dimension, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (width,), generator=generator).to(torch.float64).mul_(2).sub_(1)
    return TwoLayer(weights.to(device, dtype), signs.to(device, dtype))


@dataclass(frozen=True)
class DeepNetwork:
    """A fully connected ReLU net in the NTK normalisation; with one layer it is `TwoLayer`.

    h_0 = x, h_l = sqrt(2/m) relu(W_l h_{l-1}), f = a . h_L / sqrt(2).

    Attributes:
        weights: (W_1, ..., W_L), shapes (m, d), (m, m), ...; entries N(0, 1) at initialisation.
        outputs: a, shape (m,).
    """

    weights: tuple[Tensor, ...]
    outputs: Tensor

    @property
    def scale(self) -> float:
        """sqrt(2/m): keeps the norm of hidden outputs at 1 on average."""
        return math.sqrt(2 / self.outputs.shape[0])

    def hidden(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs of each layer [h_0, ..., h_L], shapes (n, d), (n, m), ..., and the patterns."""
        layers, patterns = [x], []
        for weight in self.weights:
            preactivations = layers[-1] @ weight.T
            patterns.append(preactivations >= 0)
            layers.append(self.scale * preactivations.relu())
        return layers, patterns

    def predict(self, x: Tensor) -> Tensor:
        """Predictions, shape (n,)."""
        return self.hidden(x)[0][-1] @ self.outputs / math.sqrt(2)

    def backward_signals(self, patterns: list[Tensor]) -> list[Tensor]:
        """B_l with df(x_i)/dW_l = outer(B_l[i], h_{l-1}[i]); shapes (n, m), first layer first."""
        dtype = self.outputs.dtype
        signal = (self.scale / math.sqrt(2)) * self.outputs * patterns[-1].to(dtype)
        signals = [signal]
        for weight, pattern in zip(self.weights[:0:-1], patterns[-2::-1], strict=True):
            signal = self.scale * (signal @ weight) * pattern.to(dtype)
            signals.append(signal)
        return signals[::-1]

    def gradients(self, x: Tensor, residual: Tensor) -> list[Tensor]:
        """Gradients of the half-sum squared loss in W_1, ..., W_L, from residual u - y."""
        layers, patterns = self.hidden(x)
        signals = self.backward_signals(patterns)
        return [
            (residual[:, None] * signal).T @ below
            for signal, below in zip(signals, layers[:-1], strict=True)
        ]


def draw_deep(
    width: int,
    dimension: int,
    depth: int,
    seed: int,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> DeepNetwork:
    """A `DeepNetwork` with `depth` hidden layers, drawn on the CPU in float64, then moved.

    Raises:
        InputError: width, dimension or depth below 1.
    """
    check_sizes(width=width, dimension=dimension, depth=depth)
    generator = cpu_generator("weights", seed)
    shapes = [(width, dimension if layer == 0 else width) for layer in range(depth)]
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    signs = torch.randint(0, 2, (width,), generator=generator).to(torch.float64).mul_(2).sub_(1)
    return DeepNetwork(
        tuple(weight.to(device, dtype) for weight in weights), signs.to(device, dtype)
    )
