"""The least eigenvalue of H-infinity is positive if no two inputs are parallel (Theorem 3.1).

Refuted by inputs without a parallel pair whose least eigenvalue is zero, or by an input whose
hyperplane D_i is covered by the others (Lemma A.1). Duplicates and antipodes show where it ends.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from companion.datafiles import digits_source
from companion.datasets import digits, pair_at_angle, sphere, with_antipodes
from companion.draws import cpu_generator
from companion.kernels import infinite_width_gram, lambda_min
from companion.lab.checks import at_least, at_most, claim, identity
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import Count, SeededSettings, Size, Sizes
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed

DATA = "digits"
EXPECTED: dict[str, Outcome] = {
    "du2019-ass3.1": "holds",
    "du2019-thm3.1": "holds",
    "du2019-lemA.1": "holds",
}
CONTROLS = {
    "du2019-ass3.1": Lie(
        r"$\lambda_0=0$ for the largest set of digits, the smaller ones as they are",
        lambda settings, found: found.assign(
            digits_lambda=found.digits_lambda.where(found.k < max(settings.per_class), 0.0)
        ),
    ),
    "du2019-thm3.1": Lie(
        r"$\lambda_0=0$ on the spheres with the most inputs, although no two of them are parallel",
        lambda settings, found: found.assign(
            sphere_lambda=found.sphere_lambda.where(found.n < max(settings.counts), 0.0)
        ),
    ),
    "du2019-lemA.1": Lie(
        "on the spheres with the most inputs the point drawn in a $D_i$ lies in another $D_j$ too",
        lambda settings, found: found.assign(
            sphere_clearance=found.sphere_clearance.where(found.n < max(settings.counts), 0.0)
        ),
    ),
}
ANGLES = tuple(10.0 ** (power / 2) for power in range(-12, 1))


class Settings(SeededSettings):
    """What is run.

    Attributes:
        counts: n, in increasing order.
        dimensions: d of the spheres, in increasing order.
        per_class: images of the digits 3 and of the digits 8, in increasing order.
        angles: between the two inputs of a close pair, in radians, in increasing order.
        pair_count: inputs on the sphere that the close pair is planted among.
        antipodal_dimension: d of the inputs that receive antipodes, 0 to d + 2 of them.
    """

    counts: tuple[Count, ...] = (10, 32, 100, 316, 1000)
    dimensions: tuple[Count, ...] = (10, 100, 1000)
    per_class: Sizes = (5, 16, 50, 158, 500)
    angles: tuple[Annotated[float, Field(gt=0, lt=math.pi)], ...] = ANGLES
    pair_count: Size = 50
    antipodal_dimension: Count = 8


QUICK = Settings()
PAPER = Settings(
    counts=(10, 32, 100, 316, 1000, 3162), per_class=(5, 16, 50, 158, 500, 1581), seeds=5
)


def cost(settings: Settings) -> Cost:
    """Inner products, and eigenvalues at about 4/3 n^3, of every matrix."""
    s = settings
    spheres = s.seeds * sum(2 * n**2 * d + 2 * n**3 for n in s.counts for d in s.dimensions)
    images = sum(2 * n**2 * 784 + 2 * n**3 for n in (2 * k for k in s.per_class))
    largest = max(max(s.counts), 2 * max(s.per_class))
    return Cost(spheres + images, 8 * largest * (6 * largest + max(784, *s.dimensions)))


def summary(settings: Settings) -> str:
    """Spheres, digits, close pairs and antipodes."""
    s = settings
    return (
        rf"$\lambda_0$ and one point of every $D_i$, for $n$ = {listed(s.counts)} inputs uniform "
        f"on the sphere in dimension $d$ = {listed(s.dimensions)}, {s.seeds} draws each; for "
        f"{2 * s.per_class[0]} to {2 * max(s.per_class)} MNIST images of the digits 3 and 8; for a "
        f"pair at {len(s.angles)} angles, alone and among {s.pair_count} others; and in dimension "
        f"{s.antipodal_dimension} with 0 to {s.antipodal_dimension + 2} antipodal pairs, or a "
        "duplicate. There are no labels and no network."
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Least eigenvalues against n, d and angle; antipodes one by one; points of every D_i."""
    s, dtype = settings, getattr(torch, settings.dtype)
    images = digits(digits_source(), (3, 8), max(s.per_class)).to(dtype, device)
    on_spheres = sweep(
        "spheres",
        lambda seed, d, n: _examined(sphere(n, d, seed).x.to(device, dtype), seed),
        seed=s.each_seed, d=s.dimensions, n=s.counts,
    )  # fmt: skip
    on_digits = sweep("digits", lambda k: _digits(images.x[: 2 * k], s.first_seed), k=s.per_class)
    near = partial(torch.Tensor.to, device=device, dtype=dtype)
    found = xr.merge([
        on_spheres.rename({name: f"sphere_{name}" for name in on_spheres}),
        on_digits.rename({name: f"digits_{name}" for name in on_digits}),
        sweep("planted", partial(_planted, s, near), seed=s.each_seed),
        sweep("parallel", partial(_parallel_pairs, s, near), seed=s.each_seed),
    ])  # fmt: skip
    alone = [lambda_min(infinite_width_gram(near(pair_at_angle(a, 2)))) for a in s.angles]
    found = found.assign(pair_lambda=("angle", alone))
    return found.assign_attrs(data=f"uniform on spheres; {images.source}")


