"""Grids of runs: every point once, with its axes' names, kept in parts until the whole is done."""

import numpy as np
import pytest
import xarray as xr

from companion.base.files import read_checked, write_checked
from companion.lab.sweep import PARTS, Parts, checkpoint, sweep


def point(*, seed, width):
    return {
        "sum": seed + width,
        "line": ("step", np.arange(3.0) * width + seed),
        "table": (("eta", "layer"), np.full((2, 2), width, dtype=np.float32)),
        "step": ("step", [0, 5, 10]),
        "word": f"{seed} of {width}",
        "even": seed % 2 == 0,
    }


@pytest.fixture
def parts(tmp_path):
    """As of a run under way."""
    token = PARTS.set(Parts(tmp_path / "run.parts"))
    yield tmp_path / "run.parts"
    PARTS.reset(token)


def again(folder):
    """The same run, started once more."""
    PARTS.set(Parts(folder))


def test_every_point_is_where_its_axes_say():
    found = sweep("runs", point, seed=range(2), width=(10, 20, 40))
    assert found["sum"].dims == ("seed", "width")
    assert found["line"].dims == ("seed", "width", "step")
    assert found["table"].dims == ("seed", "width", "eta", "layer")
    assert found["step"].dims == ("step",)
    for seed in range(2):
        for width in (10, 20, 40):
            here = found.sel(seed=seed, width=width)
            alone = point(seed=seed, width=width)
            assert int(here["sum"]) == alone["sum"]
            assert here["line"].values.tolist() == alone["line"][1].tolist()
            assert here["step"].values.tolist() == [0, 5, 10]
            assert str(here["word"].values) == alone["word"]
            assert bool(here["even"]) == alone["even"]
    assert found["table"].dtype == np.float32


def test_one_axis_and_words_on_it():
    found = sweep("kinds", lambda kind: {"length": len(kind)}, kind=["du", "zou", "chen"])
    assert found["length"].sel(kind="zou") == 3
    assert found["length"].values.tolist() == [2, 3, 4]


def test_outside_a_run_a_checkpoint_only_computes():
    found = checkpoint("part", lambda: {"x": ("step", np.ones(2)), "y": 3})
    assert isinstance(found, xr.Dataset)
    assert found["x"].values.tolist() == [1, 1]
    assert int(found["y"]) == 3


def test_what_was_kept_is_not_computed_again_and_is_the_same(parts):
    made = []

    def counted(**at):
        made.append(at)
        return point(**at)

    first = sweep("runs", counted, seed=range(2), width=(10, 20))
    assert len(made) == len(list(parts.glob("*.json"))) == 4
    again(parts)
    second = sweep("runs", counted, seed=range(2), width=(10, 20))
    assert len(made) == 4
    assert second.identical(first)
    for name in first.variables:
        assert second[name].dtype == first[name].dtype
    again(parts)
    more = sweep("runs", counted, seed=range(3), width=(10, 20))
    assert made[4:] == [{"seed": 2, "width": 10}, {"seed": 2, "width": 20}]
    assert more.isel(seed=slice(2)).identical(first)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text(path.read_text().replace("[", "[1", 1)),
        lambda path: path.write_text(path.with_name("runs-seed1.json").read_text()),
        lambda path: write_checked(path, read_checked(path) | {"arrays": 3}),
        lambda path: write_checked(path, {"part": "runs-seed0"}),
    ],
    ids=["emptied", "changed", "another part", "other arrays", "nothing but a name"],
)
def test_a_damaged_part_is_set_aside_and_computed_again(parts, caplog, damage):
    made = []
    first = sweep("runs", lambda seed: made.append(seed) or {"x": seed**2}, seed=range(3))
    damage(parts / "runs-seed0.json")
    again(parts)
    second = sweep("runs", lambda seed: made.append(seed) or {"x": seed**2}, seed=range(3))
    assert made == [0, 1, 2, 0]
    assert second.identical(first)
    assert "runs-seed0.json" in caplog.text


def test_two_parts_of_one_name_are_refused(parts):
    """The second would be given the arrays of the first."""
    checkpoint("part", lambda: {"x": 1.0})
    with pytest.raises(ValueError, match="two parts of a run have the name 'part'"):
        checkpoint("part", lambda: {"x": 2.0})


@pytest.mark.parametrize(
    ("compute", "axes", "told"),
    [
        (lambda k: {"x": ("step", np.ones(k))}, {"k": [1, 2]}, "at {'k': 2} than at {'k': 1}"),
        (lambda k: {"x" if k else "y": 1.0}, {"k": [0, 1]}, "gives other arrays at {'k': 1}"),
        (lambda k: {"x": 1.0} | ({"y": 1.0} if k else {}), {"k": [0, 1]}, "other arrays"),
        (lambda k: {"x": ("ab"[k], [1.0])}, {"k": [0, 1]}, "other arrays"),
        (lambda k: {"x": ("s", [1.0]), "s": ("s", [k])}, {"k": [0, 1]}, "other arrays"),
        (lambda k: {"x": ("k", [1.0])}, {"k": [0, 1]}, r"axes that are dimensions .*\['k'\]"),
        (lambda k: {"x": 1.0}, {"k": []}, "has an axis without values"),
    ],
)
def test_points_that_do_not_stack_are_refused(compute, axes, told):
    with pytest.raises(ValueError, match=f"sweep 'runs' .*{told}"):
        sweep("runs", compute, **axes)
