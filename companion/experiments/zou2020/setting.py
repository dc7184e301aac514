"""Setting of 2020: cross-entropy and its inequality, a ball in spectral norm, widths within 2.

Refuted by a gradient or a descent other than torch's own, by a spectral distance above Frobenius's,
by layers' Gram matrices that miss their limit at unequal widths, or by a margin at which the
cross-entropy is flatter than min{1/2, l/(2 log 2)}.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from companion.datasets import DataSet
from companion.draws import cpu_generator, independent_seed
from companion.errors import InputError
from companion.experiments.zou2018._constants import shares_of_cut, values_and_slopes
from companion.experiments.zou2018._problem import DeepSettings, Problem, draw, on_data
from companion.experiments.zou2018._roads import (
    by_autograd,
    by_products,
    descent_by_autograd,
    flat,
    gap,
    loss_gradient,
    of_loss,
    rounding,
)
from companion.kernels import infinite_width_layer_ntks, lambda_max, layer_grams
from companion.lab.checks import at_least, at_most, claim, exponent_near, identity, note, true
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Dimension, Positive, SeveralSizes, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.losses import CROSS_ENTROPY
from companion.monitors import Distances
from companion.networks import ReLUNetwork, draw_zou

EXPECTED: dict[str, Outcome] = {
    "zou2020-setting": "holds",
    "zou2020-ass4.3": "holds",
    "zou2020-ce-ineq": "holds",
    "zou2020-ce-ineq-sharp": "holds",
}
# The assumption's constant: the largest width is at most so many times the least.
MOST = 2
ALPHA_0, ALPHA_1 = 1 / 2, 1 / (2 * math.log(2))


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, hidden layers.
        widths: m, the least width, even.
        ratios: M over m; the layers have m, M, m, M, ... units.
        networks: drawn for each of these widths and every seed.
        step_size: eta as a multiple of 4 n / lambda_max(K(0)), K the Gram matrix of the gradients.
        steps: of gradient descent, in the narrowest networks.
        reach: margins of the inequality go from -reach to reach.
        points: margins on either side of 0.
        sums: sets of n random margins, for the inequality of sums.
    """

    count: Count = 12
    dimension: Dimension = 10
    seeds: Size = 5
    depth: Size = 3
    widths: SeveralSizes = (32, 64, 128, 256)
    ratios: Sizes = (1, 2, 4)
    networks: Size = 8
    step_size: Positive = 0.1
    steps: Size = 20
    reach: Annotated[float, Field(gt=0, le=300)] = 40.0
    points: Annotated[int, Field(ge=10)] = 40_000
    sums: Size = 10_000

    def layers(self, width: int, ratio: int) -> list[int]:
        """m, M, m, ...: m_1, ..., m_L."""
        return [width * (ratio if layer % 2 else 1) for layer in range(self.depth)]


QUICK = Settings()
PAPER = Settings(
    seeds=10, networks=20, widths=(*QUICK.widths, 512, 1024), points=1_000_000, sums=100_000
)


def cost(settings: Settings) -> Cost:
    """A forward and a backward pass for every Gram matrix; steps and roads in the narrowest."""
    s = settings
    weights = [
        [_weights(s.dimension, s.layers(width, ratio)) for width in s.widths] for ratio in s.ratios
    ]
    passes = 4 * s.networks * s.count * sum(sum(row) for row in weights)
    roads = (8 * s.count**2 + 12 * s.count * s.steps) * sum(row[0] for row in weights)
    return Cost(s.seeds * (passes + roads), 16 * weights[-1][-1] + 40 * s.points)


