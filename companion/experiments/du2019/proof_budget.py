"""Every term in the proof of Theorem 4.1, along a run: I_1, I_2, H-perp and the square.

Refuted by a step at which u(k+1) - u(k) is not I_1 + I_2 to rounding, at which one of the proof's
inequalities is false with the units of S_i-perp counted, or which leaves over less than 1/2 where
the proof's bounds do not.
"""

from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from companion.bounds.du2019 import theorem_4_1_step_size, theorem_4_1_width
from companion.experiments.du2019._problem import Problem, draw
from companion.experiments.du2019._regime import needed_width
from companion.kernels import empirical_gram, lambda_min, near_boundary
from companion.lab.checks import at_least, at_most, claim, identity, note
from companion.lab.controls import Lie
from companion.lab.experiment import Cost, Values
from companion.lab.fits import exponent
from companion.lab.results import Outcome, Verdict
from companion.lab.settings import (
    Count,
    Dimension,
    Positive,
    Probability,
    SeveralSizes,
    Size,
    SphereSettings,
)
from companion.lab.sweep import Variables, sweep
from companion.lab.words import listed, number, on_sphere
from companion.monitors import unit_distances

EXPECTED: dict[str, Outcome] = {
    "du2019-decomp": "holds",
    "du2019-decomp-net": "outside-regime",
}
# What the text says otherwise, in words: none of it can be measured.
SLIPS = (
    r"Judged as they are meant: the camera-ready writes $k$ twice where $k$ and $k+1$ are meant, "
    r"$\lvert S_i\rvert^\perp$ for $\lvert S_i^\perp\rvert$ and $R=c\lambda_0/n^2$ without "
    r"$\delta$, and the draft defines $S_i$ as what is $S_i^\perp$"
)


class Settings(SphereSettings):
    """What is run.

    Attributes:
        widths: m, in increasing order.
        multiple: of the theorem's lambda_0 / n^2, the small step size.
        steps: at each of the two step sizes, the small one and 1 / lambda_max(H_inf).
        delta: failure probability in the explicit width.
    """

    count: Count = 20
    dimension: Dimension = 20
    widths: SeveralSizes = (500, 2000, 8000)
    multiple: Positive = 0.25
    steps: Size = 40
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(count=50, dimension=50, widths=(500, 2000, 8000, 32000), seeds=5, steps=100)


def summary(settings: Settings) -> str:
    """Steps, step sizes, widths, seeds and data."""
    s = settings
    return (
        f"Each of {s.steps} steps of gradient descent taken apart, at {listed(_step_sizes(s))}, "
        f"for networks with $m$ = {listed(s.widths)} hidden units, from each of {s.seeds} seeds; "
        f"every seed draws its own {on_sphere(s.count, s.dimension)}, and every width its own "
        "network."
    )


def cost(settings: Settings) -> Cost:
    """Per step about six products of (n, d) and (d, m) and two Gram matrices, at two step sizes."""
    s = settings
    per_unit = s.count * (12 * s.dimension + 4 * s.count)
    steps = 2 * s.seeds * s.steps
    return Cost(
        steps * per_unit * sum(s.widths), 8 * max(s.widths) * (8 * s.count + 4 * s.dimension)
    )


def run(settings: Settings, device: str) -> xr.Dataset:
    """Train every width from every seed at two step sizes, taking each step apart."""
    s = settings
    found = sweep("runs", partial(_train, s, device), seed=s.each_seed, width=s.widths)
    return found.assign_attrs(data=s.data)


def _train(settings: Settings, device: str, *, seed: int, width: int) -> Variables:
    """Terms of every step, at the small step size, then at the usual one."""
    problem = draw(settings, device, seed=seed, width=width)
    small = settings.multiple * theorem_4_1_step_size(settings.count, problem.lambda_0)
    step_sizes = [small, 1 / problem.lambda_largest]
    runs = [_along(problem, step_size, settings.steps) for step_size in step_sizes]
    return {
        **xr.concat(runs, "eta"),
        "step_sizes": ("eta", step_sizes),
        "lambda_0": problem.lambda_0,
    }


