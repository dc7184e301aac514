"""What the gradient flows of the first layer and of both layers are measured and judged by."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from companion.bounds.du2019 import theorem_3_2
from companion.datasets import DataSet
from companion.dynamics import Layers, linearised_flow_misfit, prediction_velocity
from companion.lab.results import Result
from companion.networks import TwoLayer


def velocity_evaluations(points: int, tolerance: float, widths: Sequence[int]) -> list[float]:
    """How often the solver asks for the velocity at each width (about m^-1/2, measured)."""
    return [points * (4 + 10 / (tolerance * 1e5) * (800 / width) ** 0.5) for width in widths]


def linearised(gram: Tensor, network: TwoLayer, data: DataSet, times: np.ndarray) -> np.ndarray:
    """||u(t) - y||^2 if the Gram matrix of the flow stayed at `gram`, shape (points,)."""
    eigenvalues, vectors = torch.linalg.eigh(gram.double())
    coordinates = vectors.T @ (network.predict(data.x) - data.y).double()
    clock = torch.from_numpy(times).to(gram.device)
    return np.asarray(linearised_flow_misfit(eigenvalues, coordinates, clock).cpu())


def velocity_error(
    gram: Tensor, network: TwoLayer, data: DataSet, layers: Layers = "first"
) -> float:
    """Relative distance of du/dt, differenced along the flow, from `gram` times y - u."""
    product = gram @ (data.y - network.predict(data.x))
    gap = prediction_velocity(network, data.x, data.y, layers) - product
    return float(gap.norm() / product.norm())


def bound_shares(result: Result) -> np.ndarray:
    """Misfit over exp(-lambda_0 t) times the first, at t > 0, largest per run, (seeds, widths)."""
    a = result.arrays
    bound = theorem_3_2(a["times"], a["lambda_0"][..., None], a["misfit"][..., :1])
    shares: np.ndarray = (a["misfit"] / bound)[..., 1:].max(axis=-1)
    return shares


def least_ratios(result: Result) -> np.ndarray:
    """Least lambda_min(H(t)) / lambda_0 of each run, shape (seeds, widths)."""
    a = result.arrays
    ratios: np.ndarray = (a["lambda_min"] / a["lambda_0"][..., None]).min(axis=-1)
    return ratios
