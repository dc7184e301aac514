"""Seeded draws on the CPU, one stream per purpose, so every device starts from the same numbers."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from companion.base.arguments import whole
from companion.errors import InputError


def cpu_generator(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator whose stream depends on both arguments.

    Inputs and weights drawn with the same seed would otherwise be the same Gaussians.

    Args:
        purpose: e.g. `weights`.
        seed: any integer.

    Raises:
        InputError: the seed is no integer; 3.0 would have another stream than 3.
    """
    digest = hashlib.sha256(f"{purpose}:{whole('seed', seed)}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def independent_seed(seed: int, *sizes: int) -> int:
    """A seed of its own for every size.

    Of one seed, a narrow network is the first units of a wide one. A power law is fitted to draws
    that know nothing of each other.

    Args:
        seed: any integer.
        *sizes: what the draw is made for, such as n, d and m.

    Raises:
        InputError: one of them is no integer.
    """
    told = ":".join(str(whole("seed and size", each)) for each in (seed, *sizes))
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:7])


@dataclass(frozen=True)
class Batches:
    """Which examples a step of SGD uses. A step's batch depends on nothing but seed and step.

    Attributes:
        size: B, of a batch.
        order: `subsets`, B different examples, drawn anew at every step (Zou et al., 2018);
            `replacement`, B independent draws; `epochs`, through all examples in an order drawn
            for every epoch, whose last batch may be smaller; `once`, through all examples in
            their own order, each used once: with B = 1, Algorithm 2 of Chen et al. (2021).
        seed: of the draws.

    Raises:
        InputError: size or seed is no whole number.
    """

    size: int
    order: Literal["subsets", "replacement", "epochs", "once"] = "epochs"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "seed"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))

    def rows(self, step: int, count: int) -> Tensor:
        """Indices of that step's examples among `count`, shape (B,), on the CPU."""
        if self.order == "subsets":
            return _permutation(self.seed, step, count)[: self.size]
        if self.order == "replacement":
            generator = cpu_generator(f"batches {self.seed}", step)
            return torch.randint(0, count, (self.size,), generator=generator)
        epoch, number = divmod(step, math.ceil(count / self.size))
        order = (
            torch.arange(count) if self.order == "once" else _permutation(self.seed, epoch, count)
        )
        return order[number * self.size : (number + 1) * self.size]

    def check(self, count: int, steps: int) -> None:
        """Refuse what `count` examples do not allow.

        Raises:
            InputError: size below 1 or above `count`, an unknown order, or more than one pass.
        """
        if self.order not in ("subsets", "replacement", "epochs", "once"):
            raise InputError(
                f"order is '{self.order}'; choose subsets, replacement, epochs or once."
            )
        if not 1 <= self.size <= count:
            raise InputError(f"batch size is {self.size}; it must lie in 1 to {count}.")
        most = math.ceil(count / self.size)
        if self.order == "once" and steps > most:
            raise InputError(
                f"steps is {steps}; one pass over {count} examples in batches of {self.size} takes "
                f"{most}."
            )


@lru_cache(maxsize=2)
def _permutation(seed: int, number: int, count: int) -> Tensor:
    return torch.randperm(count, generator=cpu_generator(f"batches {seed}", number))
