"""Section 3 of 2018: the network, how it is drawn, its gradient, and gradient descent.

Refuted by products of matrices, automatic differentiation or differences that disagree with the
gradient, by weights of another variance, by steps other than torch's own, or by a small step that
raises the loss.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.draws import independent_seed
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw
from companion.experiments.zou2018._roads import (
    by_autograd,
    by_products,
    descent_by_autograd,
    flat,
    gap,
    loss_gradient,
    mean_loss,
    of_loss,
    rounding,
)
from companion.kernels import lambda_max
from companion.lab.checks import at_least, claim, equal, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, Share, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.monitors import gradient_norms
from companion.monitors import mean_loss as recorded_loss
from companion.networks import draw_zou

EXPECTED: dict[str, Outcome] = {
    "zou2018-model": "holds",
    "zou2018-algo-gd": "holds",
}


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, hidden layers.
        widths: m; layers have m, 2m, m, ... units, so that fan-in and fan-out differ.
        differences: h, steps of the central differences.
        directions: random directions in weight space in which differences are taken.
        step_sizes: eta as multiples of 4 n / lambda_max(K(0)), K the Gram matrix of the gradients.
        steps: of gradient descent.
    """

    count: Count = 12
    dimension: Dimension = 10
    seeds: Size = 5
    depth: Size = 3
    widths: Sizes = (16, 64, 128)
    differences: tuple[Share, ...] = tuple(10.0**power for power in range(-9, -1))
    directions: Size = 3
    step_sizes: tuple[Positive, ...] = (0.001, 0.01, 0.1)
    steps: Size = 20

    def layers(self, width: int) -> list[int]:
        """m, 2m, m, ...: m_1, ..., m_L."""
        return [width * (1 + layer % 2) for layer in range(self.depth)]


QUICK = Settings()
PAPER = Settings(seeds=10, widths=(16, 64, 128, 256), directions=10)


