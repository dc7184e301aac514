"""Numbers in words for readers: typeset, and rounded to the side on which they stay true."""

import math
import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Literal

Side = Literal["", "down", "up"]


def number(value: Any, form: str = ".3g", rounded: Side = "") -> str:
    r"""A number as a sentence shows it, with a power of ten in place of an exponent.

    Args:
        value: a number of any kind.
        form: a format of Python's, such as `.2f`.
        rounded: `down` where the sentence says "at least", `up` where it says "at most"; without
            it to the nearest.

    Returns:
        Markdown: digits alone, or mathematics between dollar signs.

    Raises:
        ValueError: a format that does not fit.

    Examples:
        >>> number(0.949, ".2f", "down"), number(2.9e-4, ".1e")
        ('0.94', '$2.9\\times10^{-4}$')
    """
    told = format(value, form)
    if rounded:
        told = _rounded(float(value), form, told, rounded)
    match = re.fullmatch(r"(-?)([\d.]+)e([+-])0*(\d+)", told)
    if not match:
        return told
    minus, digits, sign, power = match.groups()
    if power == "0" or not float(digits):
        return f"{minus}{digits}" if float(digits) else "0"
    factor = "" if digits == "1" else rf"{digits}\times"
    return rf"${minus}{factor}10^{{{'-' if sign == '-' else ''}{power}}}$"


def listed(parts: Iterable[Any], last: str = "and") -> str:
    """`a, b and c`.

    Examples:
        >>> listed([200, 800, 3200])
        '200, 800 and 3200'
    """
    *most, end = (str(part) for part in parts)
    return f"{', '.join(most)} {last} {end}" if most else end


def on_sphere(count: int, dimension: int) -> str:
    """Training data as most experiments draw them, in words.

    Args:
        count: n, inputs.
        dimension: d.
    """
    return (
        rf"$n={count}$ inputs uniform on the unit sphere of $\mathbb R^{{{dimension}}}$ with "
        "labels $N(0,1)$"
    )


def _rounded(value: float, form: str, told: str, side: Side) -> str:
    """`told`, or its neighbour in the last digit shown if it lies on the wrong side of `value`."""
    if not math.isfinite(value) or form.endswith("d"):
        return told
    if form.endswith("%"):
        return _rounded(100 * value, f"{form[:-1]}f", f"{100 * value:{form[:-1]}f}", side) + "%"
    # '#' keeps the zeros that 'g' drops, and with them the place of the last digit.
    shown, exact = Decimal(f"{value:#{form}}".replace(",", "")), Decimal(repr(value))
    place = int(shown.as_tuple().exponent)
    if form[-1] in "eg" and shown.adjusted() > exact.adjusted():
        place -= 1  # rounding reached the next power of ten, below which digits are finer
    towards = ROUND_FLOOR if side == "down" else ROUND_CEILING
    near = exact.quantize(Decimal(1).scaleb(place), towards, Context(prec=400))
    return f"{float(near):{form}}"
