"""Figures of the experiment zou2020/convergence."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.quantities import STEP, WIDTH
from companion.figures.style import BLUE, FAINT, INK, RED, by_size
from companion.figures.words import ends, over_seeds, said
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "zou2020-thm4.4": "zou2020-convergence",
    "zou2020-rem4.1": "zou2020-convergence",
}

LOSS = ("mean loss", r"loss $L_S$")
STEPS = ("steps to the loss", "steps K")
STEP_SIZE = ("largest stable step size", r"step size $\eta$")


def convergence(result: Result) -> Drawing:
    """The loss along the runs, width by width, and the steps to each loss against the width."""
    a, s, v = result.arrays, result.settings, result.values
    widths, zero_error = s["widths"], float(v["zero_error_loss"])
    steps = np.arange(1, s["steps"] + 1)
    canvas = Canvas(2)
    left = canvas.panel("loss", STEP, LOSS, log="xy")
    for place, (m, color) in enumerate(zip(widths, by_size(widths), strict=True)):
        loss = a["loss"][:, place, 1:]
        left.curve(f"m = {m}", steps, loss, color, band=m == widths[-1], label=f"m = {m}")
    frozen = a["frozen"][:, -1, 1:].mean(axis=0)
    left.curve("frozen kernel", steps, frozen, INK, ls="--", lw=1.2, label="frozen kernel")
    late = steps[steps.size // 8 :]
    start = 2 * a["loss"][:, -1, late[0]].mean()
    left.guide("slope -1", late, start, -1, label="$1/k$")
    left.level("log(2)/n", zero_error, RED, ls=":")
    left.note(r"$\log(2)/n$", (1, zero_error), RED, (0, 3), va="bottom")
    ended = (a["error"][:, -1] == 0).argmax(axis=-1)
    there = np.take_along_axis(a["loss"][:, -1], ended[:, None], axis=-1)[:, 0]
    left.points("last error ends", ended, there, RED, ms=4, label="errors end", zorder=3)
    left.legend("lower left")
    right = canvas.panel("steps", WIDTH, STEPS, log="xy")
    for share in s["shares"]:
        reached = (a["loss"] <= share * zero_error).argmax(axis=-1)
        factor, name = "" if share == 1 else f"{share:g}", f"loss {share:g} log(2)/n"
        line = right.curve(name, widths, reached, BLUE, band=False, marker="o", ms=4)
        where = (widths[-1], line[-1])
        right.note(rf"$\epsilon={factor}\,\log(2)/n$", where, BLUE, (0, -6), ha="right", va="top")
    right.axes.set_ylim(0.7 * line[-1] * s["shares"][-1], None)
    right.sizes(widths)
    right.few_decades()
    return canvas.drawing(
        f"Gradient descent with $\\eta={number(s['constant'])}/(mL^3)$ and $L={s['depth']}$. Left, "
        f"the loss, {over_seeds(a['loss'])} (the range of the widest only), with what the widest "
        "networks would do if their kernels did not move (dashed); a dot for each run of these "
        "stands where its last error goes. Right, the mean number of steps $K$ to a loss "
        "$\\epsilon$.",
        "Left, the losses fall side by side on logarithmic axes, in the end about parallel to a "
        "dashed line of slope minus one. "
        + said(result, "All dots lie above the dotted level of log 2 over n.", "zou2020-rem4.1")
        + " Right, a line for each loss over the widths. "
        + said(result, "That of the largest loss is flat.", "zou2020-thm4.4"),
    )


def largest_step(result: Result) -> Drawing:
    """Largest stable step size against width and depth, with the frozen kernel's."""
    a, s, v = result.arrays, result.settings, result.values
    widths, depths, split = s["widths"], s["depths"], len(s["widths"])
    canvas = Canvas(2, sharey=True)
    for name, x, sizes, part, power in (
        ("width", (WIDTH, f"width m, at L = {s['depth']}"), widths, slice(split), -1),
        ("depth", ("depth L", f"depth L, at m = {s['depths_width']}"), depths,
         slice(split, None), -3),
    ):  # fmt: skip
        panel = canvas.panel(name, x, STEP_SIZE, log="xy")
        largest, predicted = a["largest"][:, part], a["predicted"][:, part]
        label = "largest stable"
        panel.curve("largest stable", sizes, largest, BLUE, marker="o", ms=5, label=label)
        label = r"$8n/\lambda_{\max}(K)$"
        panel.curve(
            "frozen kernel", sizes, predicted, RED, band=False, ls="--", marker="s", ms=4,
            label=label,
        )  # fmt: skip
        start = 0.5 * predicted[:, 0].mean()
        law = r"$m^{-1}$" if power == -1 else r"$L^{-3}$"
        panel.guide(f"theorem, {name}", sizes, start, power, FAINT, label=law)
        panel.sizes(sizes)
        panel.legend("lower left")
    return canvas.drawing(
        f"The largest step size at which the loss falls at each of {s['stable_steps']} steps, "
        f"{over_seeds(a['largest'])}, beside the one of the frozen kernel, $8n/\\lambda_{{\\max}}"
        "(K)$; grey, the powers in the step size of the theorem. In the width it falls like "
        f"$m^{{-{v['edge_width']:.2f}}}$, in the depth like "
        f"$L^{{-{v['edge_depth']:.2f}}}$.",
        f"For m from {widths[0]} to {widths[-1]} the largest stable step size goes "
        f"{ends(a['largest'][:, :split].mean(axis=0))}; for L from {depths[0]} to {depths[-1]} it "
        f"goes {ends(a['largest'][:, split:].mean(axis=0))}, less steeply than a grey line of "
        "slope minus three.",
    )
