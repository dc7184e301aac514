"""Results as a terminal shows them: formulas as text instead of TeX."""

import re
import sys
from functools import cache
from typing import Any

from pylatexenc import latex2text, latexwalker, macrospec

from companion.lab.experiment import Cost

_FORMULA = re.compile(r"\$([^$]+)\$")
_DIGITS, _UP, _DOWN = "0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "₀₁₂₃₄₅₆₇₈₉₋"
_SMALL = _UP + _DOWN
# Stand apart from the letters around them.
_NAMES = ("arccos", "erf", "log", "max", "min", "sup")
# What the converter would leave out or take for something else.
_SIGNS = {
    "|": "‖", "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|", "ne": "≠", "succeq": "≽",
    "top": "⊤", "operatorname": " ", "big": "", "Big": "",
}  # fmt: skip
# Stands behind an index or power, until it is known what follows.
_END = "\N{INVISIBLE SEPARATOR}"
_SPACES = (
    (rf"{_END}(?=[^\W_{_SMALL}])", " "),  # the next factor is not a part of the index
    (_END, ""),
    (r"\s*([=<>≤≥≈∼∝≠≽⊄⊂∈→])\s*", r" \1 "),
    (r"\s+", " "),
    (rf"(?<=[-+/(|‖]) (?={'|'.join(_NAMES)})", ""),
    (rf"({'|'.join(_NAMES)}) (?=[_^(])", r"\1"),
)


def readable(text: str) -> str:
    """The text with its formulas, which stand between dollar signs, in Unicode.

    A command that is not known stays as it is written, so that nothing is lost.
    """
    return _FORMULA.sub(lambda formula: _plain(formula[1]), text)


def shown(text: str) -> str:
    """As `readable`, where the terminal or pipe can encode it; else with the TeX, in ASCII."""
    told = readable(text)
    try:
        told.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return text
    return told


def cost_words(cost: Cost) -> str:
    """An estimate as the command line tells it."""
    return f"{_engineering(cost.flops)}FLOP, {_engineering(cost.bytes)}B of arrays"


def _engineering(number: float) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} P"


@cache
def _plain(formula: str) -> str:
    converter, context = _converter()
    told: str = converter.latex_to_text(f"${formula}$", latex_context=context)
    for pattern, space in _SPACES:
        told = re.sub(pattern, space, told)
    return told.strip()


@cache
def _converter() -> tuple[latex2text.LatexNodes2Text, Any]:
    """The converter, and what its parser has to know: scripts take what follows them."""
    texts = latex2text.get_default_latex_context_db()
    macros = [
        *(latex2text.MacroTextSpec(name, f" {name} ") for name in _NAMES),
        *(latex2text.MacroTextSpec(name, sign) for name, sign in _SIGNS.items()),
        latex2text.MacroTextSpec("frac", _fraction),
        latex2text.MacroTextSpec("sqrt", _root),
    ]
    scripts = [
        latex2text.SpecialsTextSpec("_", _script),
        latex2text.SpecialsTextSpec("^", _script),
    ]
    texts.add_context_category("here", prepend=True, macros=macros, specials=scripts)
    texts.set_unknown_macro_spec(
        latex2text.MacroTextSpec("", lambda node: str(node.latex_verbatim()))
    )
    parsed = latexwalker.get_default_latex_context_db()
    argument = macrospec.MacroStandardArgsParser("{")
    parsed.add_context_category(
        "here",
        prepend=True,
        specials=[macrospec.SpecialsSpec(sign, args_parser=argument) for sign in "_^"],
    )
    return latex2text.LatexNodes2Text(texts, math_mode="text", strict_latex_spaces=True), parsed


def _script(node: Any, l2tobj: latex2text.LatexNodes2Text) -> str:
    """An index or a power: digits small, a word as it is, anything longer in brackets."""
    told = str(l2tobj.node_arg_to_text(node, 0)).strip()
    if re.fullmatch(r"-?\d+", told):
        return told.translate(str.maketrans(_DIGITS, _DOWN if node.specials_chars == "_" else _UP))
    what = _bracketed(told, r".|\w+|\([^()]*\)")
    return f"{node.specials_chars}{what}{_END}"


def _fraction(node: Any, l2tobj: latex2text.LatexNodes2Text) -> str:
    """A quotient in brackets: a product may stand above, below one factor alone."""
    over, under = (str(l2tobj.node_arg_to_text(node, k)).strip() for k in (0, 1))
    return f"({_bracketed(over, '[^-+/ ]+')}/{_bracketed(under, f'√?.[{_SMALL}]*')})"


def _root(node: Any, l2tobj: latex2text.LatexNodes2Text) -> str:
    return "√" + _bracketed(str(l2tobj.node_arg_to_text(node, 1)).strip(), ".")


def _bracketed(told: str, alone: str) -> str:
    """In brackets, unless it matches what may stand alone."""
    return told if re.fullmatch(alone, told) else f"({told})"
