"""The least eigenvalue of H-infinity is positive if no two inputs are parallel (Theorem 3.1).

Refuted by inputs without a parallel pair whose least eigenvalue is zero, or by an input whose
hyperplane D_i is covered by the others (Lemma A.1). Duplicates and antipodes show where it ends.
"""

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.datafiles import digits_source
from companion.datasets import digits, pair_at_angle, sphere, with_antipodes
from companion.draws import cpu_generator
from companion.kernels import infinite_width_gram, lambda_min
from companion.lab.experiment import Cost
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Settings as BaseSettings
from companion.lab.settings import Size, Sizes
from companion.lab.sweep import sweep

DATA = "digits"
EXPECTED: dict[str, Outcome] = {
    "du2019-ass3.1": "holds",
    "du2019-thm3.1": "holds",
    "du2019-lemA.1": "holds",
}
ANGLES = tuple(10.0 ** (power / 2) for power in range(-12, 1))


class Settings(BaseSettings):
    """What is run.

    Attributes:
        counts: n, in increasing order.
        dimensions: d of the spheres, in increasing order.
        per_class: images of the digits 3 and of the digits 8, in increasing order.
        seeds: how many independent draws of each sphere.
        angles: between the two inputs of a close pair, in radians, in increasing order.
        pair_count: inputs on the sphere that the close pair is planted among.
        antipodal_dimension: d of the inputs that receive antipodes, 0 to d + 2 of them.
    """

    counts: tuple[Annotated[int, Field(ge=2)], ...] = (10, 32, 100, 316, 1000)
    dimensions: tuple[Annotated[int, Field(ge=2)], ...] = (10, 100, 1000)
    per_class: Sizes = (5, 16, 50, 158, 500)
    seeds: Size = 3
    angles: tuple[Annotated[float, Field(gt=0, lt=math.pi)], ...] = ANGLES
    pair_count: Size = 50
    antipodal_dimension: Annotated[int, Field(ge=2)] = 8


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


def run(settings: Settings, device: str) -> Result:
    """Least eigenvalues against n, d and angle; antipodes one by one; points of every D_i."""
    dtype = getattr(torch, settings.dtype)
    images = digits(digits_source(), (3, 8), max(settings.per_class)).to(dtype, device)
    x = images.x
    on_spheres = sweep(
        "spheres",
        lambda seed, d, n: _examine(sphere(n, d, seed).x.to(device, dtype), seed),
        seed=range(settings.seeds), d=settings.dimensions, n=settings.counts,
    )  # fmt: skip
    on_digits = sweep("digits", lambda k: _closest(x[: 2 * k]), k=settings.per_class)
    arrays = {
        **{f"sphere_{name}": array for name, array in on_spheres.items()},
        **{f"digits_{name}": array for name, array in on_digits.items()},
        **_close_pairs(settings, dtype, device),
        **_parallel_pairs(settings, dtype, device),
    }
    return Result(
        experiment="du2019/positivity",
        settings=settings.model_dump(mode="json"),
        values={
            "sphere_lambda": float(arrays["sphere_lambda"][:, -1, -1].mean()),
            "digits_lambda": float(arrays["digits_lambda"][-1]),
            "digits_angle": float(arrays["digits_angle"][-1]),
            "digits_bound": float(arrays["digits_bound"][-1]),
            "digits_count": 2 * max(settings.per_class),
            "duplicate_lambda": float(np.abs(arrays["duplicate_lambda"]).max()),
            "last_positive": float(arrays["antipodal_lambda"][:, -3].min()),
            "first_zero": float(np.abs(arrays["antipodal_lambda"][:, -2]).max()),
        },
        arrays=arrays,
        data=f"uniform on spheres; {images.source}",
    )


def _examine(x: Tensor, seed: int) -> dict[str, np.ndarray]:
    """Least and largest eigenvalue of H-infinity, and the clearance of the D_i."""
    eigenvalues = torch.linalg.eigvalsh(infinite_width_gram(x).double())
    return {
        "lambda": np.array(float(eigenvalues[0])),
        "lambda_max": np.array(float(eigenvalues[-1])),
        "clearance": np.array(_clearance(x, seed)),
    }


def _closest(x: Tensor) -> dict[str, np.ndarray]:
    """The same, with the least angle and the least eigenvalue of that pair, which bounds all."""
    angle = _least_angle(x)
    bound = 0.5 - math.cos(angle) * (math.pi - angle) / (2 * math.pi)
    return {**_examine(x, seed=0), "angle": np.array(angle), "bound": np.array(bound)}


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


def _close_pairs(settings: Settings, dtype: torch.dtype, device: str) -> dict[str, np.ndarray]:
    """Least eigenvalue of two inputs at each angle, alone and among inputs on the sphere."""
    alone = [
        lambda_min(infinite_width_gram(pair_at_angle(angle, 2).to(device, dtype)))
        for angle in settings.angles
    ]
    dimension = settings.pair_count
    planted = []
    for seed in range(settings.seeds):
        others = sphere(settings.pair_count, dimension, seed).x
        planted.append([
            lambda_min(
                infinite_width_gram(
                    torch.cat([others, pair_at_angle(angle, dimension)]).to(device, dtype)
                )
            )
            for angle in settings.angles
        ])  # fmt: skip
    return {"pair_lambda": np.array(alone), "planted_lambda": np.array(planted)}


