"""Figures of the experiment du2019/positivity."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, RED, by_size
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "du2019-ass3.1": "du2019-least-eigenvalue-by-count",
    "du2019-thm3.1": "du2019-least-eigenvalue-by-count",
    "du2019-thm3.1-rate": "du2019-least-eigenvalue-of-near-parallels",
    "du2019-thm3.1-antipodes": "du2019-least-eigenvalue-of-near-parallels",
}
LAMBDA_0 = ("lambda_0, the least eigenvalue of H-infinity", r"$\lambda_0$")


def least_eigenvalue_by_count(result: Result) -> Drawing:
    """Least eigenvalue of H-infinity against n, on spheres and on real digits."""
    a, s = result.arrays, result.settings
    counts, dimensions, images = s["counts"], s["dimensions"], 2 * np.array(s["per_class"])
    canvas = Canvas()
    panel = canvas.panel("least eigenvalue", "number of inputs n", LAMBDA_0, log="xy")
    for index, (dimension, color) in enumerate(zip(dimensions, by_size(dimensions), strict=True)):
        name = f"sphere, d = {dimension}"
        panel.curve(name, counts, a["sphere_lambda"][:, index], color, end=name, marker="o", ms=3)
    for name, key, style in (
        ("digits 3 and 8", "digits_lambda", {"marker": "s", "ms": 4}),
        ("bound by two digits", "digits_bound", {"ls": ":"}),
    ):
        panel.curve(name, images, a[key], RED, end=name, **style)
    panel.few_decades()
    spheres = a["sphere_lambda"].mean(axis=0)
    return canvas.drawing(
        "The least eigenvalue $\\lambda_0$ of $H^\\infty$ against the number of inputs, for "
        f"spheres of several dimensions, {over_seeds(a['sphere_lambda'])}, and for MNIST digits "
        "(squares). The two most similar digits alone bound the digits' curve from above (dotted).",
        f"A curve per dimension of the sphere: for n from {counts[0]} to {counts[-1]} it goes "
        f"{ends(spheres[0])} at d = {dimensions[0]} and {ends(spheres[-1])} at "
        f"d = {dimensions[-1]}. The curve of the digits goes {ends(a['digits_lambda'])} for n "
        f"from {images[0]} to {images[-1]}, below a dotted one. "
        + said(result, "All stay positive.", "du2019-ass3.1"),
    )


def least_eigenvalue_of_near_parallels(result: Result) -> Drawing:
    """Least eigenvalue against the angle of a close pair, and against the number of antipodes."""
    a, s = result.arrays, result.settings
    angles, d, antipodal = np.array(s["angles"]), s["antipodal_dimension"], a["antipodal_lambda"]
    canvas = Canvas(2)
    left = canvas.panel(
        "close pair",
        ("angle of the closest two inputs", r"angle $\varphi$ of the closest two inputs"),
        LAMBDA_0,
        log="xy",
    )
    law, others = angles / (2 * np.pi), f"among {s['pair_count']} others"
    left.curve("angle over 2 pi", angles, law, FAINT, ls="--", label=r"$\varphi/2\pi$")
    alone = "the pair alone"
    left.points(alone, angles, a["pair_lambda"], BLUE, ms=6, mfc="none", label=alone)
    planted = a["planted_lambda"]
    left.curve(others, angles, planted, RED, band=False, marker="x", ls="", label=others)
    left.legend()
    right = canvas.panel("antipodes", "antipodal pairs among the inputs", LAMBDA_0, log="y")
    drawn = np.maximum(np.abs(antipodal), np.finfo(s["dtype"]).eps)
    right.points("draws", np.arange(d + 3), drawn, BLUE, ms=4, alpha=0.7)
    right.upright("d antipodal pairs", d + 0.5, FAINT, ls="--")
    right.note(f"more than d = {d}", (d + 0.5, 1e-8), FAINT, (-4, 0), ha="right")
    return canvas.drawing(
        "Left, the least eigenvalue $\\lambda_0$ of $H^\\infty$ as two inputs approach each other: "
        f"of the pair alone, of the pair among {s['pair_count']} others, and $\\varphi/2\\pi$ "
        f"(dashed). Right, $\\lambda_0$ as ever more inputs in dimension {d} come with their "
        f"antipodes, in {len(antipodal)} draws; what is below one rounding is drawn at it.",
        "Left, two series of points and a dashed straight line. Right, points up to "
        f"{d + 2} antipodal pairs, with a dashed line behind {d}. "
        + said(
            result,
            "Left, both series follow the line down to the smallest angle. Right, the least "
            f"eigenvalue is positive up to {d} pairs and drops to rounding beyond.",
            "du2019-thm3.1-rate",
            "du2019-thm3.1-antipodes",
        ),
    )
