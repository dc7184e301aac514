"""What a terminal shows of formulas: text, with nothing of TeX left and nothing lost."""

import ast
import json
from collections.abc import Iterator

import pytest

from companion.lab import catalog
from companion.lab.reproduce import judged, record_of
from companion.press.book import Book
from companion.press.terminal import readable, shown


def phrases(name: str) -> Iterator[str]:
    """Every string of an experiment's module that holds a formula, with 7 for what it fills in."""
    tree = ast.parse((catalog.EXPERIMENTS / f"{name}.py").read_text(encoding="utf-8"))
    pieces = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                whole = [str(v.value) if isinstance(v, ast.Constant) else "7" for v in values]
                text = "".join(whole)
            case ast.Constant(value=str(text)) if id(node) not in pieces:
                pass
            case _:
                continue
        if text.count("$") > 1:
            yield text


PHRASES = [text for name in catalog.experiments() for text in phrases(name)]


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"least $\lambda_{\min}(H(t))/\lambda_0$: 0.96", "least λ_min(H(t))/λ₀: 0.96"),
        (r"$\lambda_{\min}(H(t))\ge\lambda_0/2$ for all $t$", "λ_min(H(t)) ≥ λ₀/2 for all t"),
        (r"$\lVert u(t)-y\rVert^2\le e^{-\lambda_0t}\lVert u(0)-y\rVert^2$",
         "‖u(t)-y‖² ≤ e^(-λ₀t)‖u(0)-y‖²"),
        (r"$\|H-H(0)\|_2\,/\,\lambda_0$", "‖H-H(0)‖₂ / λ₀"),
        (r"$m=\Omega(\frac{n^2}{\lambda_0^2}\log\frac n\delta)$", "m = Ω((n²/λ₀²) log(n/δ))"),
        (r"$f(x)=\frac1{\sqrt m}\sum_r a_r\sigma(w_r^\top x)$", "f(x) = (1/√m)∑_r a_r σ(w_r^⊤ x)"),
        (r"$\dot u=\sum_hG^{(h)}(y-u)$", "u̇ = ∑_h G^(h)(y-u)"),
        (r"$D_i\not\subset\bigcup_{j\ne i}D_j$", "D_i ⊄ ⋃_(j ≠ i) D_j"),
        (r"$mn\operatorname{erf}(R/\sqrt{2\pi})$", "mn erf(R/√(2π))"),
        (r"samples$^{-1/2}$, 72 % of a_b & #1 ~ x^2", "samples^(-1/2), 72 % of a_b & #1 ~ x^2"),
        (r"$10^{-3}\sqrt{m}$ and $\lambda_0^{-2}$", "10⁻³√m and λ₀⁻²"),
    ],
)  # fmt: skip
def test_a_formula_is_read_as_it_is_said(tex: str, text: str) -> None:
    assert readable(tex) == text


@pytest.mark.parametrize("claim", catalog.claims())
def test_no_statement_keeps_its_tex(claim: str) -> None:
    assert not set("\\$") & set(readable(catalog.claims()[claim].statement))


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_verdict_keeps_its_tex(phrase: str) -> None:
    assert not set("\\$") & set(readable(phrase))


@pytest.mark.parametrize("name", ["du2019/figure1", "du2019/explicit_width"])
def test_the_verdicts_of_the_records_are_readable(name: str) -> None:
    record = record_of(name)
    assert record is not None
    for verdict in judged(record).verdicts:
        told = (verdict.sentence, verdict.predicted, verdict.measured, verdict.tolerance)
        assert not set("\\$") & set(readable(" ".join(told)))


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_the_ledger_of_the_book_is_readable(whole_book: Book) -> None:
    rows = json.loads((whole_book.output / "html" / "claims.json").read_text(encoding="utf-8"))
    for row in rows:
        text = readable(" ".join(str(value) for value in row.values()))
        assert not set("\\$") & set(text), row["id"]


def test_what_is_not_known_is_not_lost() -> None:
    assert readable(r"$\nonsense x$ and $\nonsense{y}$") == r"\nonsense x and \nonsensey"


def test_a_terminal_that_knows_ascii_only_is_shown_the_tex(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Old:
        encoding = "ascii"

    monkeypatch.setattr("sys.stdout", Old())
    assert shown(r"$\lambda_0$") == r"$\lambda_0$"
    assert shown("$m$ units") == "m units"