def _parallel_pairs(settings: Settings, dtype: torch.dtype, device: str) -> dict[str, np.ndarray]:
    """Least eigenvalue and clearance of the D_i with 0 to d + 2 antipodes, or one duplicate."""
    dimension = settings.antipodal_dimension
    pairs = range(dimension + 3)
    antipodal, duplicate, blocked = [], [], []
    for seed in range(settings.seeds):
        x = sphere(dimension + 2, dimension, seed).x.to(device, dtype)
        with_pairs = [with_antipodes(x, count) for count in pairs]
        antipodal.append([lambda_min(infinite_width_gram(rows)) for rows in with_pairs])
        doubled = torch.cat([x, x[:1]])
        duplicate.append(lambda_min(infinite_width_gram(doubled)))
        blocked.append([_clearance(with_pairs[1], seed), _clearance(doubled, seed)])
    return {
        "antipodal_lambda": np.array(antipodal),
        "duplicate_lambda": np.array(duplicate),
        "parallel_clearance": np.array(blocked),
    }


def judge(result: Result) -> list[Verdict]:
    """Positive where no two inputs are parallel, zero at duplicates, the law between."""
    a, s = result.arrays, result.settings
    eps = float(np.finfo(s["dtype"]).eps)
    # The entries of H are rounded, so its eigenvalues are known to about n eps lambda_max.
    known = 10 * eps * max(max(s["counts"]), a["digits_lambda_max"].max())
    least = min(float(a["sphere_lambda"].min()), float(a["digits_lambda"].min()))
    ratio, allowed = _pair_law(result)
    d = s["antipodal_dimension"]
    up_to_d = float(a["antipodal_lambda"][:, : d + 1].min())
    beyond = float(np.abs(a["antipodal_lambda"][:, d + 1 :]).max())
    doubled = float(np.abs(a["duplicate_lambda"]).max())
    bounded = bool((a["planted_lambda"] <= a["pair_lambda"] + known).all())
    law = bounded and bool((np.abs(ratio - 1) <= allowed).all())
    clear = min(float(a["sphere_clearance"].min()), float(a["digits_clearance"].min()))
    blocked, apart = float(a["parallel_clearance"].max()), 100 * float(np.finfo(float).eps)
    seen = a["sphere_lambda"][:, -1].mean(axis=0)
    theorem = min(least, up_to_d) > known > max(doubled, beyond) and law
    avoided = clear > apart > blocked
    return [
        Verdict(
            "du2019-ass3.1",
            "holds" if least > known else "fails",
            r"$\lambda_0>0$",
            f"{seen[0]:.3f} at n={s['counts'][0]} to {seen[-1]:.3f} at n={s['counts'][-1]} on the "
            f"sphere, d={s['dimensions'][-1]}; digits 3 and 8, n={result.values['digits_count']}: "
            f"{a['digits_lambda'][-1]:.3f}; least anywhere {least:.3f}",
            f"{known:.1e} (rounding of the matrix)",
            "The least eigenvalue is positive on every sphere and on real digits."
            if least > known
            else "On one of the data sets the least eigenvalue is not positive beyond rounding.",
        ),
        Verdict(
            "du2019-thm3.1",
            "holds" if theorem else "fails",
            r"$\lambda_0>0$ without parallel inputs; $\lambda_0\approx\varphi/2\pi$ for a pair at "
            r"angle $\varphi$, 0 for duplicates",
            f"pair over $\\varphi/2\\pi$ at most {np.abs(ratio - 1)[0]:.1e} off 1 at "
            f"{s['angles'][0]:.0e}; duplicates {doubled:.1e}; {d} antipodes {up_to_d:.1e}, "
            f"{d + 1} or more {beyond:.1e}",
            f"$2\\varphi$ (the law's next term is below); zero means below {known:.1e}",
            f"Positive until two inputs coincide; antipodes do no harm up to d={d} of them, so the "
            "condition suffices but is not necessary."
            if theorem
            else "The least eigenvalue is not positive, zero or near a pair's law where it should "
            "be.",
        ),
        Verdict(
            "du2019-lemA.1",
            "holds" if avoided else "fails",
            r"$D_i\not\subset\bigcup_{j\ne i}D_j$",
            f"least $\\lvert w^\\top x_j\\rvert$ over all i, j for unit w in $D_i$: {clear:.1e}; "
            f"with a parallel pair {blocked:.1e}",
            f"{apart:.1e} (100 roundings of an inner product)",
            "One Gaussian draw in each hyperplane avoids all the others; with a parallel pair none "
            "does."
            if avoided
            else "A draw in a hyperplane meets another one, or avoids that of a parallel input.",
        ),
    ]


def _pair_law(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """A pair's least eigenvalue over phi / 2 pi, and how far the next term and rounding let it be.

    1/2 - cos(phi) (pi - phi) / 2 pi = phi / 2 pi + phi^2 / 4 + O(phi^3).
    """
    angles = np.array(result.settings["angles"])
    law = angles / (2 * np.pi)
    eps = float(np.finfo(result.settings["dtype"]).eps)
    return result.arrays["pair_lambda"] / law, 2 * angles + 10 * eps / law