def _weights(dimension: int, layers: Sequence[int]) -> int:
    return sum(a * b for a, b in pairwise([dimension, *layers]))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Networks with {s.depth} hidden layers of $m,M,m,\\dots$ units, $m$ = {listed(s.widths)} "
        f"and $M/m$ = {listed(s.ratios)}, on $n$ = {s.count} inputs uniform on the unit sphere of "
        rf"$\mathbb R^{{{s.dimension}}}$ with last coordinate $\mu$ = {s.mu:g} and random labels: "
        f"the layers' Gram matrices of {s.networks} networks each, and for the least $m$ the "
        f"gradient by three roads and {s.steps} steps of gradient descent on the cross-entropy. "
        f"Data and networks are drawn anew for each of {s.seeds} seeds, and so are {s.sums:,} sets "
        "of $n$ margins."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Gram matrices at all widths, descent at the least, the inequality on a grid and in sums."""
    s = settings
    grams = sweep(
        "grams", partial(_gram_gap, s, device), seed=s.each_seed, ratio=s.ratios, width=s.widths
    )
    runs = sweep("runs", partial(_descend, s, device), seed=s.each_seed, ratio=s.ratios)
    sums = sweep("sums", partial(_sums, s), seed=s.each_seed)
    margins = torch.linspace(-s.reach, s.reach, 2 * s.points + 1, dtype=torch.float64)
    shares = shares_of_cut(CROSS_ENTROPY, margins, ALPHA_0, ALPHA_1, 1)
    shown = torch.linspace(-6, 8, 141, dtype=torch.float64)
    values_, slopes = values_and_slopes(CROSS_ENTROPY, shown)
    found = (
        grams.merge(runs)
        .merge(sums)
        .assign(
            guarded=("case", [_is_guarded(s, ratio) for ratio in s.ratios]),
            edge=_is_guarded(s, MOST, 2),
            floor=shares.min(),
            floor_at_0=shares[s.points],
            floor_place=margins[shares.argmin()],
            value=("margin", values_.numpy()),
            slope=("margin", slopes.numpy()),
        )
    )
    return found.assign_attrs(data=s.data)


def _network(
    settings: Settings, data: DataSet, device: str, seed: int, layers: Sequence[int]
) -> Problem:
    """On given data; beyond the ratio that `draw_zou` accepts, drawn in the same way by hand."""
    if max(layers) <= MOST * min(layers):
        return on_data(data, settings, device, seed=seed, width=layers, depth=settings.depth)
    generator = cpu_generator("weights", independent_seed(seed, *layers))
    weights = tuple(
        math.sqrt(2 / after) * torch.randn(after, before, generator=generator, dtype=torch.float64)
        for before, after in pairwise([settings.dimension, *layers])
    )
    signs = torch.ones(layers[-1], dtype=torch.float64)
    signs[layers[-1] // 2 :] = -1
    network = ReLUNetwork(weights, signs, (1.0,) * len(layers), 1.0)
    near = data.to(getattr(torch, settings.dtype), device)
    return Problem(network.to(device, near.x.dtype), near.x, near.y)


def _data(settings: Settings, seed: int) -> DataSet:
    """The training set of that seed, the same for networks of all widths."""
    plain = draw(settings, "cpu", seed=seed, width=settings.widths[0], depth=1)
    return DataSet(plain.x, plain.y, settings.data)


def _is_guarded(settings: Settings, ratio: int, beyond: int = 0) -> bool:
    """Whether such widths, the larger ones by so much larger still, are refused if they should be.

    With Assumption 4.3 they should be refused if M > 2m.
    """
    width = settings.widths[0]
    layers = [width, ratio * width + beyond, width]
    try:
        draw_zou(layers, settings.dimension, 0)
    except InputError:
        return max(layers) > MOST * width
    return max(layers) <= MOST * width


def _gram_gap(settings: Settings, device: str, *, seed: int, ratio: int, width: int) -> Variables:
    """Root mean square distance of every K^(l) / m_l from its limit, over the norm of that."""
    layers, data = settings.layers(width, ratio), _data(settings, seed)
    limits = infinite_width_layer_ntks(data.x, depth=settings.depth)
    squares = np.zeros(settings.depth)
    for number_ in range(settings.networks):
        problem = _network(settings, data, device, independent_seed(seed, number_), layers)
        grams = layer_grams(problem.network, problem.x)
        for layer, (gram, limit) in enumerate(zip(grams, limits, strict=True)):
            far = gram.cpu() / layers[layer] - limit
            squares[layer] += float(far.norm() / limit.norm()) ** 2 / settings.networks
    return {"gram_gap": ("layer", np.sqrt(squares))}


def _descend(settings: Settings, device: str, *, seed: int, ratio: int) -> Variables:
    """The gradient by other roads, descent against torch's own, and distances in both norms."""
    s = settings
    problem = _network(s, _data(s, seed), device, seed, s.layers(s.widths[0], ratio))
    network, gradient = problem.network, loss_gradient(problem)
    _, products = by_products(network, problem.x)
    slopes = problem.loss.derivatives(network.predict(problem.x), problem.y) / s.count
    square = sum(float(slopes @ gram @ slopes) for gram in problem.layer_grams)
    eta = s.step_size * 4 * s.count / lambda_max(problem.gram)
    # As many directions as there are examples: every step changes a layer by that rank.
    history = problem.train(eta, s.steps, {"distances": Distances(directions=s.count)})
    changes = [
        after - before
        for after, before in zip(history.network.weights, network.weights, strict=True)
    ]
    frobenius, lower, upper = np.moveaxis(history["distances"], -1, 0)
    known = np.array([float(torch.linalg.matrix_norm(each.double(), 2)) for each in changes])
    return {
        "product_gap": gap(gradient, of_loss(problem, products)),
        "autograd_gap": gap(gradient, of_loss(problem, by_autograd(network, problem.x))),
        "square_gap": square / float(flat(gradient).square().sum()) - 1,
        "descent_gap": gap(history.network.weights, descent_by_autograd(problem, eta, s.steps)),
        "frobenius": (("step", "layer"), frobenius),
        "spectral": (("step", "layer"), lower),
        "above": (lower[-1] / known).max(),
        "below": (known / upper[-1]).max(),
    }


