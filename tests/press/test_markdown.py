"""What MyST alone understands is spelt out for Jupyter."""

from pathlib import Path

import pytest

from companion.press.markdown import plain_markdown

TITLES = {"book/du2019/1_setting": "1 Setting", "book/figures": "Figures"}


def plain(text: str, root: Path = Path("nowhere")) -> str:
    return plain_markdown(text, "book/du2019/4_rate", root, TITLES)


REFERENCES = [
    ("See {doc}`1_setting`.", "See *1 Setting*."),
    ("See {doc}`/book/figures` and {doc}`../figures`.", "See *Figures* and *Figures*."),
    ("See {doc}`the first page <1_setting>`.", "See the first page."),
    ("{prf:ref}`Lemma 3.2 <du2019-lem3-2>` says", "Lemma 3.2 says"),
    ("In {numref}`fig-du2019-rate` it falls.", "In *du2019-rate* it falls."),
    ("{cite}`du2019` and {cite:t}`zou2018`", "[Du et al. (2019)] and Zou et al. (2018)"),
    ("{cite}`du2019, arora2019`", "[Du et al. (2019), arora2019]"),
    ("It [holds]{.verdict-holds} here.", "It **holds** here."),
    ("(a-label)=\n## A heading", "## A heading"),
    ("$a_{ij}`b`$ and `code`", "$a_{ij}`b`$ and `code`"),
]


@pytest.mark.parametrize(("written", "shown"), REFERENCES)
def test_a_reference_is_read_as_text(written: str, shown: str) -> None:
    assert plain(written) == shown


def test_a_statement_is_text_under_its_name() -> None:
    lemma = (
        "````{prf:lemma} Du et al. (2019), Lemma 3.2\n:label: a\n:nonumber:\nFor {doc}`1_setting`"
    )
    assert plain(f"Before.\n\n{lemma}\n\n$$x$$\n````\n\nAfter.") == (
        "Before.\n\n**Lemma** (Du et al. (2019), Lemma 3.2). For *1 Setting*\n\n$$x$$\n\n\nAfter."
    )


def test_quoted_code_is_there(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "class A:\n    def one(self):\n        return 1\n\n    def two(self):\n        return 2\n"
    )
    quoted = "```{literalinclude} ../../code.py\n:language: python\n:pyobject: A.two\n:dedent:\n```"
    assert plain(quoted, tmp_path) == "```python\ndef two(self):\n    return 2\n```"


def test_what_cannot_be_quoted_is_left_for_sphinx_to_name() -> None:
    quoted = "```{literalinclude} ../../nowhere.py\n:language: python\n```"
    assert plain(quoted) == quoted
