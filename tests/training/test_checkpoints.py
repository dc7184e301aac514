"""Runs that stop and go on, equal bit for bit, and files that are of no such run."""

import copy
import io
import json
import math
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from companion import matmul
from companion.draws import Batches
from companion.errors import InputError
from companion.fleets import train_fleet
from companion.losses import CROSS_ENTROPY, EXPONENTIAL
from companion.matmul import using
from companion.monitors import Every, PatternDifference, largest_loss, mean_loss
from companion.networks import draw_chen
from companion.training import Checkpoint, checkpoints, flow, train
from tests.oracles import NETWORKS
from tests.training.cases import RECORD, case, counted


class Interrupted(Exception):
    """Stands for a session that is cut off."""


def interruptible(moment):
    """The mean loss; cut off at the step that the environment names, so it stays the same code."""
    if moment.step == int(os.environ.get("CUT_OFF_AT", -1)):
        raise Interrupted
    return mean_loss(moment)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batches", [None, Batches(4, "epochs")])
@pytest.mark.parametrize("seconds", [0, 1e9])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(monkeypatch, tmp_path, dtype, batches, seconds):
    """With monitors before and after the one that fails, whose memory of the step is undone."""
    network, x, y = case(draw_chen, dtype=dtype)
    path = tmp_path / "run.npz"
    record = {**RECORD, "cut off": interruptible, "flips": PatternDifference("last")}
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 11, "batches": batches}
    options["record"] = record
    whole = train(network, x, y, **options)
    kept = {"checkpoint": Checkpoint(path, seconds)}
    monkeypatch.setenv("CUT_OFF_AT", "5")
    with pytest.raises(Interrupted) as cut:
        train(network, x, y, **options, **kept)
    monkeypatch.delenv("CUT_OFF_AT")
    so_far = cut.value.history
    assert (so_far.steps, so_far.ending) == (5, "interrupted")
    for name in record:
        count = sum(step < 5 for step in whole.at[name])
        assert np.array_equal(so_far.at[name], whole.at[name][:count])
        assert np.array_equal(so_far[name], whole[name][:count])
    made = counted(monkeypatch)
    resumed = train(network, x, y, **options, **kept)
    assert len(made) == 11 - 5
    again = train(network, x, y, **options, **kept)
    assert len(made) == 11 - 5
    longer = train(network, x, y, **{**options, "steps": 13}, **kept)
    straight = train(network, x, y, **{**options, "steps": 13})
    for other, known in [(resumed, whole), (again, whole), (longer, straight)]:
        for a, b in zip(other.network.parameters, known.network.parameters, strict=True):
            assert torch.equal(a, b)
        for name in record:
            assert np.array_equal(other.at[name], known.at[name])
            assert np.array_equal(other[name], known[name])
            assert other[name].dtype == known[name].dtype


@pytest.mark.parametrize("draw", [draw for draw, _ in NETWORKS.values()], ids=NETWORKS)
def test_whatever_is_trained_goes_on_bit_for_bit(tmp_path, draw):
    network, x, y = case(draw)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "record": RECORD}
    whole = train(network, x, y, **options, steps=7)
    kept = Checkpoint(tmp_path / "run.npz")
    train(network, x, y, **options, steps=3, checkpoint=kept)
    resumed = train(network, x, y, **options, steps=7, checkpoint=kept)
    for found, known in zip(resumed.network.parameters, whole.network.parameters, strict=True):
        assert torch.equal(found, known)
    for name in RECORD:
        assert np.array_equal(resumed[name], whole[name])


def scaled(factor):
    return lambda moment: factor * mean_loss(moment)


@dataclass(frozen=True)
class Power:
    """A monitor with a setting."""

    exponent: int = 1

    def __call__(self, moment):
        return mean_loss(moment) ** self.exponent


