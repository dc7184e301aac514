"""Section 2: the network, how it is drawn, its gradient, and Algorithms 1 and 2.

Refuted by formulas or differences that disagree with the package's gradient, by outputs or
gradients of another size than the drawn weights give, by iterates other than those of the printed
steps, or by an output of Algorithm 2 that is not uniform among the iterates before the last.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.draws import Batches, cpu_generator, independent_seed
from companion.experiments.chen2021._problem import (
    Exponent,
    HalvesSettings,
    Layers,
    draw,
    halves,
)
from companion.experiments.chen2021._roads import (
    by_autograd,
    by_products,
    iterates,
    matrices_of,
    output,
)
from companion.experiments.zou2018._problem import Problem
from companion.experiments.zou2018._roads import flat, gap, loss_gradient, of_loss, rounding
from companion.lab.checks import claim, equal, identity, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, Positive, Share, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed
from companion.networks import draw_chen
from companion.training import descent

EXPECTED: dict[str, Outcome] = {
    "chen2021-model": "holds",
    "chen2021-algo1": "holds",
    "chen2021-algo2": "holds",
}
CONTROLS = {
    "chen2021-model": Lie(
        r"$W_L$ is drawn with the variance $\frac2m$ of the other layers",
        lambda settings, found: found.assign(output_square=2 * found.output_square),
    ),
    "chen2021-algo1": Lie(
        "the last layer is not trained, as in Zou et al.",
        lambda settings, found: found.assign(descent_gap=found.hidden_gap),
    ),
    "chen2021-algo2": Lie(
        "the examples are drawn with replacement",
        lambda settings, found: found.assign(pass_gap=found.replaced_gap),
    ),
}


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        layers: L, all weight matrices.
        alphas: of the factor m^alpha.
        widths: m.
        draws: networks of every seed, width and alpha, of which moments are taken.
        differences: h, steps of the central differences.
        step_size: eta as a multiple of 1 / (L m^(2 alpha)).
        width: m, where the algorithms run.
        steps: T of Algorithm 1; Algorithm 2 makes n.
        fresh: examples never trained on.
        picks: outputs of Algorithm 2 that are drawn from each run.
    """

    seeds: Size = 4
    layers: Layers = 4
    alphas: tuple[Exponent, ...] = (0.25, 0.5)
    widths: Sizes = (32, 64, 128)
    draws: Count = 60
    differences: tuple[Share, ...] = tuple(10.0**power for power in range(-8, -1))
    step_size: Positive = 1.0
    width: Size = 48
    steps: Size = 20
    fresh: Count = 500
    picks: Count = 2000


QUICK = Settings()
PAPER = Settings(
    seeds=10, alphas=(0.125, 0.25, 0.5), widths=(32, 64, 128, 256, 512), draws=100, picks=10000
)


def cost(settings: Settings) -> Cost:
    """Moments of many networks, gradients of few by all roads, and steps along several roads."""
    s = settings
    sizes = [[s.dimension, *[width] * (s.layers - 1), 1] for width in s.widths]
    weights = sum(a * b for each in sizes for a, b in pairwise(each))
    grams = s.layers * sum(s.widths) * s.count
    moments = 4 * s.count * (weights + grams)
    roads = s.count * weights * (4 * s.count + 4 * len(s.differences) + 12)
    own = s.width * (s.dimension + s.width * (s.layers - 2))
    steps = own * (18 * s.count * s.steps + 2 * s.fresh * s.count)
    largest = s.widths[-1] * (s.dimension + s.widths[-1] * (s.layers - 2))
    each = s.draws * moments + roads + steps
    return Cost(float(s.seeds * len(s.alphas) * each), 8 * 3.0 * s.count * largest)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Networks of $L$ = {s.layers} weight matrices and width $m$ = {listed(s.widths)} with "
        rf"$\alpha$ = {listed(f'{each:g}' for each in s.alphas)} on $n$ = {s.count} inputs "
        f"{s.data}; {s.draws * s.seeds} of each are drawn for their moments, and one of each seed "
        f"is differentiated. At $m$ = {s.width}, {s.steps} steps of Algorithm 1 and one pass of "
        rf"Algorithm 2, with step size $\eta={s.step_size:g}/(Lm^{{2\alpha}})$. Data and networks "
        f"are drawn anew for each of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Compute gradients by all roads, moments over many draws, and the steps of both algorithms."""
    s = settings
    axes = {"seed": s.each_seed, "alpha": s.alphas}
    networks = sweep("networks", partial(_network, s, device), **axes, width=s.widths)
    moments = sweep("moments", partial(_moments, s, device), **axes, width=s.widths)
    steps = sweep("algorithms", partial(_algorithms, s, device), **axes)
    found = xr.merge([networks, moments, steps])
    return found.assign_coords(layer=range(1, s.layers + 1)).assign_attrs(data=s.data)


