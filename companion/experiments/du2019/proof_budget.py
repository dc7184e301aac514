"""Every term in the proof of Theorem 4.1, along a run: I_1, I_2, H-perp and the square.

Refuted by a step at which u(k+1) - u(k) is not I_1 + I_2 to rounding, or at which one of the
proof's inequalities is false with the units of S_i-perp counted.
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
from companion.lab.checks import at_least, at_most, claim, identity
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
from companion.lab.words import listed
from companion.monitors import unit_distances

EXPECTED: dict[str, Outcome] = {"du2019-decomp": "holds"}


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
        f"Each of {s.steps} steps of gradient descent taken apart, at "
        rf"$\eta={s.multiple:g}\,\lambda_0/n^2$ and $1/\lambda_{{\max}}(H^\infty)$, for "
        f"networks with $m$ = {listed(s.widths)} hidden units, from each of {s.seeds} seeds; every "
        f"seed draws its own $n={s.count}$ inputs, uniform on the sphere in dimension "
        f"$d={s.dimension}$, with labels from $N(0,1)$, and every width its own network."
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
        bounds = at.perp_bound + at.i_2_bound + at.square_bound
        known |= {
            f"{name}_step_size": found.step_sizes.isel(eta=index).mean(),
            f"{name}_gain": at.gain.min(),
            f"{name}_net": _net(at).min(),
            f"{name}_perp": at.perp_cost.max(),
            f"{name}_i_2": at.i_2_cost.min(),
            f"{name}_together": np.abs(at.perp_cost + at.i_2_cost).max(),
            f"{name}_square": at.square_cost.max(),
            f"{name}_bounds": bounds.max(),
            f"{name}_square_bound": at.square_bound.max(),
        }
    return known


def _net(found: xr.Dataset) -> xr.DataArray:
    """What is left of the gain after the costs; the theorem needs 1/2."""
    net: xr.DataArray = found.gain - found.perp_cost - found.i_2_cost - found.square_cost
    return net


def judge(settings: Settings, found: xr.Dataset) -> list[Verdict]:
    """Identities to rounding, inequalities exactly, at every step of every run."""
    rounding = float(np.finfo(settings.dtype).eps) * (max(settings.widths) + settings.dimension)
    known = values(settings, found)
    identities = {
        "$u(k+1)-u(k)=I_1+I_2$": found.sum_error,
        r"$I_1=-\eta(H-H^\perp)(u-y)$": found.i_1_error,
        "the balance of gain and costs": found.balance_error,
    }
    bounds = {
        "$I_2$": found.i_2_quotient,
        r"$\lVert H^\perp\rVert$": found.perp_quotient,
        r"$\lVert u(k+1)-u(k)\rVert^2$": found.square_quotient,
    }
    return [
        claim(
            "du2019-decomp",
            r"$u(k+1)-u(k)=I_1+I_2$, $I_1=-\eta(H-H^\perp)(u-y)$; "
            r"$\lvert I_2^i\rvert\le\eta\lvert S_i^\perp\rvert\sqrt n\lVert u-y\rVert/m$, "
            r"$\lVert H^\perp\rVert\le n\sum_i\lvert S_i^\perp\rvert/m$, "
            r"$\lVert u(k+1)-u(k)\rVert\le\eta n\lVert u-y\rVert$; net gain at least 1/2",
            *(
                identity(what, gaps, rounding, "of the sums' terms: rounding of m + d additions")
                for what, gaps in identities.items()
            ),
            *(at_most(f"{what} over its bound", shares) for what, shares in bounds.items()),
            at_least(
                r"net gain, in units of $\eta\lambda_0\lVert u-y\rVert^2$,", _net(found), 1 / 2
            ),
            holds="Every line is true at every step with the units of $S_i^\\perp$ counted; in the "
            f"same units the proof may spend 1/2, and at m = {known['largest_width']} its bounds "
            f"add up to {float(known['small_bounds']):.1f} and {float(known['usual_bounds']):.0f} "
            "at the two step sizes.",
            fails="A line of the proof is false at some step.",
        )
    ]


def _heavier(settings: Settings, found: xr.Dataset) -> xr.Dataset:
    return found.assign(perp_quotient=1.01 * found.perp_quotient / found.perp_quotient.max())


CONTROLS = {
    "du2019-decomp": Lie(r"at one step $\lVert H^\perp\rVert$ is 1 % above its bound", _heavier),
}
