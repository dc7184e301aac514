"""What can be measured at a training step. Each function takes a `State` and returns a number."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from companion.kernels import (
    empirical_gram_from,
    empirical_output_gram,
    lambda_min,
    spectral_norm,
)
from companion.networks import TwoLayer


@dataclass
class State:
    """A network in training, with what its forward pass already computed.

    Attributes:
        network: after `step` steps.
        initial: the network before the first step.
        x: inputs, shape (n, d).
        y: labels, shape (n,).
        step: the number of steps made, or the time of a gradient flow.
    """

    network: TwoLayer
    initial: "InitialState"
    x: Tensor
    y: Tensor
    step: float

    @cached_property
    def preactivations(self) -> Tensor:
        """w_r . x_i, shape (n, m)."""
        return self.network.preactivations(self.x)

    @cached_property
    def residual(self) -> Tensor:
        """Predictions less labels, u - y, shape (n,)."""
        return self.network.predict_from(self.preactivations) - self.y

    @cached_property
    def gram(self) -> Tensor:
        """H(k), shape (n, n)."""
        return empirical_gram_from(self.network, self.x, self.preactivations)


@dataclass
class InitialState:
    """The network before training, with the matrices that later states are compared to."""

    network: TwoLayer
    x: Tensor

    @cached_property
    def pattern(self) -> Tensor:
        """1{w_r(0) . x_i >= 0}, boolean, shape (n, m)."""
        return self.network.preactivations(self.x) >= 0

    @cached_property
    def gram(self) -> Tensor:
        """H(0), shape (n, n)."""
        return empirical_gram_from(self.network, self.x, self.network.preactivations(self.x))


def misfit(state: State) -> float:
    """||u - y||^2, the squared distance of predictions from labels (twice the loss)."""
    return float(state.residual.double().square().sum())


def mean_squared_residual(state: State) -> float:
    """||u - y||^2 / n: what Du et al. (2019), Figure 1a, is inferred to plot."""
    return float(state.residual.double().square().mean())


def pattern_difference(state: State) -> float:
    """Share of the pairs (input, unit) whose activation differs from initialisation."""
    changed = (state.preactivations >= 0) != state.initial.pattern
    return float(changed.sum()) / changed.numel()


def max_distance(state: State) -> float:
    """max_r ||w_r - w_r(0)||_2."""
    return float(distances(state).max())


def mean_distance(state: State) -> float:
    """Root mean square over units of ||w_r - w_r(0)||_2."""
    return float(distances(state).double().square().mean().sqrt())


def distances(state: State) -> Tensor:
    """||w_r - w_r(0)||_2 for every unit, shape (m,)."""
    moved: Tensor = (state.network.weights - state.initial.network.weights).norm(dim=1)
    return moved


def max_output_distance(state: State) -> float:
    """max_r |a_r - a_r(0)|."""
    return float((state.network.outputs - state.initial.network.outputs).abs().max())


def gram_lambda_min(state: State) -> float:
    """lambda_min(H(k))."""
    return lambda_min(state.gram)


def output_gram_lambda_min(state: State) -> float:
    """lambda_min(G(t)) of the output layer's Gram matrix: Du et al. (2019), section 3.2."""
    return lambda_min(empirical_output_gram(state.network, state.x))


def gram_drift(state: State) -> float:
    """||H(k) - H(0)||_2."""
    return spectral_norm(state.gram - state.initial.gram)
