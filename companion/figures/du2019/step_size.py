"""Figures of the experiment du2019/step_size."""

import numpy as np

from companion.figures import Drawing
from companion.figures.style import BLUE, FAINT, RED, band, name_sizes, new, stack
from companion.lab.results import Result


def step_size(result: Result) -> Drawing:
    """Largest stable step size against the number of inputs and the width."""
    a, s = result.arrays, result.settings
    split = len(s["counts"])
    figure, panels = new(2, sharey=True)
    series = {}
    sweeps = (
        ("n", s["counts"], slice(None, split)),
        ("m", s["widths"], slice(split, None)),
    )
    for axes, (letter, sizes, part) in zip(panels, sweeps, strict=True):
        edge = a["edge"][:, part].mean(axis=0)
        axes.plot(sizes, edge, color=RED, ls="--", label=r"$2/\lambda_{\max}(H(0))$")
        largest = band(
            axes, sizes, a["largest"][:, part], BLUE, marker="o", ms=4, label="largest stable"
        )
        theorem = band(
            axes, sizes, a["theorem"][:, part], FAINT, marker="s", ms=4, label=r"$\lambda_0/n^2$"
        )
        for name, values in (("edge", edge), ("largest", largest), ("theorem", theorem)):
            series[f"{name} against {letter}"] = (sizes, values)
        axes.set_xscale("log")
        axes.set_yscale("log")
        name_sizes(axes, sizes)
    middle_width, middle_count = a["widths"][0], a["counts"][-1]
    panels[0].set_xlabel(f"inputs n, at m = {middle_width}")
    panels[1].set_xlabel(f"width m, at n = {middle_count}")
    panels[0].set_ylabel(r"step size $\eta$")
    panels[1].legend(loc="center right")
    return Drawing(
        figure,
        f"Largest step size at which the squared residual falls at each of {s['steps']} steps "
        f"(blue, mean and range over {s['seeds']} seeds), the edge $2/\\lambda_{{\\max}}(H(0))$ "
        "and the theorem's $\\lambda_0/n^2$. Neither depends on the width; between them lies a "
        f"factor of {result.values['least_slack']:.0f} at n = {s['counts'][0]} and "
        f"{result.values['most_slack']:.0f} at n = {s['counts'][-1]}.",
        "The largest stable step size follows the edge closely in both panels, is flat in the "
        "width and falls slowly with n, while the theorem's falls steeply, orders of "
        "magnitude below.",
        stack({k: (np.asarray(x), y) for k, (x, y) in series.items()}, "size", "step_size"),
    )
