"""What the steps of a run earn, and how far they lead: measured alike for both papers of Zou et al.

If every step takes eta/2 ||gradient||^2 or more off the loss, then by the triangle inequality and
Cauchy-Schwarz ||W(k) - W(0)||_F <= sqrt(2 k eta (L(0) - L(k))), with no constant left open.
"""

import numpy as np

from companion.lab.sweep import Variables
from companion.monitors import (
    Distances,
    Every,
    Record,
    frobenius_distances,
    gradient_norms,
    mean_loss,
)
from companion.training import History

# What a step must take off the loss, as a share of eta ||gradient||^2: eq. (5.1) of 2020.
HALF = 0.5
# In an exponent, half way to the next power of a square root, by which a law of another kind would
# differ.
HALF_WAY = 0.25


def path_record(every: int) -> Record:
    """What `path_of` needs; spectral distances at every so many steps."""
    return {
        "loss": mean_loss,
        "gradient": gradient_norms,
        "frobenius": frobenius_distances,
        "spectral": Every(every, Distances()),
    }


def path_of(history: History, step_size: float) -> Variables:
    """What every step earns, and distances over the bound that follows from `HALF`.

    Args:
        history: of gradient descent with `path_record`.
        step_size: eta.

    Returns:
        Variables of a dataset: `descent`, what a step takes off the loss over eta ||gradient||^2,
        of shape (steps,); `path`, ||W(k) - W(0)||_F over sqrt(2 k eta (L(0) - L(k))) for k >= 1;
        `spectral_path`, the same of the layer with the largest spectral distance, from above; and
        `far`, the largest of these distances.
    """
    losses = history["loss"]
    squares = np.square(history["gradient"]).sum(axis=1)
    earned = (losses[:-1] - losses[1:]) / step_size
    bounds = _bounds(losses, step_size)
    together = np.sqrt(np.square(history["frobenius"]).sum(axis=1))[1:]
    spectral = history["spectral"][1:, :, 2].max(axis=1)
    looks = history.at["spectral"][1:].astype(int)
    return {
        "descent": ("step", times_of(earned, squares[:-1])),
        "path": ("after", share_of(together, bounds)),
        "spectral_path": ("looked", share_of(spectral, bounds[looks - 1])),
        "far": spectral.max(),
    }


def share_of(distances: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Distances over bounds: 0 where nothing moves, infinite where something does and none may."""
    with np.errstate(divide="ignore"):
        shares: np.ndarray = np.divide(
            distances, bounds, out=np.zeros_like(distances), where=distances > 0
        )
    return shares


def times_of(earned: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The largest c with earned >= c asked: any, where a loss that is 0 leaves nothing to earn."""
    times: np.ndarray = np.divide(earned, asked, out=np.full_like(earned, np.inf), where=asked > 0)
    return times


def _bounds(losses: np.ndarray, step_size: float) -> np.ndarray:
    """sqrt(2 k eta (L(0) - L(k))) for k = 1, 2, ..., of the losses at 0, 1, ..."""
    taken = np.maximum(losses[0] - losses[1:], 0)
    bounds: np.ndarray = np.sqrt(2 * step_size * np.arange(1, len(losses)) * taken)
    return bounds
