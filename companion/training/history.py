"""What a run recorded and how it ended."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from companion.errors import DivergedError
from companion.monitors import Log
from companion.networks import ReLUNetwork

Ending = Literal["budget", "loss", "zero-error", "plateau", "diverged", "interrupted"]


@dataclass(frozen=True)
class History:
    """What a run recorded and how it ended.

    Attributes:
        at: name -> steps (or times) at which it was recorded, shape (k,).
        values: name -> recorded values, shape (k, ...).
        network: at the end.
        steps: steps made, or the time a flow has run.
        ending: `budget`, `loss`, `zero-error`, `plateau` or `diverged`; `interrupted` for the
            history so far that an exception carries along.
        key: of a member of a fleet, by which it was given.
    """

    at: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    network: ReLUNetwork
    steps: float
    ending: Ending
    key: Hashable = None

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    def stable(self) -> "History":
        """This history.

        Raises:
            DivergedError: the run has diverged.
        """
        if self.ending == "diverged":
            raise DivergedError(
                f"training has diverged by step {self.steps:g}; choose a smaller step size, below "
                "2 / lambda_max of the Gram matrix for the quadratic loss."
            )
        return self


def recorded(log: Log, network: ReLUNetwork, step: float, ending: Ending) -> History:
    """What a log holds, as the history of a run that ends, or has come, so far."""
    at = {name: np.array(steps) for name, steps in log.at.items()}
    return History(at, log.arrays(), network, step, ending)
