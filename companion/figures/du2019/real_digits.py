"""Figures of the experiment du2019/real_digits."""

import numpy as np

from companion.bounds.du2019 import theorem_4_1
from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import MISFIT_PER_STEP, STEP
from companion.figures.style import FAINT, INK, MARKERS, RED, by_size
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-digits": "du2019-digits-decay",
}

EIGENVALUE = ("eigenvalue of H-infinity", r"eigenvalue $\lambda_j$ of $H^\infty$")


def digits_decay(result: Result) -> Drawing:
    """Misfit on digits per step, with the linearised decay and the bound; the same by direction."""
    a, s = result.arrays, result.settings
    misfits, eigenvalues = a["misfit"], a["eigenvalues"]  # seeds, widths, steps
    steps, widths = np.arange(misfits.shape[-1]), s["widths"]
    step_size, lambda_0 = float(result.values["step_size"]), float(result.values["lambda_0"])
    canvas = Canvas(2)
    left = canvas.panel("misfit", STEP, MISFIT_PER_STEP, log="y")
    share = f"share of residual left after {steps[-1]} steps"
    right = canvas.panel("directions", EIGENVALUE, share, log="xy")
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        left.curve(name, steps, misfits[:, index] / misfits[:, index, :1], color, label=name)
        shares = _by_direction(eigenvalues, a["before"][:, index], a["after"][:, index])
        right.points(name, *shares, color, marker=MARKERS[index], ms=5, label=name)
    linear = (a["linearised"] / a["linearised"][..., :1]).reshape(-1, len(steps))
    left.curve("linearised", steps, linear, INK, band=False, ls=":", label="linearised")
    bound = theorem_4_1(steps, step_size, lambda_0, 1.0)
    left.curve("Theorem 4.1", steps, bound, FAINT, ls="--")
    left.note("Theorem 4.1", (steps[-1], bound[-1]), FAINT, (0, -4), ha="right", va="top")
    left.few_decades()
    left.legend("lower left")
    decay = np.maximum(np.abs(1 - step_size * eigenvalues) ** steps[-1], 1e-6)
    label = r"$|1-\eta\lambda_j|^k$, linearised"
    right.curve("linearised", eigenvalues, decay, INK, ls=":", label=label)
    right.axes.set_ylim(1e-4, 2)
    right.legend("lower left")
    return canvas.drawing(
        f"Gradient descent on {result.data}, with the step size "
        f"$\\eta={s['step_size']:g}/\\lambda_{{\\max}}(H^\\infty)$. Left, the misfit over its "
        f"start, {over_seeds(misfits)}, its linearised decay (dotted) and the bound of Theorem 4.1 "
        f"(dashed). Right, what {steps[-1]} steps leave of the residual along groups of "
        "eigenvectors of $H^\\infty$, and what they leave in linearised training (dotted).",
        f"Left, a misfit per width, a dotted curve that falls to "
        f"{spoken(linear.mean(axis=0)[-1])} and a dashed bound that falls to {spoken(bound[-1])}. "
        + said(result, "The misfits fall at least as fast as the bound.", "du2019-digits")
        + " Right, points per width and a dotted curve that falls to "
        f"{spoken(decay[-1])} at the largest eigenvalue.",
    )


def _by_direction(
    eigenvalues: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[list[float], list[float]]:
    """Centres of groups of neighbouring eigenvalues; coordinates after over before, root mean sq.

    Args:
        eigenvalues: ascending, shape (n,).
        before: coordinates of the residual, shape (seeds, n).
        after: the same at the end.
    """
    edges = np.geomspace(eigenvalues[0], eigenvalues[-1] * 1.001, 16)
    group = np.digitize(eigenvalues, edges)
    kept = [group == g for g in range(1, len(edges)) if (group == g).any()]
    centres = [float(np.exp(np.log(eigenvalues[g]).mean())) for g in kept]
    squares = [np.square(after[:, g]).sum() / np.square(before[:, g]).sum() for g in kept]
    return centres, [float(square**0.5) for square in squares]


def digits_spectrum(result: Result) -> Drawing:
    """Every eigenvalue of H_inf on the digits, with the bound that its closest pair sets."""
    values = result.arrays["eigenvalues"][::-1]
    lambda_0, pair = float(result.values["lambda_0"]), float(result.values["pair_bound"])
    canvas = Canvas()
    spectrum = ("eigenvalue of H-infinity", r"eigenvalue of $H^\infty$")
    panel = canvas.panel("spectrum", ("rank from the largest", "rank j"), spectrum, log="xy")
    panel.curve("eigenvalues", np.arange(1, len(values) + 1), values, INK, marker="o", ms=2.5, lw=1)
    for name, label, level, color, above in (
        ("bound by the closest pair", "bound by the closest pair", pair, RED, 3),
        ("lambda_0", r"$\lambda_0$", lambda_0, INK, -12),
    ):
        panel.level(name, level, color, ls="--", lw=1.2)
        panel.note(label, (1, level), color, (2, above))
    panel.axes.set_ylim(bottom=lambda_0 / 3)
    return canvas.drawing(
        f"The eigenvalues of $H^\\infty$ on {result.data}. They fall from "
        f"$\\lambda_{{\\max}}=$ {number(values[0], '.0f')} to $\\lambda_0=$ "
        f"{number(lambda_0, '.3f')}. The two most similar images alone force $\\lambda_0$ to be at "
        f"most {number(pair, '.3f', 'up')}.",
        f"A curve of {len(values)} eigenvalues that falls {ends(values)}; the second is "
        f"{spoken(values[1])}, the middle one {spoken(np.median(values))}. Dashed lines mark the "
        f"bound {spoken(pair, rounded='up')} and the least eigenvalue.",
    )
