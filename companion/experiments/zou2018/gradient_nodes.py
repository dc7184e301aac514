"""For any weights of the examples, m phi / n units of the last layer have large gradients (viii).

Refuted by nonnegative weights for which the number of such units falls faster than m, phi or 1/n,
or for which a Gaussian unit has a large gradient less often than Lemma A.14's explicit bound.
"""

from functools import partial

import xarray as xr

from companion.experiments.zou2018._layers import asked_width
from companion.experiments.zou2018._nodes import (
    counted,
    lemma_shares,
    node_checks,
    probability_check,
    unmet_premise,
)
from companion.experiments.zou2018._problem import DeepSettings
from companion.lab.checks import at_least, claim
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Positive, Probability, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number

EXPECTED: dict[str, Outcome] = {
    "zou2018-thm5.1viii": "outside-regime",
    "zou2018-lemA.14": "holds",
}


class Settings(DeepSettings):
    """What is run; n is even everywhere, as inputs come in pairs with different labels.

    Attributes:
        depth: L.
        separation: phi, of the inputs where m or n is varied.
        widths: m, in increasing order.
        counts: n, in increasing order.
        separations: phi, of single pairs, in increasing order, below the threshold 1/4: where two
            active inputs are farther apart than that, every unit that is active on both counts.
        width: m, of the networks where phi is varied.
        counts_width: m, of the networks where n is varied.
        delta: failure probability.
        samples: Gaussian units of the lemma, for every draw of vectors.
        lemma_mu: last coordinate of the lemma's vectors: 2 mu^2 - 1 is then at least mu~^2.
        lemma_counts: n, of these vectors.
        lemma_separations: phi~, of these vectors, at most mu~ / 2.
    """

    seeds: Count = 25
    count: Count = 4
    mu: Share = 0.6
    depth: Size = 2
    separation: Positive = 0.2
    widths: SeveralSizes = (256, 512, 1024)
    counts: SeveralSizes = (4, 6, 8)
    separations: tuple[Positive, ...] = (0.05, 0.1, 0.2)
    width: Size = 1024
    counts_width: Size = 512
    delta: Probability = 0.1
    samples: Size = 4000
    lemma_mu: Share = 0.8
    lemma_counts: tuple[Count, ...] = (4, 16)
    lemma_separations: tuple[Positive, ...] = (0.05, 0.1, 0.2)


QUICK = Settings()
PAPER = Settings(
    seeds=40, widths=(256, 512, 1024, 2048), counts=(4, 8, 16), counts_width=2048, width=2048,
    samples=40000,
)  # fmt: skip


def cost(settings: Settings) -> Cost:
    """Forward passes, twice where the last layer's inputs are looked at, and quadratic forms."""
    s = settings
    cells = [(s.count, m) for m in s.widths] + [(n, s.counts_width) for n in s.counts]
    cells += [(2, s.width)] * len(s.separations)
    flops = sum(4.0 * n * m * (s.dimension + (s.depth - 1) * m) for n, m in cells)
    flops += sum(2.0 * n**2 * m * (2 * n + 11) for n, m in cells)
    flops += sum(
        len(s.lemma_separations) * 2.0 * n * s.samples * (s.dimension + n * (2 * n + 11))
        for n in s.lemma_counts
    )
    widest = max(s.width, s.counts_width, s.widths[-1])
    lemma = s.samples * (s.dimension + 4 * max(s.lemma_counts))
    return Cost(s.seeds * flops, 8 * max(1.5 * max(1, s.depth - 1) * widest**2, lemma))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        rf"Pairs of inputs with different labels at distance $\phi$ on the unit sphere of "
        rf"$\mathbb R^{{{s.dimension}}}$ with last coordinate $\mu={s.mu:g}$, in networks with "
        f"$L={s.depth}$ hidden layers, drawn anew {s.seeds} times: $n={s.count}$ and "
        rf"$\phi={s.separation:g}$ at widths {listed(s.widths)}; $n$ = {listed(s.counts)} at width "
        rf"{s.counts_width}; single pairs at $\phi$ = {listed(s.separations)} and width {s.width}; "
        f"and {number(s.samples, ',')} Gaussian units on pairs of unit vectors. Nothing is trained."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Least counts over weightings for every m, n and phi; least probabilities of the lemma."""
    s = settings
    parts = [
        sweep("widths", partial(_by_width, s, device), seed=s.each_seed, width=s.widths),
        sweep("counts", partial(_by_count, s, device), seed=s.each_seed, count=s.counts),
        sweep(
            "separations", partial(_by_separation, s, device), seed=s.each_seed,
            separation=s.separations,
        ),
        sweep(
            "lemma", partial(_lemma, s, device), seed=s.each_seed, vectors=s.lemma_counts,
            apart=s.lemma_separations,
        ),
    ]  # fmt: skip
    return xr.merge(parts).assign_attrs(data=s.paired_data)


def _by_width(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    s = settings
    return counted(
        "by_width", s, device, seed=seed, width=width, depth=s.depth, separation=s.separation
    )


def _by_count(settings: Settings, device: str, *, seed: int, count: int) -> Variables:
    s = settings.model_copy(update={"count": count})
    return counted(
        "by_count", s, device, seed=seed, width=s.counts_width, depth=s.depth,
        separation=s.separation,
    )  # fmt: skip


def _by_separation(settings: Settings, device: str, *, seed: int, separation: float) -> Variables:
    s = settings.model_copy(update={"count": 2})
    return counted(
        "by_separation", s, device, seed=seed, width=s.width, depth=s.depth, separation=separation
    )


def _lemma(settings: Settings, device: str, *, seed: int, vectors: int, apart: float) -> Variables:
    s = settings.model_copy(update={"count": vectors, "mu": settings.lemma_mu})
    return lemma_shares(s, device, seed=seed, separation=apart, samples=s.samples)


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Exponents of the count, and by how much count and probability exceed their bounds."""
    return {
        "width_slope": exponent(found.by_width),
        "count_slope": exponent(found.by_count, "count"),
        "separation_slope": exponent(found.by_separation, "separation"),
        "node_slack": found.by_width_over_bound.min(),
        "lemma_slack": (found.share / found.bound).min(),
        "widest": settings.widths[-1],
        "asked": _asked(settings),
    }