def _along(problem: Problem, step_size: float, steps: int) -> xr.Dataset:
    """Every step of a run taken apart, with the largest distance R of a unit so far."""
    (start,) = problem.network.preactivations(problem.x)
    moments, radius, rows = problem.moments(step_size), 0.0, []
    moment = next(moments)
    (after,) = moment.network.preactivations(problem.x)
    for _ in range(steps):
        before, gram = after, empirical_gram(moment.network, problem.x)
        moment = next(moments)
        (after,) = moment.network.preactivations(problem.x)
        # R must cover both ends of the step; it never shrinks, so S_i-perp only grows.
        radius = max(radius, float(unit_distances(moment)[0, 0]))
        crossing = near_boundary(start, radius)
        terms = step_terms(problem, before, after, gram, crossing, step_size)
        rows.append({**terms, "radius": radius})
    return xr.Dataset({name: ("step", [row[name] for row in rows]) for name in rows[0]})


def step_terms(
    problem: Problem,
    before: Tensor,
    after: Tensor,
    gram: Tensor,
    crossing: Tensor,
    step_size: float,
) -> dict[str, float]:
    """One step of gradient descent, taken apart as in the proof of Theorem 4.1.

    With e = y - u(k), the squared residual changes by -2 e.(I_1 + I_2) + ||u(k+1) - u(k)||^2 and
    I_1 = eta (H - H_perp) e. Shares are in units of eta lambda_0 ||e||^2.

    Args:
        problem: with x, y and lambda_0.
        before: preactivations at step k, shape (n, m).
        after: preactivations at step k + 1, shape (n, m).
        gram: H(k), shape (n, n).
        crossing: which units are in S_i-perp, boolean, shape (n, m).
        step_size: eta.

    Returns:
        Named numbers: the errors of three identities, relative to the sums of absolute terms that
        make up u; the largest quotient of each inequality; gain, costs and bounds on costs as
        shares.
    """
    (n, m), lambda_0, outputs = before.shape, problem.lambda_0, problem.network.outputs
    i_1, i_2 = split_change(outputs, before, after, crossing)
    gram_perp = crossing_gram(problem.x, before, crossing)
    old, new = (each.relu() @ outputs / m**0.5 for each in (before, after))  # u(k), u(k + 1)
    e, change = problem.y - old, new - old
    counted = crossing.sum(dim=1)  # |S_i-perp|
    pairs = float(counted.sum())
    size, unit = float(e.norm()), step_size * lambda_0 * float(e @ e)
    square = float(change @ change)
    terms = float(before.relu().sum(dim=1).norm()) / m**0.5
    norm_perp = float(torch.linalg.matrix_norm(gram_perp.double(), ord=2))
    allowed_i_2 = step_size * counted * n**0.5 * size / m
    gain = 2 * step_size * float(e @ gram @ e)
    perp_cost, i_2_cost = 2 * step_size * float(e @ gram_perp @ e), -2 * float(e @ i_2)
    balance = size**2 - float((e - change).square().sum()) - gain + perp_cost + i_2_cost + square
    return {
        "sum_error": float((change - i_1 - i_2).norm()) / terms,
        "i_1_error": float((i_1 - step_size * (gram - gram_perp) @ e).norm()) / terms,
        "balance_error": abs(balance) / (2 * size * terms),
        "i_2_quotient": _quotient(i_2.abs(), allowed_i_2),
        "perp_quotient": norm_perp / (n * pairs / m) if pairs else 0.0,
        "square_quotient": square / (step_size * n * size) ** 2,
        "lambda_min": lambda_min(gram) / lambda_0,
        "gain": gain / unit,
        "perp_cost": perp_cost / unit,
        "i_2_cost": i_2_cost / unit,
        "square_cost": square / unit,
        "perp_bound": 2 * n * pairs / m / lambda_0,
        "i_2_bound": 2 * n**0.5 * pairs / m / lambda_0,
        "square_bound": step_size * n**2 / lambda_0,
        "crossing_share": pairs / (m * n),
    }


