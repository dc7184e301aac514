"""At initialisation H(0) is near H-infinity, at m^(-1/2), and its least eigenvalue too (Lemma 3.1).

Refuted by a Monte Carlo average off the closed form, by another exponent, or by a success
probability below 1 - delta at the width with the explicit constant.
"""

import math
from functools import partial
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from companion.bounds import initial_misfit, lemma_3_1_width
from companion.datasets import pair_at_angle, sphere
from companion.draws import cpu_generator
from companion.fits import log_log_slope, spread
from companion.kernels import empirical_gram, infinite_width_gram, lambda_min, spectral_norm
from companion.networks import draw_two_layer
from companion.results import Cost, Outcome, Result, Verdict, checkpoint, progress
from companion.settings import Settings as BaseSettings

EXPECTED: dict[str, Outcome] = {
    "du2019-def-Hinf": "holds",
    "du2019-rem3.1a": "holds",
    "du2019-lem3.1": "holds",
    "du2019-init-misfit": "fails",
}
WIDTHS = tuple(round(32 * 2 ** (power / 2)) for power in range(17))


class Settings(BaseSettings):
    """What is run.

    Attributes:
        angles: between the unit vectors of the Monte Carlo average, in number, from 0 to pi.
        samples: drawn vectors w of that average, in increasing order, at least 3 numbers.
        counts: n, with d = n; the first is also run at the width with the explicit constant.
        widths: m, in increasing order.
        trials: networks per width, on one draw of the data.
        delta: failure probability; 1 - delta is asked of the success rate.
        misfit_networks: networks whose initial misfit is averaged, on the last of `counts`.
        misfit_width: their width.
        seeds: how many independent draws of the Monte Carlo average, and of data for the misfit.
    """

    angles: Annotated[int, Field(ge=2)] = 13
    samples: tuple[Annotated[int, Field(ge=1)], ...] = (1000, 10000, 100000, 1000000)
    counts: tuple[Annotated[int, Field(ge=2)], ...] = (10, 20, 40, 80)
    widths: tuple[Annotated[int, Field(ge=1)], ...] = WIDTHS
    trials: Annotated[int, Field(ge=2)] = 30
    delta: Annotated[float, Field(gt=0, lt=1)] = 0.1
    misfit_networks: Annotated[int, Field(ge=2)] = 500
    misfit_width: Annotated[int, Field(ge=1)] = 100
    seeds: Annotated[int, Field(ge=1)] = 3

    @model_validator(mode="after")
    def _enough_to_fit(self) -> Self:
        if min(len(self.samples), len(self.widths), len(self.counts)) < 3:
            raise ValueError(
                "samples, widths and counts need at least 3 numbers to fit an exponent"
            )
        return self


QUICK = Settings()
PAPER = Settings(
    samples=(1000, 10000, 100000, 1000000, 10000000),
    counts=(10, 20, 40, 80, 160, 320),
    widths=tuple(round(32 * 2 ** (power / 2)) for power in range(23)),
    trials=50,
    misfit_networks=5000,
    seeds=10,
)


def cost(settings: Settings) -> Cost:
    """A Gram matrix takes n^2 m products and n d m for the preactivations."""
    s, largest = settings, settings.counts[0]
    explicit = lemma_3_1_width(largest, 0.25, s.delta)
    units = [(n, sum(s.widths)) for n in s.counts] + [(largest, explicit)]
    flops = s.trials * sum(4 * n**2 * m for n, m in units)
    flops += s.seeds * sum(2 * s.angles**2 * k for k in s.samples)
    flops += s.seeds * s.misfit_networks * 2 * s.counts[-1] ** 2 * s.misfit_width
    peak = max(4 * max(s.counts) * max(s.widths), 4 * largest * explicit, 4 * s.angles * 100000)
    return Cost(flops, 8 * peak)


def run(settings: Settings, device: str) -> Result:
    """Monte Carlo of the definition, H(0) width by width, and the misfit of fresh networks."""
    average = [_monte_carlo(settings, seed, device) for seed in range(settings.seeds)]
    by_count = [
        checkpoint(f"n{count}", partial(_by_width, settings, count, device))
        for count in progress(settings.counts, "initialization")
    ]
    explicit = lemma_3_1_width(settings.counts[0], float(by_count[0]["lambda_0"]), settings.delta)
    at_explicit = _trials(settings, settings.counts[0], math.ceil(explicit), device)
    misfits = [_misfits(settings, seed, device) for seed in range(settings.seeds)]
    arrays = {
        **{name: np.stack([part[name] for part in average]) for name in average[0]},
        **{name: np.stack([part[name] for part in by_count]) for name in by_count[0]},
        **{f"explicit_{name}": value for name, value in at_explicit.items()},
        **{name: np.stack([part[name] for part in misfits]) for name in misfits[0]},
    }
    return Result(
        experiment="du2019/initialization",
        settings=settings.model_dump(mode="json"),
        values={
            "explicit_width": math.ceil(explicit),
            "explicit_width_largest": lemma_3_1_width(
                settings.counts[-1], float(by_count[-1]["lambda_0"]), settings.delta
            ),
            "count_largest": settings.counts[-1],
            "lambda_0_largest": float(by_count[-1]["lambda_0"]),
            "misfit_over_exact": float((arrays["misfit"].mean(axis=1) / arrays["exact"]).mean()),
            "misfit_over_printed": float(
                (arrays["misfit"].mean(axis=1) / arrays["printed"]).mean()
            ),
        },
        arrays=arrays,
        data=f"uniform on the sphere, n=d in {list(settings.counts)}",
    )


