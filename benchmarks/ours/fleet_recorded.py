"""The same fleet as `fleet`, recording loss, pattern difference and the distances of all layers."""

import dataclasses

import fleet
import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.monitors import Distances, PatternDifference, mean_loss


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Checked by what was recorded, not by the networks at the end."""
    record = {"loss": mean_loss, "pattern": PatternDifference(), "distances": Distances()}
    return dataclasses.replace(
        fleet.prepare(case, record),
        check=lambda histories: [history["loss"][-1] for history in histories],
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