def split_change(
    outputs: Tensor, before: Tensor, after: Tensor, crossing: Tensor
) -> tuple[Tensor, Tensor]:
    """I_1 and I_2: the change of the predictions due to the units in S_i, and to the others.

    Args:
        outputs: a, shape (m,).
        before: preactivations at step k, shape (n, m).
        after: preactivations at step k + 1, shape (n, m).
        crossing: whether unit r is in S_i-perp, boolean, shape (n, m).

    Returns:
        Two vectors of shape (n,) whose sum is u(k+1) - u(k).
    """
    per_unit = (after.relu() - before.relu()) * outputs / len(outputs) ** 0.5
    return (per_unit * ~crossing).sum(dim=1), (per_unit * crossing).sum(dim=1)


def crossing_gram(x: Tensor, preactivations: Tensor, crossing: Tensor) -> Tensor:
    """H-perp: the part of H(k) that is due to the units in S_i-perp, shape (n, n).

    Row i is restricted to the units of S_i-perp, column j is not, so it is not symmetric.
    """
    active = preactivations >= 0
    return (x @ x.T) * ((active & crossing).to(x) @ active.to(x).T) / preactivations.shape[1]


def _quotient(value: Tensor, bound: Tensor) -> float:
    """Largest value / bound, where 0 <= 0 counts as 0 and more than 0 over 0 as infinite."""
    return float(torch.where(value > 0, value / bound, torch.zeros_like(value)).max())


def values(settings: Settings, found: xr.Dataset) -> Values:
    """Extremes over seeds and steps at the largest width, for both step sizes."""
    known: dict[str, object] = {
        "lambda_0": found.lambda_0.mean(),
        "largest_width": max(settings.widths),
        "needed_width": needed_width(theorem_4_1_width, settings, found),
        "perp_exponent": exponent(found.perp_bound.isel(eta=1, step=-1)),
        "perp_quotient": found.perp_quotient.max(),
        "i_2_quotient": found.i_2_quotient.max(),
        "square_quotient": found.square_quotient.max(),
        "least_lambda_min": found.lambda_min.min(),
    }
    for index, name in enumerate(("small", "usual")):
        at = found.isel(width=-1, eta=index)
        known |= {
            f"{name}_step_size": found.step_sizes.isel(eta=index).mean(),
            f"{name}_gain": at.gain.min(),
            f"{name}_net": _net(at).min(),
            f"{name}_perp": at.perp_cost.max(),
            f"{name}_i_2": at.i_2_cost.min(),
            f"{name}_together": np.abs(at.perp_cost + at.i_2_cost).max(),
            f"{name}_square": at.square_cost.max(),
            f"{name}_bounds": _bounds(at).max(),
            f"{name}_square_bound": at.square_bound.max(),
        }
    return known


def _bounds(found: xr.Dataset) -> xr.DataArray:
    """What the proof sets in place of the costs; the theorem needs 1/2 at most."""
    bounds: xr.DataArray = found.perp_bound + found.i_2_bound + found.square_bound
    return bounds