def _monte_carlo(settings: Settings, seed: int, device: str) -> dict[str, np.ndarray]:
    """The definition of H-infinity as an average over w, for unit vectors at equally spaced angles.

    Returns:
        `error`, shape (samples,): root mean square over pairs of estimate minus closed form;
        `expected_error`, the same from the variance rho^2 p (1 - p) / samples; `estimate`, shape
        (angles,), of the first vector with each at the largest sample, and `closed` its limit.
    """
    dtype, generator = getattr(torch, settings.dtype), cpu_generator("monte carlo", seed)
    angles = torch.linspace(0, math.pi, settings.angles, dtype=torch.float64)
    x = torch.stack([pair_at_angle(float(angle), 2)[1] for angle in angles]).to(device, dtype)
    rho, closed = x @ x.T, infinite_width_gram(x)
    share = closed / rho
    one_sample = (rho.square() * share * (1 - share)).nan_to_num().mean().sqrt()
    errors = []
    for count in settings.samples:
        both = torch.zeros_like(rho)
        for chunk in torch.ones(count).split(100_000):
            w = torch.randn(len(chunk), 2, generator=generator, dtype=torch.float64)
            active = (x @ w.to(x).T >= 0).to(dtype)
            both += active @ active.T
        estimate = rho * both / count
        errors.append(float((estimate - closed).square().mean().sqrt()))
    return {
        "error": np.array(errors),
        "expected_error": float(one_sample) / np.sqrt(np.array(settings.samples)),
        "estimate": estimate[0].cpu().double().numpy(),
        "closed": closed[0].cpu().double().numpy(),
    }


def _by_width(settings: Settings, count: int, device: str) -> dict[str, np.ndarray]:
    """`_trials` at every width, stacked, with lambda_0 of the data."""
    found = [_trials(settings, count, width, device) for width in settings.widths]
    x = sphere(count, count, 0).to(getattr(torch, settings.dtype), device).x
    return {
        **{name: np.stack([trials[name] for trials in found]) for name in found[0]},
        "lambda_0": np.array(lambda_min(infinite_width_gram(x))),
    }


def _trials(settings: Settings, count: int, width: int, device: str) -> dict[str, np.ndarray]:
    """||H(0) - H_inf||_2 and lambda_min(H(0)) of fresh networks, each of shape (trials,)."""
    dtype = getattr(torch, settings.dtype)
    x = sphere(count, count, 0).to(dtype, device).x
    limit = infinite_width_gram(x)
    grams = [
        empirical_gram(draw_two_layer(width, count, seed, dtype, device), x)
        for seed in range(settings.trials)
    ]
    return {
        "distance": np.array([spectral_norm(gram - limit) for gram in grams]),
        "lambda_min": np.array([lambda_min(gram) for gram in grams]),
    }


def _misfits(settings: Settings, seed: int, device: str) -> dict[str, np.ndarray]:
    """||y - u(0)||^2 of fresh networks, with its exact mean and the printed one."""
    dtype, count = getattr(torch, settings.dtype), settings.counts[-1]
    data = sphere(count, count, seed).to(dtype, device)
    labels = float(data.y.square().sum())
    found = [
        _misfit(data.x, data.y, settings.misfit_width, 1_000_000 * seed + number)
        for number in range(settings.misfit_networks)
    ]
    return {
        "misfit": np.array(found),
        "exact": np.array(initial_misfit(labels, count)),
        "printed": np.array(labels + count),
    }


def _misfit(x: Tensor, y: Tensor, width: int, seed: int) -> float:
    network = draw_two_layer(width, x.shape[1], seed, x.dtype, x.device)
    return float((network.predict(x) - y).square().sum())


def judge(result: Result) -> list[Verdict]:
    """Agreement at the Monte Carlo error, exponents, success probability, mean misfit."""
    return [_closed_form(result), _distance(result), _success(result), _mean_misfit(result)]


