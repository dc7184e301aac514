"""Largest and least eigenvalue of an empirical Gram matrix that is never formed."""

import empirical_gram
import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.kernels import gram_operator
from companion.matmul import chosen_product
from companion.spectra import Extremes, extreme_eigenvalues


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Products with vectors, and Lanczos on them."""
    network = empirical_gram.network_of(case)
    x, _ = measuring_torch.inputs(case)

    def run() -> Extremes:
        return extreme_eigenvalues(gram_operator(network, x), tolerance=case["tolerance"])

    return measuring.Prepared(
        measuring_torch.finished(case, run),
        lambda found: [found.largest.value, found.least.value],
        told={"detail": chosen_product(case["device"])},
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
