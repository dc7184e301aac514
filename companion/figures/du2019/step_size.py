"""Figures of the experiment du2019/step_size."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, FAINT, RED
from companion.figures.words import ends, said
from companion.lab.results import Result


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
        label = r"$2/\lambda_{\max}(H(0))$"
        panel.curve("edge of stability", sizes, edge, RED, band=False, ls="--", label=label)
        label = "largest stable"
        panel.curve("largest stable", sizes, largest, BLUE, marker="o", ms=4, label=label)
        label = r"$\lambda_0/n^2$"
        panel.curve("lambda_0 / n^2", sizes, theorem, FAINT, marker="s", ms=4, label=label)
        panel.sizes(sizes)
    panel.legend("center right")
    return canvas.drawing(
        f"Largest step size at which the squared residual falls at each of {s['steps']} steps "
        f"(blue, mean and range over {s['seeds']} seeds), the edge $2/\\lambda_{{\\max}}(H(0))$ "
        "and the theorem's $\\lambda_0/n^2$. Between the largest and the theorem's lies a factor "
        f"of {v['least_slack']:.0f} at n = {counts[0]} and {v['most_slack']:.0f} at "
        f"n = {counts[-1]}. "
        + said(result, "No width asks for a smaller step.", "du2019-thm4.1-eta"),
        f"For n {ends(counts, 'g')} the largest stable step size goes "
        f"{ends(a['largest'][:, :split].mean(axis=0))}, the edge "
        f"{ends(a['edge'][:, :split].mean(axis=0))} and the theorem's "
        f"{ends(a['theorem'][:, :split].mean(axis=0))}; for m {ends(widths, 'g')} the largest "
        f"goes {ends(a['largest'][:, split:].mean(axis=0))}.",
    )
