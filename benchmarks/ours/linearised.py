"""The run of `step` as the kernel at initialisation predicts it, from the network on."""

import measuring
import measuring_torch
import step

from companion.base.memory import keep_freed_memory
from companion.linearised import Trajectory, linearise
from companion.losses import CROSS_ENTROPY
from companion.matmul import chosen_product


def prepare(case: measuring.Case) -> measuring.Prepared:
    """A long run at once; seconds are those of one of its steps, the kernel's included.

    It is checked at the step where the run on the other side ends, when weights have hardly moved.
    """
    network = step.network_of(case)
    x, y = measuring_torch.inputs(case)

    def run() -> Trajectory:
        return linearise(
            network,
            x,
            y,
            loss=CROSS_ENTROPY,
            step_size=case["step_size"],
            steps=case["horizon"],
        )

    def check(found: Trajectory) -> list[float]:
        at = case["steps"]
        return [found.losses[at], *found.distances[at, [0, -1]]]

    return measuring.Prepared(
        measuring_torch.finished(case, run),
        check,
        units=case["horizon"],
        told={"detail": chosen_product(case["device"])},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
