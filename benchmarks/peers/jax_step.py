"""Full-batch gradient descent by jax: gradient and update in one compiled function."""

import jax
import jax.numpy as jnp
import measuring
import numpy as np


def prepare(case: measuring.Case) -> measuring.Prepared:
    """Steps on the mean cross-entropy in all hidden layers; the output signs are fixed."""
    x, y = map(jnp.asarray, measuring.inputs(case))
    outputs = jnp.asarray(measuring.sign_outputs(case))
    initial = [jnp.asarray(weight.T) for weight in measuring.hidden_weights(case)]

    def mean_loss(weights: list[jax.Array]) -> jax.Array:
        hidden = x
        for weight in weights:
            hidden = jax.nn.relu(hidden @ weight)
        return jax.nn.softplus(-y * (hidden @ outputs)).mean()

    @jax.jit
    def step(weights: list[jax.Array]) -> list[jax.Array]:
        pairs = zip(weights, jax.grad(mean_loss)(weights), strict=True)
        return [weight - case["step_size"] * gradient for weight, gradient in pairs]

    def run() -> list[jax.Array]:
        weights = initial
        for _ in range(case["steps"]):
            weights = step(weights)
        return jax.block_until_ready(weights)

    def check(weights: list[jax.Array]) -> list[float]:
        ends = [(np.asarray(weights[i]), np.asarray(initial[i])) for i in (0, -1)]
        return measuring.of_descent(float(mean_loss(weights)), *ends)

    return measuring.Prepared(run, check, units=case["steps"])


if __name__ == "__main__":
    measuring.report(prepare, "jax", "jaxlib")