def _examined(x: Tensor, seed: int) -> Variables:
    """Least and largest eigenvalue of H-infinity, and the clearance of the D_i."""
    eigenvalues = torch.linalg.eigvalsh(infinite_width_gram(x).double())
    return {
        "lambda": float(eigenvalues[0]),
        "lambda_max": float(eigenvalues[-1]),
        "clearance": _clearance(x, seed),
    }


def _digits(x: Tensor, seed: int) -> Variables:
    """The same, with the least angle and the least eigenvalue of that pair, which bounds all."""
    angle = _least_angle(x)
    bound = 0.5 - math.cos(angle) * (math.pi - angle) / (2 * math.pi)
    return {**_examined(x, seed), "angle": angle, "bound": bound}


def _clearance(x: Tensor, seed: int) -> float:
    """Lemma A.1 by construction: w in D_i for every i; the least |w . x_j|, j != i, over |w|.

    A Gaussian projected onto x_i's hyperplane lies in D_i; it proves the lemma for i if it lies in
    no other D_j. In float64, as generic distances shrink with n.
    """
    x = x.double() / x.double().norm(dim=1, keepdim=True)
    drawn = torch.randn(x.shape, generator=cpu_generator("hyperplanes", seed), dtype=torch.float64)
    w = drawn.to(x.device)
    w = w - (w * x).sum(dim=1, keepdim=True) * x
    w = w / w.norm(dim=1, keepdim=True)
    return float((w @ x.T).abs().fill_diagonal_(math.inf).min())


def _least_angle(x: Tensor) -> float:
    """Least angle between two inputs, from the least distance."""
    distance = torch.nn.functional.pdist(x.double())
    return 2 * math.asin(min(float(distance.min()) / 2, 1.0))


def _planted(settings: Settings, near: Callable[[Tensor], Tensor], *, seed: int) -> Variables:
    """Least eigenvalue of inputs on the sphere among which there is a pair at each angle."""
    others = sphere(settings.pair_count, settings.pair_count, seed).x
    pairs = [pair_at_angle(angle, settings.pair_count) for angle in settings.angles]
    grams = [infinite_width_gram(near(torch.cat([others, pair]))) for pair in pairs]
    return {
        "angle": ("angle", list(settings.angles)),
        "planted_lambda": ("angle", [lambda_min(gram) for gram in grams]),
    }


def _parallel_pairs(
    settings: Settings, near: Callable[[Tensor], Tensor], *, seed: int
) -> Variables:
    """Least eigenvalue and clearance of the D_i with 0 to d + 2 antipodes, or one duplicate."""
    dimension = settings.antipodal_dimension
    x = near(sphere(dimension + 2, dimension, seed).x)
    with_pairs = [with_antipodes(x, pairs) for pairs in range(dimension + 3)]
    doubled = torch.cat([x, x[:1]])
    return {
        "antipodes": ("antipodes", range(dimension + 3)),
        "antipodal_lambda": ("antipodes", [lambda_min(infinite_width_gram(p)) for p in with_pairs]),
        "duplicate_lambda": lambda_min(infinite_width_gram(doubled)),
        "parallel_clearance": (
            "kind",
            [_clearance(with_pairs[1], seed), _clearance(doubled, seed)],
        ),
    }


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Least eigenvalues at the largest sizes, and where they vanish."""
    d, images = settings.antipodal_dimension, found.isel(k=-1)
    return {
        "sphere_lambda": found.sphere_lambda.isel(d=-1, n=-1).mean(),
        "digits_lambda": images.digits_lambda,
        "digits_angle": images.digits_angle,
        "digits_bound": images.digits_bound,
        "digits_count": 2 * max(settings.per_class),
        "duplicate_lambda": np.abs(found.duplicate_lambda).max(),
        "last_positive": found.antipodal_lambda.sel(antipodes=d).min(),
        "first_zero": np.abs(found.antipodal_lambda.sel(antipodes=d + 1)).max(),
    }


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Positive where no two inputs are parallel, zero at duplicates, the law between."""
    # The entries of H are rounded, so its eigenvalues are known to about n eps lambda_max.
    largest = max(max(settings.counts), float(found.digits_lambda_max.max()))
    known = 10 * float(np.finfo(settings.dtype).eps) * largest
    return [
        _assumption(settings, found, known),
        _theorem(settings, found, known),
        _lemma(found),
    ]


