"""The infinite-width NTK by neural-tangents: its closed form for stax networks, compiled."""

import functools
import math

import jax
import jax.numpy as jnp
import measuring
import numpy as np
from neural_tangents import stax


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The NTK above the last Relu, half of which is the kernel in Zou's parameterisation.

    stax divides inner products of inputs by their dimension: they are scaled up beforehand.
    """
    _, _, kernel = stax.serial(
        *[stax.Dense(1, W_std=math.sqrt(2), b_std=None), stax.Relu()] * case["depth"]
    )
    x = jnp.asarray(measuring.inputs(case)[0]) * math.sqrt(case["d"])
    ntk = jax.jit(functools.partial(kernel, x2=None, get="ntk"))
    return measuring.Prepared(
        lambda: ntk(x).block_until_ready(),
        lambda gram: measuring.of_matrix(np.asarray(gram) / 2),
    )


if __name__ == "__main__":
    measuring.report(prepare, "neural-tangents", "jax", "jaxlib")
