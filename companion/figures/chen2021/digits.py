"""Figures of the experiment chen2021/digits."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result

SHOWS = {"chen2021-thm3.8-digits": "chen2021-held-out"}
IMAGES = "images n"
ERROR = ("share of images held out that are misclassified", "error on images held out")


def held_out(result: Result) -> Drawing:
    """Errors on images held out against the number of images of the pass."""
    a, s = result.arrays, result.settings
    counts, held = s["counts"], 2 * s["held_out"]
    panel = (canvas := Canvas()).panel("errors", IMAGES, ERROR, log="xy")
    shown = panel.curve(
        "uniform iterate", counts, a["error"].T, BLUE, marker="o", ms=5, label="uniform iterate"
    )
    last = a["wrong"].T / held
    panel.curve("last iterate", counts, last, RED, marker="^", ms=5, ls="--", label="last iterate")
    panel.guide("slope -1", counts, shown[0], -1, label=r"$n^{-1}$")
    panel.sizes(counts)
    panel.few_decades()
    panel.legend("lower left")
    return canvas.drawing(
        f"Errors of one pass of SGD on {held} images held out, of the digits "
        f"{s['classes'][0]} and {s['classes'][1]}: of the uniform iterate, the mean over all "
        f"iterates of a pass, and of the last one; {over_seeds(last)}.",
        f"Two falling lines beside a guide of slope minus one: the uniform iterate goes "
        f"{ends(shown)}, the last iterate {ends(last.mean(axis=0))}. "
        + said(result, "The first falls as images are added.", "chen2021-thm3.8-digits"),
    )
