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
from companion.spectra.operators import (
    Extremes,
    RitzValue,
    extreme_eigenvalues,
    largest_eigenvalue,
)

__all__ = [
    "Eigenvalue",
    "Extremes",
    "NormBounds",
    "RitzValue",
    "bounds_of",
    "extreme_eigenvalues",
    "largest_eigenvalue",
    "least_eigenvalue",
    "norm_bounds",
    "spectral_norm_bounds",
    "start_directions",
    "subspace_step",
]