def changed(network):
    other = copy.deepcopy(network)
    other.weights[0][0, 0] += 1e-9
    return other


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": changed}, "its network"),
        ({"network": lambda net: replace(net, output_gain=2.0)}, "its network"),
        ({"network": lambda net: net.training("output")}, "its network"),
        ({"y": torch.neg}, "its labels"),
        ({"x": lambda x: x * (1 + 2**-50)}, "its inputs"),
        ({"step_size": 0.10002}, "its step size"),
        ({"step_size": math.nextafter(0.10001, 1)}, "its step size"),
        ({"loss": EXPONENTIAL}, "its loss"),
        ({"loss": replace(EXPONENTIAL, name="cross-entropy")}, "its loss"),
        ({"batches": Batches(2)}, "its batches"),
        ({"record": {}}, "its monitor 'q' and monitor 'power'"),
        ({"record": {"q": largest_loss, "power": Power()}}, "its monitor 'q'"),
        ({"record": {"q": scaled(3), "power": Power()}}, "its monitor 'q'"),
        ({"record": {"q": Every(2, scaled(2)), "power": Power()}}, "its monitor 'q'"),
        ({"record": {"q": scaled(2), "power": Power(2)}}, "its monitor 'power'"),
        ({"record": {"q": scaled(2), "power": Power(), "r": mean_loss}}, "its monitor 'r'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changes, told):
    network, x, y = case()
    options = {
        "network": network, "x": x, "y": y, "loss": CROSS_ENTROPY, "step_size": 0.10001,
        "steps": 3, "record": {"q": scaled(2), "power": Power()},
        "checkpoint": Checkpoint(tmp_path / "run.npz"),
    }  # fmt: skip
    known = train(**options)
    same = {"step_size": torch.tensor(0.10001, dtype=torch.float64), "loss": replace(CROSS_ENTROPY)}
    again = train(**{**options, **same, "record": {"q": scaled(2), "power": Power()}})
    assert np.array_equal(again["q"], known["q"])
    for name, change in changes.items():
        options[name] = change(options[name]) if callable(change) else change
    with pytest.raises(
        InputError, match=f"run.npz is the checkpoint of another run: it differs in {told};"
    ):
        train(**options)


def test_another_precision_or_python_is_another_run(monkeypatch, tmp_path):
    network, x, y = case(dtype=torch.float32)
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "record": {"loss": mean_loss}}
    options["checkpoint"] = Checkpoint(tmp_path / "run.npz")
    train(network, x, y, **options)
    with (
        using(precision="bfloat16"),
        pytest.raises(InputError, match="it differs in its precision;"),
    ):
        train(network, x, y, **options)
    monkeypatch.setattr(checkpoints, "sys", SimpleNamespace(version_info=(3, 99, 0)))
    with pytest.raises(InputError, match="it differs in its Python version;"):
        train(network, x, y, **{**options, "step_size": 0.2})  # of all that differs, the cause


def test_a_checkpoint_with_more_steps_than_asked_for_is_refused(tmp_path):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "checkpoint": Checkpoint(tmp_path / "r")}
    train(network, x, y, **options, steps=20)
    with pytest.raises(InputError, match="holds 20 steps of this run and steps is 10; ask for at"):
        train(network, x, y, **options, steps=10)
    assert train(network, x, y, **options, steps=20).steps == 20


def test_a_monitor_without_identity_is_refused_with_a_checkpoint_only(tmp_path):
    network, x, y = case()
    lock = threading.Lock()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 1}
    options["record"] = {"q": lambda moment: float(lock.locked())}
    assert train(network, x, y, **options)["q"].tolist() == [0, 0]
    with pytest.raises(InputError, match=r"monitor 'q' depends on a _thread\.lock"):
        train(network, x, y, **options, checkpoint=Checkpoint(tmp_path / "run.npz"))


def rewritten(path, **changes):
    """The checkpoint with other arrays, or without some."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


def other(path, change):
    """What the checkpoint tells, with a change."""
    with np.load(path) as stored:
        told = json.loads(str(stored["told"]))
    change(told)
    return np.array(json.dumps(told))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.read_bytes()[:100],
        lambda path: b"",
        lambda path: b"no archive",
        lambda path: path.read_bytes().replace(b"NUMPY", b"numpy"),
        lambda path: rewritten(path, told=None),
        lambda path: rewritten(path, told=np.array("[1, 2]")),
        lambda path: rewritten(path, told=np.array('{"identity": "of an older version"}')),
        lambda path: rewritten(path, **{"0": None}),
        lambda path: rewritten(path, told=other(path, lambda told: told.pop("step"))),
        lambda path: rewritten(path, told=other(path, lambda told: told["state"].pop("log"))),
    ],
)
def test_a_checkpoint_that_is_damaged_or_old_is_refused(tmp_path, damage):
    network, x, y = case()
    path = tmp_path / "run.npz"
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "record": {"loss": mean_loss}}
    train(network, x, y, **options, checkpoint=Checkpoint(path))
    path.write_bytes(damage(path))
    with pytest.raises(InputError, match="not a readable checkpoint of this version; delete it"):
        train(network, x, y, **options, checkpoint=Checkpoint(path))


class Planted:
    """Stands for code that somebody has put into a file: a folder, when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    network, x, y = case()
    path = tmp_path / "run.npz"
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "checkpoint": Checkpoint(path)}
    train(network, x, y, **options)
    planted = np.array(Planted(tmp_path / "planted"), dtype=object)
    path.write_bytes(rewritten(path, told=planted))
    with pytest.raises(InputError, match="not a readable checkpoint of this version; delete it"):
        train(network, x, y, **options)
    assert not (tmp_path / "planted").exists()


