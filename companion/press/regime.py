"""The report of `companion regime` as a terminal shows it, on 100 columns."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 100
# Of a curve, so many of its points are printed.
_SHOWN = 7
# Quantities: the name in the report -> what is printed, and what it means.
_QUANTITIES = {
    "cross_class": ("phi", "least distance of inputs of different labels"),
    "all_pairs": ("nearest", "least distance of any two inputs"),
    "angle": ("angle", "least angle between the lines through two inputs"),
    "lambda_0": ("lambda_0", "least eigenvalue of the limit Gram matrix, one hidden layer"),
    "misfit": ("y H^-1 y", "what the labels cost in the norm of that kernel"),
    "margin": ("gamma", "margin of the gradients, Chen et al. (2021), Assumption 4.3"),
    "radius": ("R", "radius of their Assumption 3.2"),
    "field_margin": ("gamma'", "margin of their Assumption 4.6"),
}


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The report, line by line.

    Args:
        told: what `companion.regime.report.Report.told` gives, with `data` in words.
    """
    yield from _data(told)
    yield ""
    yield from _theorems(told)
    yield ""
    yield from _training(told)
    yield ""
    yield from _wrapped(told["rule"])
    yield from _wrapped(told["answer"])


def _data(told: Mapping[str, Any]) -> Iterator[str]:
    found = told["quantities"]
    yield from _wrapped(
        f"The data: {told['data']}; {found['count']} inputs of length {found['dimension']}"
    )
    low, high = (f"{label:g}" for label in found["labels"])
    fewer, more = found["of_each"]
    yield f"  {'labels':10}{fewer} are {low}, taken as -1, and {more} are {high}, taken as +1"
    yield f"  {'norms':10}off 1 by at most {short(found['norm_gap'])}"
    bias = found["bias"]
    told_bias = (
        f"the last coordinate is {bias:g}" if bias else "no last coordinate that is constant"
    )
    yield f"  {'bias':10}{told_bias}"
    for name, (label, meaning) in _QUANTITIES.items():
        each = found[name]
        if each is None:
            continue
        pair = f" (inputs {each['pair'][0]} and {each['pair'][1]})" if each["pair"] else ""
        yield f"  {label:10}{short(each['value']):10}{meaning}{pair}"
        if name in ("lambda_0", "margin", "radius", "field_margin"):
            yield from _wrapped(f"{between(each)}; {each['how']}", 22)
    for warning in told["warnings"]:
        yield from _wrapped(f"Note: {warning}", 2)


def _theorems(told: Mapping[str, Any]) -> Iterator[str]:
    width, accuracy = told["run"]["width"], told["quantities"]["accuracy"]
    yield from _wrapped(
        f"What the theorems ask for, with epsilon = {accuracy:g} and delta = {told['delta']:g}. "
        "Where constants are unknown they are taken as 1: such a number is one up to an unknown "
        "constant. Step sizes are of the mean loss, in the paper's own parameterisation, at width "
        f"{width}; t is a time of gradient flow; a dash stands for what the theorem does not state."
    )
    row = "  {:<39}{:>9}{:>9}{:>10}{:>10}  {:<9}{}"
    yield row.format("", "width", f"/ {width}", "step size", "steps", "constants", " unmet")
    reasons: dict[str, str] = {}
    for each in told["demands"]:
        marks = [reasons.setdefault(why, chr(ord("a") + len(reasons))) for why in each["unmet"]]
        steps = short(each["iterations"])
        if each["time"] is not None:
            steps = f"t={short(each['time'])}"
        yield row.format(
            statement(each), short(each["width"]), short(each["times_the_width"]),
            short(each["step_size"]), steps, each["constants"].partition(",")[0],
            " " + "".join(marks),
        ).rstrip()  # fmt: skip
    routes = {each["variant"]: each["route"] for each in told["demands"] if each["variant"]}
    for variant, route in routes.items():
        yield from _wrapped(f"{variant}: {route}", 4)
    for why, mark in reasons.items():
        yield from _wrapped(f"{mark}: {why}", 4)


def _training(told: Mapping[str, Any]) -> Iterator[str]:
    run, curves = told["run"], told["curves"]
    stable = run["largest_stable_step_size"]
    limit = f", the largest stable one being {short(stable)}" if stable else ""
    yield from _wrapped(
        f"Trained: width {run['width']}, depth {run['depth']}, parameterisation "
        f"{run['parameterisation']}, {run['loss']} loss, {run['steps']} steps of size "
        f"{short(run['step_size'])}{limit}, seed {run['seed']}"
        f"{'' if run['device'] == 'cpu' else ', on ' + run['device']}"
    )
    last = len(curves["step"]) - 1
    places = sorted({round(k * last / (_SHOWN - 1)) for k in range(_SHOWN)})
    for label, name in (
        ("step", "step"), ("measured loss", "measured"), ("by the frozen kernel", "predicted"),
        ("by infinite width", "limit"),
    ):  # fmt: skip
        yield f"  {label:22}" + "".join(f"{short(curves[name][k]):>10}" for k in places)
    yield f"  training error at the end {short(curves['error'])}"
    for name, each in told["departure"].items():
        yield from _wrapped(f"{name:10}{short(each['share']):10}{each['meaning']}", 2, 22)


def statement(demand: Mapping[str, Any]) -> str:
    """A statement's name with its paper, e.g. `Du et al. (2019), Theorem 4.1, printed`."""
    variant = f", {demand['variant']}" if demand["variant"] else ""
    return f"{demand['work']}, {demand['statement']}{variant}"


def between(measured: Mapping[str, Any]) -> str:
    """The bounds of a number, with the digits that tell them apart."""
    low, high = measured["lower"], measured["upper"]
    for digits in range(3, 17):
        ends = tuple(_tidy(f"{float(end):.{digits}g}") for end in (low, high))
        if ends[0] != ends[1]:
            return f"between {ends[0]} and {ends[1]}"
    return f"exactly {_tidy(f'{float(low):.3g}')} up to rounding"


def short(value: float | str | None) -> str:
    """A number with three digits; a dash for one that is not known or does not exist."""
    if value is None:
        return "-"
    return "infinite" if value == "inf" else _tidy(f"{value:.3g}")


def _tidy(number: str) -> str:
    """1e+20 as 1e20."""
    return number.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def _wrapped(text: str, indent: int = 0, hanging: int | None = None) -> Iterator[str]:
    rest = " " * (indent if hanging is None else hanging)
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=rest, drop_whitespace=True
    )
