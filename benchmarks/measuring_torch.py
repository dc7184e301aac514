"""Cases as tensors on the device of the case, for the sides that compute with torch."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import measuring
import numpy as np
import torch
from torch import Tensor


def tensor(case: measuring.Case, numbers: np.ndarray) -> Tensor:
    """Numbers drawn on the host, on the device of the case."""
    return torch.from_numpy(numbers).to(case["device"])


def inputs(case: measuring.Case) -> tuple[Tensor, Tensor]:
    """`measuring.inputs` as tensors."""
    x, y = measuring.inputs(case)
    return tensor(case, x), tensor(case, y)


def hidden_weights(case: measuring.Case, member: int = 0) -> list[Tensor]:
    """`measuring.hidden_weights` as tensors."""
    return [tensor(case, weight) for weight in measuring.hidden_weights(case, member)]


def finished(case: measuring.Case, work: Callable[[], Any]) -> Callable[[], Any]:
    """The same work, over only when the device has done it."""

    def run() -> Any:
        outcome = work()
        if case["device"] == "cuda":
            torch.cuda.synchronize()
        return outcome

    return run


class Clock:
    """Reads the time at moments of a run, and on a GPU waits for none of them.

    There a reading is an event among what the device was told to do, and is looked at afterwards.
    """

    def __init__(self, case: measuring.Case) -> None:
        self._on_gpu = case["device"] == "cuda"
        self._readings: list[Any] = []

    def begin(self) -> None:
        """Forget what was read in another run."""
        self._readings.clear()

    def read(self) -> None:
        """Now, or when the device has come so far."""
        reading = torch.cuda.Event(enable_timing=True) if self._on_gpu else time.perf_counter()
        if self._on_gpu:
            reading.record()
        self._readings.append(reading)

    def seconds(self) -> list[float]:
        """From one reading to the next."""
        pairs = itertools.pairwise(self._readings)
        if not self._on_gpu:
            return [after - before for before, after in pairs]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in pairs]


def of_matrix(matrix: Tensor) -> list[float]:
    """`measuring.of_matrix` of a matrix on any device."""
    return measuring.of_matrix(matrix.cpu().numpy())


def of_descent(case: measuring.Case, mean_loss: Tensor, weights: Sequence[Tensor]) -> list[float]:
    """`measuring.of_descent` of the first and the last hidden layer."""
    initial = measuring.hidden_weights(case)
    ends = [(weights[i].cpu().numpy(), initial[i]) for i in (0, -1)]
    return measuring.of_descent(float(mean_loss), *ends)


def report(prepare: Callable[[measuring.Case], measuring.Prepared], *packages: str) -> None:
    """`measuring.report`, with the memory of the device on which the work is done."""

    def peak() -> int:
        on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return on_gpu or measuring.peak_memory()

    measuring.report(prepare, *packages, peak=peak)