def _network(settings: Settings, device: str, *, seed: int, alpha: float, width: int) -> Variables:
    s = settings
    problem = draw(s, device, seed=seed, width=width, layers=s.layers, alpha=alpha)
    network, x, scale = problem.network, problem.x, width**alpha
    half = draw(s, device, seed=seed, width=width, layers=s.layers, alpha=0.5)
    predictions, gradient = network.predict(x), loss_gradient(problem)
    products, automatic = by_products(network, scale, x), by_autograd(network, scale, x)
    euler = torch.stack([
        (each * matrix).sum(dim=(1, 2))
        for each, matrix in zip(automatic, matrices_of(network), strict=True)
    ])  # fmt: skip
    size = predictions.norm()
    return {
        "output_gap": float((output(matrices_of(network), scale, x) - predictions).norm() / size),
        "product_gap": gap(gradient, of_loss(problem, products)),
        "autograd_gap": gap(gradient, of_loss(problem, automatic)),
        "difference_gap": ("difference", _difference_gaps(s, problem, scale, gradient, seed)),
        "euler_gap": float((euler - predictions).norm(dim=1).max() / size),
        "alpha_gap": float(
            (width ** (alpha - 0.5) * half.network.predict(x) - predictions).norm() / size
        ),
    }


def _difference_gaps(
    settings: Settings, problem: Problem, scale: float, gradient: list[Tensor], seed: int
) -> list[float]:
    """For every h, a central difference along a random direction against the gradient's slope.

    As a share of the gradient's norm; the direction is in all layers, and of norm 1.
    """
    s, matrices = settings, matrices_of(problem.network)
    width, own = problem.network.widths[0], independent_seed(seed, s.layers)
    drawn = draw_chen(width, s.dimension, own, depth=s.layers - 1, dtype=matrices[0].dtype)
    direction = [each.to(matrices[0]) for each in matrices_of(drawn)]
    size = flat(direction).norm()
    direction = [each / size for each in direction]

    def loss(step: float) -> float:
        moved = [w + step * each for w, each in zip(matrices, direction, strict=True)]
        margins = problem.y * output(moved, scale, problem.x)
        return float(torch.log1p(torch.exp(-margins)).mean())

    slope, whole = float(flat(gradient) @ flat(direction)), float(flat(gradient).norm())
    return [abs((loss(h) - loss(-h)) / (2 * h) - slope) / whole for h in s.differences]


def _moments(settings: Settings, device: str, *, seed: int, alpha: float, width: int) -> Variables:
    """Mean squares over the inputs of f and of its gradients, network by network."""
    s = settings
    outputs, gradients = [], []
    for number in range(s.draws):
        own = independent_seed(seed, number, round(1000 * alpha))
        problem = draw(s, device, seed=own, width=width, layers=s.layers, alpha=alpha)
        outputs.append(float(problem.network.predict(problem.x).square().mean()))
        gradients.append([float(gram.diagonal().mean()) for gram in problem.layer_grams])
    return {
        "output_square": ("draw", outputs),
        "gradient_square": (("draw", "layer"), np.array(gradients)),
    }


