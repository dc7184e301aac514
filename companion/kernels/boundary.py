"""How far the Gram matrix of a two-layer network can change with its weights in a ball."""

import torch
from torch import Tensor

from companion.base.arguments import tensor


def near_boundary(preactivations: Tensor, radius: float) -> Tensor:
    """The pairs (input, unit) that a change of w_r by at most `radius` can switch on or off.

    The event A_ir of Du et al. (2019), Lemma 3.2, for unit inputs: |w_r . x_i| <= R. Lemma 4.1's
    complement of S_i is row i.

    Args:
        preactivations: w_r . x_i, shape (n, m).
        radius: R.

    Returns:
        Boolean, shape (n, m).
    """
    return preactivations.abs() <= radius


def gram_change_bound(x: Tensor, preactivations: Tensor, radius: float) -> Tensor:
    """What no choice of weights within `radius` of the given ones can exceed in |H - H(0)|.

    Only units near the boundary can change. An entry of H is largest if all of them are on, and
    least if all are off; no single choice of weights need reach both, nor every entry at once.

    Args:
        x: unit-norm inputs, shape (n, d), a tensor or a NumPy array.
        preactivations: w_r(0) . x_i, shape (n, m), likewise.
        radius: R, on every ||w_r - w_r(0)||.

    Returns:
        Entrywise bound, shape (n, n), nonnegative: its norms bound those of H - H(0) too.

    Raises:
        InputError: what is neither tensor nor array, or tensors on two devices.
    """
    x = tensor("x", x)
    preactivations = tensor("preactivations", preactivations, x)
    near, on = near_boundary(preactivations, radius), preactivations >= 0
    most, now, least = (
        pattern.to(x.dtype) @ pattern.to(x.dtype).T for pattern in (on | near, on, on & ~near)
    )
    return (x @ x.T).abs() * torch.maximum(most - now, now - least) / preactivations.shape[1]
