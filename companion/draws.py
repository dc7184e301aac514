"""Seeded draws on the CPU, one stream per purpose, so every device starts from the same numbers."""

import hashlib

import torch


def cpu_generator(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator whose stream depends on both arguments.

    Inputs and weights drawn with the same seed would otherwise be the same Gaussians.

    Args:
        purpose: e.g. `weights`.
        seed: any integer.
    """
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))
