"""The loss is of order 1 at initialisation, and what the 2020 proofs say of a fresh network holds.

Refuted by an initial loss that grows with width, depth or number of examples, by lengths, counts
or separations as on the pages of 2018, or by products whose norm grows faster than sqrt(L).
"""

import math
from functools import partial

import numpy as np
import xarray as xr
from scipy import integrate, stats

from companion.experiments.zou2018._layers import (
    asked_width,
    kept_separation,
    length_checks,
    length_deviations,
    separation_check,
)
from companion.experiments.zou2018._nodes import (
    counted,
    lemma_shares,
    node_checks,
    probability_check,
    unmet_premise,
)
from companion.experiments.zou2018._problem import DeepSettings, draw, draw_twins
from companion.experiments.zou2018._products import (
    measured_products,
    perturbed_norm,
    size_checks,
)
from companion.lab.checks import claim, equal, exponent_at_most, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Positive, Probability, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "zou2020-lem5.1": "holds",
    "zou2020-lemA.1-2": "holds",
    "zou2020-lemA.3": "holds",
    "zou2020-lemB.1-2": "holds",
}


class Settings(DeepSettings):
    """What is run.

    Attributes:
        depth: L, of the networks of several widths.
        widths: m, in increasing order.
        depths: L, of the networks of width `deep_width`.
        deep_width: m, where L is varied.
        examples: n, of networks of width `examples_width`.
        examples_width: m, where n is varied.
        pairs: n, of the pairs on which nodes are counted.
        pair_separation: phi, of these pairs.
        pair_counts: n, where that is varied.
        pair_widths: m, of two layers, where nodes are counted.
        pair_width: m, of one layer, where n or phi of the pairs is varied.
        pair_separations: phi, of single pairs.
        product_depths: L, of products of square matrices.
        product_width: m, of these products.
        sparsities: s, how many entries of a sparse vector may be other than 0.
        kept_separation: phi, of inputs with mu = `kept_mu` at the width of 2018's (5.1).
        kept_mu: their last coordinate.
        delta: failure probability; 14 good draws of 14 show a probability of 0.8.
        lemma_mu: last coordinate of Lemma B.2's vectors.
        lemma_separations: phi~, of these vectors.
        samples: Gaussian units of Lemma B.2.
    """

    seeds: Count = 25
    depth: Size = 3
    widths: SeveralSizes = (64, 128, 256, 512)
    depths: SeveralSizes = (1, 2, 3, 4, 6)
    deep_width: Size = 256
    examples: SeveralSizes = (5, 20, 80)
    examples_width: Size = 128
    pairs: Count = 4
    pair_separation: Positive = 0.24
    pair_counts: SeveralSizes = (2, 4, 6)
    pair_widths: SeveralSizes = (192, 384, 768)
    pair_width: Size = 4096
    pair_separations: tuple[Positive, ...] = (0.06, 0.12, 0.24)
    product_depths: SeveralSizes = (2, 4, 8)
    product_width: Size = 192
    sparsities: SeveralSizes = (4, 16, 64)
    kept_separation: Positive = 0.5
    kept_mu: Share = 0.6
    delta: Probability = 0.2
    lemma_mu: Share = 0.8
    lemma_separations: tuple[Positive, ...] = (0.1, 0.2)
    samples: Size = 2000


QUICK = Settings()
PAPER = Settings(
    seeds=60, widths=(64, 128, 256, 512, 1024), depths=(1, 2, 4, 8), deep_width=1024,
    examples=(5, 20, 80, 320), pair_widths=(192, 384, 768, 1536), pair_width=16384,
    product_depths=(2, 4, 8, 16),
    product_width=512, samples=20000,
)  # fmt: skip


def cost(settings: Settings) -> Cost:
    """Forward passes, and products of square matrices, with those of the norms of perturbations."""
    s, widest = settings, settings.pair_widths[-1]
    passes = [(s.count, m, s.depth) for m in s.widths]
    passes += [(s.count, s.deep_width, depth) for depth in s.depths]
    passes += [(n, s.examples_width, s.depth) for n in s.examples]
    nodes = [(s.pairs, m, m) for m in s.pair_widths]
    nodes += [(n, s.pair_width, 0) for n in s.pair_counts]
    nodes += [(2, s.pair_width, 0)] * len(s.pair_separations)
    flops = sum(2.0 * n * m * (s.dimension + (depth - 1) * m) for n, m, depth in passes)
    flops += sum(2.0 * n * m * (s.dimension + below + n * (2 * n + 11)) for n, m, below in nodes)
    flops += sum(2.0 * (3 * depth + 3) * s.product_width**3 for depth in s.product_depths)
    kept = _kept_width(s)
    flops += 2.0 * s.pairs * kept**2
    largest = [(kept, 1), (widest, 1), (s.deep_width, s.depths[-1] - 1)]
    largest += [(s.widths[-1], s.depth - 1), (s.product_width, s.product_depths[-1] + 4)]
    return Cost(s.seeds * flops, 8 * 1.5 * max(m**2 * layers for m, layers in largest))


