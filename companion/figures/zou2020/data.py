"""Figures of the experiment zou2020/data."""

import numpy as np

from companion.figures.panels import Canvas, Drawing
from companion.figures.style import BLUE, RED
from companion.figures.words import said, spoken
from companion.lab.results import Result
from companion.lab.words import number

SHOWS = {
    "zou2020-ass4.2": "zou2020-nearest",
}

DISTANCE = "distance to the nearest image"
SHARE = ("share of images whose nearest is that near", "share of images")


def nearest(result: Result) -> Drawing:
    """How far each image is from its nearest of the other label, and of its own."""
    a, values = result.arrays, result.values
    titles = ("MNIST, digits 3 and 8", "CIFAR-10, cats and ships")
    names = ("mnist", "cifar10")
    canvas = Canvas(2, sharey=True)
    for row, (name, title) in enumerate(zip(names, titles, strict=True)):
        panel = canvas.panel(name, DISTANCE, SHARE, title=title)
        for key, color, dashes, label in (
            ("within", BLUE, "--", "of the same label"),
            ("across", RED, "-", "of the other label"),
        ):
            shares = np.linspace(0, 1, a[key].shape[-1])
            panel.curve(label, a[key][row], shares, color, ls=dashes, label=label)
        phi = float(values[f"{name}_cross_class"])
        panel.upright("phi", phi, RED, lw=1, ls=":")
        panel.note(r"$\phi$", (phi, 1), RED, (3, -2), va="top")
        panel.axes.set_xlim(left=0)
        if row == 0:
            panel.legend("lower right")
    return canvas.drawing(
        "How far each image is from its nearest of the other label (line) and of its own (dashed): "
        "the share of images for which that distance is at most what the horizontal axis shows. "
        "The dotted lines mark the least distance of two images of different labels, "
        rf"$\phi=$ {number(values['mnist_cross_class'], '.3f')} for MNIST and "
        f"{number(values['cifar10_cross_class'], '.3f')} for CIFAR-10; any two images are at least "
        f"{number(values['mnist_all_pairs'], '.3f', 'down')} and "
        f"{number(values['cifar10_all_pairs'], '.3f', 'down')} apart.",
        "Two panels, each with two rising curves and a dotted vertical line, at "
        f"{spoken(values['mnist_cross_class'])} for MNIST and "
        f"{spoken(values['cifar10_cross_class'])} for CIFAR-10. "
        + said(
            result,
            "The curve of the other label starts at that line, to the right of 0.",
            "zou2020-ass4.2",
        )
        + " Half of the images have their nearest of the other label within "
        f"{spoken(values['mnist_median_across'])} and {spoken(values['cifar10_median_across'])}, "
        f"that of their own within {spoken(values['mnist_median_within'])} and "
        f"{spoken(values['cifar10_median_within'])}.",
    )