def _closed_form(result: Result) -> Verdict:
    a, samples = result.arrays, result.settings["samples"]
    slope, error = log_log_slope(samples, a["error"])
    ratio = a["error"] / a["expected_error"]
    agrees = 0.5 < ratio.mean() < 1.5 and ratio.max() < 3
    return Verdict(
        "du2019-def-Hinf",
        "holds" if agrees and abs(slope + 0.5) <= max(3 * error, 0.05) else "fails",
        r"closed form $\rho(\pi-\arccos\rho)/2\pi$; error falls as samples$^{-1/2}$",
        f"error over the expected standard error {spread(ratio.mean(axis=1))}; exponent "
        f"{slope:.3f} (s.e. {error:.3f})",
        "ratio 0.5 to 1.5 on average, below 3 always; exponent within 3 s.e. of -1/2",
        "The average over drawn vectors meets the closed form at its own statistical error.",
    )


def _distance(result: Result) -> Verdict:
    a, widths = result.arrays, result.settings["widths"]
    fits = [log_log_slope(widths, distance.T) for distance in a["distance"]]
    slopes, error = np.array([slope for slope, _ in fits]), max(error for _, error in fits)
    # Besides the scatter, the norm of a narrow H(0) has a 1/m term (matrix Bernstein).
    return Verdict(
        "du2019-rem3.1a",
        "holds" if np.abs(slopes + 0.5).max() <= 0.05 else "fails",
        r"$\lVert H(0)-H^\infty\rVert_2\sim m^{-1/2}$",
        f"exponents {', '.join(f'{slope:.3f}' for slope in slopes)} for n = "
        f"{', '.join(str(n) for n in result.settings['counts'])} (s.e. {error:.3f} at most)",
        "0.05 (the next order in 1/m at the narrow end)",
        "The distance of the initial Gram matrix from its limit falls as the root of the width.",
    )


def success_rates(result: Result) -> np.ndarray:
    """Share of networks with both events of Lemma 3.1, shape (counts, widths)."""
    a = result.arrays
    lambda_0 = a["lambda_0"][:, None, None]
    good: np.ndarray = (a["distance"] <= lambda_0 / 4) & (a["lambda_min"] >= 0.75 * lambda_0)
    return good.mean(axis=-1)


def sufficient_widths(result: Result) -> np.ndarray:
    """Least width run from which on the success rate is at least 1 - delta; nan if none, (counts,)."""
    widths = np.array(result.settings["widths"], dtype=float)
    enough = success_rates(result) >= 1 - result.settings["delta"]
    from_here_on = np.flip(np.logical_and.accumulate(np.flip(enough, axis=1), axis=1), axis=1)
    least: np.ndarray = np.where(
        from_here_on.any(axis=1), widths[from_here_on.argmax(axis=1)], np.nan
    )
    return least


def _success(result: Result) -> Verdict:
    a, s = result.arrays, result.settings
    counts, needed = np.array(s["counts"]), sufficient_widths(result)
    lambda_0 = float(a["lambda_0"][0])
    good = (a["explicit_distance"] <= lambda_0 / 4) & (a["explicit_lambda_min"] >= 0.75 * lambda_0)
    seen = np.isfinite(needed)
    slope, error = log_log_slope(counts[seen], needed[seen]) if seen.sum() >= 3 else (0.0, 0.0)
    explicit = [
        lemma_3_1_width(int(n), float(value), s["delta"])
        for n, value in zip(counts, a["lambda_0"], strict=True)
    ]
    share = needed / np.array(explicit)
    return Verdict(
        "du2019-lem3.1",
        "holds" if good.mean() >= 1 - s["delta"] else "fails",
        rf"probability at least {1 - s['delta']:g} at $m=8n^2\lambda_0^{{-2}}\log(n(n+1)/\delta)$",
        f"{good.sum()} of {good.size} at m={result.values['explicit_width']}, n={counts[0]}; "
        f"already from m={needed[seen][-1]:.0f} at n={counts[seen][-1]}, {share[seen][-1]:.1e} of "
        f"the bound; exponent in n {slope:.2f} (s.e. {error:.2f})",
        f"{1 - s['delta']:g}, exactly",
        "The lemma is true at the width with its explicit constant, and much smaller widths do.",
    )


def _mean_misfit(result: Result) -> Verdict:
    a = result.arrays
    mean, error = a["misfit"].mean(axis=1), a["misfit"].std(axis=1) / np.sqrt(a["misfit"].shape[1])
    from_printed, from_exact = (np.abs(mean - a[name]) / error for name in ("printed", "exact"))
    refuted, derived = bool(from_printed.min() > 4), bool(from_exact.max() <= 4)
    return Verdict(
        "du2019-init-misfit",
        "fails" if refuted else "holds" if not derived else "inconclusive",
        r"printed $\mathbb E\lVert y-u(0)\rVert^2=\lVert y\rVert^2+n$; exactly $\lVert y\rVert^2+n/2$",
        f"mean over the printed value {spread(mean / a['printed'], '.3f')}, over the exact value "
        f"{spread(mean / a['exact'], '.3f')}",
        f"4 standard errors; the printed value is {from_printed.min():.0f} off, the exact one "
        f"{from_exact.max():.1f}",
        "The printed equality counts every input's variance twice; as an upper bound, and for "
        "O(n), it stands.",
    )