def _asked(settings: Settings) -> float:
    """The largest width that (5.1) asks of these networks, its constant put at 1."""
    s = settings
    return max(
        asked_width(n, s.depth, phi, s.delta)
        for n, phi in ((s.counts[-1], s.separation), (2, s.separations[0]))
    )


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """The count by its exponents and the derived bound, the probability by the explicit one."""
    return [_nodes(settings, found), _probability(found)]


def _nodes(settings: Settings, found: xr.Dataset) -> Verdict:
    least = xr.concat(
        [
            found[f"by_{name}_over_bound"].rename({name: "size"}).drop_vars("size")
            for name in ("width", "count", "separation")
        ],
        "size",
    )
    return claim(
        "zou2018-thm5.1viii",
        r"for every $a\in\mathbb R_+^n$ at least $c'm_L\phi/n$ units $j$ have "
        r"$\big\lVert\frac1n\sum_ia_iy_i\sigma'(\langle w_{L,j},x_{L-1,i}\rangle)x_{L-1,i}"
        r"\big\rVert_2\ge c''\lVert a\rVert_\infty/n$; the proof gives "
        r"$m_L\phi/(8\sqrt{32e}\,n)$ units for $c''=\frac14$",
        *node_checks(found.by_width, found.by_count, found.by_separation),
        at_least("the least count over that of the proof, for the worst weights tried", least, 1.0),
        outside=_outside(settings),
        holds="The number of units with a large gradient is of the order $m$, does not fall with "
        r"$n$, and falls like $\phi$, for all weights that were tried, among them those of single "
        "pairs, which cancel best.",
        fails="For some weights fewer units have a large gradient than is claimed.",
    )


def _outside(settings: Settings) -> str:
    widest, asked = settings.widths[-1], _asked(settings)
    if widest >= asked:
        return ""
    return (
        f"(5.1) with constant 1 asks for a width of {number(asked, '.1e')} for the closest pairs, "
        f"and at most {widest} was run"
    )


def _probability(found: xr.Dataset) -> Verdict:
    return claim(
        "zou2018-lemA.14",
        r"$P\big[\lVert\sum_ia_iy_i\sigma'(\langle w,z_i\rangle)z_i\rVert_2\ge\frac12\lVert "
        r"a\rVert_\infty\big]\ge\tilde\phi/(2\sqrt{32e}\,n)$ for unit $z_i$ and "
        r"$\tilde\phi\le\tilde\mu/2$: the constants with which the proof ends",
        probability_check(found),
        outside=unmet_premise(found),
        holds=r"Large gradients are more frequent than the explicit bound, by a factor that grows "
        r"with $n$: for the weights of one pair the probability is the angle between its vectors "
        r"over $\pi$, whatever $n$.",
        fails="For some weights large gradients are rarer than the explicit bound.",
    )


CONTROLS = {
    "zou2018-thm5.1viii": Lie(
        r"every count falls like $\phi^{3/2}$",
        lambda settings, found: found.assign(
            by_separation=found.by_separation * found.separation**0.5
        ),
    ),
    "zou2018-lemA.14": Lie(
        "large gradients are rarer by the factor 40",
        lambda settings, found: found.assign(share=found.share / 40),
    ),
}
