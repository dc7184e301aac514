"""BibTeX for a figure: version, commit, settings and data of the numbers behind it."""

from pybtex.database import BibliographyData, Entry, Person

from companion.base.paths import BOOK
from companion.lab.results import Result

TITLE = "An executable companion to papers on over-parameterized ReLU networks"


def bibtex(identifier: str, result: Result) -> str:
    """One `@misc` entry that pins the figure, plus the paper it belongs to if it is of a paper.

    Args:
        identifier: figure id, e.g. `du2019-fig1a`.
        result: the result the figure is drawn from.
    """
    from pybtex.database import parse_file

    paper = identifier.split("-")[0]
    year = str(result.provenance["created"])[:4]
    entry = Entry(
        "misc",
        fields={
            "title": f"{TITLE}: figure {identifier}",
            "year": year,
            "version": str(result.provenance["companion"]),
            "howpublished": f"figures/{identifier}.json, .csv, .svg, .pdf",
            "note": (
                f"commit {result.provenance['commit']}; experiment {result.experiment}, profile "
                f"{result.profile}, device {result.device}, fingerprint {result.fingerprint}; "
                f"data: {result.data}, {result.provenance['data']}"
            ),
        },
        persons={"author": [Person("{The companion's authors}")]},
    )
    entries = {f"companion-{identifier}": entry}
    references = parse_file(str(BOOK / "references.bib")).entries
    if paper in references:
        entries[paper] = references[paper]
    return str(BibliographyData(entries=entries).to_string("bibtex"))
