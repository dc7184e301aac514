"""What a kept figure was drawn from, so that nothing is drawn twice and nothing stays stale."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from companion.base.files import canonical, file_hash, read_checked, write_checked
from companion.base.paths import brief
from companion.errors import DamagedError
from companion.lab.fingerprint import shown_inputs
from companion.lab.results import Result
from companion.lab.sources import imported_files


@dataclass(frozen=True)
class Drawn:
    """What is noted of a figure when it is drawn.

    Attributes:
        figure: its id.
        experiment: whose result it shows.
        fingerprint: of that result.
        basis: all that decides how it looks, part by part.
    """

    figure: str
    experiment: str
    fingerprint: str
    basis: Mapping[str, str]


def figure_basis(result: Result) -> dict[str, str]:
    """All that decides how a figure looks: restyling redraws and re-runs nothing.

    Its result with the values and verdicts taken from it, which captions rest on; the figure's
    module, every module that it imports, and all values of papers and benchmarks, since a figure
    can read no other file.
    """
    judged = {
        "values": dict(result.values),
        "verdicts": [asdict(verdict) for verdict in result.verdicts],
    }
    module = f"companion.figures.{result.experiment.replace('/', '.')}"
    files = [*imported_files(module), *shown_inputs()]
    return {
        "result": result.fingerprint,
        "computed": str(result.provenance["created"]),
        "profile": result.profile,
        "values and verdicts": sha256(canonical(judged).encode()).hexdigest()[:12],
        **{f"file {brief(path)}": file_hash(path)[:12] for path in sorted(files)},
        "version matplotlib": version("matplotlib"),
    }


def note_drawn(folder: Path, drawn: Drawn) -> None:
    """Keep beside the folder of a figure what it was drawn from."""
    write_checked(folder.with_name("drawn.json"), asdict(drawn))


def drawn_in(folder: Path) -> Drawn | None:
    """What the kept figure below a folder was drawn from; None if there is none, or it is damaged.

    Args:
        folder: the one that holds the kept figure of one name.
    """
    try:
        return Drawn(**read_checked(folder / "drawn.json"))
    except (FileNotFoundError, DamagedError, TypeError):
        return None
