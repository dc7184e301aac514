"""The empirical NTK by neural-tangents: structured derivatives, compiled, for a stax network."""

import jax
import jax.numpy as jnp
import measuring
import neural_tangents as nt
import numpy as np
from neural_tangents import stax


def prepare(case: measuring.Case) -> measuring.Prepared:
    """The Gram matrix of a chain of Dense and Relu, every layer trained, without biases."""
    layers = []
    for _ in range(case["depth"]):
        layers += [stax.Dense(case["m"], b_std=None, parameterization="standard"), stax.Relu()]
    _, apply, _ = stax.serial(*layers, stax.Dense(1, b_std=None, parameterization="standard"))
    parameters = []
    for weight in measuring.hidden_weights(case):
        parameters += [(jnp.asarray(weight.T), None), ()]
    parameters.append((jnp.asarray(measuring.gaussian_outputs(case)[:, None]), None))
    x = jnp.asarray(measuring.inputs(case)[0])
    kernel = jax.jit(
        nt.empirical_ntk_fn(
            apply,
            trace_axes=(-1,),
            vmap_axes=0,
            implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        )
    )
    return measuring.Prepared(
        lambda: kernel(x, None, parameters).block_until_ready(),
        lambda gram: measuring.of_matrix(np.asarray(gram)),
    )


if __name__ == "__main__":
    measuring.report(prepare, "neural-tangents", "jax", "jaxlib")
