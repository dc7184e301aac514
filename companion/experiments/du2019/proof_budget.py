"""Every term in the proof of Theorem 4.1, along a run: I_1, I_2, H-perp and the square.

Refuted by a step at which u(k+1) - u(k) is not I_1 + I_2 to rounding, or at which one of the
proof's inequalities is false with the units of S_i-perp counted.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from companion.bounds.du2019 import explicit_width, theorem_4_1_step_size, theorem_4_1_width
from companion.datasets import sphere
from companion.dynamics import gradient_descent
from companion.kernels import (
    empirical_gram_from,
    infinite_width_gram,
    lambda_max,
    lambda_min,
    near_boundary,
)
from companion.lab.experiment import Cost
from companion.lab.fits import log_log_slope
from companion.lab.results import Outcome, Result, Verdict
from companion.lab.settings import Dimension, Positive, Probability, Size, Sizes
from companion.lab.settings import Settings as BaseSettings
from companion.lab.sweep import sweep
from companion.networks import TwoLayer, draw_two_layer

EXPECTED: dict[str, Outcome] = {"du2019-decomp": "holds"}


class Settings(BaseSettings):
    """What is run.

    Attributes:
        count: n, inputs on the sphere.
        dimension: d.
        widths: m, in increasing order.
        seeds: how many independent draws of data and network.
        multiple: of the theorem's lambda_0 / n^2, the small step size.
        steps: at each of the two step sizes, the small one and 1 / lambda_max(H_inf).
        delta: failure probability in the explicit width.
    """

    count: Annotated[int, Field(ge=2)] = 20
    dimension: Dimension = 20
    widths: Annotated[Sizes, Field(min_length=3)] = (500, 2000, 8000)
    seeds: Size = 3
    multiple: Positive = 0.25
    steps: Size = 40
    delta: Probability = 0.1


QUICK = Settings()
PAPER = Settings(count=50, dimension=50, widths=(500, 2000, 8000, 32000), seeds=5, steps=100)


def cost(settings: Settings) -> Cost:
    """Per step about six products of (n, d) and (d, m) and two Gram matrices, at two step sizes."""
    s = settings
    per_unit = s.count * (12 * s.dimension + 4 * s.count)
    steps = 2 * s.seeds * s.steps
    return Cost(
        steps * per_unit * sum(s.widths), 8 * max(s.widths) * (8 * s.count + 4 * s.dimension)
    )


def run(settings: Settings, device: str) -> Result:
    """Train every width from every seed at two step sizes, taking each step apart."""
    s = settings
    arrays = sweep("runs", partial(_train, s, device), seed=range(s.seeds), width=s.widths)
    return Result(
        experiment="du2019/proof_budget",
        settings=settings.model_dump(mode="json"),
        values=_values(settings, arrays),
        arrays=arrays,
        data=f"uniform on the sphere, n={settings.count}, d={settings.dimension}",
    )


def _train(settings: Settings, device: str, *, seed: int, width: int) -> dict[str, np.ndarray]:
    """Terms of every step, each of shape (2, steps): the small step size, then the usual one."""
    dtype = getattr(torch, settings.dtype)
    data = sphere(settings.count, settings.dimension, seed).to(dtype, device)
    initial = draw_two_layer(width, settings.dimension, seed, dtype, device)
    limit = infinite_width_gram(data.x)
    lambda_0 = lambda_min(limit)
    small = settings.multiple * theorem_4_1_step_size(settings.count, lambda_0)
    step_sizes = np.array([small, 1 / lambda_max(limit)])
    runs = []
    for step_size in step_sizes.tolist():
        network, radius, rows = initial, 0.0, []
        for _ in range(settings.steps):
            moved = gradient_descent(
                network, data.x, data.y, step_size=step_size, steps=1, record={}
            ).network
            # R must cover both ends of the step; it never shrinks, so S_i-perp only grows.
            radius = max(radius, float((moved.weights - initial.weights).norm(dim=1).max()))
            rows.append(
                step_terms(initial, network, moved, data.x, data.y, step_size, radius, lambda_0)
            )
            network = moved
        runs.append({name: np.array([row[name] for row in rows]) for name in rows[0]})
    terms = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    return terms | {"step_sizes": step_sizes, "lambda_0": np.array(lambda_0)}


def step_terms(
    initial: TwoLayer,
    before: TwoLayer,
    after: TwoLayer,
    x: Tensor,
    y: Tensor,
    step_size: float,
    radius: float,
    lambda_0: float,
) -> dict[str, float]:
    """One step of gradient descent, taken apart as in the proof of Theorem 4.1.

    With e = y - u(k), the squared residual changes by -2 e.(I_1 + I_2) + ||u(k+1) - u(k)||^2 and
    I_1 = eta (H - H_perp) e. Shares are in units of eta lambda_0 ||e||^2.

    Args:
        initial: the network before training, from which R is measured.
        before: the network at step k.
        after: the network at step k + 1.
        x: unit-norm inputs, shape (n, d).
        y: labels, shape (n,).
        step_size: eta.
        radius: R, at least ||w_r - w_r(0)|| at both ends, for all r.
        lambda_0: least eigenvalue of the infinite-width Gram matrix.

    Returns:
        Named numbers: the errors of three identities, relative to the sums of absolute terms that
        make up u; the largest quotient of each inequality; gain, costs and bounds on costs as
        shares; and R.
    """
    n, m = x.shape[0], before.width
    old, new = before.preactivations(x), after.preactivations(x)
    e = y - before.predict_from(old)
    change = after.predict_from(new) - before.predict_from(old)
    crossing = near_boundary(initial.preactivations(x), radius).to(x.dtype)  # S_i-perp, (n, m)
    i_1, i_2 = split_change(before.outputs, old, new, crossing)
    gram, gram_perp = empirical_gram_from(before, x, old), crossing_gram(x, old, crossing)
    counted = crossing.sum(dim=1)  # |S_i-perp|
    pairs = float(counted.sum())
    size, unit = float(e.norm()), step_size * lambda_0 * float(e @ e)
    square = float(change @ change)
    terms = float(old.relu().sum(dim=1).norm()) / m**0.5
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
        "radius": radius,
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
        crossing: 1 where unit r is in S_i-perp, else 0, shape (n, m).

    Returns:
        Two vectors of shape (n,) whose sum is u(k+1) - u(k).
    """
    per_unit = (after.relu() - before.relu()) * outputs / len(outputs) ** 0.5
    return (per_unit * (1 - crossing)).sum(dim=1), (per_unit * crossing).sum(dim=1)


