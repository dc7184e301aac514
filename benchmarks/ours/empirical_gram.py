"""The empirical NTK by the companion: sums of products of factors, one triangle."""

import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.kernels import empirical_gram
from companion.matmul import chosen_product
from companion.networks import ReLUNetwork


def network_of(case: measuring.Case) -> ReLUNetwork:
    """A chain of linear layers and ReLUs, every layer trained."""
    return ReLUNetwork(
        tuple(measuring_torch.hidden_weights(case)),
        measuring_torch.tensor(case, measuring.gaussian_outputs(case)),
        gains=(1.0,) * case["depth"],
        output_gain=1.0,
        trained="all",
    )


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The Gram matrix, computed anew every time."""
    network = network_of(case)
    x, _ = measuring_torch.inputs(case)
    return measuring.Prepared(
        measuring_torch.finished(case, lambda: empirical_gram(network, x)),
        measuring_torch.of_matrix,
        told={"detail": chosen_product(case["device"])},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
