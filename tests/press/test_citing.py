"""Citing takes every id that the gallery offers, and the entry names it."""

from pathlib import Path

import pytest
import xarray as xr

from companion.errors import InputError
from companion.lab import catalog
from companion.lab.experiment import load
from companion.lab.reproduce import record_of
from companion.lab.results import Result
from companion.lab.store import Store
from companion.press.book import Book
from companion.press.citing import bibtex, cited
from companion.press.ledger import Findings

PAGE = "book/page"
PROVENANCE = {"commit": "abc", "created": "2026-01-01", "seconds": 1, "companion": "1", "data": ""}


def stored(experiment: str, profile: str) -> Result:
    """A result of today's profile in this test's store; nothing is computed."""
    settings = getattr(load(experiment), profile.upper()).model_dump(mode="json")
    found = xr.Dataset(attrs={"data": "made up"})
    named = {"profile": profile, "fingerprint": profile, "provenance": PROVENANCE}
    result = Result(experiment, settings, found, **named)
    Store().save(result)
    return result


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("figure", catalog.figures())
def test_every_figure_of_a_gallery_is_cited_by_its_name(
    figure: str, profile: str, store: Path
) -> None:
    """A book shows a figure of the record, where there is one, and of its own profile's run."""
    experiment = catalog.figures()[figure]
    if load(experiment).QUICK == load(experiment).PAPER:
        profile = "quick"
    own, record = stored(experiment, profile), record_of(experiment)
    shown = [(figure, record), (figure, own)] if record else [(figure, own)]
    findings = Findings(figures={PAGE: shown})
    for identifier, result in shown:
        name = findings.stem(PAGE, identifier, result)
        assert cited(name).fingerprint == result.fingerprint
        assert cited(name).profile == result.profile
        assert f"@misc{{companion-{name}," in bibtex(name, result)
        assert f"figures/{name}.json" in bibtex(name, result)


def test_a_name_and_a_profile_may_agree_and_not_differ(store: Path) -> None:
    stored("du2019/figure1", "quick")
    assert cited("du2019-fig1a-quick", "quick").fingerprint == "quick"
    assert cited("du2019-fig1a", "quick").fingerprint == "quick"
    with pytest.raises(InputError, match="is of profile quick, not paper"):
        cited("du2019-fig1a-quick", "paper")


@pytest.mark.parametrize("name", ["du2019-fig1x-quick", "du2019-fig1a-slow", "quick", "-quick"])
def test_a_name_that_the_gallery_does_not_have_is_refused(name: str, store: Path) -> None:
    with pytest.raises(InputError, match=f"there is no figure '{name}'"):
        cited(name)


@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_the_command_gives_the_entry_that_the_gallery_offers(whole_book: Book) -> None:
    offered = sorted((whole_book.output / "html" / "figures").glob("*.bib"))
    assert {path.stem for path in offered} >= set(catalog.figures())
    for path in offered:
        assert bibtex(path.stem, cited(path.stem)) == path.read_text(encoding="utf-8")
