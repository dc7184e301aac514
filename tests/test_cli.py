"""The command line: exit codes, and one sentence for what a user can mend."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from companion.catalog import experiments

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
         "diverges at step_size"),
        (["run", "du2019/linear_rate", *TINY, "--json", "no/such/folder/out.json"], "no folder"),
        (["cite", "du2019-fig1x"], "there is no figure 'du2019-fig1x'; did you mean"),
        (["cite", "du2019-linear-rate"], "nothing to cite yet"),
        (["book", "--profile", "slow"], "no profile 'slow'"),
        (["book", "--jobs", "0"], "jobs is 0"),
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
    assert told["arrays"]["misfit"]["shape"] == [2, 3, 3, 6]


def test_list_shows_every_experiment() -> None:
    done = companion("list")
    assert done.returncode == 0, done.stderr
    shown = "".join(done.stdout.split())
    for name in experiments():
        assert name.split("/")[1][:12] in shown


def test_data_says_which_digits() -> None:
    done = companion("data")
    assert done.returncode == 0, done.stderr
    assert "sha256" in done.stdout


def test_version() -> None:
    assert companion("--version").stdout.strip().count(".") == 2
