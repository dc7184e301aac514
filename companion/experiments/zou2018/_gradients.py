"""The constants of the gradient bounds of Zou et al. (2018, 2020), as quotients of Gram matrices.

With c_i = y_i l'(y_i f_i), the gradient in W_l has n^2 ||.||_F^2 = c^T K^(l) c, and as the loss
falls with the margin, c has the signs of -y. So the best constants of Theorem 5.3 (vii), (viii) of
2018 and of Lemma 5.2 of 2020 are the least and the largest c^T K^(l) c / (sum_i |c_i|)^2 over the
cone of such c, whatever the loss and the predictions are.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize
import torch
from torch import Tensor

from companion.draws import Batches
from companion.lab.words import number
from companion.monitors import Moment, least_distance
from companion.ntrf import ntrf_margin

# The columns of `GradientQuotients`.
QUOTIENTS = ("least", "last", "largest", "reached")


def least_quotient(gram: Tensor, labels: Tensor) -> float:
    """The least c^T K c / (sum_i |c_i|)^2 over c with no c_i y_i > 0: a squared margin.

    From below, by the margin's certificate, which is met to about eight digits.

    Args:
        gram: K, shape (n, n), symmetric positive semidefinite.
        labels: y, shape (n,), -1 or +1.

    Raises:
        InputError: they do not fit each other.
    """
    return ntrf_margin(gram, labels).lower ** 2


def least_quotient_of_largest(gram: Tensor, labels: Tensor) -> float:
    """The least c^T K c / max_i c_i^2 over the same cone, as the proof of Lemma 5.2 has it.

    Where c_i is the largest, the rest is least squares with signs: an exact active-set method.
    Arguments as of `least_quotient`.
    """
    signs = labels.double().cpu().numpy()
    values, vectors = scipy.linalg.eigh(gram.double().cpu().numpy())
    rows = np.sqrt(values.clip(0))[:, None] * vectors.T * signs  # K = rows^T rows, signs aside
    others = [np.delete(rows, i, axis=1) for i in range(len(signs))]
    misses = [scipy.optimize.nnls(rest, -rows[:, i])[1] for i, rest in enumerate(others)]
    return float(min(misses)) ** 2


def largest_quotient(gram: Tensor) -> float:
    """The largest c^T K c / (sum_i |c_i|)^2 over any c, which one example alone attains.

    Args:
        gram: K, shape (n, n), symmetric positive semidefinite.
    """
    return float(gram.diagonal().max())


@dataclass(frozen=True)
class GradientQuotients:
    """The gradient's own quotients beside the extreme ones, over M, shape (4,); see `QUOTIENTS`.

    `least` is the least quotient of K^(L) and `last` the gradient's own; `largest` is the largest
    quotient of any layer and `reached` the gradient's own largest. With batches, `last` and
    `reached` are those of the stochastic gradient of the step that follows.

    Attributes:
        batches: of SGD; None for full batches.
    """

    batches: Batches | None = None

    def __call__(self, moment: Moment) -> np.ndarray:
        """Measure at one moment."""
        slopes = moment.loss.derivatives(moment.forward.predictions, moment.y)
        if self.batches is not None:
            rows = self.batches.rows(int(moment.step), len(slopes)).to(slopes.device)
            slopes = torch.zeros_like(slopes).index_put((rows,), slopes[rows])
        shares, grams = slopes / slopes.abs().sum(), moment.layer_grams
        own = [float(shares @ gram @ shares) for gram in grams]
        found = (
            least_quotient(grams[-1], moment.y),
            own[-1],
            max(map(largest_quotient, grams)),
            max(own),
        )
        return np.array(found) / max(moment.network.widths)


def separation_of(x: Tensor, labels: Tensor) -> float:
    """Phi, the least distance of inputs with different labels, shapes (n, d) and (n,)."""
    return float(least_distance(x[labels > 0], x[labels < 0]))


def gradient_radius(count: int, depth: int, separation: float) -> float:
    """Phi^(3/2) n^-3 L^-2: tau of Lemma 5.2 of 2020 with the constant 1.

    Theorem 5.3 (vii) of 2018 has it, too. The papers leave the constant open.
    """
    return math.pow(separation, 1.5) / (count**3 * depth**2)


def product_radius(depth: int, width: int) -> float:
    """L^-11 (log M)^(-3/2): tau of Lemma 5.3 of 2020 with the constant 1, and of Theorem 5.3."""
    return math.pow(depth, -11) * math.pow(math.log(width), -1.5)


def beyond(distance: float, radius: float) -> str:
    """The words for iterates that leave the region of a statement; nothing where they stay."""
    if distance <= radius:
        return ""
    return (
        f"some iterates are {number(distance, '.2g')} from the start, and the region that the "
        f"statement speaks of has, with the constant 1, a radius of {number(radius, '.1e')}"
    )
