"""Verdicts on fresh seeds: what is counted, what is kept, when it has to be counted again."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import xarray as xr

from companion.errors import DamagedError, DivergedError, InputError, MissingDataError
from companion.lab import catalog, fresh, provenance
from companion.lab.controls import Lie
from companion.lab.experiment import load
from companion.lab.fingerprint import fingerprint
from companion.lab.fresh import Count, Family, counted, identity_of, is_done, keep, repeat
from companion.lab.reproduce import reproduce
from companion.lab.results import Check, Verdict

# It has one claim, of which "holds" is expected.
NAME, CLAIM = "zou2018/data_separation", "zou2018-ass3.5"
fingerprints = sys.modules[fingerprint.__module__]


@pytest.fixture
def counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's counts are kept."""
    path = tmp_path / "fresh.json"
    monkeypatch.setattr(provenance, "COUNTS", path)
    return path


@pytest.fixture
def flipping(store: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An experiment whose judge looks at the seed: `outcomes` by seed, else it holds.

    `ran` are the seeds that it really ran with, and `refused` those that it refuses to run with.
    """
    made = SimpleNamespace(outcomes={}, ran=[], refused={})

    def run(settings, device):
        made.ran.append(settings.first_seed)
        if settings.first_seed in made.refused:
            raise made.refused[settings.first_seed]
        return xr.Dataset({"x": float(settings.first_seed)}, attrs={"data": "none"})

    def judge(settings, found):
        outcome = made.outcomes.get(int(found.x), "holds")
        return [Verdict(CLAIM, outcome, "it is", "So.", (Check("yes", "x", "1", "1"),))]

    for name, what in {
        "run": run,
        "judge": judge,
        "values": lambda settings, found: {},
        "summary": lambda settings: "All.",
        "CONTROLS": {CLAIM: Lie("it is not", lambda settings, found: found)},
    }.items():
        monkeypatch.setattr(load(NAME), name, what)
    return made


def repeated(count: int = 10, **options) -> dict[str, Count]:
    return counted(catalog.expected(NAME), list(repeat(NAME, count, **options)))


def test_a_verdict_that_flips_for_one_family_stays_in_nine_of_ten_and_the_seed_is_told(
    flipping: SimpleNamespace,
) -> None:
    flipping.outcomes = {3_000_000: "fails"}
    (count,) = repeated().values()
    assert (count.stayed, count.families, count.others) == (9, 10, {"fails": (3_000_000,)})
    assert not count.is_rare
    assert flipping.ran == [1_000_000 * k for k in range(1, 11)]


def test_in_eight_of_ten_it_is_rare_whatever_the_others_are(flipping: SimpleNamespace) -> None:
    flipping.outcomes = {2_000_000: "inconclusive"}
    flipping.refused = {5_000_000: DivergedError("training has diverged by step 3.")}
    found = repeated()
    assert found[CLAIM].others == {"inconclusive": (2_000_000,), "no verdict": (5_000_000,)}
    assert list(fresh.rare(found)) == [CLAIM]
    (problem,) = (f.problem for f in repeat(NAME, 10) if f.first_seed == 5_000_000)
    assert problem == "training has diverged by step 3."


@pytest.mark.parametrize(("families", "stayed", "is_rare"), [
    (10, 9, False), (10, 8, True), (20, 18, False), (20, 17, True), (1, 1, False), (1, 0, True),
])  # fmt: skip
def test_nine_tenths_is_the_line(families: int, stayed: int, is_rare: bool) -> None:
    others = {"fails": tuple(range(families - stayed))} if stayed < families else {}
    assert Count(outcome="holds", stayed=stayed, others=others).is_rare is is_rare


def test_a_repetition_that_was_stopped_computes_nothing_twice(flipping: SimpleNamespace) -> None:
    flipping.refused = {4_000_000: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        repeated()
    assert flipping.ran == [1_000_000, 2_000_000, 3_000_000, 4_000_000]
    flipping.ran, flipping.refused = [], {}
    assert repeated()[CLAIM].stayed == 10
    assert flipping.ran == [1_000_000 * k for k in range(4, 11)]
    assert repeated()[CLAIM].stayed == 10
    assert len(flipping.ran) == 7


def test_with_settings_of_one_s_own_their_verdict_is_to_stay(flipping: SimpleNamespace) -> None:
    flipping.outcomes = dict.fromkeys([0, *(1_000_000 * k for k in range(1, 10))], "fails")
    own = fresh.wanted(NAME, "quick", "cpu", {"seeds": 2})
    assert own == {CLAIM: "fails"}
    count = counted(own, list(repeat(NAME, 10, overrides={"seeds": 2})))[CLAIM]
    assert (count.stayed, count.others) == (9, {"holds": (10_000_000,)})
    assert fresh.wanted(NAME, "quick", "cpu", {}) == {CLAIM: "holds"}


@pytest.mark.parametrize(
    ("name", "families", "overrides", "told"),
    [
        (NAME, 0, {}, "0 families of seeds were asked for; ask for at least 1."),
        ("zou2018/losses", 10, {}, "zou2018/losses draws nothing from seeds, so there is nothing"),
        (NAME, 10, {"first_seed": 7}, "first_seed is 1000000, 2000000 and so on"),
        (NAME, 10, {"seeds": 1_000_000}, "families of fresh seeds lie 1000000 apart"),
        (NAME, 10, {"sedes": 1}, "there is no setting 'sedes'; did you mean 'seeds'?"),
        ("zou2018/data_seperation", 10, {}, "did you mean 'zou2018/data_separation'?"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    flipping: SimpleNamespace, name: str, families: int, overrides: dict, told: str
) -> None:
    with pytest.raises(InputError) as refusal:
        repeat(name, families, overrides=overrides)  # not even begun
    assert told in str(refusal.value)
    assert flipping.ran == []


def test_missing_data_are_no_matter_of_seeds(flipping: SimpleNamespace) -> None:
    flipping.refused = {2_000_000: MissingDataError("CIFAR-10 is not here.")}
    with pytest.raises(MissingDataError):
        repeated()


def whole_numbers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from whole_numbers(each)


@pytest.mark.parametrize("name", catalog.experiments())
def test_no_profile_draws_into_the_next_family(name: str) -> None:
    """What may count draws is well below the distance of families, and begins at the first."""
    counting = {"seeds", "draws", "trials", "matrices", "runs"}
    for settings in (load(name).QUICK, load(name).PAPER):
        told = dict(settings)
        known = [n for key in counting & told.keys() for n in whole_numbers(told[key])]
        assert 2 * max(known, default=0) < fresh.STEP
        assert told.get("first_seed", 0) == 0


FAMILIES = [Family(1_000_000, {CLAIM: "holds"}), Family(2_000_000, {CLAIM: "fails"})]


def test_counts_are_kept_beside_others_and_name_what_they_are_of(counts: Path) -> None:
    keep("zou2018/losses", "other", "abc", [Family(1, {})])
    kept = keep(NAME, identity_of(NAME), "0123abcd+changes", FAMILIES)
    told = json.loads(counts.read_text())
    assert list(told) == [NAME, "zou2018/losses"]
    assert told[NAME]["claims"] == {
        CLAIM: {"outcome": "holds", "stayed": 1, "others": {"fails": [2_000_000]}}
    }
    assert (told[NAME]["commit"], told[NAME]["families"]) == ("0123abcd+changes", 2)
    assert (told[NAME]["identity"], told[NAME]["data"]) == (identity_of(NAME), "drawn from seeds")
    assert fresh.repetitions()[NAME] == kept
    assert fresh.on_fresh_seeds(NAME).state == "repeated"
    assert fresh.on_fresh_seeds(NAME).claims[CLAIM].stayed == 1


def test_what_is_counted_is_not_counted_again_and_what_gave_no_verdict_is(counts: Path) -> None:
    assert not is_done(NAME, 2)
    keep(NAME, identity_of(NAME), "abc", FAMILIES)
    assert is_done(NAME, 2)
    assert not is_done(NAME, 3)
    keep(NAME, identity_of(NAME), "abc", [*FAMILIES[:1], Family(2_000_000, {}, "diverged")])
    assert not is_done(NAME, 2)


def test_other_settings_sources_or_expectations_are_a_change_and_other_seeds_are_none(
    counts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, quick = identity_of(NAME), load(NAME).QUICK
    keep(NAME, known, "abc", FAMILIES)
    with monkeypatch.context() as patch:
        patch.setattr(load(NAME), "QUICK", quick.override({"first_seed": 7}))
        assert identity_of(NAME) == known
        patch.setattr(load(NAME), "QUICK", quick.override({"dimension": 11}))
        assert identity_of(NAME) != known
        assert fresh.on_fresh_seeds(NAME).state == "before-a-change"
        assert not is_done(NAME, 2)
    real = fingerprints.sources_of

    def other(part: str):
        def sources(name: str, roots: tuple[str, ...]) -> dict[str, str]:
            told = real(name, roots)
            return {key: "other" if key.startswith(part) else each for key, each in told.items()}

        return sources

    for part, same in (
        (f"companion.experiments.{NAME.replace('/', '.')}:run", False),
        (f"companion.experiments.{NAME.replace('/', '.')}:judge", False),
        ("companion.lab.checks:at_most", False),
        ("companion.lab.words:number", True),
    ):
        assert any(key.startswith(part) for key in real(NAME, ("run", "judge")))
        with monkeypatch.context() as patch:
            patch.setattr(fingerprints, "sources_of", other(part))
            assert (identity_of(NAME) == known) is same
    monkeypatch.setattr(fresh, "expected", lambda name: {CLAIM: "fails"})
    assert identity_of(NAME) != known


def test_without_counts_nothing_was_repeated_and_without_seeds_nothing_can_be(
    counts: Path,
) -> None:
    assert fresh.on_fresh_seeds(NAME).state == "not-repeated"
    assert fresh.on_fresh_seeds("zou2018/losses").state == "nothing-drawn"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"stayed": 1', '"stayed": 2', f"{CLAIM} is counted in 3 of 2"),
        ('"stayed": 1', '"stayed": -1', "greater than or equal to 0"),
        ('"families": 2', '"family": 2', "Field required"),
        ("{", "<<<<<<< HEAD\n{", "no JSON"),
        ("{", "[1]", "no JSON"),
    ],
)
def test_counts_that_do_not_add_up_are_refused_and_left_alone(
    counts: Path, old: str, new: str, told: str
) -> None:
    keep(NAME, identity_of(NAME), "abc", FAMILIES)
    doctored = counts.read_text().replace(old, new, 1)
    counts.write_text(doctored)
    with pytest.raises(DamagedError) as refusal:
        keep(NAME, identity_of(NAME), "abc", FAMILIES)
    assert told in str(refusal.value)
    assert "is not as 'companion fresh' writes it" in str(refusal.value)
    assert counts.read_text() == doctored


def test_a_repetition_is_the_run_with_that_first_seed(store: Path) -> None:
    """With the real experiment: another road to a family's verdict."""
    tiny = {"counts": (8, 12), "seeds": 1}
    (family,) = repeat(NAME, 1, overrides=tiny)
    own = reproduce(NAME, first_seed=1_000_000, **tiny)
    assert family.outcomes == {verdict.claim: verdict.outcome for verdict in own.verdicts}
    assert own.settings["first_seed"] == family.first_seed
    assert len(list(store.rglob("*.json"))) == 1