def _algorithms(settings: Settings, device: str, *, seed: int, alpha: float) -> Variables:
    """Distances of the package's iterates from those of the printed steps, and of other ones."""
    s = settings
    problem = draw(s, device, seed=seed, width=s.width, layers=s.layers, alpha=alpha)
    scale = s.width**alpha
    eta = s.step_size / (s.layers * scale**2)
    batches, everything = Batches(1, "once"), [range(s.count)] * s.steps
    rows = [batches.rows(step, s.count).tolist() for step in range(s.count)]
    replaced = Batches(1, "replacement", seed)
    others = [replaced.rows(step, s.count).tolist() for step in range(s.count)]
    printed = partial(iterates, problem, scale, eta)
    passed = _passed(problem, eta, batches)
    descended = [
        [each.clone() for each in matrices_of(moment.network)]
        for moment, _ in zip(problem.moments(eta), range(s.steps + 1), strict=False)
    ]
    return {
        "descent_gap": ("step", _gaps(descended, printed(everything))),
        "hidden_gap": ("step", _gaps(descended, printed(everything, last_layer=False))),
        "pass_gap": ("example", _gaps(passed, printed([[i] for i in range(s.count)]))),
        "replaced_gap": ("example", _gaps(passed, printed(others))),
        "used": ("example", [len(row) == 1 and row[0] == i for i, row in enumerate(rows)]),
        **_uniform(s, scale, passed[:-1], seed),
    }


def _passed(problem: Problem, eta: float, batches: Batches) -> list[list[Tensor]]:
    """W^(0), ..., W^(n) of one pass by the package."""
    moments = descent(
        problem.network, problem.x, problem.y, loss=problem.loss, step_size=eta, batches=batches
    )
    return [[each.clone() for each in matrices_of(moment.network)] for moment in moments]


def _gaps(found: list[list[Tensor]], known: list[list[Tensor]]) -> list[float]:
    """After every step but none, the distance of two roads as a share of the weights' norm."""
    return [gap(*pair) for pair in zip(found[1:], known[1:], strict=True)]


