"""Assumption 4.6 and Proposition 4.7: two layers, with a margin over all directions at once.

Refuted by a margin below what the distance between the halves guarantees, or above that of the
Gram matrix; or, from the proof's width on, by an increment whose margins are below a quarter of
gamma, or whose network has a loss above eps, more often than with probability delta.
"""

import math
from collections.abc import Hashable
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import torch
import xarray as xr
from pydantic import AfterValidator, Field
from torch import Tensor

from companion.bounds.chen2021 import proposition_4_7_width
from companion.datasets import DataSet, random_labels
from companion.draws import cpu_generator, independent_seed
from companion.errors import InputError
from companion.experiments.chen2021._fields import (
    CUT,
    QUARTER,
    DirectionField,
    large_outputs,
    least_constant,
    proof_increment,
)
from companion.experiments.chen2021._increments import Increment
from companion.experiments.chen2021._problem import Exponent, HalvesSettings, halves
from companion.kernels import infinite_width_gram
from companion.lab.checks import (
    anyway,
    at_least,
    at_most,
    claim,
    exponent_at_most,
    note,
    probability_at_least,
    with_room,
)
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent, spread
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, Positive, Probability, SeveralSizes, Share, Size
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number
from companion.networks import ReLUNetwork, draw_chen
from companion.ntrf import ji_telgarsky_margin, ntrf_margin

EXPECTED: dict[str, Outcome] = {"chen2021-ass4.6": "holds", "chen2021-prop4.7": "holds"}

# Standard errors by which a sampled margin is put lower, to be one of the directions' law.
STANDARD_ERRORS = 4
GAP = 1e-8


def _reaching(multiples: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise(multiples)) or multiples[-1] < 1:
        raise ValueError("the multiples must increase, to 1 at least")
    return multiples


Multiples = Annotated[tuple[Positive, ...], Field(min_length=3), AfterValidator(_reaching)]


class Settings(HalvesSettings):
    """What is run.

    Attributes:
        directions: z ~ N(0, I) in a sample, in increasing order.
        samples: of directions, of every size.
        fresh: directions of the sample on which a field u(z) is judged.
        alpha: the exponent of the scaling.
        delta: the probability with which Proposition 4.7 may fail.
        loss: eps.
        multiples: of the proof's width, in increasing order; some of them less than 1.
        draws: networks of each width.
    """

    count: Count = 16
    seeds: Size = 5
    gap: Share = 0.4
    directions: SeveralSizes = (100, 400, 1600)
    samples: Size = 3
    fresh: Size = 20_000
    alpha: Exponent = 0.5
    delta: Probability = 0.1
    loss: Share = 0.1
    multiples: Multiples = (1 / 64, 1 / 16, 1 / 4, 1, 4)
    draws: Size = 12


QUICK = Settings()
PAPER = Settings(
    count=40,
    dimension=20,
    gap=0.3,
    seeds=8,
    directions=(*QUICK.directions, 6400),
    samples=8,
    fresh=200_000,
    multiples=(*QUICK.multiples, 16, 64),
    draws=25,
)


def cost(settings: Settings) -> Cost:
    """Products of directions or units with inputs."""
    s = settings
    pair = 2 * s.count * s.dimension
    units = s.draws * sum(proof_width(s, 0.25) * multiple for multiple in s.multiples)
    flops = s.seeds * pair * (5 * s.fresh + 11 * units)
    widest = max(4 * s.fresh, 3 * proof_width(s, 0.25) * s.multiples[-1])
    return Cost(flops, 8 * widest * (s.count + s.dimension))


def proof_width(settings: Settings, margin: float) -> int:
    """The width from which on the proof of Proposition 4.7 works: 32 log(n / delta) / gamma^2."""
    return math.ceil(proposition_4_7_width(settings.count, margin, settings.delta))


