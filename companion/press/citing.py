"""BibTeX for a figure: version, commit, settings and data of the numbers behind it."""

from pybtex.database import BibliographyData, Entry, Person

from companion.base.paths import BOOK
from companion.errors import InputError
from companion.lab.catalog import check_figure, figures
from companion.lab.experiment import PROFILES, check_profile, load, profiled, settings_of
from companion.lab.reproduce import record_of
from companion.lab.results import Result
from companion.lab.store import Store

TITLE = "An executable companion to papers on over-parameterized ReLU networks"


def cited(identifier: str, profile: str | None = None) -> Result:
    """The result behind a figure of the gallery.

    Args:
        identifier: as the gallery has it: a figure's id, e.g. `du2019-fig1a`, or, where that is
            drawn from a committed record, with the profile of this machine's run behind it.
        profile: of the result to cite; None for the record, or else what is stored, `quick` first.

    Raises:
        InputError: no such figure or profile, two profiles at once, or nothing to cite yet.
    """
    figure, _, suffix = identifier.rpartition("-")
    if identifier in figures() or figure not in figures() or suffix not in PROFILES:
        figure, asked = check_figure(identifier), profile
    elif profile not in (None, suffix):
        raise InputError(f"{identifier} is of profile {suffix}, not {profile}; leave one out.")
    else:
        asked = suffix
    experiment = figures()[figure]
    if asked is None and (record := record_of(experiment)):
        return record
    for chosen in [check_profile(asked)] if asked is not None else PROFILES:
        settings = settings_of(load(experiment), chosen, {}).model_dump(mode="json")
        if result := Store().latest(experiment, settings):
            return profiled(result, chosen)
    raise InputError(
        f"nothing to cite yet: run 'companion run {experiment} --profile {asked or 'quick'}' first."
    )


def bibtex(identifier: str, result: Result) -> str:
    """One `@misc` entry that pins the figure, plus the paper it belongs to if it is of a paper.

    Args:
        identifier: as the gallery has it, e.g. `du2019-fig1a` or `du2019-fig1a-quick`.
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
