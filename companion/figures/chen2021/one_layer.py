"""Figures of the experiment chen2021/one_layer."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import WIDTH
from companion.figures.style import CYCLE, FAINT, INK, MARKERS, by_size
from companion.figures.words import ends, over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {"chen2021-lemA.2": "chen2021-one-layer"}
TIME = ("m^(2 alpha) times the time", r"time times $m^{2\alpha}$")
LOSS = ("squared hinge over its start", r"$\tilde L_S(t)\,/\,\tilde L_S(0)$")
DISTANCE = (
    "Frobenius distance of W_(L-1) from initialisation",
    r"$\Vert W_{L-1}-W_{L-1}^{(0)}\Vert_F$",
)
LEMMA = "chen2021-lemA.2"


def one_layer(result: Result) -> Drawing:
    """Decay of the squared hinge at every width, and how far the layer goes."""
    a, s = result.arrays, result.settings
    widths, levels = s["widths"], result.found["level"].values
    canvas = Canvas(2)
    left = canvas.panel("decay", TIME, LOSS, log="y")
    times = a["time"][-1]  # the largest alpha: width, seed, level
    for place, (width, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        name = f"m = {width}"
        left.curve(name, times[place].mean(axis=0), levels, color, label=name)
    left.legend("upper right")
    right = canvas.panel("distance", WIDTH, DISTANCE, log="xy")
    for place, alpha in enumerate(s["alphas"]):
        far = a["distance"][place].T  # seed, width
        name, color = f"alpha = {alpha:g}", CYCLE[place]
        right.curve(
            name, widths, far, color, marker=MARKERS[place], ms=4, label=rf"$\alpha={alpha:g}$"
        )
        right.guide(
            f"slope -{alpha:g}", widths, 1.15 * far[:, 0].max(), -alpha, (FAINT, INK)[place % 2],
            label=f"slope -{alpha:g}",
        )  # fmt: skip
    right.sizes(widths)
    right.few_decades()
    right.legend("lower left")
    return canvas.drawing(
        "Gradient descent on the squared hinge in $W_{L-1}$ alone. Left, when the loss has come "
        f"down to a share of its start at $\\alpha={s['alphas'][-1]:g}$: the time is the mean over "
        f"{s['seeds']} seeds. Right, how far the layer is from initialisation where the mean loss "
        f"is $1/n$, {over_seeds(far)}; dashed, $m^{{-\\alpha}}$.",
        "Left, a falling curve for each width on a logarithmic scale; down to a share of "
        f"{spoken(levels[-1])} it takes between {spoken(times[..., -1].mean(axis=1).min())} and "
        f"{spoken(times[..., -1].mean(axis=1).max())} units of time. Right, a curve for each alpha "
        "and a dashed line above it: "
        + "; ".join(
            f"alpha {alpha:g} {ends(a['distance'][place].mean(axis=1))}"
            for place, alpha in enumerate(s["alphas"])
        )
        + ". "
        + said(result, "Each falls at least as fast as its line.", LEMMA),
    )