def summary(settings: Settings) -> str:
    """What is run."""
    s = settings
    return (
        f"The margin of Assumption 4.6 for $n={s.count}$ inputs ({s.data}), with {s.samples} "
        f"samples each of {listed(s.directions)} directions, and on {number(s.fresh, ',d')} fresh "
        rf"ones; and the increment of the proof of Proposition 4.7 in {s.draws} networks of two "
        rf"layers at each of {len(s.multiples)} widths, from {number(s.multiples[0])} to "
        f"{number(s.multiples[-1])} times the proof's. Data and networks are drawn anew for each "
        f"of {s.seeds} seeds."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Margins over the number of directions, and the proof's increment over the width."""
    s = settings
    sampled = sweep(
        "margins", partial(_margin, s, device), seed=s.each_seed, directions=s.directions
    )
    fields = sweep("fields", partial(_field, s, device), seed=s.each_seed)
    found = xr.merge([sampled, fields]).assign_coords(multiple=list(s.multiples))
    return found.assign_attrs(data=s.data)


def _data(settings: Settings, device: str, seed: int) -> DataSet:
    s = settings
    dtype: torch.dtype = getattr(torch, s.dtype)
    return halves(s.count, s.dimension, s.gap, seed).to(dtype, device)


def _directions(settings: Settings, seed: int, count: int, sample: int) -> Tensor:
    """A sample of N(0, I), shape (k, d), from the CPU."""
    generator = cpu_generator("directions", independent_seed(seed, count, sample))
    return torch.randn(count, settings.dimension, generator=generator, dtype=torch.float64)


def _margin(settings: Settings, device: str, *, seed: int, directions: int) -> Variables:
    """The margin on every sample of directions, and that of the sample's Gram matrix."""
    s, data = settings, _data(settings, device, seed)
    found, of_gram, gaps = [], [], []
    for sample in range(s.samples):
        z = _directions(s, seed, directions, sample).to(data.x)
        active = (z @ data.x.T >= 0).to(z)
        gram = (data.x @ data.x.T) * (active.T @ active) / directions
        margin = ji_telgarsky_margin(data.x, data.y, z)
        found.append(margin.value)
        gaps.append(margin.gap / margin.value)
        of_gram.append(ntrf_margin(gram, data.y).upper)
    return {
        "margin": ("sample", found),
        "gram_margin": ("sample", of_gram),
        "gap": ("sample", gaps),
    }


def _field(settings: Settings, device: str, *, seed: int) -> Variables:
    """The margin of one field on fresh directions, and of networks with the proof's increment."""
    s, data = settings, _data(settings, device, seed)
    field, margin, above = judged_field(s, data, seed)
    shuffled = random_labels(data, seed)
    z = _directions(s, seed, s.directions[-1], 0).to(data.x)
    width, found = proof_width(s, margin), []
    for multiple in s.multiples:
        units = max(1, round(multiple * width))
        nets = [_network(s, device, seed, units, draw) for draw in range(s.draws)]
        found.append([_built(s, field, network, margin) for network in nets])
    built: dict[Hashable, Any] = {
        name: (("multiple", "draw"), [[one[name] for one in row] for row in found])
        for name in found[0][0]
    }
    return {
        "field_margin": margin,
        "above": above,
        "limit": ntrf_margin(infinite_width_gram(data.x), data.y).value,
        "random": ji_telgarsky_margin(shuffled.x, shuffled.y, z).value,
        "proof_width": width,
        **built,
    }


def judged_field(
    settings: Settings, data: DataSet, seed: int
) -> tuple[DirectionField, float, float]:
    """A field, a margin that it has on all directions, and one that no field exceeds.

    Both are means over fresh directions, of which the field knows nothing, put lower or higher by
    some standard errors.

    Raises:
        InputError: the fresh directions are too few to tell the margin from 0.
    """
    s = settings
    sample = _directions(s, seed, s.directions[-1], 0).to(data.x)
    dual = ji_telgarsky_margin(data.x, data.y, sample).dual.to(data.x)
    field, fresh = (
        DirectionField(data.x, data.y, dual),
        _directions(s, seed, s.fresh, s.samples).to(data.x),
    )
    gains = field.gains(fresh)
    lower = gains.mean(dim=0) - STANDARD_ERRORS * gains.std(dim=0) / s.fresh**0.5
    # What the dual says of q: the mean of || sum_i q_i y_i x_i 1{<z, x_i> > 0} ||.
    norms = gains @ dual
    upper = norms.mean() + STANDARD_ERRORS * norms.std() / s.fresh**0.5
    if lower.min() <= 0:
        raise InputError(
            f"fresh={s.fresh} directions cannot tell the margin of seed {seed} from 0; take more."
        )
    return field, float(lower.min()), float(upper)


def _network(settings: Settings, device: str, seed: int, width: int, draw: int) -> ReLUNetwork:
    s = settings
    own, dtype = independent_seed(seed, width, draw), getattr(torch, s.dtype)
    return draw_chen(width, s.dimension, own, depth=1, alpha=s.alpha, dtype=dtype, device=device)


def _built(
    settings: Settings, field: DirectionField, network: ReLUNetwork, margin: float
) -> dict[str, float]:
    """The increment of the proof: margins, norm, error, losses."""
    s, scale = settings, network.output_gain
    u = proof_increment(field, network)
    whole = Increment(network, field.x, field.y, [u, torch.zeros_like(network.outputs)])
    start = network.predict(field.x)
    gained = field.y * (whole.tangent - start)
    # The proof has C log(n / delta) in place of the largest |f|, which is measured here.
    radius = (math.log(2 / s.loss) + float(start.abs().max())) / (QUARTER * margin)
    moved = Increment(network, field.x, field.y, [radius / scale * u, whole.parts[1]])
    return {
        "share": float(gained.min()) / (scale * margin),
        "norm": float(whole.norms.max()),
        "error": moved.error,
        "built_loss": float(moved.losses.max()) / s.loss,
        "radius": radius * float(whole.norms.max()),
        "kept": float((network.outputs.abs() * len(network.outputs) ** 0.5 >= CUT).double().mean()),
    }


def from_proof(settings: Settings, found: xr.DataArray) -> xr.DataArray:
    """Where the width is at least the proof's."""
    return found.isel(multiple=[place for place, m in enumerate(settings.multiples) if m >= 1])


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Margins, and what the proof's increment does."""
    s = settings
    at_width = found.isel(multiple=s.multiples.index(1) if 1 in s.multiples else -1)
    last = found.isel(directions=-1)
    return {
        "gap": s.gap,
        "guaranteed": s.gap / 2,
        "field_margin": found.field_margin.mean(),
        "bracket": (found.above / found.field_margin - 1).mean(),
        "sampled": last.margin.mean(),
        "random": found.random.mean(),
        "limit": found.limit.mean(),
        "few_spread": (found.margin.isel(directions=0).std("sample", ddof=1)).mean(),
        "many_spread": (last.margin.std("sample", ddof=1)).mean(),
        "fewest": s.directions[0],
        "most": s.directions[-1],
        "proof_width": found.proof_width.mean(),
        "delta": s.delta,
        "least_share": from_proof(s, found.share).min(),
        "narrow_good": (found.share.isel(multiple=0) >= QUARTER).mean(),
        "narrow_multiple": s.multiples[0],
        "kept": large_outputs(),
        "constant": least_constant(),
        "norm": found.norm.max(),
        "radius": at_width.radius.mean(),
        "error_exponent": _error_exponent(found),
        "error": at_width.error.mean(),
        "built_loss": from_proof(s, found.built_loss).max(),
    }


def _error_exponent(found: xr.Dataset) -> float:
    return exponent(found.error.mean("draw"), "multiple")


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Margins from both sides, and the proof's events by their frequencies."""
    return [_assumption(settings, found), _proposition(settings, found)]


def _assumption(settings: Settings, found: xr.Dataset) -> Verdict:
    floor = settings.gap / 2
    # Where the fresh directions put it on both sides, nothing is known.
    known = found.field_margin.where((found.field_margin >= floor) | (found.above < floor))
    return claim(
        "chen2021-ass4.6",
        r"some $\bar u$ with $\lVert\bar u(z)\rVert_2\le1$ has $y_i\int\sigma'(\langle z,x_i"
        r"\rangle)\langle\bar u(z),x_i\rangle\,d\mu(z)\ge\gamma$ for all $i$",
        at_least(
            "margin of one field on fresh directions, over half of the gap",
            known / floor,
            1,
        ),
        anyway(
            at_most(
                "the margin over that of the Gram matrix of the same directions",
                found.margin / found.gram_margin,
                1 + GAP,
            )
        ),
        note(
            "No field has more than "
            f"{spread(found.above / found.field_margin, '.2f')} of that margin; that of the "
            f"limit's Gram matrix is {spread(found.limit / found.field_margin, '.2f')} of it"
        ),
        holds="The halves have a margin over all directions, "
        f"{spread(found.field_margin)}, and it is below that of the Gram matrix.",
        fails="The halves have no margin over all directions as large as their gap guarantees, or "
        "one above that of the Gram matrix.",
    )


def _proposition(settings: Settings, found: xr.Dataset) -> Verdict:
    s = settings
    share, loss = from_proof(s, found.share), from_proof(s, found.built_loss)
    least, most = float(share.min()), float(loss.max())
    return claim(
        "chen2021-prop4.7",
        r"from $m=32\log(n/\delta)/\gamma^2$ on, with probability $1-\delta$, the proof's $U$ has "
        r"$y_i\langle\nabla f_{W^{(0)}}(x_i),U\rangle\ge m^\alpha\gamma/4$ and $\lVert U\rVert_F\le"
        r"1/0.47$; and $W^*=W^{(0)}+V$ with $\lVert V\rVert_F\le8.8\gamma^{-1}[\log(2/\epsilon)+"
        r"C\log(n/\delta)]m^{-\alpha}$ has all losses below $\epsilon$",
        with_room(
            probability_at_least(
                r"every $y_i\langle\nabla f_{W^{(0)}}(x_i),U\rangle$ is at least "
                r"$m^\alpha\gamma/4$",
                share >= QUARTER,
                1 - s.delta,
            ),
            rf"the least is {number(least, '.2f', 'down')} $m^\alpha\gamma$",
            f"a factor {number(least / QUARTER, '.2f', 'down')}",
        ),
        anyway(at_most(r"$\lVert U\rVert_F$, at every width", found.norm, 1 / CUT)),
        with_room(
            probability_at_least(
                r"every loss of the network with $W^*$ is below $\epsilon$",
                loss < 1,
                1 - s.delta,
            ),
            rf"the largest is {number(most, '.1e', 'up')} $\epsilon$",
            f"a factor {number(1 / most, '.2g', 'down')}",
        ),
        exponent_at_most(
            "the linearisation error at $W^*$ in $m$",
            found.error.mean("draw"),
            -s.alpha / 3,
            0,
            along="multiple",
        ),
        holds="At the proof's width and beyond, the increment has its margin and its norm, and the "
        "network that it makes has all losses below $\\epsilon$.",
        fails="At the proof's width or beyond, the increment misses its margin too often, or the "
        "network that it makes has a loss above $\\epsilon$.",
    )


CONTROLS = {
    "chen2021-ass4.6": Lie(
        "the margin on fresh directions, and what no field exceeds, are half as large",
        lambda settings, found: found.assign(
            field_margin=found.field_margin / 2, above=found.above / 2
        ),
    ),
    "chen2021-prop4.7": Lie(
        r"every $y_i\langle\nabla f_{W^{(0)}}(x_i),U\rangle$ is a third as large",
        lambda settings, found: found.assign(share=found.share / 3),
    ),
}