def _assumption(settings: Settings, found: xr.Dataset, known: float) -> Verdict:
    counts, d = settings.counts, settings.dimensions[-1]
    first, last = (found.sphere_lambda.isel(d=-1, n=end).mean() for end in (0, -1))
    return claim(
        "du2019-ass3.1",
        r"$\lambda_0>0$, by more than the rounding of the matrix",
        at_least(
            f"{first:.3f} at n={counts[0]} to {last:.3f} at n={counts[-1]} on the sphere, d={d}; "
            "on all spheres",
            found.sphere_lambda,
            known,
        ),
        at_least(
            f"on digits 3 and 8 {float(found.digits_lambda[-1]):.3f} at "
            f"n={2 * max(settings.per_class)}, on all of them",
            found.digits_lambda,
            known,
        ),
        holds="The least eigenvalue is positive on every sphere and on real digits.",
        fails="On one of the data sets the least eigenvalue is not positive beyond rounding.",
    )


def _theorem(settings: Settings, found: xr.Dataset, known: float) -> Verdict:
    """A pair's law: 1/2 - cos(phi) (pi - phi) / 2 pi = phi / 2 pi + phi^2 / 4 + O(phi^3)."""
    d, eps = settings.antipodal_dimension, float(np.finfo(settings.dtype).eps)
    law = found.angle / (2 * np.pi)
    off = np.abs(found.pair_lambda / law - 1)
    antipodal, rounding = found.antipodal_lambda, "rounding of the matrix"
    return claim(
        "du2019-thm3.1",
        r"$\lambda_0>0$ without parallel inputs; $\lambda_0\approx\varphi/2\pi$ for a pair at "
        r"angle $\varphi$, 0 for duplicates",
        at_least("on all spheres", found.sphere_lambda, known),
        at_least("on all digits", found.digits_lambda, known),
        at_most(
            rf"a pair over $\varphi/2\pi$ at most {float(off[0]):.1e} off 1 at "
            rf"{settings.angles[0]:.0e}, a share of $2\varphi$ (the law's next term is below)",
            off / (2 * found.angle + 10 * eps / law),
        ),
        at_most(
            "among others less the pair's alone",
            found.planted_lambda - found.pair_lambda,
            known,
        ),
        identity("with a duplicate", found.duplicate_lambda, known, rounding),
        at_least(f"with up to {d} antipodes", antipodal.sel(antipodes=slice(0, d)), known),
        identity(
            f"with {d + 1} or more", antipodal.sel(antipodes=slice(d + 1, None)), known, rounding
        ),
        holds=f"Positive until two inputs coincide; antipodes do no harm up to d={d} of them, so "
        "the condition suffices but is not necessary.",
        fails="The least eigenvalue is not positive, zero or near a pair's law where it should be.",
    )


def _lemma(found: xr.Dataset) -> Verdict:
    apart = 100 * float(np.finfo(float).eps)
    return claim(
        "du2019-lemA.1",
        r"$D_i\not\subset\bigcup_{j\ne i}D_j$; a point is outside of $D_j$ if it is so by more "
        "than 100 roundings of an inner product",
        at_least(
            r"$\lvert w^\top x_j\rvert$ over all i, j for unit w in $D_i$, on spheres",
            found.sphere_clearance,
            apart,
            ".1e",
        ),
        at_least("on digits", found.digits_clearance, apart, ".1e"),
        at_most("with a parallel pair", found.parallel_clearance, apart, ".1e"),
        holds="One Gaussian draw in each hyperplane avoids all the others; with a parallel pair "
        "none does.",
        fails="A draw in a hyperplane meets another one, or avoids that of a parallel input.",
    )
