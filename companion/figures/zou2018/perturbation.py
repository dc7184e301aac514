"""Figures of the experiment zou2018/perturbation."""

import numpy as np

from companion.figures.panels import Canvas, Drawing, entry
from companion.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, RED
from companion.figures.words import over_seeds, said
from companion.lab.results import Result

SHOWS = {
    "zou2018-thm5.3ii": "zou2018-perturbed-outputs",
    "zou2018-thm5.3iii": "zou2018-perturbed-flips",
    "zou2018-lemB.1-4": "zou2018-perturbed-outputs",
}

RADIUS = ("tau, most that a layer moved in spectral norm", r"most that a layer moved, $\tau$")
SHARE = ("largest share of switched units in a layer", "share switched, worst layer")
DEPTH = ("layers L", "layers $L$")
RATIO = (
    "move of an output over the moves of the layers below",
    "output's move / layers' moves",
)
NORM = ("norm of the product of the layers", r"$\|\Sigma_LW_L^\top\cdots\Sigma_2W_2^\top\|_2$")
# Name -> array's prefix, the setting with its radii, colour, marker.
WHO = {
    "adversary": ("attack", "attack_radii", RED, "s"),
    "random": ("random", "radii", BLUE, "o"),
    "gradient descent": ("descent", "descent_radii", GREEN, "^"),
}


def perturbed_flips(result: Result) -> Drawing:
    """Share of switched units in the deepest networks against tau, and at one tau against L."""
    a, s, v = result.arrays, result.settings, result.values
    depths = np.array(s["depths"])
    canvas = Canvas(2, sharey=True)
    left = canvas.panel("tau", RADIUS, SHARE, log="xy")
    right = canvas.panel("depth", DEPTH, SHARE, log="xy")
    for name, (key, radii, color, mark) in WHO.items():
        places, shares = np.array(s[radii]), a[f"{key}_flips"]  # seeds, depths, radii
        left.curve(name, places, shares[:, -1], color, marker=mark, ms=5)
        label = rf"{name} (against $L$: $\tau$ = {places[-1]:g})"
        right.curve(name, depths, shares[..., -1], color, marker=mark, ms=5, label=label)
    places = np.array(s["attack_radii"])
    start = 1.6 * a["attack_flips"][:, -1, 0].max()
    left.guide("slope 2/3", places, start, 2 / 3, end=r"$\tau^{2/3}$")
    places = np.array(s["radii"])
    left.guide("slope 1", places, 0.6 * a["random_flips"][:, -1, 0].min(), 1, end=r"$\tau$")
    canvas.legend(2)
    right.sizes(depths)
    return canvas.drawing(
        f"Left, in networks of {depths[-1]} layers, the share of pairs of an input and a unit that "
        r"switch, in the layer where it is largest, when no layer moved by more than $\tau$, "
        f"{over_seeds(a['attack_flips'])}: adversaries that choose the weights for every input, a "
        "random direction, gradient descent. Right, the same at the largest of each one's $\\tau$ "
        "against the number of layers.",
        "Left, three rising curves on logarithmic axes beside guides of slope two thirds and one. "
        + said(
            result,
            "That of the adversaries has the smaller slope, the others nearly slope one.",
            "zou2018-thm5.3iii",
        )
        + f" Right, all rise with the number of layers, with exponents "
        f"{float(v['attack_depth']):.2f} for adversaries, {float(v['random_depth']):.2f} for "
        f"random directions and {float(v['descent_depth']):.2f} for gradient descent.",
    )


def perturbed_outputs(result: Result) -> Drawing:
    """How far outputs move, and norms of products of perturbed layers, against the depth."""
    a, s, v = result.arrays, result.settings, result.values
    depths = np.array(s["depths"])
    canvas = Canvas(2)
    left = canvas.panel("ratio", DEPTH, RATIO, log="xy")
    for name, key, color, mark in (
        ("adversary of outputs", "outputs", ORANGE, "D"),
        ("adversary of patterns", "attack", RED, "s"),
        ("random", "random", BLUE, "o"),
        ("gradient descent", "descent", GREEN, "^"),
    ):
        first = a[f"{key}_ratio"][..., 0]
        left.curve(name, depths, first, color, marker=mark, ms=5)
    start = 1.3 * a["outputs_ratio"][:, 0, 0].max()
    left.guide("slope 1", depths, start, 1, end="$L$")
    right = canvas.panel("norm", DEPTH, NORM, log="xy")
    for name, key, color, mark in (
        ("at initialisation", "start", INK, "v"),
        ("adversary of patterns", "attack", RED, "s"),
        ("random", "random", BLUE, "o"),
        ("gradient descent", "descent", GREEN, "^"),
    ):
        right.curve(name, depths, a[f"{key}_norm"], color, marker=mark, ms=5)
    limit = a["limit_norm"][0]
    right.curve("limit at initialisation", depths, limit, FAINT, ls=":")
    canvas.legend(
        3,
        [
            entry("adversary of outputs", ORANGE, ls="-", marker="D", ms=5),
            entry("adversary of patterns", RED, ls="-", marker="s", ms=5),
            entry("random", BLUE, ls="-", marker="o", ms=5),
            entry("gradient descent", GREEN, ls="-", marker="^", ms=5),
            entry("at initialisation", INK, ls="-", marker="v", ms=5),
            entry("its limit", FAINT, ls=":"),
        ],
    )
    for panel in (left, right):
        panel.sizes(depths)
        panel.few_decades()
    return canvas.drawing(
        "Left, the distance that an output $x_l$ moves over the sum of the moves of the layers up "
        "to $l$, in the layer and for the input where that is largest, "
        f"{over_seeds(a['outputs_ratio'])}; the dashed line is proportional to $L$. Right, the "
        "norm of the product of all layers but the first, with the pattern of one input: at "
        "initialisation, and after moves of up to "
        rf"$\tau$ = {s['radii'][-1]:g}; dotted, its limit in wide networks at initialisation.",
        "Left, curves against the number of layers, and a dashed line of slope one; the highest "
        f"has exponent {float(v['ratio_depth']):.2f}. "
        + said(result, "None grows as fast as the dashed line.", "zou2018-thm5.3ii")
        + " Right, four curves and a dotted one. "
        + said(
            result,
            f"They grow with exponent {float(v['norm_depth']):.2f}.",
            "zou2018-lemB.1-4",
        ),
    )