def cost(settings: Settings) -> Cost:
    """Products of masked matrices for every input, Jacobians, differences, and steps twice."""
    s = settings
    layers = [[s.dimension, *s.layers(width)] for width in s.widths]
    weights = [sum(a * b for a, b in pairwise(sizes)) for sizes in layers]
    passes = 8 * s.count**2 + 4 * s.count * len(s.differences) * s.directions
    passes += 12 * s.count * s.steps * len(s.step_sizes)
    return Cost(s.seeds * passes * sum(weights), 8 * 4 * s.count * weights[-1])


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    multiples = listed([number(each) for each in s.step_sizes])
    return (
        rf"The gradient of networks with {s.depth} hidden layers of $m,2m,m,\dots$ units, $m$ = "
        f"{listed(s.widths)}, by four roads, and {s.steps} steps of gradient descent with step "
        rf"size $\eta$ = {multiples} times $4n/\lambda_{{\max}}(K)$, $K$ the Gram matrix of the "
        f"gradients, on the cross-entropy of $n$ = {s.count} inputs uniform on the unit sphere of "
        rf"$\mathbb R^{{{s.dimension}}}$ with last coordinate $\mu$ = {s.mu:g} and random labels; "
        f"data and networks are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Compute the gradient by all roads, and train, width by width."""
    s = settings
    found = sweep("networks", partial(_network, s, device), seed=s.each_seed, width=s.widths)
    return found.assign_attrs(data=s.data)


def _network(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    layers = settings.layers(width)
    problem = draw(settings, device, seed=seed, width=layers, depth=settings.depth)
    network, x = problem.network, problem.x
    outputs, products = by_products(network, x)
    automatic, predictions = by_autograd(network, x), network.predict(x)
    euler = torch.stack(
        [(g * w).sum(dim=(1, 2)) for g, w in zip(automatic, network.weights, strict=True)]
    )
    singular = torch.stack([torch.linalg.svdvals(each)[:, :2] for each in automatic])
    gradient = loss_gradient(problem)
    squares = [float(w.square().mean()) * len(w) / 2 for w in network.weights]
    return {
        "output_gap": float((outputs - predictions).norm(dim=1).max() / predictions.norm()),
        "product_gap": gap(gradient, of_loss(problem, products)),
        "autograd_gap": gap(gradient, of_loss(problem, automatic)),
        "euler_gap": float((euler - predictions).norm(dim=1).max() / predictions.norm()),
        "second_share": float((singular[..., 1] / singular[..., 0]).max()),
        "difference_gap": ("difference", _difference_gaps(settings, problem, gradient, seed)),
        "loss_over_gradient": mean_loss(problem, network.weights) / float(flat(gradient).norm()),
        "entry_square": ("layer", squares),
        "balance": float(network.outputs.sum()),
        **_descend(settings, problem),
    }


def _difference_gaps(
    settings: Settings, problem: Problem, gradient: list[Tensor], seed: int
) -> list[float]:
    """For every h, central differences along unit directions against the gradient, over its norm.

    The largest over the directions.
    """
    weights = problem.network.weights
    worst = [0.0] * len(settings.differences)
    for number_ in range(settings.directions):
        own = independent_seed(seed, number_, *problem.network.widths)
        drawn = draw_zou(problem.network.widths, settings.dimension, own, dtype=weights[0].dtype)
        whole = flat(drawn.weights).norm()
        direction = [(each / whole).to(weights[0].device) for each in drawn.weights]
        slope = float(flat(gradient) @ flat(direction))
        for place, step in enumerate(settings.differences):
            ahead, behind = (
                mean_loss(problem, [w + h * d for w, d in zip(weights, direction, strict=True)])
                for h in (step, -step)
            )
            off = abs((ahead - behind) / (2 * step) - slope) / float(flat(gradient).norm())
            worst[place] = max(worst[place], off)
    return worst


def _descend(settings: Settings, problem: Problem) -> Variables:
    """Descent against torch's own, and by how much every step lowers L_S."""
    unit = 4 * settings.count / lambda_max(problem.gram)
    gaps, falls = [], []
    for multiple in settings.step_sizes:
        eta, record = multiple * unit, {"loss": recorded_loss, "norms": gradient_norms}
        history = problem.train(eta, settings.steps, record)
        known = descent_by_autograd(problem, eta, settings.steps)
        gaps.append(gap(history.network.weights, known))
        squares = np.square(history["norms"]).sum(axis=1)[:-1]
        falls.append(-np.diff(history["loss"]) / (eta * squares))
    return {
        "step_size": ("step_size", [*settings.step_sizes]),
        "descent_gap": ("step_size", gaps),
        "fall": (("step_size", "step"), np.array(falls)),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The largest gaps, and the least falls of a step."""
    return {
        "depth": settings.depth,
        "autograd_gap": found.autograd_gap.max(),
        "difference_gap": found.difference_gap.min("difference").max(),
        "entry_square": found.entry_square.isel(width=-1).mean(),
        "largest_step": settings.step_sizes[-1],
        "largest_step_fall": found.fall.isel(step_size=-1).mean(),
        "least_fall": found.fall.min(),
        "small_step_fall": found.fall.isel(step_size=0).mean(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities to rounding, the variance of the weights, and the fall of the loss."""
    return [_model(settings, found), _gradient_descent(settings, found)]


def _model(settings: Settings, found: xr.Dataset) -> Verdict:
    allowed = _rounding(settings)
    widest = found.entry_square.isel(width=-1)
    layers = settings.layers(settings.widths[-1])
    entries = np.array(layers) * [settings.dimension, *layers[:-1]]
    return claim(
        "zou2018-model",
        r"$f_W(x)=v^\top\sigma(W_L^\top\cdots\sigma(W_1^\top x))$ with "
        r"$w_{l,j}\sim N(0,\frac2{m_l}I)$ and half of $v$ positive; $\nabla_{W_l}f_W(x_i)=x_{l-1,i}"
        r"v^\top(\prod_{r=l+1}^L\Sigma_{r,i}W_r^\top)\Sigma_{l,i}$",
        identity(
            "the outputs, and the products of masked matrices from any layer on, as a share",
            found.output_gap,
            allowed,
            "rounding of sums",
        ),
        identity(
            r"$\nabla L_S$ by these products, and as the package has it, as a share",
            found.product_gap,
            allowed,
            "rounding of sums",
        ),
        identity(
            r"$\nabla L_S$ by automatic differentiation, and as the package has it, as a share",
            found.autograd_gap,
            allowed,
            "rounding of sums",
        ),
        # The loss has curvature, which a difference sees as h^2, and rounding as eps / h.
        identity(
            r"$\nabla L_S$ by central differences, at the best $h$ of each network, as a share",
            found.difference_gap.min("difference"),
            math.sqrt(np.finfo(settings.dtype).eps),
            r"more than $h^2$ and rounding over $h$",
        ),
        identity(
            r"$\langle W_l,\nabla_{W_l}f\rangle$ and $f$, in every layer, as a share",
            found.euler_gap,
            allowed,
            "rounding of sums",
        ),
        identity(
            r"a second singular value of $\nabla_{W_l}f(x_i)$ and 0, as a share of the first",
            found.second_share,
            allowed,
            "rounding of sums",
        ),
        equal(
            r"mean of $\frac{m_l}2w^2$ over the entries of each layer of the widest networks",
            widest.mean("seed"),
            np.sqrt(2 / entries / widest.sizes["seed"]),
            1.0,
            0.1,
        ),
        identity("the sum of $v$ and 0", found.balance, 0.0, "exact"),
        holds="Products of masked matrices, automatic differentiation and central differences "
        "give the same outputs and one gradient, of rank one for every example; the weights have "
        "the variance of 2 over the fan-out.",
        fails="The roads to the outputs and the gradient do not all agree, or the weights have "
        "another variance.",
    )


def _gradient_descent(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "zou2018-algo-gd",
        r"$W_l^{(k)}=W_l^{(k-1)}-\eta\nabla_{W_l}L_S(W^{(k-1)})$, and small steps lower $L_S$",
        identity(
            f"the weights after {settings.steps} steps, and those of torch's own descent, as a "
            "share",
            found.descent_gap,
            settings.steps * _rounding(settings),
            "rounding of sums, in every step",
        ),
        at_least(
            r"fall of $L_S$ in a step, over the $\eta\lVert\nabla L_S\rVert_F^2$ of first order, "
            r"at any step size up to "
            f"{number(settings.step_sizes[-1])} times the unit",
            found.fall,
            0,
        ),
        note(
            "At the smallest step size that share is "
            f"{spread(found.fall.isel(step_size=0).mean(['width', 'step']), '.4f')}"
        ),
        holds="The iterates are those of torch's own descent on the automatically differentiated "
        "loss, and every step of these sizes lowers the loss, the smallest by all but what first "
        "order says.",
        fails="The iterates leave those of torch's own descent, or a small step raises the loss.",
    )


def _rounding(settings: Settings) -> float:
    return rounding(settings.depth, 2 * max(settings.widths), settings.dtype)


CONTROLS = {
    "zou2018-model": Lie(
        "automatic differentiation is off by twice what rounding explains",
        lambda settings, found: found.assign(
            autograd_gap=found.autograd_gap * 0 + 2 * _rounding(settings)
        ),
    ),
    "zou2018-algo-gd": Lie(
        "in every run the last step raises the loss by 1 % of what it was to lower it",
        lambda settings, found: found.assign(
            fall=found.fall.where(np.arange(settings.steps) < settings.steps - 1, -0.01)
        ),
    ),
}
