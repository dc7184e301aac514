"""SGD of section 3.3 of 2018, and Lemma D.2: how far a minibatch's mean is from that of all.

Refuted by steps other than torch's own on the same minibatches; by gradients that are not right on
average over all minibatches; by a mean square above the lemma's bound, or off the exact one.
"""

import math
from collections.abc import Hashable
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.draws import Batches, cpu_generator
from companion.experiments.zou2018._minibatches import ORDERS, drawn, enumerated, exact_share
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw
from companion.experiments.zou2018._roads import (
    descent_by_autograd,
    flat,
    gap,
    loss_gradient,
    rounding,
)
from companion.kernels import lambda_max
from companion.lab.checks import at_most, claim, equal, identity
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed

EXPECTED: dict[str, Outcome] = {
    "zou2018-algo-sgd": "holds",
    "zou2018-lemD.2": "holds",
    "zou2018-lemD.2-exact": "holds",
}
CONTROLS = {
    "zou2018-algo-sgd": Lie(
        "the mean over all minibatches is off by twice what rounding explains",
        lambda settings, found: found.assign(bias=found.bias + 2 * _rounding(settings)),
    ),
    "zou2018-lemD.2": Lie(
        "every mean square is larger by the factor $n/(n-1)$",
        lambda settings, found: found.assign(
            number_share=found.number_share * settings.enumerated / (settings.enumerated - 1)
        ),
    ),
    "zou2018-lemD.2-exact": Lie(
        "batches of different examples scatter as independent draws do",
        lambda settings, found: found.assign(
            drawn_gradient=found.drawn_gradient.copy(data=found.drawn_gradient[:, [1, 1]].values)
        ),
    ),
}
# Single examples scatter by what every mean square is divided by.
WHOLE = r"$\frac1n\sum_iu_i^2$"


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, hidden layers.
        width: m, of every hidden layer; even.
        step_size: eta as a multiple of 4 n / lambda_max(K(0)), K the Gram matrix of the gradients.
        steps: of SGD.
        enumerated: n of the training sets whose minibatches are all looked at.
        batch_sizes: B of the drawn minibatches, below n.
        draws: minibatches of every size, order and seed.
    """

    count: Count = 12
    dimension: Dimension = 10
    seeds: Size = 5
    depth: Size = 3
    width: Size = 32
    step_size: Positive = 0.1
    steps: Size = 20
    enumerated: Annotated[int, Field(ge=3, le=12)] = 8
    batch_sizes: Sizes = (2, 4, 6, 9)
    draws: Annotated[int, Field(ge=2)] = 1500


QUICK = Settings()
PAPER = Settings(seeds=10, draws=10000, enumerated=10)


def cost(settings: Settings) -> Cost:
    """Three products a weight for the gradient of every minibatch of every size, and of a step."""
    s = settings
    weights = s.width * (s.dimension + (s.depth - 1) * s.width)
    examples = s.enumerated * 2 ** (s.enumerated - 1) + s.count
    examples += 2 * s.steps * sum(s.batch_sizes)
    batches = math.comb(s.enumerated, s.enumerated // 2)
    return Cost(6.0 * s.seeds * weights * examples, 16 * weights * batches)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"{s.steps} steps of SGD on the cross-entropy of $n$ = {s.count} inputs uniform on the "
        rf"unit sphere of $\mathbb R^{{{s.dimension}}}$ with last coordinate $\mu$ = {s.mu:g} and "
        f"random labels, with {s.depth} hidden layers of width {s.width} and minibatches of "
        f"{listed(s.batch_sizes)}; the gradients of all minibatches of {s.enumerated} inputs, and "
        f"of {s.draws} drawn ones of every size and order; and as many means of numbers. All is "
        f"drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train by SGD, then look at all minibatches of a few examples and at drawn ones of more."""
    s = settings
    found = sweep("seeds", partial(_one_seed, s, device), seed=s.each_seed)
    return found.assign_coords(order=list(ORDERS)).assign_attrs(data=s.data)


def _one_seed(settings: Settings, device: str, *, seed: int) -> Variables:
    s = settings
    few, many = (
        draw(each, device, seed=seed, width=s.width, depth=s.depth)
        for each in (s.override({"count": s.enumerated}), s)
    )
    biases, gradient_shares = enumerated(partial(_gradient, few), s.enumerated)
    generator = cpu_generator("numbers of Lemma D.2", seed)
    numbers = torch.randn(s.count, 1, generator=generator, dtype=torch.float64)
    some = _centred(numbers[: s.enumerated])
    _, number_shares = enumerated(lambda rows: some[rows].mean(dim=0), s.enumerated)
    examples = torch.stack([_gradient(many, torch.tensor([i])) for i in range(s.count)])
    measured: dict[Hashable, Any] = {
        "size": ("size", [*range(1, s.enumerated + 1)]),
        "batch": ("batch", [*s.batch_sizes]),
        "sgd_gap": ("batch", [_sgd_gap(s, many, size, seed) for size in s.batch_sizes]),
        "bias": ("size", biases),
        "gradient_share": ("size", gradient_shares),
        "number_share": ("size", number_shares),
    }
    sets = [_centred(each) for each in (examples.double().cpu(), numbers)]
    means, errors = drawn(torch.stack([u @ u.T for u in sets]), s.batch_sizes, s.draws, seed)
    for name, mean, error in zip(("gradient", "number"), means, errors, strict=True):
        measured[f"drawn_{name}"] = ("order", "batch"), mean
        measured[f"drawn_{name}_error"] = ("order", "batch"), error
    return measured