def _net(found: xr.Dataset) -> xr.DataArray:
    """What is left of the gain after the costs; the theorem needs 1/2."""
    net: xr.DataArray = found.gain - found.perp_cost - found.i_2_cost - found.square_cost
    return net


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities to rounding, inequalities exactly, at every step of every run."""
    rounding = float(np.finfo(settings.dtype).eps) * (max(settings.widths) + settings.dimension)
    identities = {
        "$u(k+1)-u(k)$ and $I_1+I_2$": found.sum_error,
        r"$I_1$ and $-\eta(H(k)-H^\perp(k))(u(k)-y)$": found.i_1_error,
        "what the squared residual loses, and the gain less the costs": found.balance_error,
    }
    bounds = {
        r"$\lvert I_2^i\rvert$ over $\eta\lvert S_i^\perp\rvert\sqrt n\lVert u-y\rVert/m$": (
            found.i_2_quotient
        ),
        r"$\lVert H^\perp\rVert$ over $n\sum_i\lvert S_i^\perp\rvert/m$": found.perp_quotient,
        r"$\lVert u(k+1)-u(k)\rVert^2$ over $\eta^2n^2\lVert u-y\rVert^2$": found.square_quotient,
    }
    return [
        claim(
            "du2019-decomp",
            r"$u(k+1)-u(k)=I_1+I_2$ with $I_1=-\eta(H(k)-H^\perp(k))(u(k)-y)$, and bounds on "
            r"$I_2$, $H^\perp$ and $\lVert u(k+1)-u(k)\rVert$ for which $S_i^\perp$ is counted.",
            *(
                identity(
                    what, gaps, rounding, "the rounding of $m+d$ additions, relative to their terms"
                )
                for what, gaps in identities.items()
            ),
            *(at_most(what, shares) for what, shares in bounds.items()),
            note(SLIPS),
            holds=f"Every line is true at every step, in {settings.seeds} draws of inputs and "
            f"networks at each of {len(settings.widths)} widths.",
            fails="A line of the proof is false at some step.",
        ),
        _last_line(settings, found),
    ]


def _last_line(settings: Settings, found: xr.Dataset) -> Verdict:
    """What a step leaves over; its hypothesis is that the proof's bounds leave as much."""
    net, unit = _net(found), r"in units of $\eta\lambda_0\lVert u-y\rVert^2$"
    known = values(settings, found)
    small, usual = number(known["small_bounds"], ".1f"), number(known["usual_bounds"], ",.0f")
    fits = bool((_bounds(found) <= 1 / 2).all() and (found.lambda_min >= 1 / 2).all())
    return claim(
        "du2019-decomp-net",
        f"Counted {unit}, a step earns at least 1, the three corrections cost at most 1/2, and at "
        r"least 1/2 is left: $\lVert y-u(k+1)\rVert^2\le(1-\eta\lambda_0/2)\lVert y-u(k)\rVert^2$.",
        at_least(f"what a step earns, {unit}", found.gain, 1.0),
        *(
            at_least(f"what it leaves over at {name}", net.isel(eta=eta), 1 / 2)
            for eta, name in enumerate(_step_sizes(settings))
        ),
        outside=""
        if fits
        else f"even at $m={known['largest_width']}$ the proof's bounds on the corrections add up "
        f"to {small} and {usual} at the two step sizes, where 1/2 may be spent",
        holds="Every step leaves over what the theorem needs",
        fails="The proof's bounds fit, and yet a step leaves over less than the theorem needs.",
    )


def _step_sizes(settings: Settings) -> list[str]:
    return [rf"$\eta={settings.multiple:g}\,\lambda_0/n^2$", r"$\eta=1/\lambda_{\max}(H^\infty)$"]


def _heavier(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(perp_quotient=1.01 * found.perp_quotient / found.perp_quotient.max())


def _poorer(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    """The gain of one step as small as leaves 0.49."""
    one = {"seed": 0, "width": 0, "eta": -1, "step": 0}
    gain = found.gain.copy()
    gain[one] = (found.gain - _net(found)).isel(one) + 0.49
    return found.assign(gain=gain)


CONTROLS = {
    "du2019-decomp": Lie(r"at one step $\lVert H^\perp\rVert$ is 1 % above its bound", _heavier),
    "du2019-decomp-net": Lie(
        "the first step of one run leaves over 2 % less than the theorem needs", _poorer
    ),
}
