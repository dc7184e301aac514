"""The speed of the machine's best matrix product, which runs are told as a share of."""

import time

import torch

from companion.matmul import PRODUCTS, product, using

# Rows and columns of the factors, and how often every product is tried.
SIZE, ROUNDS = {"cpu": 1024, "cuda": 8192}, 4


def best_product(device: str, dtype: str) -> float:
    """Floating-point operations per second of the fastest product of two square matrices.

    The least time of a few counts: what else runs on the machine can only add time. It takes about
    0.2 s.

    Args:
        device: `cpu` or `cuda`.
        dtype: `float32` or `float64`.
    """
    size = SIZE[device]
    a = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
    roads = PRODUCTS if device == "cpu" else ["torch"]
    seconds = []
    for road in roads:
        with using(product=road):
            for _ in range(ROUNDS):
                started = time.perf_counter()
                product(a, a)
                if device == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(seconds)
