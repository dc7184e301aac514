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
from companion.lab.words import listed, number

DATA = "digits"
EXPECTED: dict[str, Outcome] = {
    "du2019-ass3.1": "holds",
    "du2019-thm3.1": "holds",
    "du2019-thm3.1-rate": "holds",
    "du2019-thm3.1-antipodes": "holds",
    "du2019-lemA.1": "holds",
}
CONTROLS = {
    "du2019-ass3.1": Lie(
        "the largest set of digits has the least eigenvalue of a set with a duplicate",
        lambda settings, found: found.assign(
            digits_lambda=found.digits_lambda.where(
                found.k < max(settings.per_class), float(found.duplicate_lambda.max())
            )
        ),
    ),
    "du2019-thm3.1": Lie(
        "one sphere of the most inputs has the least eigenvalue of a set with a duplicate",
        lambda settings, found: found.assign(
            sphere_lambda=found.sphere_lambda.where(
                _all_but_one(settings, found), float(found.duplicate_lambda.max())
            )
        ),
    ),
    "du2019-thm3.1-rate": Lie(
        r"the least eigenvalue of a pair alone is larger by the factor $1+3\varphi$",
        lambda settings, found: found.assign(pair_lambda=found.pair_lambda * (1 + 3 * found.angle)),
    ),
    "du2019-thm3.1-antipodes": Lie(
        r"with $d$ antipodal pairs the least eigenvalue is that of $d+1$",
        lambda settings, found: found.assign(
            antipodal_lambda=found.antipodal_lambda.where(
                found.antipodes != settings.antipodal_dimension,
                found.antipodal_lambda.sel(antipodes=settings.antipodal_dimension + 1),
            )
        ),
    ),
    "du2019-lemA.1": Lie(
        "on one sphere of the most inputs the points lie as they do on inputs with an antipodal "
        "pair",
        lambda settings, found: found.assign(
            sphere_clearance=found.sphere_clearance.where(
                _all_but_one(settings, found), float(found.parallel_clearance.max())
            )
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
        _near_parallels(settings, found, known),
        _antipodes(settings, found, known),
        _lemma(settings, found),
    ]


def _spheres(settings: Settings) -> str:
    sizes = len(settings.counts) * len(settings.dimensions)
    return f"{settings.seeds * sizes} spheres ({settings.seeds} of each of {sizes} sizes)"


def _sets_of_digits(settings: Settings) -> str:
    return f"{len(settings.per_class)} sets of digits"


def _assumption(settings: Settings, found: xr.Dataset, known: float) -> Verdict:
    first, last = (found.sphere_lambda.isel(d=-1, n=end).mean() for end in (0, -1))
    return claim(
        "du2019-ass3.1",
        r"$\lambda_0>0$, by more than the rounding of the matrix",
        at_least(rf"$\lambda_0$ on {_spheres(settings)}", found.sphere_lambda, known),
        at_least(
            rf"$\lambda_0$ on {_sets_of_digits(settings)} 3 and 8", found.digits_lambda, known
        ),
        holds="The least eigenvalue is positive on every sphere and every set of digits: with "
        f"$d$ = {max(settings.dimensions)} it goes from {number(first, '.3f')} at $n$ = "
        f"{settings.counts[0]} to {number(last, '.3f')} at $n$ = {settings.counts[-1]}, and "
        f"{2 * max(settings.per_class)} digits have {number(found.digits_lambda[-1], '.3f')}.",
        fails="On one of the data sets the least eigenvalue is not positive beyond rounding.",
    )


def _theorem(settings: Settings, found: xr.Dataset, known: float) -> Verdict:
    # A pair of which the least eigenvalue is down at rounding shows nothing.
    shown = found.planted_lambda.isel(angle=(found.angle / (2 * np.pi) > known).values)
    least, most = (number(each(shown.angle), ".1g") for each in (np.min, np.max))
    return claim(
        "du2019-thm3.1",
        r"$\lambda_0>0$ if no two inputs are parallel; known by computation where it is more than "
        "the rounding of the matrix",
        at_least(rf"$\lambda_0$ on {_spheres(settings)}", found.sphere_lambda, known),
        at_least(rf"$\lambda_0$ on {_sets_of_digits(settings)}", found.digits_lambda, known),
        at_least(
            rf"$\lambda_0$ with a pair at angles from {least} to {most} among the inputs",
            shown,
            known,
        ),
        holds="Whatever was drawn without parallel inputs has a positive least eigenvalue, with a "
        f"pair of them at angles down to {least} too.",
        fails="Inputs of which no two are parallel have no least eigenvalue above rounding.",
    )


def _near_parallels(settings: Settings, found: xr.Dataset, known: float) -> Verdict:
    """A pair's law: 1/2 - cos(phi) (pi - phi) / 2 pi = phi / 2 pi + phi^2 / 4 + O(phi^3)."""
    law, eps = found.angle / (2 * np.pi), float(np.finfo(settings.dtype).eps)
    off = np.abs(found.pair_lambda / law - 1)
    return claim(
        "du2019-thm3.1-rate",
        r"$\lambda_0=\varphi/2\pi$ for two inputs at angle $\varphi$, up to the next order in "
        r"$\varphi$; no more with others among them; $0$ where two inputs are equal",
        at_most(
            r"distance of the pair's $\lambda_0$ from $\varphi/2\pi$, as a share of it and of "
            r"$2\varphi$, where the next order would be a share of $1.6\varphi$",
            off / (2 * found.angle + 10 * eps / law),
        ),
        at_most(
            r"what others among them add to the pair's $\lambda_0$, with rounding allowed",
            found.planted_lambda - found.pair_lambda,
            known,
        ),
        identity(
            r"$\lambda_0$ of inputs with a duplicate, and 0",
            found.duplicate_lambda,
            known,
            "rounding of the matrix",
        ),
        holds="The least eigenvalue vanishes like the angle of the closest pair, down to angles of "
        f"{number(settings.angles[0], '.0e')}.",
        fails="The least eigenvalue of a close pair is another than its law says.",
    )


def _antipodes(settings: Settings, found: xr.Dataset, known: float) -> Verdict:
    d, antipodal = settings.antipodal_dimension, found.antipodal_lambda
    return claim(
        "du2019-thm3.1-antipodes",
        r"$\lambda_0>0$ with up to $d$ antipodal pairs, and $\lambda_0=0$ with $d+1$ or more",
        at_least(
            rf"$\lambda_0$ with 0 to {d} antipodal pairs in dimension {d}",
            antipodal.sel(antipodes=slice(0, d)),
            known,
        ),
        identity(
            rf"$\lambda_0$ with {d + 1} or {d + 2} antipodal pairs, and 0",
            antipodal.sel(antipodes=slice(d + 1, None)),
            known,
            "rounding of the matrix",
        ),
        holds=f"Antipodes do no harm up to $d$ = {d} of them: the theorem's condition suffices and "
        "is not necessary.",
        fails="Antipodal pairs make the least eigenvalue vanish at another number of them.",
    )


def _lemma(settings: Settings, found: xr.Dataset) -> Verdict:
    """Inputs with a parallel pair have a D_j that holds all of D_i: they are its control."""
    apart = 100 * float(np.finfo(float).eps)
    what = r"least $\lvert w^\top x_j\rvert$, $j\ne i$, of one unit $w$ in each $D_i$, on "
    return claim(
        "du2019-lemA.1",
        r"some $w\in D_i$ lies in no other $D_j$; it is known to lie outside if $\lvert w^\top "
        r"x_j\rvert$ is more than 100 roundings of an inner product",
        at_least(what + _spheres(settings), found.sphere_clearance, apart, ".1e"),
        at_least(what + _sets_of_digits(settings), found.digits_clearance, apart, ".1e"),
        holds="One Gaussian draw in each hyperplane avoids all the others.",
        fails="A draw in a hyperplane meets another one.",
    )


def _all_but_one(settings: Settings, found: xr.Dataset) -> xr.DataArray:
    """Everywhere but on the first sphere of the most inputs in the least dimension."""
    last: xr.DataArray = (
        (found.seed == settings.first_seed)
        & (found.d == settings.dimensions[0])
        & (found.n == max(settings.counts))
    )
    return ~last
