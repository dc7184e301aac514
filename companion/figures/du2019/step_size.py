"""Figures of the experiment du2019/step_size."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, RED
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "du2019-thm4.1-eta": "du2019-step-size",
    "du2019-thm4.1-eta-edge": "du2019-step-size",
}


def step_size(result: Result) -> Drawing:
    """Largest stable step size against the number of inputs and the width."""
    a, s, v = result.arrays, result.settings, result.values
    counts, widths, split = s["counts"], s["widths"], len(s["counts"])
    canvas, y = Canvas(2, sharey=True), ("step size", r"step size $\eta$")
    for name, x, sizes, part in (
        ("inputs", ("inputs n", f"inputs n, at m = {a['widths'][0]}"), counts, slice(split)),
        ("width", ("width m", f"width m, at n = {a['counts'][-1]}"), widths, slice(split, None)),
    ):
        panel = canvas.panel(name, x, y, log="xy")
        edge, largest, theorem = (a[key][:, part] for key in ("edge", "largest", "theorem"))
        label = "largest stable"
        panel.curve("largest stable", sizes, largest, BLUE, marker="o", lw=4, ms=7, label=label)
        label = r"$2/\lambda_{\max}(H(0))$"  # thin, on top of a thick line that it may lie on
        panel.curve("edge of stability", sizes, edge, RED, band=False, ls="--", label=label)
        label = r"$\lambda_0/n^2$"
        panel.curve("lambda_0 / n^2", sizes, theorem, FAINT, marker="s", ms=4, label=label)
        panel.sizes(sizes)
        panel.legend("center right")
    return canvas.drawing(
        "The largest step size at which the squared residual falls at each of "
        f"{s['steps']} steps, {over_seeds(a['largest'])}, the edge of stability "
        "$2/\\lambda_{\\max}(H(0))$, and the theorem's $\\lambda_0/n^2$. The largest is "
        f"{number(v['least_slack'], ',.0f')} times the theorem's at $n={counts[0]}$ and "
        f"{number(v['most_slack'], ',.0f')} times at $n={counts[-1]}$. "
        + said(result, "No width asks for a smaller step.", "du2019-thm4.1-eta"),
        f"For n from {counts[0]} to {counts[-1]} the largest stable step size goes "
        f"{ends(a['largest'][:, :split].mean(axis=0))}, the edge "
        f"{ends(a['edge'][:, :split].mean(axis=0))} and the theorem's "
        f"{ends(a['theorem'][:, :split].mean(axis=0))}; for m from {widths[0]} to {widths[-1]} the "
        f"largest goes {ends(a['largest'][:, split:].mean(axis=0))}.",
    )
