"""Figures of the experiment chen2021/initialization."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import BLUE, CYCLE, FAINT, GREEN, MARKERS, ORANGE, RED, by_size
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "chen2021-lemA.1": "chen2021-largest-outputs",
    "chen2021-lemB.1": "chen2021-gradient-norms",
}
NORM = (
    "largest norm of a gradient over m^alpha",
    r"largest $\|\nabla_{W_l}f\|_F$ over $m^\alpha$",
)
# In the order of the arrays: name, colour, marker.
PLACES = (
    ("start", BLUE, "o"),
    ("random", GREEN, "^"),
    ("turned on", RED, "s"),
    ("descent", ORANGE, "D"),
)


def largest_outputs(result: Result) -> Drawing:
    """Outputs at initialisation against the width, and the largest against the number of inputs."""
    a, s = result.arrays, result.settings
    widths, counts, delta = s["widths"], np.array(s["counts"]), s["delta"]
    canvas = Canvas(2)
    left = canvas.panel("width", WIDTH, "root mean square output", log="xy")
    for index, alpha in enumerate(s["alphas"]):
        squares = (a["output"][:, index] ** 2).mean(axis=(-2, -1))  # seeds, widths
        left.curve(
            f"alpha = {alpha:g}", widths, squares**0.5, CYCLE[index], marker=MARKERS[index], ms=5,
            label=rf"$\alpha$ = {alpha:g}",
        )  # fmt: skip
        left.guide(
            f"slope {alpha - 0.5:g}", widths, widths[0] ** (alpha - 0.5), alpha - 0.5,
            label="" if index else r"$m^{\alpha-1/2}$",
        )  # fmt: skip
    left.sizes(widths)
    left.few_decades()
    left.legend("lower left")
    right = canvas.panel(
        "inputs",
        ("number of inputs n", "number of inputs $n$"),
        ("what the largest output exceeds with probability delta", r"$\max_i|f(x_i)|$"),
        log="x",
    )
    most = np.quantile(a["largest"], 1 - delta, axis=-1)  # seeds, counts
    bound = np.sqrt(2 * np.log(2 * counts / delta))
    right.curve("Gaussian bound", counts, bound, FAINT, ls="--", label=r"$\sqrt{2\log(2n/\delta)}$")
    right.curve("measured", counts, most, BLUE, marker="o", ms=5, label="measured")
    right.sizes(counts)
    right.axes.set_ylim(0, 1.15 * max(bound[-1], most.max()))
    right.legend("lower right")
    return canvas.drawing(
        "Outputs at initialisation. Left, their root mean square over inputs and "
        f"{s['draws']} networks: {over_seeds(most)}; dashed, $m^{{\\alpha-1/2}}$. Right, what the "
        rf"largest of $n$ outputs exceeds with probability $\delta={delta:g}$, at "
        rf"$m={s['count_width']}$ and $\alpha=\frac12$, and the bound of Gaussian outputs, dashed.",
        "Left, a curve for each alpha close to its dashed straight line. Right, a slowly rising "
        "curve and a dashed one. "
        + said(
            result,
            "The measured curve stays below the dashed one.",
            "chen2021-lemA.1",
        ),
    )


def gradient_norms(result: Result) -> Drawing:
    """Largest gradient norms at four places against the width, and along gradient descent."""
    a, s = result.arrays, result.settings
    widths, last = s["ball_widths"], s["alphas"][-1]
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("width", WIDTH, NORM, log="x", title="at four places")
    for place, (name, color, mark) in enumerate(PLACES):
        norms = a["ball"][:, -1, :, place]  # seeds, widths
        left.curve(name, widths, norms, color, label=name, marker=mark, ms=5, band=place == 2)
    left.sizes(widths)
    left.legend()
    right = canvas.panel(
        "descent",
        ("distance from initialisation times m^alpha", r"$m^\alpha\max_l\|W_l-W_l^{(0)}\|_F$"),
        NORM,
        title="along gradient descent",
    )
    for index, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        along, reached = a["along"][:, -1, index], a["reached"][:, -1, index]
        right.curve(
            f"m = {width}", reached.mean(axis=0), along, color, label=f"m = {width}",
            marker=MARKERS[index], ms=4, band=False,
        )  # fmt: skip
    right.axes.set_ylim(0, None)
    right.legend("lower right")
    return canvas.drawing(
        rf"The largest norm over layers and inputs of the gradient of $f$, over $m^\alpha$, at "
        rf"$\alpha={last:g}$: mean over {len(a['along'])} seeds. Left, at initialisation, at a "
        rf"distance ${s['reach']:g}\cdot m^{{-\alpha}}$ in a random direction and with many units "
        "turned on, where the range over seeds is shown, and the largest along gradient descent. "
        f"Right, along {s['steps']} steps of gradient descent.",
        "Left, four curves against the width, on a logarithmic axis, three of them on each other. "
        + said(result, "None of them rises with the width.", "chen2021-lemB.1")
        + " Right, a nearly level curve for each width.",
    )
