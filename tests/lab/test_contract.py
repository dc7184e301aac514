"""An experiment keeps to its contract: each slip gets a sentence that names it, no traceback."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

from companion.errors import ContractError
from companion.lab.contract import check_declared, check_found, check_verdicts, reported
from companion.lab.controls import Lie
from companion.lab.results import Check, Verdict
from companion.lab.settings import Settings

CHECK = Check("yes", "it", "1", "at most 2", "a factor 2")
GOOD = Verdict("du2019-thm4.1", "holds", "$a$", "It holds.", (CHECK,))
LIE = Lie("twice", lambda settings, found: found)


def saying(**changes: str) -> Verdict:
    """The good verdict with another check."""
    return replace(GOOD, checks=(replace(CHECK, **changes),))


def module(**changes: object) -> ModuleType:
    """An experiment that keeps to the contract, but for what is changed; None removes."""
    made = ModuleType("companion.experiments.du2019.made")
    declared: dict[str, object] = {
        "QUICK": Settings(),
        "PAPER": Settings(),
        "EXPECTED": {"du2019-thm4.1": "holds"},
        "CONTROLS": {"du2019-thm4.1": LIE},
        "summary": lambda settings: "Nothing.",
        "run": lambda settings, device: None,
        "values": lambda settings, found: {},
        "judge": lambda settings, found: [],
        "cost": lambda settings: None,
    }
    for name, value in {**declared, **changes}.items():
        if value is not None:
            setattr(made, name, value)
    return made


def test_an_experiment_that_keeps_to_it_is_taken() -> None:
    check_declared("du2019/made", module())
    check_declared("du2019/made", module(PAPER_EXPECTED={"du2019-thm4.1": "inconclusive"}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"QUICK": None}, r"made\.py declares no QUICK"),
        ({"PAPER": {"width": 3}}, "declares no PAPER"),
        ({"cost": None}, r"declares no function cost\(settings\)"),
        ({"judge": lambda result: []}, r"no function judge\(settings, found\)"),
        ({"run": lambda device, settings: None}, r"no function run\(settings, device\)"),
        ({"EXPECTED": None}, "declares no EXPECTED"),
        ({"EXPECTED": ["du2019-thm4.1"]}, "declares no EXPECTED"),
        ({"EXPECTED": {"du2019-thm4.2": "holds"}}, "'du2019-thm4.2', which is no row"),
        ({"EXPECTED": {"du2019-thm4.1": "hold"}}, "expects 'hold' of du2019-thm4.1; an outcome"),
        (
            {"PAPER_EXPECTED": {"du2019-thm4.1": "hold"}},
            "expects 'hold' of du2019-thm4.1; an outcome",
        ),
        (
            {"PAPER_EXPECTED": {"du2019-thm4.1": "holds"}},
            "has 'du2019-thm4.1' in PAPER_EXPECTED, which is for claims of EXPECTED with another",
        ),
        ({"PAPER_EXPECTED": {"du2019-lem3.1": "fails"}}, "has 'du2019-lem3.1' in PAPER_EXPECTED"),
        ({"summary": None}, r"no function summary\(settings\)"),
        ({"summary": "Nothing."}, r"no function summary\(settings\)"),
        ({"CONTROLS": None}, "has no control for du2019-thm4.1; write CONTROLS"),
        ({"CONTROLS": {}}, "has no control for du2019-thm4.1"),
        ({"CONTROLS": {"du2019-thm4.1": "twice"}}, "has no control for du2019-thm4.1"),
        (
            {"CONTROLS": {"du2019-thm4.1": LIE, "du2019-lem3.1": LIE}},
            "has a control for 'du2019-lem3.1', which is not in EXPECTED",
        ),
    ],
)
def test_what_is_not_declared_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_declared("du2019/made", module(**changes))


def dataset(values: list[float], **attributes: str) -> xr.Dataset:
    return xr.Dataset({"misfit": ("seed", values)}, attrs=attributes)


def test_found_arrays_are_taken() -> None:
    check_found("du2019/made", dataset([1.0, 2.0], data="drawn"), ())
    check_found("du2019/made", dataset([1.0, np.nan], data="drawn"), ("misfit",))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"misfit": np.ones(2)}, "returned dict; return an xarray.Dataset"),
        (None, "returned NoneType"),
        (dataset([1.0]), "does not say what it computed on"),
        (dataset([1.0, np.nan], data="drawn"), "NaN in 'misfit'.*MAY_BE_MISSING"),
    ],
)
def test_what_run_may_not_return_is_refused(found: object, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_found("du2019/made", found, ())


def test_good_verdicts_are_taken() -> None:
    check_verdicts("du2019/made", ["du2019-thm4.1"], [GOOD])
    check_verdicts("du2019/made", ["du2019-thm4.1"], [saying(slack="")])


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (None, "did not return a list of verdicts"),
        ([GOOD, "holds"], "did not return a list of verdicts"),
        ([], "does not judge 'du2019-thm4.1'"),
        ([GOOD, GOOD], "judges 'du2019-thm4.1' 2 times"),
        ([GOOD, replace(GOOD, claim="du2019-thm4")], "judges 'du2019-thm4', which is not in"),
        ([replace(GOOD, outcome="hold")], "gives du2019-thm4.1 the outcome 'hold'"),
        ([replace(GOOD, checks=())], "says nothing as 'measured'"),
        ([saying(tolerance="")], "says nothing as 'tolerance'"),
        ([saying(measured="1|2")], r"writes a '\|' or a new line in 'measured'"),
        ([saying(slack="1\n2")], r"writes a '\|' or a new line in 'slack'"),
        ([replace(GOOD, predicted="$|a|$")], r"writes a '\|' or a new line in 'predicted'"),
        ([replace(GOOD, sentence="one\ntwo")], "new line in 'sentence'"),
    ],
)
def test_other_verdicts_are_refused(verdicts: object, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_verdicts("du2019/made", ["du2019-thm4.1"], verdicts)


def test_a_judge_that_raises_is_told_with_its_line() -> None:
    source = "\n\ndef judge(settings, found):\n    return found['misift']\n"
    made: dict[str, object] = {}
    where = "/anywhere/companion/experiments/du2019/made.py"
    exec(compile(source, where, "exec"), made)
    with (
        pytest.raises(
            ContractError, match=r"judge of .*made\.py, line 4 raised KeyError: .*misift"
        ),
        reported("du2019/made", "judge"),
    ):
        made["judge"](None, {"misfit": 1})  # type: ignore[operator]


def test_what_odd_settings_bring_about_is_nobody_s_slip() -> None:
    with pytest.raises(ZeroDivisionError), reported("du2019/made", "judge"):
        _ = 1 / 0
