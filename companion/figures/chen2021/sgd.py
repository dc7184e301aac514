"""Figures of the experiment chen2021/sgd."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, GREEN, INK, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "chen2021-thm3.8": "chen2021-one-pass",
    "chen2021-rem3.9": "chen2021-one-pass",
}
EXAMPLES = "examples n"
ERROR = ("error on fresh inputs", r"error on fresh inputs $L^{0-1}_{\mathcal{D}}$")


def one_pass(result: Result) -> Drawing:
    """Errors of one pass of SGD and of gradient descent against the number of examples."""
    a, s = result.arrays, result.settings
    counts, few = s["counts"], s["few"]
    canvas = Canvas(2)
    wide = a["error"][:, :, 1].T  # seed, examples
    left = canvas.panel("wide gap", EXAMPLES, ERROR, log="xy", title="wide gap")
    bound = left.curve(
        "Theorem 3.8", counts, a["bound"].T, INK, marker="s", ms=5, label="Theorem 3.8"
    )
    left.level("a guess", 0.5, FAINT, ls=":", label="a guess")
    shown = left.curve("SGD", counts, wide, BLUE, marker="o", ms=5, label="SGD")
    left.guide("slope -1", counts, 2.5 * wide[:, 0].mean(), -1, label=r"$n^{-1}$")
    left.sizes(counts)
    left.axes.set_ylim(top=300 * bound[0])
    left.legend("upper right")
    right = canvas.panel("narrow gap", EXAMPLES, ERROR, log="xy", title="narrow gap")
    narrow, descent = a["error"][:, :, 0].T, a["descent_error"][:, :, 0].T
    right.curve("SGD", counts, narrow, BLUE, marker="o", ms=5, label="SGD")
    right.guide("slope -1", counts, 2.5 * narrow[:, 0].mean(), -1, label=r"$n^{-1}$")
    right.curve("gradient descent", few, descent, RED, marker="^", ms=5, label="gradient descent")
    start = 2.5 * descent[:, 0].mean()
    right.guide("slope -1/2", few, start, -0.5, GREEN, label=r"$n^{-1/2}$")
    right.legend("lower left")
    return canvas.drawing(
        "The 0-1 error on fresh inputs against the number of training examples; "
        f"{over_seeds(wide)}. Left, with a gap of {s['wide']:g}, the uniform iterate of one pass "
        "of SGD beside the right-hand side of Theorem 3.8, with $R$ and $\\epsilon$ of each run; a "
        f"guess errs with probability $\\frac12$. Right, with a gap of {s['narrow']:g}, SGD and "
        f"the last of {s['steps']} iterates of gradient descent, with guides of the slopes that "
        "are claimed.",
        f"Left, two falling lines: the bound goes {ends(bound)}, the error {ends(shown)}. "
        "Right, two falling lines beside two guides: SGD goes "
        f"{ends(narrow.mean(axis=0))}, gradient descent {ends(descent.mean(axis=0))}. "
        + said(result, "The error stays below the bound. ", "chen2021-thm3.8")
        + said(result, "Both fall as steeply as their guides or more.", "chen2021-rem3.9"),
    )