def _kept_width(settings: Settings) -> int:
    """The even width from which on 2018's (5.1) with constant 1 holds for two layers."""
    s = settings
    return 2 * math.ceil(asked_width(s.pairs, 2, s.kept_separation, s.delta) / 2)


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"Networks drawn anew {s.seeds} times, on inputs on the unit sphere of "
        rf"$\mathbb R^{{{s.dimension}}}$ with last coordinate $\mu={s.mu:g}$ and random labels: of "
        f"widths {listed(s.widths)} with {s.depth} hidden layers, of width {s.deep_width} with "
        f"{listed(s.depths)}, and on $n$ = {listed(s.examples)}; on pairs with different labels, "
        f"of widths {listed(s.pair_widths)} and {_kept_width(s)} with two, and of width "
        f"{s.pair_width} with one; and with "
        f"{listed(s.product_depths)} square layers of width {s.product_width}. Nothing is trained."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Losses and lengths, counts of nodes, products, separations, and Lemma B.2's probability."""
    s, seeds = settings, settings.each_seed
    parts = [
        sweep("widths", partial(_wide, s, device), seed=seeds, width=s.widths),
        sweep("depths", partial(_deep, s, device), seed=seeds, depth=s.depths),
        sweep("examples", partial(_many, s, device), seed=seeds, examples=s.examples),
        sweep("nodes", partial(_by_width, s, device), seed=seeds, width=s.pair_widths).rename(
            width="pair_width"
        ),
        sweep("counts", partial(_by_count, s, device), seed=seeds, count=s.pair_counts),
        sweep(
            "pairs", partial(_by_separation, s, device), seed=seeds, separation=s.pair_separations
        ),
        sweep("products", partial(_product, s, device), seed=seeds, layers=s.product_depths),
        sweep("kept", partial(_kept, s, device), seed=seeds),
        sweep("lemma", partial(_lemma, s, device), seed=seeds, apart=s.lemma_separations),
    ]
    return xr.merge(parts).assign_attrs(data=f"{s.data}; {s.paired_data}")


def _wide(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=width, depth=settings.depth)
    forward = problem.network.run(problem.x)
    return {
        "loss": float(problem.loss.values(forward.predictions, problem.y).mean()),
        "deviation": float(length_deviations(forward)[-1]),
    }


def _deep(settings: Settings, device: str, *, seed: int, depth: int) -> Variables:
    problem = draw(settings, device, seed=seed, width=settings.deep_width, depth=depth)
    forward = problem.network.run(problem.x)
    return {
        "loss_by_depth": float(problem.loss.values(forward.predictions, problem.y).mean()),
        "deviation_by_depth": float(length_deviations(forward)[-1]),
    }


def _many(settings: Settings, device: str, *, seed: int, examples: int) -> Variables:
    s = settings.model_copy(update={"count": examples})
    problem = draw(s, device, seed=seed, width=s.examples_width, depth=s.depth)
    predictions = problem.network.predict(problem.x)
    return {"loss_by_count": float(problem.loss.values(predictions, problem.y).mean())}


