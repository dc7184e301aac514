"""Many networks on the same inputs by the companion, as one fleet."""

import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY
from companion.matmul import chosen_product
from companion.monitors import Record
from companion.networks import ReLUNetwork
from companion.training import History


def prepare(case: measuring.Case, record: Record | None = None) -> measuring.Prepared:
    """Every network takes its steps on the mean cross-entropy, all of its layers trained.

    What a fleet needs before its first step and after its last is part of its time.
    """
    x, y = measuring_torch.inputs(case)
    networks = [
        ReLUNetwork(
            tuple(measuring_torch.hidden_weights(case, member)),
            measuring_torch.tensor(case, measuring.gaussian_outputs(case, member)),
            gains=(1.0,) * case["depth"],
            output_gain=case["m"] ** case["alpha"],
            trained="all",
        )
        for member in range(case["networks"])
    ]

    def run() -> list[History]:
        return train_fleet(
            networks,
            x,
            y,
            loss=CROSS_ENTROPY,
            step_size=case["step_size"],
            steps=case["steps"],
            record=record,
            stop=None,
        )

    def check(fleet: list[History]) -> list[float]:
        predicted = [history.network.predict(x) for history in fleet]
        return [float(CROSS_ENTROPY.values(one, y).mean()) for one in predicted]

    return measuring.Prepared(
        measuring_torch.finished(case, run),
        check,
        units=case["steps"],
        told={"detail": chosen_product(case["device"])},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
