"""Every figure can be drawn from a quick result, saved in every form, and read without seeing."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread

from companion.errors import InputError
from companion.figures import draw, save, show
from companion.figures.panels import COLUMNS
from companion.lab import catalog
from companion.lab.reproduce import reproduce, reproduce_or_recorded
from companion.press.citing import bibtex
from tests import grouping

pytestmark = pytest.mark.slow
QUANTITIES = ("panel", "x_quantity", "y_quantity")
LINEAR_RATE = pytest.mark.xdist_group("du2019/linear_rate")


@pytest.mark.parametrize("identifier", grouping.figures())
def test_a_figure_has_all_that_a_citer_needs(identifier: str, tmp_path: Path) -> None:
    result = reproduce_or_recorded(catalog.figures()[identifier])
    drawing = save(identifier, result, tmp_path)
    assert drawing.caption.strip().endswith(".")
    assert len(drawing.alt) > 30
    assert ":" not in drawing.alt.split("\n")[0][:3]
    svg = ElementTree.parse(tmp_path / f"{identifier}.svg").getroot()
    assert svg.tag.endswith("svg")
    assert (tmp_path / f"{identifier}.pdf").read_bytes().startswith(b"%PDF")
    ground = imread(tmp_path / f"{identifier}.png")[0, 0]  # not a slide's, which may be dark
    assert ground.tolist() == [1, 1, 1, 1]
    phone = ElementTree.parse(tmp_path / f"{identifier}-narrow.svg").getroot()
    for form in (svg, phone):  # the page's own
        (ground_of_form,) = form.findall(".//*[@id='figure_1']/*[@id='patch_1']/*")
        assert ground_of_form.get("style") == "fill: none"
    with (tmp_path / f"{identifier}.csv").open(newline="") as table:
        rows = list(csv.reader(table))
    assert len(rows) > 2
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[0][: len(COLUMNS)] == list(COLUMNS)
    told = json.loads((tmp_path / f"{identifier}.json").read_text())
    assert told["fingerprint"] == result.fingerprint
    assert list(told["columns"]) == rows[0]
    assert told["described"] == COLUMNS
    assert list(told["panels"]) == list(dict.fromkeys(told["columns"]["panel"]))
    for panel, x, y in zip(*(told["columns"][c] for c in QUANTITIES), strict=True):
        assert told["panels"][panel]["x"]["quantity"] == x
        assert told["panels"][panel]["y"]["quantity"] == y
    cited = bibtex(identifier, result)
    assert result.fingerprint in cited
    assert str(result.provenance["commit"]) in cited


@LINEAR_RATE
def test_drawing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    result = reproduce("du2019/linear_rate")
    for folder in ("one", "two"):
        save("du2019-linear-rate", result, tmp_path / folder)
    names = [path.name for path in (tmp_path / "one").iterdir()]
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@LINEAR_RATE
def test_a_user_s_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    """In a process of its own, since matplotlib reads its file of settings once."""
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.size: 33\nlines.linestyle: --\naxes.facecolor: red\n"
        "savefig.bbox: tight\nsavefig.pad_inches: 3\nsvg.fonttype: none\nfigure.autolayout: True\n"
        "backend: no_such_backend\n"
    )
    result = reproduce("du2019/linear_rate")
    save("du2019-linear-rate", result, tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from companion.figures import save\n"
        "from companion.lab.reproduce import reproduce\n"
        "save('du2019-linear-rate', reproduce('du2019/linear_rate'), Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        env={**os.environ, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")},
        check=True,
    )
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name


@LINEAR_RATE
def test_a_notebook_shows_the_figure_and_marks_it() -> None:
    result = reproduce("du2019/linear_rate")
    bundle = show("du2019-linear-rate", result)._repr_mimebundle_()
    assert "<svg" in str(bundle["image/svg+xml"])
    assert bundle["text/plain"] == draw("du2019-linear-rate", result).alt


@LINEAR_RATE
def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'du2019-linear-rate'"):
        show("du2019-linear-rates", reproduce("du2019/linear_rate"))


CLAIMS = sorted({claim for name in catalog.experiments() for claim in catalog.expected(name)})


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_figure_shows_claims_of_its_own_experiment(claim: str) -> None:
    """What the ledger points at as evidence."""
    shown = catalog.shown_in(claim)
    assert not shown or claim in catalog.expected(catalog.figures()[shown])


def test_what_a_figure_says_it_shows_is_a_claim() -> None:
    declared = re.findall(
        r'^    "([\w.-]+)": "[\w-]+",$',
        "\n".join(path.read_text() for path in catalog.FIGURES.glob("*/*.py")),
        re.MULTILINE,
    )
    assert set(CLAIMS) >= set(declared) != set()