def _uniform(settings: Settings, scale: float, passed: list[list[Tensor]], seed: int) -> Variables:
    """The loss of fresh examples at W^(0), ..., W^(n-1), and at drawn outputs of Algorithm 2."""
    s = settings
    fresh = halves(s.fresh, s.dimension, s.gap, independent_seed(seed, s.fresh)).to(
        passed[0][0].dtype, passed[0][0].device
    )
    losses = np.array([
        float(torch.log1p(torch.exp(-fresh.y * output(each, scale, fresh.x))).mean())
        for each in passed
    ])  # fmt: skip
    generator = cpu_generator("the output of Algorithm 2", seed)
    picked = losses[torch.randint(0, s.count, (s.picks,), generator=generator).numpy()]
    return {
        "fresh_loss": ("example", losses),
        "picked_loss": picked.mean(),
        "picked_error": picked.std(ddof=1) / math.sqrt(s.picks),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The largest gaps, the least of other algorithms, and the moments."""
    widest = found.isel(width=-1, alpha=-1)
    scaled = widest.gradient_square.mean(["seed", "draw"]) / settings.widths[-1]
    return {
        "layers": settings.layers,
        "width": settings.width,
        "autograd_gap": found.autograd_gap.max(),
        "difference_gap": found.difference_gap.min("difference").max(),
        "descent_gap": found.descent_gap.max(),
        "hidden_gap": found.hidden_gap.isel(step=-1).min(),
        "pass_gap": found.pass_gap.max(),
        "replaced_gap": found.replaced_gap.isel(example=-1).min(),
        "output_square": widest.output_square.mean(),
        "hidden_square": scaled.isel(layer=slice(0, -1)).mean(),
        "last_square": scaled.isel(layer=-1),
        "first_fresh": found.fresh_loss.isel(example=0).mean(),
        "last_fresh": found.fresh_loss.isel(example=-1).mean(),
        "picked_fresh": found.picked_loss.mean(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities to rounding; moments and the uniform output by their standard errors."""
    return [_model(settings, found), _algorithm_1(settings, found), _algorithm_2(settings, found)]


def _model(settings: Settings, found: xr.Dataset) -> Verdict:
    allowed = _rounding(settings)
    scale = found.width ** (2 * found.alpha)
    share = 1 - 0.5 * (found.layer < settings.layers)

    def same(what: str, gaps: xr.DataArray) -> Check:
        return identity(f"{what}, as a share", gaps, allowed, "rounding of sums")

    return claim(
        "chen2021-model",
        r"$f_W(x)=m^\alpha W_L\sigma(W_{L-1}\cdots\sigma(W_1x))$ with entries $N(0,\frac2m)$, "
        r"those of $W_L$ $N(0,\frac1m)$: so $\mathbb Ef^2=m^{2\alpha-1}$, and "
        r"$\mathbb E\lVert\nabla_{W_l}f\rVert_F^2$ is $\frac12m^{2\alpha}$ for $l<L$ and "
        r"$m^{2\alpha}$ for $l=L$",
        same("outputs by the formula, and the package's", found.output_gap),
        same(r"outputs, and $m^{\alpha-1/2}$ times those at $\alpha=\frac12$", found.alpha_gap),
        same(r"$\nabla L_S$ by products of masked matrices, and the package's", found.product_gap),
        same(r"$\nabla L_S$ by automatic differentiation, and the package's", found.autograd_gap),
        same(r"$\langle W_l,\nabla_{W_l}f\rangle$ and $f$, in every layer", found.euler_gap),
        # The loss has curvature, which a difference sees as h^2, and rounding as eps / h.
        identity(
            r"$\nabla L_S$ by central differences, at the best $h$ of each network, as a share",
            found.difference_gap.min("difference"),
            math.sqrt(np.finfo(settings.dtype).eps),
            r"more than $h^2$ and rounding over $h$",
        ),
        _moment(r"$f^2$ over $m^{2\alpha-1}$", found.output_square * found.width / scale, 1, 0.5),
        _moment(
            r"$\lVert\nabla_{W_l}f\rVert_F^2$ over $m^{2\alpha}$, in every layer",
            found.gradient_square / scale,
            share,
            0.3,
        ),
        holds="Formula, products of matrices, automatic differentiation and differences give the "
        "same outputs and one gradient in all layers, the last included; outputs and gradients "
        "are on average as large as the variances of the weights make them.",
        fails="The roads to the outputs and the gradient do not all agree, or outputs or gradients "
        "have another size.",
    )  # fmt: skip


def _moment(
    what: str, samples: xr.DataArray, target: xr.DataArray | float, precision: float
) -> Check:
    """Whether the mean over all draws is its expectation, at every width and alpha."""
    mean = samples.mean(["seed", "draw"], skipna=False)
    count = samples.sizes["seed"] * samples.sizes["draw"]
    error = samples.std(["seed", "draw"], ddof=1, skipna=False) / math.sqrt(count)
    return equal(f"mean of {what}", mean, error, target, precision)


def _algorithm_1(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "chen2021-algo1",
        r"$W^{(t)}=W^{(t-1)}-\eta\nabla L_S(W^{(t-1)})$ for $t=1,\dots,T$, in all $L$ layers; all "
        "iterates are the output",
        identity(
            f"each of {settings.steps} iterates by the package, and by the printed steps, as a "
            "share of the weights",
            found.descent_gap,
            settings.steps * _rounding(settings),
            "rounding of sums, in every step",
        ),
        holds="Every iterate of the package is that of the printed steps, to rounding.",
        fails="The package's iterates are not those of the printed steps.",
    )


def _algorithm_2(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    return claim(
        "chen2021-algo2",
        r"$W^{(i)}=W^{(i-1)}-\eta\nabla L_i(W^{(i-1)})$ for $i=1,\dots,n$, one new example a step; "
        r"the output is uniform on $W^{(0)},\dots,W^{(n-1)}$",
        identity(
            f"each of {s.count} iterates by the package, and by the printed steps, as a share of "
            "the weights",
            found.pass_gap,
            s.count * _rounding(s),
            "rounding of sums, in every step",
        ),
        true("step $i$ uses example $i$ and no other", found.used),
        equal(
            f"mean loss of fresh examples over {s.picks} drawn outputs of each run, and over all "
            r"of $W^{(0)},\dots,W^{(n-1)}$",
            found.picked_loss,
            found.picked_error,
            found.fresh_loss.mean("example"),
            0.1,
        ),
        holds="One pass of the package in batches of 1 makes the printed steps, each with an "
        "example of its own, and a drawn output has on average the mean loss of the iterates.",
        fails="The pass makes other steps, uses an example twice, or its output is not uniform.",
    )


def _rounding(settings: Settings) -> float:
    width = max(*settings.widths, settings.width)
    return rounding(settings.layers, width, settings.dtype)
