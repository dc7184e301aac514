"""Figures of the experiment zou2018/data_separation."""

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, RED
from companion.figures.words import over_seeds, said, spoken
from companion.lab.results import Result

SHOWS = {"zou2018-ass3.5": "zou2018-separations"}
COUNT = ("number of inputs", "number of inputs n")
SEPARATION = ("least distance of a pair of inputs", r"separation $\phi$")


def separations(result: Result) -> Drawing:
    """Least distances of all pairs, and of pairs of different labels, against their number."""
    a, s = result.arrays, result.settings
    different, every, counts = a["different"], a["all_pairs"], s["counts"]  # seeds, counts, kinds
    canvas = Canvas(2, sharey=True)
    for kind, (name, title) in enumerate(
        (("uniform", "uniform inputs"), ("copies", "copies under one label"))
    ):
        panel = canvas.panel(name, COUNT, SEPARATION, log="xy", title=title)
        for told, samples, color, mark in (
            ("different labels", different, BLUE, "o"),
            ("all pairs", every, RED, "s"),
        ):
            panel.curve(told, counts, samples[..., kind], color, label=told, marker=mark, ms=5)
        panel.sizes(counts)
        panel.legend("center left")
    return canvas.drawing(
        f"The separation of training sets in dimension {s['dimension']}: the least distance of two "
        "inputs with different labels, as version 3 asks for, and of any two, as version 1 does; "
        f"{over_seeds(different)}. Left, inputs uniform on the sphere with random labels; right, "
        f"pairs of inputs of one label at distance {s['copy_distance']:g}.",
        "Two panels with two curves each, against the number of inputs on logarithmic axes. "
        + said(
            result,
            "Left, both fall slowly and stay close to each other; right, that of different labels "
            f"does the same, and ends at {spoken(result.values['copies_different'])}, while that "
            "of all pairs stays at the distance of the copies.",
            "zou2018-ass3.5",
        ),
    )
