"""The least eigenvalue of an empirical Gram matrix by the companion, certified from both sides."""

import empirical_gram
import measuring
import measuring_torch

from companion.base.memory import keep_freed_memory
from companion.kernels import empirical_gram as gram_of
from companion.spectra import least_eigenvalue


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The matrix is in float32 and there beforehand; both bounds have to be the eigenvalue."""
    gram = gram_of(empirical_gram.network_of(case), measuring_torch.inputs(case)[0])
    return measuring.Prepared(
        measuring_torch.finished(case, lambda: least_eigenvalue(gram)),
        lambda found: [found.lower, found.value],
    )


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
