"""The machine's roof: the fastest large product of two float32 matrices that torch brings."""

import itertools
import time
from collections.abc import Callable

import measuring
import measuring_torch
import torch
from torch import Tensor

# Rows of a, rows of b, columns of either.
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (2000, 500, 500), (4000, 1000, 1000))
# A graphics card is only filled by larger ones.
SCALES = {"cpu": 1, "cuda": 4}
TRIES = 3


def by_torch(a: Tensor, b: Tensor) -> Tensor:
    """The product everyone calls: MKL on most CPUs, cuBLAS on CUDA."""
    return a @ b.T


def by_onednn(a: Tensor, b: Tensor) -> Tensor:
    """The oneDNN that comes with torch, CPU only."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The fastest pair of product and shape, in units of the operations of the case's work."""
    device = case["device"]
    onednn = device == "cpu" and torch.backends.mkldnn.is_available()
    products = {"torch.mm": by_torch, **({"oneDNN": by_onednn} if onednn else {})}
    best = None
    for (name, product), shape in itertools.product(products.items(), SHAPES):
        p, q, r = (SCALES[device] * size for size in shape)
        a, b = torch.rand(p, r, device=device), torch.rand(q, r, device=device)
        run = measuring_torch.finished(case, lambda f=product, a=a, b=b: f(a, b))
        flops = 2 * p * q * r
        speed = flops / _least_seconds(run)
        if best is None or speed > best[0]:
            best = speed, flops, run, f"{name} {p}x{r}x{q}"
    _, flops, run, name = best
    work = measuring.step_flops if "steps" in case else measuring.gram_flops
    wanted = work(case)
    return measuring.Prepared(
        run,
        check=lambda product: [],
        units=flops / wanted,
        told={"detail": name, "flops": wanted},
    )


def _least_seconds(run: Callable[[], Tensor]) -> float:
    run()
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


if __name__ == "__main__":
    measuring_torch.report(prepare, "torch")