def crossing_gram(x: Tensor, preactivations: Tensor, crossing: Tensor) -> Tensor:
    """H-perp: the part of H(k) that is due to the units in S_i-perp, shape (n, n).

    Row i is restricted to the units of S_i-perp, column j is not, so it is not symmetric.
    """
    active = (preactivations >= 0).to(x.dtype)
    return (x @ x.T) * ((active * crossing) @ active.T) / preactivations.shape[1]


def _quotient(value: Tensor, bound: Tensor) -> float:
    """Largest value / bound, where 0 <= 0 counts as 0 and more than 0 over 0 as infinite."""
    return float(torch.where(value > 0, value / bound, torch.zeros_like(value)).max())


def _values(settings: Settings, a: dict[str, np.ndarray]) -> dict[str, float | int]:
    """Extremes over seeds and steps at the largest width, for both step sizes."""
    lambda_0 = float(a["lambda_0"].mean())
    values: dict[str, float | int] = {
        "lambda_0": lambda_0,
        "largest_width": max(settings.widths),
        "needed_width": explicit_width(
            theorem_4_1_width, settings.count, lambda_0, settings.delta, settings.count
        ),
        "perp_exponent": log_log_slope(settings.widths, a["perp_bound"][:, :, 1, -1])[0],
        "perp_quotient": float(a["perp_quotient"].max()),
        "i_2_quotient": float(a["i_2_quotient"].max()),
        "square_quotient": float(a["square_quotient"].max()),
        "least_lambda_min": float(a["lambda_min"].min()),
    }
    for index, name in enumerate(("small", "usual")):
        at = {key: array[:, -1, index] for key, array in a.items() if array.ndim > 3}
        bounds = at["perp_bound"] + at["i_2_bound"] + at["square_bound"]
        values |= {
            f"{name}_step_size": float(a["step_sizes"][..., index].mean()),
            f"{name}_gain": float(at["gain"].min()),
            f"{name}_net": float(_net(at).min()),
            f"{name}_perp": float(at["perp_cost"].max()),
            f"{name}_i_2": float(at["i_2_cost"].min()),
            f"{name}_together": float(np.abs(at["perp_cost"] + at["i_2_cost"]).max()),
            f"{name}_square": float(at["square_cost"].max()),
            f"{name}_bounds": float(bounds.max()),
            f"{name}_square_bound": float(at["square_bound"].max()),
        }
    return values


def _net(a: Mapping[str, np.ndarray]) -> np.ndarray:
    """What is left of the gain after the costs; the theorem needs 1/2."""
    net: np.ndarray = a["gain"] - a["perp_cost"] - a["i_2_cost"] - a["square_cost"]
    return net


def judge(result: Result) -> list[Verdict]:
    """Identities to rounding, inequalities exactly, at every step of every run."""
    a, s = result.arrays, result.settings
    rounding = float(np.finfo(s["dtype"]).eps) * (max(s["widths"]) + s["dimension"])
    identity = max(float(a[f"{name}_error"].max()) for name in ("sum", "i_1", "balance"))
    quotients = {name: float(a[f"{name}_quotient"].max()) for name in ("i_2", "perp", "square")}
    least = float(_net(a).min())
    inequalities = max(quotients.values()) <= 1 and least >= 1 / 2
    seen = identity <= rounding and inequalities
    spent = result.values["small_bounds"], result.values["usual_bounds"]
    return [
        Verdict(
            "du2019-decomp",
            "holds" if seen else "fails",
            r"$u(k+1)-u(k)=I_1+I_2$, $I_1=-\eta(H-H^\perp)(u-y)$; "
            r"$\lvert I_2^i\rvert\le\eta\lvert S_i^\perp\rvert\sqrt n\lVert u-y\rVert/m$, "
            r"$\lVert H^\perp\rVert\le n\sum_i\lvert S_i^\perp\rvert/m$, "
            r"$\lVert u(k+1)-u(k)\rVert\le\eta n\lVert u-y\rVert$; net gain at least 1/2",
            f"identities off by {identity:.1e}; at most {quotients['i_2']:.2f}, "
            f"{quotients['perp']:.2f} and {quotients['square']:.4f} of the bounds; net gain at "
            rf"least {least:.2f} of $\eta\lambda_0\lVert u-y\rVert^2$",
            f"identities {rounding:.0e} of the sums' terms, the rounding of m + d additions; "
            "inequalities exactly",
            "Every line is true at every step with the units of $S_i^\\perp$ counted; in the same "
            f"units the proof may spend 1/2, and at m = {result.values['largest_width']} its "
            f"bounds add up to {spent[0]:.1f} and {spent[1]:.0f} at the two step sizes."
            if seen
            else "A line of the proof is false at some step.",
        )
    ]
