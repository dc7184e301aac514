"""A part of a record computed again: it agrees with the record it is of, and with no other."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from companion.errors import ContractError, DamagedError, InputError, MissingDataError
from companion.lab import catalog
from companion.lab.experiment import load
from companion.lab.fingerprint import basis
from companion.lab.replay import compared, replayed
from companion.lab.replay_plan import Drawn, draw_replay, readable_record, replay_problems
from companion.lab.reproduce import iter_records
from companion.lab.results import Result, read_result
from companion.lab.settings import SeededSettings
from tests.lab.small_record import REPLAY, doctor
from tests.lab.tiny_run import NAME, TINY

RECORDS = [record.experiment for record in iter_records()]
# Parts that take a second or two; all others are computed by `make verify`.
CHEAP = {"du2019/explicit_width": 0, "chen2021/image_runs": 0}


def numbers(payload: dict, array: str) -> list:
    items: list = payload["found"]["arrays"][array]["items"]
    return items


def test_a_replay_agrees_with_its_record_and_says_what_it_is(record: Path) -> None:
    known = read_result(record)
    for seed in range(4):
        row = replayed(NAME, seed)
        assert (row.outcome, row.largest, row.why) == ("agrees", 0.0, "")
        assert set(row.skipped or ()) == {
            "distance", "farthest", "frozen_distance", "rms_distance",
        }  # fmt: skip
        assert row.compared == len(known.arrays) - 4
        assert "steps 3 of 5" in row.recomputed
        assert row.allowed == pytest.approx(10 * np.finfo(float).eps ** 0.5)
    assert row.flop == load(NAME).cost(load(NAME).PAPER).flops


def test_the_seed_draws_the_part_and_every_part_is_drawn_at_some_time(record: Path) -> None:
    known = readable_record(NAME)
    drawn = [draw_replay(known, seed) for seed in range(60)]
    assert drawn[7].words == draw_replay(known, 7).words
    assert {part.settings.first_seed for part in drawn} == {0, 1}  # type: ignore[attr-defined]
    assert {part.settings.widths for part in drawn} == {(20, 40), (20, 80), (40, 80)}  # type: ignore[attr-defined]
    assert {part.settings.steps for part in drawn} == {3}  # type: ignore[attr-defined]


DOCTORED: dict[str, tuple[Callable[[dict], object], str]] = {
    "a number": (lambda p: numbers(p, "misfit").__setitem__(0, 1.001), "misfit"),
    "another setting": (lambda p: p["settings"].update(dimension=9), "misfit"),
    "the order of the seeds": (
        lambda p: p["found"]["coordinates"]["seed"].update(items=[1, 0]),
        "misfit",
    ),
    "an array that is gone": (lambda p: p["found"]["arrays"].pop("lambda_0"), "lambda_0"),
    "an array that was never there": (
        lambda p: p["found"]["arrays"].update(other=p["found"]["arrays"]["lambda_0"]),
        "other",
    ),
    "a number that is none": (lambda p: numbers(p, "lambda_min").__setitem__(0, None), "lambda_"),
}


@pytest.mark.parametrize("what", DOCTORED)
def test_a_doctored_record_is_caught(record: Path, what: str) -> None:
    change, where = DOCTORED[what]
    # The seed draws the first seed and the first width, where the numbers are that are changed.
    seed = next(s for s in range(99) if first_of(draw_replay(readable_record(NAME), s)))
    doctor(record, change)
    row = replayed(NAME, seed)
    assert row.outcome == "differs"
    assert row.largest > row.allowed
    assert where in row.where or what in ("another setting", "the order of the seeds")


def first_of(part: Drawn) -> bool:
    settings = part.settings
    assert isinstance(settings, SeededSettings)
    return settings.first_seed == 0 and settings.widths[0] == TINY["widths"][0]  # type: ignore[attr-defined]


def of_arrays(known: xr.Dataset, again: xr.Dataset, **declared: object) -> dict[str, float]:
    """Array -> how far two results are apart that have nothing to do with any experiment."""
    settings = load(NAME).QUICK
    record = Result(NAME, settings.model_dump(mode="json"), known)
    differences, _ = compared(again, Drawn(record, declared, settings, {"steps": 1}))  # type: ignore[arg-type]
    return {each.array: each.apart for each in differences if each.apart > each.allowed}


def test_counts_flags_and_words_are_equal_and_other_numbers_to_half_of_their_digits() -> None:
    known = xr.Dataset(
        {
            "number": ("x", [1.0, -4.0]),
            "count": ("x", [10**9, 3]),
            "flag": ("x", [True, False]),
            "word": ("x", ["a", "b"]),
        }
    )
    assert of_arrays(known, known) == {}
    near, far = 4.0 * (1 + 1.4e-7), 4.0 * (1 + 1.6e-7)
    assert of_arrays(known, known.assign(number=("x", [1.0, -near]))) == {}
    assert list(of_arrays(known, known.assign(number=("x", [1.0, -far])))) == ["number"]
    assert list(of_arrays(known, known.assign(count=("x", [10**9 + 1, 3])))) == ["count"]
    assert list(of_arrays(known, known.assign(flag=("x", [True, True])))) == ["flag"]
    assert list(of_arrays(known, known.assign(word=("x", ["a", "c"])))) == ["word"]
    turned = known.assign(number=("y", [1.0, -4.0]))
    assert of_arrays(known, turned) == {"number": np.inf}


def test_what_a_solver_gives_is_known_to_half_the_digits_of_its_tolerance() -> None:
    known = xr.Dataset({"flow": ("x", [1.0, 4.0]), "other": ("x", [1.0, 4.0])})
    again = known + 4 * 1e-3
    declared = {"solved": {"flow": "delta"}}  # a setting of 0.1, so more than all is allowed
    assert list(of_arrays(known, again, **declared)) == ["other"]


def test_a_statistic_lies_in_the_interval_that_the_record_has() -> None:
    known = xr.Dataset({n: ("x", [v, np.nan]) for n, v in (("w", 5.0), ("low", 4.0), ("up", 6.0))})
    between = {"w": ("low", "up")}
    inside = known.assign(w=("x", [5.9, np.nan]), low=("x", [5.0, 2.0]))
    assert of_arrays(known, inside, between=between) == {}
    for width in (6.1, np.nan):
        outside = known.assign(w=("x", [width, np.nan]))
        assert of_arrays(known, outside, between=between) == {"w": np.inf}
    one_too_many = known.assign(w=("x", [5.0, 5.0]))  # where the record has found nothing
    assert of_arrays(known, one_too_many, between=between) == {"w": np.inf}


def test_places_along_a_dimension_are_told_by_an_array() -> None:
    known = xr.Dataset({"at": ("look", [0, 10, 20]), "loss": ("look", [3.0, 2.0, 1.0])})
    again = xr.Dataset({"at": ("look", [0, 5, 20]), "loss": ("look", [3.0, 9.0, 1.0])})
    places = {"look": "at"}
    assert of_arrays(known, again, places=places) == {}
    assert list(of_arrays(known, again.assign(loss=("look", [3.0, 9.0, 2.0])), places=places)) == [
        "loss"
    ]
    with pytest.raises(InputError, match="has no place along look that the record has"):
        of_arrays(known, again.assign(at=("look", [1, 2, 3])), places=places)


def test_what_a_replay_leaves_out_is_not_compared() -> None:
    known = xr.Dataset({"loss": ("way", [1.0, 2.0])}, {"way": ["short", "long"]})
    again = known.assign(loss=("way", [1.0, np.nan]))
    assert of_arrays(known, again) == {"loss": np.inf}
    assert of_arrays(known, again, only={"way": ("short",)}) == {}
    assert list(of_arrays(known, again + 1, only={"way": ("short",)})) == ["loss"]


def test_a_replay_that_is_longer_than_its_record_is_refused(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for declared, sentence in (
        ({"one_of": ({"steps": 6},)}, "asks for steps=6, which is more than the record's 5"),
        ({"one_of": ({"widths": (20, 50)},)}, r"asks for widths=20 and 50, which is more than"),
        ({"few": {"seeds": 3}}, "draws 3 of seeds, of which the record has 2"),
    ):
        monkeypatch.setattr(load(NAME), "REPLAY", declared)
        with pytest.raises(InputError, match=sentence):
            replayed(NAME, 0)
    known = xr.Dataset({"loss": ("step", [3.0, 2.0]), "w": ("width", [1.0])}, {"width": [20]})
    with pytest.raises(InputError, match="is longer than the record: loss has 3 numbers"):
        of_arrays(known, known.drop_dims("step").assign(loss=("step", [3.0, 2.0, 1.0])))
    with pytest.raises(InputError, match="has width=40, which the record does not have"):
        of_arrays(known, known.assign_coords(width=[40]))


def test_a_replay_that_compares_nothing_is_refused() -> None:
    known = xr.Dataset({"loss": ("step", [3.0, 2.0])})
    with pytest.raises(ContractError, match="leaves nothing to compare"):
        of_arrays(known, known, hangs_on={"*": (("steps",), "so it is")})


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (None, "has a record and no REPLAY"),
        ({"fewer": {}}, "has 'fewer' in its REPLAY, which knows one_of, few"),
        ({"one_of": ({"stepps": 3},)}, "names 'stepps' in its REPLAY"),
        ({"few": {"depths": 1}}, "names 'depths' in its REPLAY"),
        ({"hangs_on": {"a": (("b",), "c")}}, "names 'b' in its REPLAY"),
        ({"absent": {"a": ("b",)}}, "names 'b' in its REPLAY"),
        ({"solved": {"a": "b"}}, "names 'b' in its REPLAY"),
    ],
)
def test_a_replay_that_is_not_as_it_has_to_be_is_told(declared: object, sentence: str) -> None:
    (problem,) = replay_problems(NAME, declared)
    assert sentence in problem
    assert list(replay_problems(NAME, REPLAY)) == []


def test_records_that_cannot_be_computed_again_are_refused(record: Path) -> None:
    text = record.read_text()
    doctor(record, lambda payload: payload.update(basis={}))
    with pytest.raises(InputError, match="does not say what it was computed with"):
        replayed(NAME, 0)
    record.write_text(text)
    doctor(record, lambda payload: payload.pop("device") and payload.update(extra=1))
    with pytest.raises(DamagedError, match="is not as this version writes it"):
        replayed(NAME, 0)
    record.write_text(text[:-9])
    with pytest.raises(DamagedError, match="damaged"):
        replayed(NAME, 0)
    record.write_text(text)
    doctor(record, lambda payload: payload["settings"].update(momentum=1))
    with pytest.raises(InputError, match="settings of another version: momentum"):
        replayed(NAME, 0)


def test_what_data_or_device_are_missing_for_is_left_out_and_other_refusals_differ(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, outcome in ((MissingDataError, "left out"), (InputError, "differs")):
        with monkeypatch.context() as patch:
            patch.setattr(load(NAME), "run", raising(error("It is not here.")))
            row = replayed(NAME, 0)
        assert (row.outcome, row.why, row.compared) == (outcome, "It is not here.", 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    doctor(record, lambda payload: payload.update(device="cuda"))
    row = replayed(NAME, 0)
    assert (row.outcome, row.compared) == ("left out", 0)
    assert "no GPU" in row.why


def raising(error: Exception) -> Callable[[object, str], xr.Dataset]:
    def run(settings: object, device: str) -> xr.Dataset:
        raise error

    return run


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_says_how_it_is_computed_again(name: str) -> None:
    declared = catalog.constant(name, "REPLAY")  # a literal, as no run may reach it
    assert list(replay_problems(name, declared)) == []
    known = readable_record(name)
    for seed in range(12):
        drawn = draw_replay(known, seed)
        assert load(name).cost(drawn.settings).flops > 0
        assert drawn.words


def test_what_a_replay_is_does_not_enter_fingerprints() -> None:
    name = RECORDS[0]
    parts = basis(name, load(name).PAPER, "cpu")
    assert not [key for key in parts if "REPLAY" in key]


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_part_of_a_committed_record_agrees(name: str) -> None:
    row = replayed(name, CHEAP[name])
    if row.outcome == "left out":
        pytest.skip(row.why)
    assert row.outcome == "agrees", dataclasses.asdict(row)
    assert row.compared >= 5


def test_all_records_together_are_small() -> None:
    files = (catalog.BOOK / "records").rglob("*.json")
    assert sum(path.stat().st_size for path in files) < 20e6
