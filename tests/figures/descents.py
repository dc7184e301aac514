"""Curves of the figures of zou2018/loss_decay and zou2018/sgd, computed once more."""

from typing import Any

from companion.lab.results import Result
from tests.figures.curves import Curves, level, power, summed_up

LOSSES = ("hinge", "squared hinge", "cross-entropy", "exponential")


def where_all_go_on(x: Any, runs: Any) -> tuple[Any, ...]:
    """Mean and range at the places where every run has a positive value."""
    columns = {
        float(at): column
        for at, column in zip(x, zip(*runs, strict=True), strict=True)
        if all(value > 0 for value in column)
    }
    return list(columns), *summed_up(list(zip(*columns.values(), strict=True)))


def diagonal(small: Any) -> tuple[Any, Any]:
    ends = [1.0, max(float(v) for v in small.ravel() if v == v)]
    return ends, ends


def first_iterates(result: Result, names: tuple[str, ...]) -> Curves:
    small, right = result.arrays["first_small"], result.arrays["first_right"]
    curves: Curves = {("errors", "equal"): diagonal(small)}
    for kind, name in enumerate(names):
        clean = [max(float(step), 1.0) for step in right[kind].ravel()]
        curves["errors", name] = (small[kind].ravel().tolist(), clean)
    return curves


def loss_decay(result: Result) -> Curves:
    losses, steps = result.arrays["mean_loss"], result.found["look"].values.tolist()
    late = [step for step in steps if step >= steps[-1] / 10]
    curves: Curves = {}
    for place, panel in enumerate(("sphere", "twins")):
        for kind, name in enumerate(LOSSES):
            curves[panel, name] = where_all_go_on(steps, losses[kind, :, place])
        start = max(float(run[steps.index(late[0])]) for k in (2, 3) for run in losses[k, :, place])
        curves[panel, "slope -1"] = power(late, 2 * start, -1)
    return curves


def iterations(result: Result) -> Curves:
    reached, slow = result.arrays["iterations"], result.settings["slow_halvings"]
    inverse = [2.0 ** (index + 1) for index in range(reached.shape[-1])]
    curves: Curves = {}
    for place, panel in enumerate(("sphere", "twins")):
        for kind, name in enumerate(LOSSES):
            curves[panel, name] = where_all_go_on(inverse, reached[kind, :, place])
        start = max(float(run[0]) for kind in (2, 3) for run in reached[kind, :, place])
        curves[panel, "slope 1"] = power(inverse[:slow], 2 * start, 1)
    return curves


def slopes_and_errors(result: Result) -> Curves:
    slopes, steps = result.arrays["slope"], result.found["look"].values
    curves = first_iterates(result, LOSSES)
    for kind in (1, 3):
        runs = [run for seed in slopes[kind] for run in seed]
        curves["slopes", LOSSES[kind]] = where_all_go_on(steps, runs)
    return curves


def sgd(result: Result) -> Curves:
    losses, steps = result.arrays["mean_loss"], result.found["look"].values
    sizes = [*result.settings["batch_sizes"], result.settings["count"]]
    return {
        (name, f"B = {size}"): where_all_go_on(
            steps, [run for seed in losses[place] for run in seed[index]]
        )
        for place, name in enumerate(LOSSES[1:3])
        for index, size in enumerate(sizes)
    }


def sgd_and_descent(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    curves = first_iterates(result, LOSSES[1:3])
    curves["costs", "gradient descent"] = level(1)
    for place, (name, last) in enumerate(
        zip(LOSSES[1:3], (s["fast_halvings"], s["slow_halvings"]), strict=True)
    ):
        for kind, of in (
            ("iterations", a["iterations"][place, ..., last - 1]),
            ("distance", a["distance"][place]),
        ):
            ratios = [[sum(run) / sum(seed[-1]) for run in seed[:-1]] for seed in of]
            told = summed_up(ratios)
            told = told if kind == "distance" else told[:1]
            curves["costs", f"{kind}, {name}"] = (s["batch_sizes"], *told)
    return curves


CURVES = {
    "zou2018-iterations": iterations,
    "zou2018-loss-decay": loss_decay,
    "zou2018-sgd": sgd,
    "zou2018-sgd-and-descent": sgd_and_descent,
    "zou2018-slopes-and-errors": slopes_and_errors,
}
