"""`companion check` and `companion new`, in a copy of the project that mistakes are made in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from companion.base.paths import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The project's files, free to be spoilt."""
    ignored = shutil.ignore_patterns("__pycache__", "records")
    for name in ("companion", "book", "tests"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def companion(scratch: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", *words],
        cwd=scratch, env={"PYTHONPATH": str(scratch), "PATH": "", "OMP_NUM_THREADS": "1",
                          "XDG_CACHE_HOME": str(scratch / "cache")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_project_fits_together(scratch: Path) -> None:
    done = companion(scratch, "companion", "check")
    assert (done.returncode, done.stdout) == (0, "everything fits together\n"), done.stderr


def test_every_mistake_of_a_newcomer_has_its_sentence(scratch: Path) -> None:
    """All at once, each where no other hides it."""
    experiments, figures, book = (
        scratch / "companion" / "experiments" / "du2019",
        scratch / "companion" / "figures" / "du2019",
        scratch / "book",
    )
    edit(experiments / "linear_rate.py", '"du2019-thm4.1": ', '"du2019-thm4.l": ')
    edit(experiments / "gradient.py", "EXPECTED: dict", "EXPECTS: dict")
    edit(experiments / "step_size.py", "def cost(", "def costs(")
    edit(experiments / "output_layer.py", "def summary(", "def summaries(")
    edit(experiments / "gradient_flow.py", '"du2019-lem3.4": Lie(', '"du2019-lem3.5": Lie(')
    edit(experiments / "positivity.py", '"du2019-ass3.1": "holds"', '"du2019-ass3.1": "true"')
    edit(
        experiments / "gram_stability.py",
        '"du2019-lem4.1": "holds",',
        '"du2019-lem4.1": "holds", "du2019-lem3.1": "holds",',
    )
    edit(figures / "linear_rate.py", "def linear_rate(", "def linear_rates(")
    (figures / "deep_gram.py").rename(figures / "deep_grams.py")
    edit(book / "papers.yml", "    - 6_output_layer\n", "")
    edit(book / "claims.csv", "du2019-algo-gd,du2019,", "du2019-algo-gd,du2O19,")
    table = book / "claims.csv"
    table.write_text(
        table.read_text(encoding="utf-8")
        + "du2019-never,du2019,Section 9,remark,Never judged,Nothing.,\n"
        + "du2019-bar,du2019,Section 9,remark,A bar,$|a|$.,du2019-never du2019-nowhere\n"
        + "du2019-self,du2019,Section 9,remark,Of itself,Nothing.,du2019-self\n"
        + "du2019-short,du2019,Section 9\n",
        encoding="utf-8",
    )
    edit(book / "differences.yml", "repaired_by: du2019-fig1b", "repaired_by: du2019-fig1z")
    edit(book / "du2019" / "4_discrete_time.md", "{value}`late_ratio:.3f`", "{value}`late_ratio`")
    edit(book / "du2019" / "4_step_size.md", '"du2019/step_size"', '"du2019/step_sizes"')
    edit(book / "du2019" / "index.md", "# ", "{cite}`du2020`\n\n# ")
    edit(book / "verdicts.md", "```{ledger}\n", "```{ledger} engines\n")
    edit(book / "references.bib", "{zou2018,", "{zou2081,")
    (figures / "__init__.py").unlink()
    (scratch / "tests" / "experiments" / "du2019" / "test_gradient_flow.py").unlink()
    done = companion(scratch, "companion", "check")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for told in (
        "experiments/du2019/linear_rate.py expects a verdict on 'du2019-thm4.l', which is no row",
        "linear_rate.py judges 'du2019-thm4.1', which is not in its EXPECTED.",
        "experiments/du2019/gradient.py declares no EXPECTED",
        "step_size.py declares no function cost(settings)",
        "output_layer.py declares no function summary(settings)",
        "gradient_flow.py has no control for du2019-lem3.4; write CONTROLS",
        "positivity.py expects 'true' of du2019-ass3.1; an outcome is",
        "no chapter shows du2019-linear-rates",
        "there is no figure 'du2019-linear-rate'; did you mean 'du2019-linear-rates'?",
        "companion/figures/du2019/deep_grams.py is named like no experiment: there is no "
        "experiment 'du2019/deep_grams'; did you mean 'du2019/deep_gram'?",
        "experiments/du2019/deep_gram.py has no figure",
        "book/du2019/6_output_layer.md is in no table of contents",
        "'du2O19' is no paper of book/papers.yml",
        "no experiment expects a verdict on du2019-never",
        "du2019-lem3.1 is expected by 2 experiments; a claim has one.",
        "a '|' would break the ledger's table",
        "a row has seven columns, none but the last of them empty",
        "du2019-bar rests on 'du2019-nowhere', which is no row of the table",
        "du2019-self rests on itself",
        "differences.yml, du2019-pattern-sum: 'du2019-fig1z' is no claim of book/claims.csv",
        "{value}`late_ratio` has no format",
        "there is no experiment 'du2019/step_sizes'; did you mean 'du2019/step_size'?",
        "no chapter calls reproduce('du2019/step_size')",
        "cites 'du2020', which is not in book/references.bib",
        "no page has a {ledger} of du2019",
        "book/references.bib has no entry 'zou2018'",
        "companion/figures/du2019 has no __init__.py",
        "write tests/experiments/du2019/test_gradient_flow.py",
    ):
        assert told in done.stdout


def test_two_figures_of_one_name_are_one_sentence(scratch: Path) -> None:
    """The one would have been drawn of the other's result."""
    figures = scratch / "companion" / "figures" / "du2019"
    edit(figures / "step_size.py", "def step_size(", "def linear_rate(")
    done = companion(scratch, "companion", "check")
    assert done.returncode == 1
    assert done.stdout == (
        "companion/figures/du2019/linear_rate.py and du2019/step_size.py both draw "
        "du2019-linear-rate; rename the function linear_rate of one of them.\n"
    )


def test_a_misspelt_name_in_the_contents_is_one_sentence(scratch: Path) -> None:
    edit(scratch / "book" / "papers.yml", "- 1_setting", "- 1_settings")
    done = companion(scratch, "companion", "check")
    assert done.returncode == 1
    assert "book/du2019/1_settings" in done.stdout


def test_a_new_claim_of_a_new_paper_already_runs(scratch: Path) -> None:
    made = companion(scratch, "companion", "new", "arora2019b/label_rates", "--claim", "thm4.1")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[:4] == [
        "companion/experiments/arora2019b/label_rates.py",
        "companion/figures/arora2019b/label_rates.py",
        "book/arora2019b/label_rates.md",
        "tests/experiments/arora2019b/test_label_rates.py",
    ]
    run = companion(scratch, "companion", "run", "arora2019b/label_rates")
    assert run.returncode == 0, run.stderr
    assert "(arora2019b-thm4.1): holds" in run.stdout
    tested = companion(
        scratch, "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
        "tests/experiments/arora2019b",
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    drawn = companion(scratch, "companion", "cite", "arora2019b-label-rates", "--profile", "quick")
    assert drawn.returncode == 0, drawn.stderr
    left = companion(scratch, "companion", "check").stdout.splitlines()
    assert left
    assert all("TODO" in line or "arora2019b" in line for line in left), left
    again = companion(scratch, "companion", "new", "arora2019b/label_rates", "--claim", "thm4.2")
    assert again.returncode == 2
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["label_rates", "--claim", "thm4.1"], "is no name of an experiment"),
        (["Arora/x", "--claim", "thm4.1"], "is no name of an experiment"),
        (["arora2019/x", "--claim", "thm 4.1"], "is no id"),
        (["du2019/another", "--claim", "thm4.1"], "du2019-thm4.1 is a claim already"),
    ],
)
def test_names_that_cannot_be_given_write_nothing(
    scratch: Path, words: list[str], told: str
) -> None:
    before = sorted(scratch.rglob("*.py"))
    done = companion(scratch, "companion", "new", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert sorted(scratch.rglob("*.py")) == before
