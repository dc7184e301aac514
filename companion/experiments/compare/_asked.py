"""What every theorem asks of data whose quantities were measured, as arrays."""

import math

import numpy as np
import xarray as xr

from companion.regime import Demand, Measured, Quantities, demands

# Name in values and arrays -> claim and statement of the demand, in the order of the papers. The
# explicit width of Du et al. is one claim for two theorems.
THEOREMS = {
    "du_flow": ("du2019-width-explicit", "Theorem 3.2"),
    "du": ("du2019-width-explicit", "Theorem 4.1"),
    "zou2018": ("zou2018-thm4.1", "Theorem 4.1"),
    "zou2018_sgd": ("zou2018-thm4.5", "Theorem 4.5"),
    "zou2020": ("zou2020-thm4.4-width", "Theorem 4.4"),
    "chen": ("chen2021-thm3.3-width", "Theorem 3.3"),
    "chen_phi": ("chen2021-prop4.10", "Theorem 3.3"),
}
# Their constants are those of the paper's own proof; of the others only powers are known.
EXPLICIT = ("du_flow", "du")
_ASKED = ("width", "step_size", "iterations")


def asked(found: xr.Dataset, accuracy: xr.DataArray, delta: float, alpha: float) -> xr.Dataset:
    """Width, step size and iterations that the theorems ask for, of one hidden layer.

    Where constants are unknown they are 1. A step size is that of the mean loss at the width that
    the theorem asks for; NaN is of a flow, which has no steps, or where no width is enough.

    Args:
        found: `size`, `across`, `lambda_0` and `radius`, of the same dimensions.
        accuracy: eps, the mean loss that is asked for, of these dimensions.
        delta: the failure probability.
        alpha: the scaling exponent of Chen et al.

    Returns:
        The same dimensions and `theorem`, the keys of `THEOREMS`.
    """
    measured = (found[name] for name in ("size", "across", "lambda_0", "radius"))

    def at(*numbers: float) -> np.ndarray:
        told = demands(_quantities(*numbers), delta=delta, alpha=alpha)
        chosen = [_chosen(told, *which) for which in THEOREMS.values()]
        return np.array([[_number(getattr(each, name)) for name in _ASKED] for each in chosen])

    every: xr.DataArray = xr.apply_ufunc(
        at, *measured, accuracy, vectorize=True, output_core_dims=[["theorem", "asked"]]
    )
    every = every.assign_coords(theorem=list(THEOREMS), asked=list(_ASKED))
    return every.to_dataset("asked")


def _quantities(
    count: float, across: float, lambda_0: float, radius: float, accuracy: float
) -> Quantities:
    """As `demands` wants them; of what no width hangs on, nothing is told."""

    def known(value: float) -> Measured:
        return Measured(value, value, value, "as it was recorded")

    unknown = known(math.nan)
    return Quantities(
        count=int(count), dimension=1, depth=1, accuracy=accuracy, norm_gap=0.0, normalised=False,
        labels=(-1.0, 1.0), of_each=(0, 0), duplicates=(), contradictions=(), bias=None,
        cross_class=known(across), all_pairs=unknown, angle=unknown, lambda_0=known(lambda_0),
        misfit=unknown, margin=unknown, radius=known(radius), field_margin=None,
    )  # fmt: skip


def _chosen(told: list[Demand], claim: str, statement: str) -> Demand:
    return next(each for each in told if (each.claim, each.statement) == (claim, statement))


def _number(value: float | None) -> float:
    return math.nan if value is None or math.isinf(value) else value