def _sums(settings: Settings, *, seed: int) -> Variables:
    """Least -sum l' over min{alpha_0, alpha_1 n L_S}, over sets of margins of many sizes."""
    generator = cpu_generator("margins", seed)
    shape = (settings.sums, settings.count)
    margins = torch.randn(shape, generator=generator, dtype=torch.float64)
    margins = margins * 10 ** torch.linspace(-2, 1.3, settings.sums, dtype=torch.float64)[:, None]
    values_, slopes = values_and_slopes(CROSS_ENTROPY, margins.reshape(-1))
    total, loss = (each.reshape(shape).sum(dim=1) for each in (slopes, values_))
    return {"sum_share": float((total / (ALPHA_1 * loss).clamp(max=ALPHA_0)).min())}


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents of the Gram matrices' distances, and how the two norms compare."""
    share = (found.spectral / found.frobenius).isel(step=-1)
    gaps = _gaps(found)
    return {
        "depth": settings.depth,
        "spectral_share": share.mean(),
        "radius": found.spectral.isel(step=-1).max("layer").mean(),
        "largest_ratio": settings.ratios[-1],
        "widest_gap": gaps.isel(width=-1, ratio=-1).mean(),
        "sum_share": found.sum_share.min(),
        **{f"slope_{ratio}": exponent(gaps.sel(ratio=ratio)) for ratio in settings.ratios},
    }


