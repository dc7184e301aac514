"""The matrix whose ends `operator_ends` finds without it, formed as a whole."""

import dataclasses

import empirical_gram
import measuring
import measuring_torch
from torch import Tensor

from companion.base.memory import keep_freed_memory
from companion.spectra import extreme_eigenvalues


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Timed is the matrix alone, which any way to its eigenvalues begins with."""

    def check(gram: Tensor) -> list[float]:
        ends = extreme_eigenvalues(gram, tolerance=case["tolerance"])
        return [ends.largest.value, ends.least.value]

    return dataclasses.replace(empirical_gram.prepare(case), check=check)


if __name__ == "__main__":
    keep_freed_memory()
    measuring_torch.report(prepare, "companion", "torch")
