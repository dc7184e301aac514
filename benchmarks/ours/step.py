"""Full-batch gradient descent by the companion, bare."""

import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.losses import CROSS_ENTROPY
from companion.matmul import chosen_product
from companion.monitors import Moment, Record
from companion.networks import ReLUNetwork
from companion.training import History, train


def network_of(case: measuring.Case) -> ReLUNetwork:
    """A chain of linear layers and ReLUs, whose output signs are fixed."""
    return ReLUNetwork(
        tuple(measuring_torch.hidden_weights(case)),
        measuring_torch.tensor(case, measuring.sign_outputs(case)),
        gains=(1.0,) * case["depth"],
        output_gain=1.0,
    )


def prepare(case: measuring.Case, record: Record | None = None) -> measuring.Prepared:
    """Steps on the mean cross-entropy in all hidden layers."""
    network = network_of(case)
    x, y = measuring_torch.inputs(case)

    clock = measuring_torch.Clock(case)

    def read_clock(_: Moment) -> bool:
        clock.read()
        return True

    def run() -> History:
        clock.begin()
        # The clock goes first: from one reading to the next there are one record and one step.
        return train(
            network,
            x,
            y,
            loss=CROSS_ENTROPY,
            step_size=case["step_size"],
            steps=case["steps"],
            record={"clock": read_clock, **(record or {})},
            stop=None,
        )

    def check(history: History) -> list[float]:
        loss = CROSS_ENTROPY.values(history.network.predict(x), y).mean()
        return measuring_torch.of_descent(case, loss, history.network.weights)

    return measuring.Prepared(
        run,
        check,
        clocked=lambda history: clock.seconds(),
        told={"detail": chosen_product(case["device"])},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