def _gaps(found: xr.Dataset) -> xr.DataArray:
    """Root mean square over layers, shape (seeds, ratios, widths)."""
    overall: xr.DataArray = (found.gram_gap**2).mean("layer", skipna=False) ** 0.5
    return overall


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities, exponents at every ratio of the widths, and one inequality at every margin."""
    return [
        _setting(settings, found),
        _assumption_4_3(settings, found),
        _inequality(found),
        _sharp(settings, found),
    ]


def _setting(settings: Settings, found: xr.Dataset) -> Verdict:
    allowed = _rounding(settings)
    moved = found.isel(step=slice(1, None))
    return claim(
        "zou2020-setting",
        r"gradient descent on $L_S=\frac1n\sum_i\log(1+e^{-y_if_W(x_i)})$ in all $W_l$, with "
        r"$\lVert\nabla L_S\rVert_F^2=\sum_l\lVert\nabla_{W_l}L_S\rVert_F^2$; the ball "
        r"$\mathcal B(W^{(0)},\tau)$ bounds the spectral norm of every $W_l-W_l^{(0)}$",
        identity(
            r"$\nabla L_S$ by automatic differentiation and by products of masked matrices, and as "
            "the package has it, as a share",
            xr.concat([found.autograd_gap, found.product_gap], "road"),
            allowed,
            "rounding of sums",
        ),
        identity(
            r"$\lVert\nabla L_S\rVert_F^2$ and $\frac1{n^2}\sum_lc^\top K^{(l)}c$ with "
            r"$c_i=y_i\ell'(y_if(x_i))$, as a share",
            found.square_gap,
            allowed,
            "rounding of sums",
        ),
        identity(
            f"the weights after {settings.steps} steps, and those of torch's own descent, as a "
            "share",
            found.descent_gap,
            settings.steps * allowed,
            "rounding of sums, in every step",
        ),
        at_most(
            r"spectral over Frobenius norm of $W_l^{(k)}-W_l^{(0)}$, in any layer after any step",
            moved.spectral / moved.frobenius,
            1 + allowed,
        ),
        at_most(
            "lower bound of the spectral norm over that by a singular value decomposition, and "
            "that over the upper bound, after the last step",
            xr.concat([found.above, found.below], "side"),
            1 + 1e4 * allowed,
        ),
        holds="The gradient and the iterates are those of torch's own on the automatically "
        "differentiated cross-entropy, and the distances that the package records bracket the "
        "spectral norms, which stay below Frobenius's.",
        fails="The gradient, the iterates or the recorded distances are others.",
    )


def _rounding(settings: Settings) -> float:
    widest = max(settings.layers(settings.widths[0], settings.ratios[-1]))
    return rounding(settings.depth, widest, settings.dtype)


def _assumption_4_3(settings: Settings, found: xr.Dataset) -> Verdict:
    gaps = _gaps(found)
    return claim(
        "zou2020-ass4.3",
        r"$M=\max_lm_l\le2\min_lm_l=2m$, with a 2 that can be any constant: at every fixed ratio "
        r"$M/m$ each $\frac1{m_l}K^{(l)}$ is near its limit, by the order of $m^{-1/2}$",
        true(
            r"widths with $M>2m$ are refused, and no others",
            np.append(found.guarded.values, found.edge.values),
        ),
        *(
            exponent_near(
                rf"root mean square distance of $\frac1{{m_l}}K^{{(l)}}$ from its limit in $m$, "
                f"with $M$ = {number(ratio)} $m$",
                gaps.sel(ratio=ratio),
                -0.5,
                0.15,
            )
            for ratio in settings.ratios
        ),
        note(
            "In the widest networks of the largest ratio that distance is "
            f"{spread(gaps.isel(width=-1, ratio=-1), '.2g')} of the limit's norm"
        ),
        holds="Networks of unequal widths have the limits of equal ones, layer by layer, and come "
        "as near them as the least width says, within the factor 2 and beyond it.",
        fails="The guard accepts or refuses other widths than the assumption does, or unequal "
        "widths change how near a limit is.",
    )


def _inequality(found: xr.Dataset) -> Verdict:
    room = 1 - 8 * float(np.finfo("float64").eps)
    return claim(
        "zou2020-ce-ineq",
        r"$-\ell'(z)=\frac1{1+e^z}\ge\min\{\frac12,\frac1{2\log2}\ell(z)\}$, and so "
        r"$-\sum_i\ell'(y_i\hat y_i)\ge\min\{\frac12,\frac n{2\log2}L_S\}$",
        at_least("left side over right side, at any margin", found.floor, room),
        at_least("the same of sums, for any set of margins", found.sum_share, room),
        holds="Left is at least right at every margin, and for every sum.",
        fails="Left is below right at some margin, or for some sum.",
    )


def _sharp(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "zou2020-ce-ineq-sharp",
        "both sides are equal at the margin 0 and nowhere else, so neither constant can be larger",
        identity(
            "left over right at the margin 0, and 1",
            found.floor_at_0 - 1,
            8 * float(np.finfo("float64").eps),
        ),
        identity(
            "the margin at which left over right is least, and 0",
            found.floor_place,
            settings.reach / settings.points / 2,
            "half of the spacing of margins",
        ),
        holds="The inequality is an equality at the margin 0, where an example is just about to be "
        "classified.",
        fails="The inequality has room at the margin 0, or none elsewhere.",
    )


CONTROLS = {
    "zou2020-setting": Lie(
        "automatic differentiation is off by twice what rounding explains",
        lambda settings, found: found.assign(
            autograd_gap=0 * found.autograd_gap + 2 * _rounding(settings)
        ),
    ),
    "zou2020-ass4.3": Lie(
        r"at the largest ratio every distance is multiplied by $m^{0.3}$",
        lambda settings, found: found.assign(
            gram_gap=found.gram_gap.where(
                found.ratio < settings.ratios[-1], found.gram_gap * found.width**0.3
            )
        ),
    ),
    "zou2020-ce-ineq": Lie(
        "every slope is 0.1 % smaller",
        lambda settings, found: found.assign(floor=0.999 * found.floor),
    ),
    "zou2020-ce-ineq-sharp": Lie(
        "at the margin 0 there is room for 0.1 %",
        lambda settings, found: found.assign(floor_at_0=1.001 * found.floor_at_0),
    ),
}
