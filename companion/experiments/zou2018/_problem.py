"""The training problem of Zou et al. (2018, 2020), drawn from settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from companion.datasets import DataSet, random_labels, sphere, twins, with_bias
from companion.draws import Batches, independent_seed
from companion.kernels import empirical_gram, layer_grams
from companion.lab.settings import Count, Dimension, SeededSettings, Settings, Share
from companion.losses import CROSS_ENTROPY, Loss
from companion.monitors import Moment, Record
from companion.networks import ReLUNetwork, draw_zou
from companion.training import Checkpoint, History, descent, train


class DeepSettings(SeededSettings):
    """Settings of training sets that satisfy Assumption 3.4 of version 3: unit norm, and a bias.

    Attributes:
        count: n, inputs with labels -1 and +1.
        dimension: d, the length of an input, the constant last coordinate included.
        mu: that coordinate.
    """

    count: Count = 20
    dimension: Dimension = 20
    mu: Share = 0.3

    @property
    def data(self) -> str:
        """What is computed on, in words."""
        return (
            f"uniform on the sphere with last coordinate {self.mu:g}, n={self.count}, "
            f"d={self.dimension}, random labels"
        )

    @property
    def paired_data(self) -> str:
        """The same where inputs come in pairs of different labels."""
        return (
            f"pairs of different labels on the sphere with last coordinate {self.mu:g}, "
            f"d={self.dimension}"
        )


@dataclass(frozen=True)
class Problem:
    """A deep network with inputs and labels; the loss is the mean, eq. (3.2) of 2018.

    Attributes:
        network: at initialisation.
        x: inputs, shape (n, d).
        y: labels -1 and +1, shape (n,).
        loss: of one example, of its margin.
    """

    network: ReLUNetwork
    x: Tensor
    y: Tensor
    loss: Loss = CROSS_ENTROPY

    @cached_property
    def gram(self) -> Tensor:
        """Gram matrix of the gradients in all trained layers, shape (n, n)."""
        return empirical_gram(self.network, self.x)

    @cached_property
    def layer_grams(self) -> list[Tensor]:
        """K^(l), a matrix for every trained layer, shapes (n, n)."""
        return layer_grams(self.network, self.x)

    def train(
        self,
        step_size: float,
        steps: int,
        record: Record | None = None,
        *,
        batches: Batches | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> History:
        """Gradient descent, or SGD on batches; it may end as diverged."""
        return train(
            self.network, self.x, self.y, loss=self.loss, step_size=step_size, steps=steps,
            record=record, batches=batches, checkpoint=checkpoint,
        )  # fmt: skip

    def moments(self, step_size: float) -> Iterator[Moment]:
        """Gradient descent, moment by moment; each lasts until the next."""
        return descent(self.network, self.x, self.y, loss=self.loss, step_size=step_size)


def draw(
    settings: DeepSettings,
    device: str,
    *,
    seed: int,
    width: int | Sequence[int],
    depth: int,
    loss: Loss = CROSS_ENTROPY,
) -> Problem:
    """Inputs on the sphere with a bias coordinate, random labels, and a network, section 3.

    Args:
        settings: n, d, mu and the precision.
        device: where to compute.
        seed: of the data and, with all sizes, of the network: over widths and depths the data
            stay, and the networks are independent.
        width: m, of every hidden layer, or the widths of all of them.
        depth: D, the number of hidden layers, the paper's L.
        loss: of one example.
    """
    s = settings
    plain = random_labels(sphere(s.count, s.dimension - 1, seed), seed)
    data = DataSet(with_bias(plain.x, s.mu), plain.y, s.data)
    return on_data(data, s, device, seed=seed, width=width, depth=depth, loss=loss)


def draw_twins(
    settings: DeepSettings,
    device: str,
    *,
    seed: int,
    width: int,
    depth: int,
    separation: float,
    loss: Loss = CROSS_ENTROPY,
) -> Problem:
    """The same with pairs of inputs of different labels at a distance phi; arguments as of `draw`.

    Args:
        settings: n, which must be even, d, mu and the precision.
        device: where to compute.
        seed: of data and network.
        width: m, of every hidden layer.
        depth: D, the number of hidden layers.
        separation: phi, after the bias coordinate was put in.
        loss: of one example.
    """
    s = settings
    before = separation / (1 - s.mu**2) ** 0.5
    plain = twins(s.count, s.dimension - 1, before, seed)
    data = DataSet(with_bias(plain.x, s.mu), plain.y, s.paired_data)
    return on_data(data, s, device, seed=seed, width=width, depth=depth, loss=loss)


def on_data(
    data: DataSet,
    settings: Settings,
    device: str,
    *,
    seed: int,
    width: int | Sequence[int],
    depth: int,
    loss: Loss = CROSS_ENTROPY,
) -> Problem:
    """A network on given data; arguments as of `draw`."""
    dtype: torch.dtype = getattr(torch, settings.dtype)
    near = data.to(dtype, device)
    count, dimension = near.x.shape
    widths = [width] if isinstance(width, int) else [*width]
    own = independent_seed(seed, count, dimension, depth, *widths)
    network = draw_zou(width, dimension, own, depth=depth, dtype=dtype, device=device)
    return Problem(network, near.x, near.y, loss)
