"""The infinite-width kernel that belongs to a given network, in that network's own scale."""

import math
from typing import Literal

from torch import Tensor

from companion.base.arguments import check_type
from companion.errors import InputError, one_of
from companion.kernels import infinite_width_nngp, infinite_width_ntk
from companion.networks import ReLUNetwork, check_inputs

Paper = Literal["du", "zou", "chen"]
_PAPERS: tuple[Paper, ...] = ("du", "zou", "chen")


def paper_of(network: ReLUNetwork) -> Paper:
    """Whose parameterisation a network has, read off its gains and output weights.

    Raises:
        InputError: nobody's.
    """
    width, gains = network.widths[-1], network.gains
    if network.output_gain == 1 / math.sqrt(2) and all(
        math.isclose(gain, math.sqrt(2 / m)) for gain, m in zip(gains, network.widths, strict=True)
    ):
        return "du"
    if all(gain == 1 for gain in gains):
        signs = network.outputs.detach().abs()
        if network.output_gain == 1 and bool((signs == 1).all()):
            return "zou"
        if 1 < network.output_gain <= math.sqrt(width) * (1 + 1e-12):
            return "chen"
    raise InputError(
        "the network has the gains of no paper; name its parameterisation, 'du', 'zou' or 'chen', "
        "or give the kernel as a matrix."
    )


def limit_kernel(
    network: ReLUNetwork,
    x: Tensor,
    other: Tensor | None = None,
    *,
    parameterisation: Paper | None = None,
    memory_budget: float | None = None,
) -> Tensor:
    """`infinite_width_ntk` times the power of m that `empirical_gram` of the network grows with.

    Args:
        network: its widths, which must be equal, its gains and what is trained decide.
        x: unit-norm inputs, shape (n, d), or a NumPy array.
        other: unit-norm inputs, shape (k, d), for the cross matrix.
        parameterisation: whose; without it, what the network's gains say.
        memory_budget: as of `infinite_width_ntk`.

    Returns:
        Shape (n, n), or (n, k).

    Raises:
        InputError: as of `infinite_width_ntk`; or unequal widths, or a choice of what is trained
            for which there is no closed form.
    """
    x = check_inputs(network, x)
    other = other if other is None else check_inputs(network, other, "other")
    paper = paper_of(network) if parameterisation is None else parameterisation
    check_type("parameterisation", paper, str, "'du', 'zou' or 'chen'")
    one_of("parameterisation", paper, _PAPERS)
    if len(set(network.widths)) > 1:
        raise InputError(f"widths are {list(network.widths)}; the limit needs equal ones.")
    width, alone = network.widths[0], network.trained == "output"
    scale = {"du": 1.0, "zou": float(width), "chen": network.output_gain**2}[paper]
    if alone and paper != "zou":  # f is linear in the output weights: both kernels are one
        kernel = infinite_width_nngp(
            x, other, depth=network.depth, parameterisation=paper, memory_budget=memory_budget
        )
    else:
        kernel = infinite_width_ntk(
            x, other, depth=network.depth, parameterisation=paper, trained=network.trained,
            memory_budget=memory_budget,
        )  # fmt: skip
    return kernel if scale == 1 else kernel.mul_(scale)
