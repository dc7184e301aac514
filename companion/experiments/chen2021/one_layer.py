"""Squared hinge on W_(L-1) alone (Lemma A.2), and a step of the proof of Proposition 4.10.

Refuted by a least gradient that falls faster than the lemma allows, by a decay that slows down in
wider networks, or by a distance that falls more slowly than m^-alpha.
"""

import math
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.bounds.chen2021 import equation_a_1_distance
from companion.datasets import twins
from companion.draws import independent_seed
from companion.experiments.chen2021._problem import Exponent, HalvesSettings, Layers, on_data
from companion.fleets import train_fleet
from companion.kernels import empirical_gram, infinite_width_layer_ntks, lambda_max
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    identity,
    note,
    true,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Check, Outcome, Verdict
from companion.lab.settings import Count, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.losses import Loss
from companion.monitors import Moment, Record, gradient_norms, mean_loss, together
from companion.networks import ReLUNetwork
from companion.ntrf import ntrf_margin
from companion.training import History, Stop

EXPECTED: dict[str, Outcome] = {
    "chen2021-lemA.2": "outside-regime",
    "chen2021-prop4.10-proof": "fails",
    "chen2021-prop4.10-mended": "holds",
}
# How far the exponents of the widths at hand may be from those of very wide networks.
NEAR = 0.05
# Of sums of n positive numbers and of their roots.
ROUNDING = 1e-12
# Shares of the first loss at which the time is told; the last is above where the runs end.
LEVELS = np.geomspace(1, 0.02, 30)


class Settings(HalvesSettings):
    """What is run; inputs come in pairs of different labels, so n is even.

    Attributes:
        layers: L; W_(L-1), the last hidden matrix, is trained and nothing else.
        separation: phi of the pairs, where phi is not varied.
        widths: m, in increasing order.
        alphas: scaling exponents.
        accuracy: eps; the squared hinge has lambda = log(1/eps) + 1.
        step_size: of gradient descent, as a multiple of the reciprocal of the loss's largest second
            derivative at initialisation; small, for a flow.
        steps: the budget of a run.
        counts: n, of the least gradients at infinite width, in increasing order.
        separations: phi of the same, in increasing order.
    """

    seeds: Size = 16
    count: Count = 8
    layers: Layers = 3
    separation: Share = 0.5
    widths: SeveralSizes = (64, 128, 256, 512)
    alphas: Annotated[tuple[Exponent, ...], Field(min_length=1)] = (0.25, 0.5)
    accuracy: Share = 0.05
    step_size: Share = 0.5
    steps: Size = 10_000
    counts: SeveralSizes = (8, 16, 32, 64)
    separations: Annotated[tuple[Share, ...], Field(min_length=3)] = (0.001, 0.002, 0.004, 0.008)

    @property
    def threshold(self) -> float:
        """Lambda, the margin from which on the squared hinge is 0."""
        return math.log(1 / self.accuracy) + 1


QUICK = Settings()
PAPER = Settings(seeds=40, widths=(*QUICK.widths, 1024, 2048), counts=(8, 16, 32, 64, 128))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        rf"Gradient descent on the squared hinge with $\lambda={s.threshold:.2f}$ in $W_{{L-1}}$ "
        f"alone, at {number(s.step_size)} times the reciprocal of its largest second derivative, "
        rf"until the mean loss is $1/n$, from networks with $L={s.layers}$, $\alpha=$ "
        f"{listed(s.alphas)} and $m=$ {listed(s.widths)}, on $n={s.count}$ inputs in pairs of "
        rf"different labels $\phi={s.separation:g}$ apart in dimension $d={s.dimension}$; and the "
        rf"least gradient at infinite width for $n=$ {listed(s.counts)} and for $\phi=$ "
        f"{listed(number(phi) for phi in s.separations)}. {s.seeds} draws each."
    )


