"""Means over minibatches: over all that there are, and over drawn ones."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from companion.draws import Batches, independent_seed

Order = Literal["subsets", "replacement"]
ORDERS: tuple[Order, Order] = ("subsets", "replacement")


def exact_share(count: int, size: int, order: Order = "subsets") -> float:
    """E ||mean of a batch||^2 over the mean of ||u_i||^2, for u_i that sum to 0.

    (n - B) / (B (n - 1)) for B different examples, 1 / B for B independent draws. Lemma D.2 of
    Zou et al. (2018), version 3, bounds either by 1 / B.
    """
    return (count - size) / (size * (count - 1)) if order == "subsets" else 1 / size


def enumerated(mean_of: Callable[[Tensor], Tensor], count: int) -> tuple[list[float], list[float]]:
    """Look at all batches of 1, ..., n examples.

    Args:
        mean_of: from rows, shape (B,), the batch's mean, shape (q,).
        count: n.

    Returns:
        For every B the distance of the mean of these means from that of all examples, and their
        mean squared distance from it; both as shares of what B = 1 gives, the first of its root.
    """
    whole = mean_of(torch.arange(count))
    biases, squares = [], []
    for size in range(1, count + 1):
        batches = [torch.tensor(rows) for rows in combinations(range(count), size)]
        off = torch.stack([mean_of(rows) - whole for rows in batches])
        biases.append(float(off.mean(dim=0).norm()))
        squares.append(float(off.square().sum(dim=1).mean()))
    single = squares[0]
    return [bias / math.sqrt(single) for bias in biases], [each / single for each in squares]


def drawn(
    products: Tensor, sizes: Sequence[int], draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same mean squares, over batches as SGD draws them.

    Args:
        products: u_i . u_j of examples that sum to 0, on the CPU, shape (k, n, n): of several
            such sets, which are looked at through the same batches.
        sizes: B.
        draws: batches of every size and order.
        seed: of the draws, with order and size.

    Returns:
        Means and their standard errors, of shape (k, orders, sizes), over the mean of ||u_i||^2.
    """
    count = products.shape[-1]
    single = products.diagonal(dim1=1, dim2=2).mean(dim=1)
    means, errors = np.empty((2, len(products), len(ORDERS), len(sizes)))
    for place, order in enumerate(ORDERS):
        for number, size in enumerate(sizes):
            batches = Batches(size, order, independent_seed(seed, place, size))
            rows = torch.stack([batches.rows(step, count) for step in range(draws)])
            squares = products[:, rows[:, :, None], rows[:, None, :]].mean(dim=(2, 3))
            squares /= single[:, None]
            means[:, place, number] = squares.mean(dim=1)
            errors[:, place, number] = squares.std(dim=1) / math.sqrt(draws)
    return means, errors
