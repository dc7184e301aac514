"""All eigenvalues by torch.linalg.eigvalsh, in float64, to know the least of them.

The matrix is a Gram matrix that the companion computes beforehand, as on the other side.
"""

import measuring
import measuring_torch
import torch
from ours.empirical_gram import network_of

from companion.kernels import empirical_gram


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The conversion from float32 is part of the work: digits that float32 has not are wanted."""
    gram = empirical_gram(network_of(case), measuring_torch.inputs(case)[0])
    return measuring.Prepared(
        measuring_torch.finished(case, lambda: torch.linalg.eigvalsh(gram.double())),
        lambda values: [values[0], values[0]],
    )


if __name__ == "__main__":
    measuring_torch.report(prepare, "torch")