def _by_width(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    s = settings.model_copy(update={"count": settings.pairs})
    return counted(
        "by_width", s, device, seed=seed, width=width, depth=2, separation=s.pair_separation
    )


def _by_count(settings: Settings, device: str, *, seed: int, count: int) -> Variables:
    s = settings.model_copy(update={"count": count})
    return counted(
        "by_count", s, device, seed=seed, width=s.pair_width, depth=1,
        separation=s.pair_separation,
    )  # fmt: skip


def _by_separation(settings: Settings, device: str, *, seed: int, separation: float) -> Variables:
    s = settings.model_copy(update={"count": 2})
    return counted(
        "by_separation", s, device, seed=seed, width=s.pair_width, depth=1,
        separation=separation,
    )  # fmt: skip


def _product(settings: Settings, device: str, *, seed: int, layers: int) -> Variables:
    """Norms of products of square matrices, before and after a perturbation as the lemma allows."""
    s = settings.model_copy(update={"dimension": settings.product_width, "count": settings.pairs})
    problem = draw(s, device, seed=seed, width=s.product_width, depth=layers)
    radius = layers**-1.5
    changes = math.floor(radius**2 * s.product_width / math.log(s.product_width))
    measured = measured_products(problem, s.sparsities)
    perturbed = perturbed_norm(problem, radius, changes, seed)
    return {**_without(measured, "bilinear", "unmasked"), "perturbed": perturbed}


def _without(measured: Variables, *names: str) -> Variables:
    return {name: value for name, value in measured.items() if name not in names}


def _kept(settings: Settings, device: str, *, seed: int) -> Variables:
    s = settings.model_copy(update={"count": settings.pairs, "mu": settings.kept_mu})
    problem = draw_twins(
        s, device, seed=seed, width=_kept_width(s), depth=2, separation=s.kept_separation
    )
    return _without(kept_separation(problem), "product")


def _lemma(settings: Settings, device: str, *, seed: int, apart: float) -> Variables:
    s = settings.model_copy(update={"count": settings.pairs, "mu": settings.lemma_mu})
    return lemma_shares(s, device, seed=seed, separation=apart, samples=s.samples)


def limit_loss() -> float:
    """E log(1 + e^(-g)) for g of the outputs' variance 1 - 1 / pi, by quadrature."""
    deviation = math.sqrt(1 - 1 / math.pi)

    def integrand(z: float) -> float:
        return float(np.log1p(np.exp(-deviation * z)) * stats.norm.pdf(z))

    return float(integrate.quad(integrand, -12, 12)[0])


def values(settings: Settings, found: xr.Dataset) -> Values:
    """The loss beside its limit, and the exponents that two papers state differently."""
    return {
        "loss": found.loss.mean(),
        "limit_loss": limit_loss(),
        "masked_slope": exponent(found.masked, "layers"),
        "perturbed_slope": exponent(found.perturbed, "layers"),
        "length_slope": exponent(found.deviation),
        "depth_slope": exponent(found.deviation_by_depth, "depth"),
        "node_slack": found.by_width_over_bound.min(),
        "kept": found.kept.min(),
        "kept_width": _kept_width(settings),
        "lemma_slack": (found.share / found.bound).min(),
        "output_norm": found.output_norm.mean(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Exponents from above where constants are unknown, frequencies where none is needed."""
    return [
        _loss(found),
        _fresh(settings, found),
        _products(found),
        _separation(settings, found),
    ]


def _loss(found: xr.Dataset) -> Verdict:
    """Cross-entropy of Gaussian outputs; the next order in 1/m is far below 10 %."""
    mean = found.loss.mean("width", skipna=False)
    error = mean.std("seed", ddof=1, skipna=False) / math.sqrt(mean.size)
    return claim(
        "zou2020-lem5.1",
        r"$L_S(W^{(0)})\le C\sqrt{\log(n/\delta)}$ with probability $1-\delta$; at great width it "
        r"is $\mathbb E\log(1+e^{-g})$ with $g\sim N(0,1-\frac1\pi)$ on average",
        exponent_at_most("the loss in the width $m$", found.loss, 0, 0.1),
        exponent_at_most("the loss in the depth $L$", found.loss_by_depth, 0, 0.1, "depth"),
        exponent_at_most("the loss in $n$", found.loss_by_count, 0, 0.1, "examples"),
        equal(
            "the mean loss over all widths, against its limit",
            mean.mean(skipna=False), error, limit_loss(), 0.15,
        ),
        holds="The first loss grows with neither width nor depth nor the number of examples, and "
        f"is {number(mean.mean(), '.3f')} on average where the limit is "
        f"{number(limit_loss(), '.3f')}: the logarithm pays for the largest of $n$ outputs, which "
        "a mean over the examples hardly sees.",
        fails="The first loss grows with the width, the depth or the number of examples, or is "
        "not that of Gaussian outputs.",
    )  # fmt: skip


def _fresh(settings: Settings, found: xr.Dataset) -> Verdict:
    return claim(
        "zou2020-lemA.1-2",
        r"$\lvert\lVert x_{l,i}\rVert_2-1\rvert\le Cl\sqrt{\log(nL/\delta)/m}$; and for every "
        r"$a\in\mathbb R_+^n$ at least $C''m_L\phi/n$ units have "
        r"$\lVert\frac1n\sum_ia_iy_i\sigma'(\langle w_{L,j},x_{L-1,i}\rangle)x_{L-1,i}\rVert_2\ge "
        r"C'''\lVert a\rVert_\infty/n$",
        *length_checks(found.deviation, found.deviation_by_depth),
        *node_checks(
            found.by_width.rename(pair_width="width"), found.by_count, found.by_separation
        ),
        outside=_narrow(settings),
        holds=r"Lengths keep to 1 like $m^{-1/2}$ and no worse than the depth, and the number of "
        r"units with a large gradient is of the order $m\phi$ at least, for all weights tried.",
        fails="Lengths deviate from 1 by another order, or for some weights too few units have a "
        "large gradient.",
    )


def _narrow(settings: Settings) -> str:
    """Nothing, where widths are at least those of both lemmas with constant 1."""
    s, wide = settings, settings.pair_width
    deepest, n = s.depths[-1], s.pair_counts[-1]
    shares = [
        s.depth**2 * math.log(s.count * s.depth / s.delta) / s.widths[0],
        deepest**2 * math.log(s.count * deepest / s.delta) / s.deep_width,
        s.pairs**2 / s.pair_separation * math.log(s.pairs) / s.pair_widths[0],
        n**2 / s.pair_separation * math.log(n) / wide,
        4 / s.pair_separations[0] * math.log(2) / wide,
    ]
    asked = f"{number(max(shares), '.2g')} times the widths that were run are asked for"
    return asked if max(shares) > 1 else ""


def _products(found: xr.Dataset) -> Verdict:
    return claim(
        "zou2020-lemA.3",
        r"$\lVert\prod_{r=l_1}^{l_2}\tilde\Sigma_{r,i}\tilde W_r^\top\rVert_2\le C\sqrt L$, "
        r"$\lVert v^\top\prod_{r=l_1}^L\tilde\Sigma_{r,i}\tilde W_r^\top\rVert_2\le C'\sqrt M$ and "
        r"$\lvert v^\top\prod_{r=l_1}^L\tilde\Sigma_{r,i}\tilde W_r^\top u\rvert\le C''\sqrt{s\log "
        r"M}$ for $s$-sparse unit $u$, if $\tau,\sqrt{s\log(M)/m}\le\kappa L^{-3/2}$",
        exponent_at_most(
            "the norm of the product at initialisation, in $L$", found.masked, 0.5, 0.1, "layers"
        ),
        exponent_at_most(
            r"the norm after random perturbations with $\kappa=1$, in $L$",
            found.perturbed, 0.5, 0.1, "layers",
        ),
        exponent_at_most(
            r"$\lVert v^\top\prod\Sigma_{r,i}W_r^\top\rVert_2/\sqrt m$ in $L$",
            found.output_norm, 0, 0.1, "layers",
        ),
        *size_checks("the largest sparse form at initialisation", found.output_form),
        exponent_at_most(
            "that form in $L$", found.output_form.max("sparsity"), 0, 0.2, "layers"
        ),
        note(
            r"$\lVert v^\top\prod\Sigma_{r,i}W_r^\top\rVert_2/\sqrt m$ is "
            f"{spread(found.output_norm.mean('seed').values, '.2f', 'depths')}"
        ),
        holds=r"The norm grows like $\sqrt L$ at most, as this paper says and version 3 of 2018 "
        "does not; the forms with the output weights do not grow with the depth.",
        fails=r"The norm grows faster than $\sqrt L$, or a form with the output weights grows with "
        "the depth.",
    )  # fmt: skip


def _separation(settings: Settings, found: xr.Dataset) -> Verdict:
    s, largest = settings, min(0.5, settings.kept_mu)
    far = f"$\\phi={s.kept_separation:g}$ is above {largest:g}"
    return claim(
        "zou2020-lemB.1-2",
        r"$\lVert\bar x_{l,i}-\bar x_{l,i'}\rVert_2\ge\phi/2$ for $y_i\ne y_{i'}$ with probability "
        rf"$1-\delta={1 - s.delta:g}$; and $P[\lVert\sum_ia_iy_i\sigma'(\langle w,z_i\rangle)z_i"
        r"\rVert_2\ge\frac12\lVert a\rVert_\infty]\ge\tilde\phi/(2\sqrt{32e}\,n)$ for "
        r"$\tilde\phi\le\tilde\mu/2$",
        separation_check(found.kept, s.delta),
        probability_check(found),
        outside=unmet_premise(found) or (far if s.kept_separation > largest else ""),
        holds="In networks as wide as version 3 of 2018 asks with its constants put at 1, inputs "
        "with different labels keep half of their distance, and large gradients are more frequent "
        "than the constants of the proof say.",
        fails="Inputs come too close, or large gradients are too rare.",
    )


CONTROLS = {
    "zou2020-lem5.1": Lie(
        r"the loss in deeper networks is multiplied by $L^{1/4}$",
        lambda settings, found: found.assign(loss_by_depth=found.loss_by_depth * found.depth**0.25),
    ),
    "zou2020-lemA.1-2": Lie(
        r"every count falls like $\phi^{3/2}$",
        lambda settings, found: found.assign(
            by_separation=found.by_separation * found.separation**0.5
        ),
    ),
    "zou2020-lemA.3": Lie(
        r"every norm is multiplied by $\sqrt L$, which version 3 of 2018 would allow",
        lambda settings, found: found.assign(masked=found.masked * found.layers**0.5),
    ),
    "zou2020-lemB.1-2": Lie(
        "in every second draw the closest pair loses another half of its distance",
        lambda settings, found: found.assign(
            kept=found.kept.where(found.seed % 2 > 0, found.kept / 2)
        ),
    ),
}
