"""The command `companion verify`: a part of every record, computed again and compared.

`python -m companion.press.verify NAME SEED` is the program of a process that does so for one
record.
"""

import datetime
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from companion.base.files import check_target, file_hash, write_atomically
from companion.base.paths import BOOK, CACHE, IS_CHECKOUT
from companion.errors import BuildError, InputError, one_of
from companion.lab.experiment import load
from companion.lab.fingerprint import fingerprint_of
from companion.lab.provenance import commit
from companion.lab.replay import Replayed, replayed
from companion.lab.replay_plan import Drawn, draw_replay, readable_record
from companion.lab.reproduce import basis_of_today, record_path
from companion.lab.verified import Verified, note_verified, verified_path
from companion.press.supervision import FOREIGN, Supervisor, end_with_parent

# Records that are computed at a time, by one thread each.
AT_ONCE = 2
_DIFFERS, _REFUSED = 1, 2
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def verify(
    records: Annotated[
        list[str] | None,
        typer.Argument(help="Their experiments; all that have a record, if none is named."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draws the parts that are computed; a new one each time."),
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Write the table to this file.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Note what agrees in book/records/verified.json.")
    ] = False,
) -> None:
    """Compute a part of every record again with the code as it is now, and compare."""
    chosen = _chosen(records or [])
    if seed is not None and seed < 0:
        raise InputError(f"seed is {seed}; it must be at least 0.")
    seed = secrets.randbelow(10**6) if seed is None else seed
    before = _clean_commit() if write else ""
    for file in (json_, verified_path() if write else None):
        if file is not None:
            check_target(file)
    drawn = [draw_replay(readable_record(name), seed) for name in chosen]
    typer.echo(f"seed {seed}; 'companion verify --seed {seed}' draws the same parts", err=True)
    rows = replays(drawn, seed, say=lambda line: typer.echo(line, err=True))
    typer.echo(table(rows))
    if json_ is not None:
        write_atomically(json_, told(rows, seed))
    if write:
        if _clean_commit() != before:
            raise InputError("the commit changed while records were computed; verify again.")
        note_verified({row.record: _noted(row, before) for row in rows if row.outcome != LEFT_OUT})
    if any(row.outcome == "differs" for row in rows):
        raise typer.Exit(_DIFFERS)


LEFT_OUT = "left out"


def replays(
    drawn: Sequence[Drawn], seed: int, *, say: Callable[[str], None] = print
) -> list[Replayed]:
    """What came of every record's replay, two at a time, the longest first.

    Args:
        drawn: the parts.
        seed: that they were drawn with.
        say: told of each when it is done.

    Returns:
        A row per record, in the given order.

    Raises:
        InputError: a replay is refused.
        BuildError: a replay fails as no refusal does.
    """

    def effort(part: Drawn) -> float:
        return float(load(part.record.experiment).cost(part.settings).flops)

    rows: dict[str, Replayed] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool, Supervisor() as supervisor:

        def one(part: Drawn) -> Replayed:
            row = _in_a_process(part, seed, supervisor)
            say(f"{row.record}: {row.outcome}, {row.seconds} s")
            return row

        for row in pool.map(one, sorted(drawn, key=effort, reverse=True)):
            rows[row.record] = row
    return [rows[part.record.experiment] for part in drawn]


def table(rows: Sequence[Replayed]) -> str:
    """The rows as a terminal shows them; what was not compared stands below."""
    cells = [["record", "", "largest difference", "allowed", "seconds", "computed again"]]
    for row in rows:
        where = f"{_short(row.largest)}{f' ({row.where})' if row.where else ''}"
        numbers = [where, _short(row.allowed)] if row.compared else ["-", "-"]
        cells.append([row.record, row.outcome, *numbers, f"{row.seconds:.1f}", row.recomputed])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([*lines, *_remarks(rows)])


def told(rows: Sequence[Replayed], seed: int) -> bytes:
    """The same as JSON, with the commit; infinity is told in words."""
    listed = [{key: _plain(value) for key, value in asdict(row).items()} for row in rows]
    content = {"commit": commit(), "seed": seed, "records": listed}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _chosen(names: Sequence[str]) -> list[str]:
    """Experiments with a record, all or those named, each once."""
    folder = BOOK / "records"
    known = sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.json"))
    return list(dict.fromkeys(one_of("record", name, known) for name in names)) or known


def _clean_commit() -> str:
    """The commit that records are verified against.

    Raises:
        InputError: there is none, or the sources differ from it.
    """
    found = commit()
    if not IS_CHECKOUT or " " in found:
        raise InputError(f"--write needs a git checkout, to name its commit; here it is {found}.")
    if found.endswith("+changes"):
        raise InputError(
            f"--write names the commit that records agree with, and this checkout is {found}; "
            "commit the changes or set them aside first."
        )
    return found


def _in_a_process(part: Drawn, seed: int, supervisor: Supervisor) -> Replayed:
    """One record's replay by a process of its own, with one thread and the record's product."""
    record = part.record
    log = CACHE / "verify" / f"{record.experiment.replace('/', '-')}.log"
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    environment |= dict.fromkeys(_THREADS, "1")
    if record.device == "cpu" and "product" in record.provenance:
        environment["COMPANION_PRODUCT"] = str(record.provenance["product"])
    words = ["-m", "companion.press.verify", record.experiment, str(seed)]
    code, answer = supervisor.run(words, log, environment)
    if code == _REFUSED:
        raise InputError(answer)
    if code != 0:
        raise BuildError(f"{answer or 'a replay ended without a word'} (log: {log})")
    log.unlink(missing_ok=True)
    return Replayed(**json.loads(answer))


def _noted(row: Replayed, against: str) -> Verified | None:
    """What is kept of a replay that agreed; None takes what was kept before away."""
    if row.outcome != "agrees":
        return None
    return Verified(
        sha256=file_hash(record_path(row.record)),
        commit=against,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        seed=row.seed,
        recomputed=row.recomputed,
        largest=row.largest,
        where=row.where,
        allowed=row.allowed,
        fingerprint=fingerprint_of(basis_of_today(readable_record(row.record))),
        flop=row.flop,
    )


def _remarks(rows: Sequence[Replayed]) -> list[str]:
    lines = [f"{row.record}: {row.why}" for row in rows if row.why]
    for row in rows:
        reasons: dict[str, list[str]] = {}
        for array, why in (row.skipped or {}).items():
            reasons.setdefault(why, []).append(array)
        lines += [
            f"{row.record}: not compared are {', '.join(arrays)}, as {why}"
            for why, arrays in reasons.items()
        ]
    return ["", *lines] if lines else []


def _short(number: float) -> str:
    return "0" if number == 0 else f"{number:.2g}"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main(name: str, seed: int) -> int:
    """Compute one record's replay and print what came of it; a failure is told in one line."""
    end_with_parent()
    try:
        row = replayed(name, seed)
    except InputError as problem:
        print(problem, end="")
        return _REFUSED
    except Exception as problem:
        print(f"the replay of {name} failed: {type(problem).__name__}: {problem}", end="")
        raise
    print(json.dumps(asdict(row)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
