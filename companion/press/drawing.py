"""The figures of a book's site: those whose result or code has changed are drawn anew.

`python -m companion.press.drawing ORDERS` is the program of a process that draws some of them.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from companion.base.files import is_sealed, seal, set_aside, unseal, write_atomically
from companion.base.inputs import only
from companion.errors import BuildError, InputError
from companion.figures import save
from companion.lab.fingerprint import fingerprint_of, shown_inputs
from companion.press.citing import bibtex
from companion.press.drawn import Drawn, figure_basis, note_drawn
from companion.press.ledger import Findings, found
from companion.press.supervision import Supervisor, end_with_parent

_BELOW = "put the file below book/published or book/benchmarks"
_REFUSED = 2


@dataclass(frozen=True)
class Order:
    """A figure to draw.

    Attributes:
        identifier: of the figure.
        stem: its files' name.
        mark: of the result that it shows.
        folder: where it is kept.
    """

    identifier: str
    stem: str
    mark: Mapping[str, Any]
    folder: str


def figures_of(
    findings: Findings, kept: Path, target: Path, *, jobs: int
) -> dict[str, dict[str, str]]:
    """Put every figure below `target`, drawing those whose result or code changed.

    Args:
        findings: what the chapters show.
        kept: folder of the figures drawn by this build and by earlier ones.
        target: where their files go.
        jobs: processes.

    Returns:
        File stem -> what its JSON says, caption and alt text among it.

    Raises:
        InputError: a figure reads a file that it may not.
        BuildError: a figure cannot be drawn.
    """
    folders: dict[str, Path] = {}
    orders: dict[str, Order] = {}
    for page, shown in findings.figures.items():
        for identifier, result in shown:
            stem = findings.stem(page, identifier, result)
            folder = kept / stem / fingerprint_of(figure_basis(result))
            if folder.is_dir() and not is_sealed(folder):
                set_aside(folder, f"the kept figure {folder} is damaged.")
            if not folder.is_dir():
                orders[stem] = Order(identifier, stem, result.mark, str(folder.absolute()))
            folders[stem] = folder
    _draw(list(orders.values()), kept, jobs)
    for folder in folders.values():
        shutil.copytree(folder, target, dirs_exist_ok=True)
    return {stem: _with_standing(target / f"{stem}.json", findings) for stem in folders}


def _with_standing(path: Path, findings: Findings) -> dict[str, Any]:
    """What a figure's JSON says, and, where it shows a record, how that stands today.

    A kept figure stays as it is when a record is verified, so this is written into its copy.
    """
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if stands := findings.standings.get(told["fingerprint"]):
        told["record"] = stands.told
        write_atomically(path, (json.dumps(told, indent=1, allow_nan=False) + "\n").encode())
    return told


def _draw(orders: Sequence[Order], kept: Path, jobs: int) -> None:
    """Draw figures in some processes, each its share of them."""
    shares = [share for first in range(jobs) if (share := orders[first::jobs])]
    with ThreadPoolExecutor(jobs) as pool, Supervisor() as supervisor:

        def drawn(number: int) -> None:
            path = kept / f"orders-{number}.json"
            write_atomically(path, json.dumps([asdict(each) for each in shares[number]]).encode())
            log = path.with_suffix(".log")
            code, told = supervisor.run(["-m", __spec__.name, str(path)], log)
            if code == _REFUSED:
                raise InputError(told)
            if code != 0:
                raise BuildError(f"{told or 'the figures were not drawn'} (log: {log})")
            for leftover in (path, log):
                leftover.unlink()

        list(pool.map(drawn, range(len(shares))))


def main(orders: Sequence[Order]) -> int:
    """Draw figures; a failure is told in one line."""
    end_with_parent()
    for order in orders:
        try:
            _keep(order)
        except InputError as error:
            print(error, end="")
            return _REFUSED
        except BaseException as error:
            print(f"figure {order.identifier} failed: {type(error).__name__}: {error}", end="")
            raise
    return 0


def _keep(order: Order) -> None:
    """Draw one figure into its folder, in place of what was drawn under its name."""
    folder, result = Path(order.folder), found(order.mark)
    for path in folder.parent.glob("*"):
        if path.is_dir() and path.suffix != ".damaged":
            unseal(path)
            shutil.rmtree(path, ignore_errors=True)
    partial = folder.with_suffix(".part")
    with only(f"figure {order.identifier}", shown_inputs(), _BELOW):
        save(order.identifier, result, partial, order.stem)
    write_atomically(partial / f"{order.stem}.bib", bibtex(order.stem, result).encode())
    partial.rename(folder)
    seal(folder)
    basis = figure_basis(result)
    note_drawn(folder, Drawn(order.identifier, result.experiment, result.fingerprint, basis))


if __name__ == "__main__":
    sys.exit(main([Order(**order) for order in json.loads(Path(sys.argv[1]).read_text())]))
