"""Largest and least eigenvalue of an empirical Gram matrix that is never formed."""

import empirical_gram
import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.kernels import gram_operator
from companion.matmul import chosen_product
from companion.spectra import extreme_eigenvalues


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Products with vectors, and Lanczos on them."""
    network = empirical_gram.network_of(case)
    x, _ = measuring_torch.inputs(case)
    return measuring.Prepared(
        measuring_torch.finished(case, lambda: extreme_eigenvalues(gram_operator(network, x))),
        lambda found: [found.largest.value, found.least.value],
        told={"detail": chosen_product()},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
