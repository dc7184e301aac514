"""The training problem of Chen et al. (2021), drawn from settings."""

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import stats

from companion.datasets import DataSet, random_labels
from companion.draws import cpu_generator, independent_seed
from companion.experiments.zou2018._problem import Problem
from companion.lab.settings import Count, Dimension, SeededSettings, Settings, Share
from companion.networks import draw_chen

# L of this paper counts all weight matrices; one of them is the output layer.
Layers = Annotated[int, Field(ge=2)]
Exponent = Annotated[float, Field(gt=0, le=0.5)]
Labels = Literal["halves", "random"]


class HalvesSettings(SeededSettings):
    """Settings of training sets of Assumption 3.1, unit norm, whose classes can be told apart.

    Attributes:
        count: n, inputs with labels -1 and +1.
        dimension: d, the length of an input.
        gap: the least distance of an input from the hyperplane between the classes.
    """

    count: Count = 20
    dimension: Dimension = 10
    gap: Share = 0.1

    @property
    def data(self) -> str:
        """What is computed on, in words."""
        return (
            f"uniform on the two halves of the sphere, at least {self.gap:g} from the plane "
            f"between them, d={self.dimension}"
        )


def draw(
    settings: HalvesSettings,
    device: str,
    *,
    seed: int,
    width: int,
    layers: int,
    alpha: float = 0.5,
    labels: Labels = "halves",
) -> Problem:
    """Inputs of the two halves of the sphere, and a network, section 3.

    Args:
        settings: n, d, the gap and the precision.
        device: where to compute.
        seed: of the data and, with all sizes, of the network.
        width: m, of every hidden layer.
        layers: L, all weight matrices, all of them trained.
        alpha: in (0, 1/2]; networks of different alpha differ in the factor m^alpha alone.
        labels: which half an input lies in, or random ones of the same inputs.
    """
    s = settings
    data = halves(s.count, s.dimension, s.gap, seed)
    if labels == "random":
        data = random_labels(data, seed)
    return on_data(data, s, device, seed=seed, width=width, layers=layers, alpha=alpha)


def on_data(
    data: DataSet,
    settings: Settings,
    device: str,
    *,
    seed: int,
    width: int,
    layers: int,
    alpha: float = 0.5,
) -> Problem:
    """A network on given data; arguments as of `draw`."""
    dtype: torch.dtype = getattr(torch, settings.dtype)
    near = data.to(dtype, device)
    count, dimension = near.x.shape
    own = independent_seed(seed, count, dimension, layers, width)
    network = draw_chen(
        width, dimension, own, depth=layers - 1, alpha=alpha, dtype=dtype, device=device
    )
    return Problem(network, near.x, near.y)


def halves(count: int, dimension: int, gap: float, seed: int) -> DataSet:
    """Inputs uniform on the sphere less a band, labelled by the half: |x_1| >= gap, y = sign x_1.

    Args:
        count: n, at least 1.
        dimension: d, at least 2.
        gap: in (0, 1), the least distance from the plane between the halves.
        seed: of the draw, on the CPU, in float64.
    """
    generator = cpu_generator("halves", seed)
    share = torch.rand(count, generator=generator, dtype=torch.float64).numpy()
    signs = torch.randint(0, 2, (count,), generator=generator).double().mul_(2).sub_(1)
    along = torch.randn(count, dimension - 1, generator=generator, dtype=torch.float64)
    # On the sphere x_1^2 has this distribution; of what lies beyond the gap, that share is closer.
    square = stats.beta(1 / 2, (dimension - 1) / 2)
    height = torch.from_numpy(np.sqrt(square.isf((1 - share) * square.sf(gap**2))))
    rest = along / along.norm(dim=1, keepdim=True) * (1 - height**2).sqrt()[:, None]
    x = torch.cat([(signs * height)[:, None], rest], dim=1)
    source = f"halves of the sphere at least {gap:g} from their plane, n={count}, d={dimension}"
    return DataSet(x, signs, source)
