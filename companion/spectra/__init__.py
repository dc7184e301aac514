"""Extreme eigenvalues and spectral norms with certificates: numbers between two proven bounds."""

from companion.spectra.least import Eigenvalue, least_eigenvalue
from companion.spectra.norms import (
    NormBounds,
    bounds_of,
    norm_bounds,
    spectral_norm_bounds,
    start_directions,
    subspace_step,
)

__all__ = [
    "Eigenvalue",
    "NormBounds",
    "bounds_of",
    "least_eigenvalue",
    "norm_bounds",
    "spectral_norm_bounds",
    "start_directions",
    "subspace_step",
]