def cost(settings: Settings) -> Cost:
    """A pass through every network, then some hundred steps in n coordinates."""
    s, steps = settings, 20 / settings.step_size / settings.separation
    passes = sum(4.0 * s.count * (s.layers - 1) * m**2 for m in s.widths)
    trained = sum(6.0 * steps * s.count**2 * m for m in s.widths)
    layers = 8 * (s.layers + 1) * max(s.widths) ** 2
    return Cost(len(s.alphas) * s.seeds * (passes + trained), layers)


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train one layer at every width, and bound gradients from below at infinite width."""
    s = settings
    runs = sweep("runs", partial(_train, s, device), alpha=s.alphas, width=s.widths)
    parts = [
        runs.assign_coords(seed=list(s.each_seed), level=LEVELS),
        sweep("counts", partial(_by_count, s), seed=s.each_seed, count=s.counts),
        sweep("phis", partial(_by_separation, s), seed=s.each_seed, phi=s.separations),
        xr.Dataset(_implied(s)),
    ]
    return xr.merge(parts).assign_attrs(data=f"pairs of different labels, d={s.dimension}")


def _train(settings: Settings, device: str, *, alpha: float, width: int) -> Variables:
    """The runs of all seeds, as a fleet."""
    s, unit = settings, width ** (2 * alpha)
    layers, inputs, labels, steps, worst = [], [], [], [], []
    for seed in s.each_seed:
        data = twins(s.count, s.dimension, s.separation, seed)
        problem = on_data(data, s, device, seed=seed, width=width, layers=s.layers, alpha=alpha)
        layer, below = last_hidden_layer(problem.network, problem.x)
        gram = empirical_gram(layer, below)
        layers.append(layer)
        inputs.append(below)
        labels.append(problem.y)
        # The squared hinge has the second derivative 2, the mean loss in W at most 2 lambda / n.
        steps.append(s.step_size * s.count / (2 * lambda_max(gram)))
        worst.append(ntrf_margin(gram, problem.y).value ** 2 / unit)
    record: Record = {"loss": mean_loss, "gradient": gradient_norms, "roots": _roots_over_losses}
    histories = train_fleet(
        layers, torch.cat(inputs), torch.cat(labels), loss=hinge(s.threshold), step_size=steps,
        steps=s.steps, subsets=torch.split(torch.arange(s.seeds * s.count), s.count), record=record,
        stop=Stop(loss_below=1 / s.count, every=1),
    )  # fmt: skip
    each = [
        _one(layer, history.stable(), step, unit)
        for layer, history, step in zip(layers, histories, steps, strict=True)
    ]
    found = {name: [one[name] for one in each] for name in each[0]}
    times = ("seed", "level"), found.pop("time")
    return {"worst": ("seed", worst), "time": times, **{k: ("seed", v) for k, v in found.items()}}


def _one(layer: ReLUNetwork, history: History, step: float, unit: float) -> dict[str, Any]:
    """One run: what its gradients are to its losses, how far it goes, and how its losses differ."""
    losses, squares = history["loss"], history["gradient"][:-1, 0] ** 2
    rate = float((squares / losses[:-1]).min())
    moved = float((history.network.weights[0] - layer.weights[0]).norm())
    # What a step takes off the loss over what a flow would.
    taken = float((-np.diff(losses) / (step * squares)).min())
    times = unit * step * np.arange(len(losses))
    return {
        "reached": history.ending == "loss",
        "rate": rate / unit,
        "distance": moved,
        "taken": taken,
        "path_share": taken * moved / equation_a_1_distance(rate, float(losses[0])),
        "roots": float(history["roots"].min()),
        "time": np.interp(-np.log(LEVELS), -np.log(losses / losses[0]), times),
    }


def last_hidden_layer(network: ReLUNetwork, x: Tensor) -> tuple[ReLUNetwork, Tensor]:
    """W_(L-1) as the first layer of a network of its own, and what it is given as its inputs.

    In coordinates of the span of the n outputs below, which no gradient in W_(L-1) leaves: the
    weights have the shape (m, k), the inputs (n, k), where k is the less of m and n.
    """
    basis, coordinates = torch.linalg.qr(network.run(x).hidden[-2].T)
    weights, gain = network.weights[-1] @ basis, network.output_gain
    return ReLUNetwork((weights,), network.outputs, (1.0,), gain, "hidden"), coordinates.T


def hinge(threshold: float) -> Loss:
    """The squared hinge of the proof: max{lambda - z, 0}^2 of the margin z."""
    return Loss(
        "squared hinge with another margin",
        of=lambda z: (threshold - z).relu().square(),
        slope_of=lambda z: -2 * (threshold - z).relu(),
        of_margin=True,
    )


@together
def _roots_over_losses(moment: Moment) -> Tensor:
    """(sum_i sqrt(l_i))^2 over n^2 times the mean loss."""
    losses = moment.losses
    return losses.sqrt().sum(dim=-1).square() / (losses.shape[-1] * losses.sum(dim=-1))


def _by_count(settings: Settings, *, seed: int, count: int) -> Variables:
    own = independent_seed(seed, count)
    return {"count_worst": _limit_worst(settings, count, settings.separation, own)}


def _by_separation(settings: Settings, *, seed: int, phi: float) -> Variables:
    return {"phi_worst": _limit_worst(settings, settings.count, phi, seed)}


def _limit_worst(settings: Settings, count: int, phi: float, seed: int) -> float:
    """Least squared norm of the gradient in W_(L-1) over m^(2 alpha) and n^-2 (sum of slopes)^2.

    Over all slopes: the square of a margin, at infinite width.
    """
    data, hidden = twins(count, settings.dimension, phi, seed), settings.layers - 1
    grams = infinite_width_layer_ntks(data.x, depth=hidden, parameterisation="chen")
    return ntrf_margin(grams[hidden - 1], data.y).value ** 2


def _implied(settings: Settings) -> Variables:
    """The cross-entropy where the squared hinge is at most 1, over eps; and losses one by one."""
    s, margins = settings, np.linspace(settings.threshold - 1, settings.threshold + 20, 1001)
    return {
        "implied": ("margin", np.log1p(np.exp(-margins)) / s.accuracy),
        # One loss of 1 and n - 1 of 0: the squared sum of roots is 1, n^2 times the mean is n.
        "alone": ("count", [1 / n for n in s.counts]),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents of gradients, rates and distances, and how unequal losses are."""
    s = settings
    return {
        "count": s.count,
        "widest": s.widths[-1],
        "count_exponent": exponent(found.count_worst, "count"),
        "phi_exponent": exponent(found.phi_worst, "phi"),
        "worst_exponent": exponent(found.worst),
        "rate_exponent": exponent(found.rate),
        "distance_exponent_quarter": exponent(found.distance.sel(alpha=s.alphas[0])),
        "distance_exponent_half": exponent(found.distance.sel(alpha=s.alphas[-1])),
        "far": found.distance.isel(width=-1).max(),
        "path_share": found.path_share.max(),
        "roots": found.roots.min(),
        "alone": found.alone.isel(count=0),
        "implied": found.implied.max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Exponents by their confidence intervals, inequalities at every value."""
    return [_lemma(settings, found), _proof(settings, found), _mended(settings, found)]


def _lemma(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    distances = [exponent(found.distance.sel(alpha=alpha)) for alpha in s.alphas]
    told = listed(
        rf"{power:.2f} ($\alpha={alpha:g}$)"
        for power, alpha in zip(distances, s.alphas, strict=True)
    )
    return claim(
        "chen2021-lemA.2",
        r"$\lVert\nabla_{W_{L-1}}\tilde L_S\rVert_F^2\ge Cm^{2\alpha}\phi n^{-5}"
        r"(\sum_i\tilde\ell_i')^2$; the loss decays geometrically, and the layer moves by "
        r"$O(m^{-\alpha})$",
        *_gradient_checks(found),
        true("the mean loss comes to $1/n$", found.reached),
        *_run_checks(settings, found),
        anyway(
            at_most(
                r"the cross-entropy over $\epsilon$ where the squared hinge is at most 1",
                found.implied,
                1,
            )
        ),
        outside=f"widths up to {s.widths[-1]} are far below the power of $n$ that the proposition "
        "asks for",
        holds="The least gradient falls no faster than the lemma allows, the rate of decay does "
        f"not fall in wider networks, and the distance has the exponents {told} in $m$",
        fails="A gradient, a rate or a distance has another order than the lemma's.",
    )


def _gradient_checks(found: xr.Dataset) -> list[Check]:
    """The worst slopes: at infinite width in n and phi, at finite width in m."""
    by_n, by_phi = 1 / found.count_worst, 1 / found.phi_worst
    return [
        exponent_at_most(
            "one over the least gradient for slopes of mean 1, squared, in $n$",
            by_n, 3, 0, "count",
        ),
        exponent_at_most(
            r"the same in $1/\phi$", by_phi.assign_coords(phi=1 / found.phi), 1, NEAR, "phi"
        ),
        exponent_at_most(r"the same times $m^{2\alpha}$ in $m$", 1 / found.worst, 0, NEAR),
    ]  # fmt: skip


def _run_checks(settings: Settings, found: xr.Dataset) -> list[Check]:
    return [
        exponent_at_most(
            r"one over the least $-\frac{d}{dt}\log\tilde L_S$ of a run, times $m^{2\alpha}$, in "
            "$m$",
            1 / found.rate,
            0,
            NEAR,
        ),
        *(
            exponent_at_most(
                rf"the distance in $m$, $\alpha={alpha:g}$",
                found.distance.sel(alpha=alpha),
                -alpha,
                NEAR,
            )
            for alpha in settings.alphas
        ),
        at_most(
            "the distance over what the least rate of the run allows, "
            r"$2(\tilde L_S(0)/\mathrm{rate})^{1/2}$ over the least share of "
            r"$\eta\lVert\nabla\tilde L_S\rVert_F^2$ that a step takes off the loss",
            found.path_share.max(["alpha", "width"], skipna=False),
            1,
        ),
    ]


def _proof(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "chen2021-prop4.10-proof",
        r"$\big(\sum_i\sqrt{\tilde\ell_i}\big)^2\ge n^2\tilde L_S$, which the proof of Proposition "
        "4.10 uses",
        anyway(
            at_least(
                r"least $\big(\sum_i\sqrt{\tilde\ell_i}\big)^2/n^2\tilde L_S$ of a run",
                found.roots.min(["alpha", "width"], skipna=False),
                1 - ROUNDING,
            )
        ),
        note(
            f"with one loss left of $n={int(found.indexes['count'][0])}$ it is "
            f"{number(found.alone[0])}"
        ),
        holds="The inequality is true along every run.",
        fails="By Cauchy and Schwarz the inequality is the other way round, with equality only "
        f"where all losses are equal; along these runs the left side is down to "
        f"{number(found.roots.min(), '.2f')} of the right one.",
    )


def _mended(settings: Settings, found: xr.Dataset) -> Verdict:
    s, ends = settings, found.alone * found["count"]
    return claim(
        "chen2021-prop4.10-mended",
        r"$\big(\sum_i\sqrt{\tilde\ell_i}\big)^2\ge n\tilde L_S$ and $\max_i\tilde\ell_i\ge\tilde "
        r"L_S$",
        anyway(
            at_least(
                r"least $\big(\sum_i\sqrt{\tilde\ell_i}\big)^2/n\tilde L_S$ of a run",
                s.count * found.roots.min(["alpha", "width"], skipna=False),
                1 - ROUNDING,
            )
        ),
        anyway(
            identity(
                "the same with one loss left, and 1, so that no larger power of $n$ will do",
                ends - 1,
                ROUNDING,
            )
        ),
        holds=r"With $n\tilde L_S$ the step is right and leaves the rate $n^{-4}$; with the "
        "gradient bounded by the largest slope, as in Lemma 5.2 of Zou et al. (2020), the proof "
        "keeps its $n^{-3}$ and its radius.",
        fails="The squared sum of roots falls below the sum of the losses.",
    )


CONTROLS = {
    "chen2021-lemA.2": Lie(
        r"every distance is multiplied by $m^{1/5}$",
        lambda settings, found: found.assign(distance=found.distance * found.width**0.2),
    ),
    "chen2021-prop4.10-proof": Lie(
        "all losses of a run are equal",
        lambda settings, found: found.assign(roots=1 + 0 * found.roots),
    ),
    "chen2021-prop4.10-mended": Lie(
        "the squared sum of roots is half as large",
        lambda settings, found: found.assign(alone=found.alone / 2),
    ),
}
