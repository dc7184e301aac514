"""The infinite-width NTK by the companion: its closed form, layer by layer."""

import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.kernels import infinite_width_ntk
from companion.matmul import chosen_product


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The kernel of the hidden layers in Zou's parameterisation, divided by the width."""
    x, _ = measuring_torch.inputs(case)
    return measuring.Prepared(
        measuring_torch.finished(case, lambda: infinite_width_ntk(x, depth=case["depth"])),
        measuring_torch.of_matrix,
        told={"detail": chosen_product(case["device"])},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