RUNS = {
    "train": lambda *case, steps, **more: train(*case, step_size=0.1, steps=steps, **more),
    "fleet": lambda network, *data, steps, **more: train_fleet(
        [network], *data, step_size=0.1, steps=steps, **more
    )[0],
    "flow": lambda *case, steps, **more: flow(*case, times=range(steps + 1), **more),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_file_is_written_when_so_many_seconds_have_passed_and_at_the_end(
    monkeypatch, tmp_path, run
):
    """By a clock that goes on by a second at every step."""
    now, written = [0], []
    write = checkpoints.write_atomically
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(
        checkpoints, "write_atomically", lambda *a: written.append(now[0]) or write(*a)
    )

    def passing(moment):
        now[0] += 1
        return 0

    kept = Checkpoint(tmp_path / "run.npz", seconds=3)
    options = {"loss": CROSS_ENTROPY, "record": {"it": passing}, "checkpoint": kept}
    run(*case(), steps=7, **options)
    assert written == [3, 6, 8]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_run_goes_on_by_the_product_with_which_it_began(monkeypatch, tmp_path, run):
    options = {"loss": CROSS_ENTROPY, "steps": 3, "checkpoint": Checkpoint(tmp_path / "run.npz")}
    by_onednn = {"by onednn": lambda moment: matmul.chosen_product() == "onednn"}
    options["record"] = {"cut off": interruptible, **by_onednn}
    monkeypatch.setenv("CUT_OFF_AT", "1")
    with using("onednn"), pytest.raises(Interrupted):
        run(*case(), **options)
    monkeypatch.delenv("CUT_OFF_AT")
    with using("torch"):
        resumed = run(*case(), **options)
    assert resumed["by onednn"].tolist() == [True] * 4


def test_where_nothing_was_done_nothing_is_written(monkeypatch, tmp_path):
    for step in (0, 1):
        path = tmp_path / f"{step}.npz"
        monkeypatch.setenv("CUT_OFF_AT", str(step))
        with pytest.raises(Interrupted):
            train(
                *case(), loss=CROSS_ENTROPY, step_size=0.1, steps=3,
                record={"cut off": interruptible}, checkpoint=Checkpoint(path),
            )  # fmt: skip
        assert path.exists() == (step == 1)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(
    monkeypatch, tmp_path
):
    network, x, y = case()
    made = counted(monkeypatch)
    (tmp_path / "afile").write_text("no folder")
    os.mkfifo(tmp_path / "pipe")
    for path, told in [
        (tmp_path / "afile" / "run.npz", "cannot write .*run.npz"),
        (tmp_path, "cannot write"),
        (tmp_path / "pipe", "not a readable checkpoint"),
    ]:
        with pytest.raises(InputError, match=told):
            train(
                network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3,
                checkpoint=Checkpoint(path),
            )  # fmt: skip
    assert made == []


def test_a_disk_that_fails_at_the_end_drops_nothing(monkeypatch, tmp_path):
    network, x, y = case()

    def full(path, content):
        raise InputError("cannot write (No space left on device)")

    monkeypatch.setattr(checkpoints, "write_atomically", full)
    with pytest.raises(InputError, match="No space left") as stopped:
        train(
            network, x, y, loss=CROSS_ENTROPY, step_size=0.1, steps=3, record={"loss": mean_loss},
            checkpoint=Checkpoint(tmp_path / "run.npz"),
        )  # fmt: skip
    assert len(stopped.value.history["loss"]) == 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": 7}, "path is 7; give the path of an .npz file"),
        ({"seconds": -1}, "seconds is -1; it must be at least 0"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"seconds": "60"}, "seconds is '60'; it must be a number"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        Checkpoint(**{"path": "run.npz", **changes})


def test_a_checkpoint_takes_any_kind_of_path(tmp_path):
    network, x, y = case()
    options = {"loss": CROSS_ENTROPY, "step_size": 0.1, "steps": 3, "record": {"loss": mean_loss}}
    path = str(tmp_path / "new" / "run.npz")
    whole = train(network, x, y, **options, checkpoint=Checkpoint(path))
    assert Path(path).is_file()
    again = train(network, x, y, **options, checkpoint=Checkpoint(Path(path)))
    assert np.array_equal(again["loss"], whole["loss"])