def _gradient(problem: Problem, rows: Tensor) -> Tensor:
    """G of SGD on these examples, all layers in one row."""
    return flat(loss_gradient(problem, rows.to(problem.x.device)))


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=0)


def _sgd_gap(settings: Settings, problem: Problem, size: int, seed: int) -> float:
    """Weights after SGD against those of torch's own, on the same minibatches."""
    eta = settings.step_size * 4 * len(problem.y) / lambda_max(problem.gram)
    batches = Batches(size, "subsets", seed)
    ended = problem.train(eta, settings.steps, batches=batches).network.weights
    return gap(ended, descent_by_autograd(problem, eta, settings.steps, batches))


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The largest gaps, and what halves of the examples gain over independent draws."""
    half = settings.enumerated // 2
    return {
        "count": settings.count,
        "enumerated": settings.enumerated,
        "half": half,
        "half_share": half * found.number_share.sel(size=half).mean(),
        "bias": found.bias.max(),
        "sgd_gap": found.sgd_gap.max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities to rounding, a bound at every size, and drawn means by their standard errors."""
    return [_sgd(settings, found), _lemma_d_2(found), _exact(settings, found)]


def _sgd(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "zou2018-algo-sgd",
        r"$W_l^{(k+1)}=W_l^{(k)}-\eta G_l^{(k)}$ with $G_l^{(k)}=\frac1B\sum_{i\in\mathcal B^{(k)}}"
        r"\nabla_{W_l}\ell(y_if_{W^{(k)}}(x_i))$, which is $\nabla_{W_l}L_S$ on average",
        identity(
            f"the weights after {settings.steps} steps, and those of torch's own SGD on the same "
            "minibatches, as a share",
            found.sgd_gap,
            settings.steps * _rounding(settings),
            "rounding of sums, in every step",
        ),
        identity(
            r"the mean of $G$ over all minibatches of a size and $\nabla L_S$, over the root mean "
            "square distance of a single example",
            found.bias,
            _rounding(settings),
            "rounding of sums",
        ),
        holds="SGD makes the steps of torch's own on the same minibatches, and over all those of "
        "any size their gradients are that of the loss on average.",
        fails="The steps are others than torch's, or the minibatches' gradients are not right on "
        "average.",
    )


def _lemma_d_2(found: xr.Dataset) -> Verdict:
    worst = (found.number_share * found["size"]).max("size")
    return claim(
        "zou2018-lemD.2",
        r"if $\sum_iu_i=0$, then $\mathbb E\big(\frac1B\sum_{i\in\mathcal B}u_i\big)^2\le\frac1B"
        r"\cdot\frac1n\sum_iu_i^2$",
        at_most(
            rf"$B$ times the mean square over all minibatches, over {WHOLE}, at any $B$",
            worst,
            1 + 100 * float(np.finfo("float64").eps),  # equal at B = 1, but for rounding
        ),
        holds="Over all minibatches of a size the mean square keeps to the bound, and attains it "
        "at $B=1$.",
        fails="Over all minibatches of a size the mean square exceeds the bound.",
    )


def _exact(settings: Settings, found: xr.Dataset) -> Verdict:
    count = settings.enumerated
    known = xr.zeros_like(found["size"], dtype=float) + [
        exact_share(count, size) for size in range(1, count + 1)
    ]
    return claim(
        "zou2018-lemD.2-exact",
        r"the mean square is $\frac{n-B}{B(n-1)}\cdot\frac1n\sum_iu_i^2$ for $B$ different "
        r"examples, and $\frac1B\cdot\frac1n\sum_iu_i^2$ for $B$ independent draws",
        identity(
            rf"the mean square over all minibatches, over {WHOLE}, and $\frac{{n-B}}{{B(n-1)}}$",
            found.number_share - known,
            100 * float(np.finfo("float64").eps),
        ),
        identity(
            r"the same of $\lVert G-\nabla L_S\rVert_F^2$",
            found.gradient_share - known,
            _rounding(settings),
            "rounding of sums",
        ),
        _as_drawn("numbers", settings, found, "number"),
        _as_drawn("gradients", settings, found, "gradient"),
        holds="Enumerated or drawn, numbers or gradients: minibatches of different examples "
        r"scatter less than the lemma allows, by $\frac{n-B}{n-1}$; independent ones do not.",
        fails="Minibatches scatter by another law.",
    )


def _as_drawn(what: str, settings: Settings, found: xr.Dataset, name: str) -> Check:
    """Whether minibatches as SGD draws them scatter by the law of their order.

    The factor (n - B) / (n - 1) is 10 % off 1 at B = 2 and n = 12, and much more at the others.
    """
    errors = found[f"drawn_{name}_error"]
    target = [
        [exact_share(settings.count, size, order) for size in settings.batch_sizes]
        for order in ORDERS
    ]
    return equal(
        f"mean square over {settings.draws} drawn minibatches a seed of {what}, in both orders, "
        f"for $B$ = {listed(settings.batch_sizes)}",
        found[f"drawn_{name}"].mean("seed", skipna=False),
        np.sqrt((errors**2).sum("seed", skipna=False)) / found.sizes["seed"],
        np.array(target),
        0.1,
    )


def _rounding(settings: Settings) -> float:
    return rounding(settings.depth, settings.width, settings.dtype)
