"""Curves of the figures of chen2021/gradient_descent and chen2021/descent_lemma, once more."""

from companion.lab.results import Result
from tests.figures.curves import Curves, level, mean, power, summed_up

KINDS = ("iterate", "linearised")


def named(alpha: float) -> str:
    return rf"$\alpha={alpha:g}$"


def average_loss(result: Result) -> Curves:
    a, s, found = result.arrays, result.settings, result.found
    steps, followed = found["look"].values, s["targets"][-s["followed"] :]
    curves: Curves = {("average", "1"): level(1)}
    for place, alpha in enumerate(s["alphas"]):
        wide, narrow = ([run[end][place] for run in a["loss"]] for end in (-1, 0))
        curves["loss", named(alpha)] = (steps, *summed_up(wide))
        curves["loss", f"{named(alpha)}, $m={s['widths'][0]}$"] = (steps, mean(narrow))
        shares = [run[-1][place] for run in a["share"]]
        curves["average", named(alpha)] = (followed, *summed_up(shares))
    points = zip(a["ntrf_epsilon"], a["ntrf_share"], strict=True)
    pairs = [pair for x, y in points for pair in zip(x[-1], y[-1], strict=True)]
    curves["average", "linearised network"] = tuple(zip(*pairs, strict=True))
    return curves


def radius(result: Result) -> Curves:
    a, s = result.arrays, result.settings
    inverse, widths = [1 / target for target in s["targets"][::-1]], s["widths"]
    least = [run[-1][::-1] for run in a["least_radius"]]
    curves: Curves = {("epsilon", "linearised network"): (inverse, *summed_up(least))}
    for place, alpha in enumerate(s["alphas"]):
        wide = [run[-1][place][::-1] for run in a["radius"]]
        curves["epsilon", named(alpha)] = (inverse, *summed_up(wide))
        moved = [
            [float(own[place][0]) / m**alpha for own, m in zip(run, widths, strict=True)]
            for run in a["radius"]
        ]
        curves["width", named(alpha)] = (widths, *summed_up(moved))
        curves["width", f"slope -{alpha:g}"] = power(widths, mean(moved)[0], -alpha)
    return curves


def past_horizon(result: Result) -> Curves:
    times = [2.0**k for k in range(result.settings["octaves"] + 1)]
    return {
        ("distance", "distance"): (times, *summed_up(result.arrays["past_distance"])),
        ("error", "error"): (times, *summed_up(result.arrays["past_error"])),
        ("error", "1/4"): level(0.25),
    }


def along_runs(result: Result, *names: str) -> Curves:
    times = result.found["look"].values
    return {
        (name, f"{named(alpha)}, {words}"): (
            times,
            *summed_up([run[place][-1][kind] for run in result.arrays[name]]),
        )
        for name in names
        for place, alpha in enumerate(result.settings["alphas"])
        for kind, words in enumerate(KINDS)
    }


def way_to_target(result: Result) -> Curves:
    curves = along_runs(result, "share", "error")
    return {**curves, ("share", "1"): level(1), ("error", "1/4"): level(0.25)}


def iterates_ball(result: Result) -> Curves:
    curves = along_runs(result, "ball", "apart")
    return {**curves, ("ball", "1"): level(1), ("apart", "1"): level(1)}


CURVES = {
    "chen2021-average-loss": average_loss,
    "chen2021-iterates-ball": iterates_ball,
    "chen2021-past-horizon": past_horizon,
    "chen2021-radius": radius,
    "chen2021-way-to-target": way_to_target,
}
