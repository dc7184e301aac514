"""The same steps as `step`, recording loss, pattern difference and the distances of all layers."""

import dataclasses

import measuring
import measuring_torch
import step

from companion.base.memory import keep_freed_memory
from companion.monitors import Distances, PatternDifference, mean_loss


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Checked by what was recorded, not by the network at the end."""
    record = {"loss": mean_loss, "pattern": PatternDifference(), "distances": Distances()}
    return dataclasses.replace(
        step.prepare(case, record),
        check=lambda history: [history["loss"][-1], *history["distances"][-1, [0, -1], 0]],
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
