"""Verdicts on fresh seeds: `companion run ... --fresh N` and `companion fresh`.

`python -m companion.commands.fresh NAME FAMILIES` is the program of a process that repeats one
experiment. What its families gave it tells line by line, and the parent counts.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from companion.base.files import check_target
from companion.base.paths import CACHE, brief, check_checkout
from companion.errors import BuildError, InputError, MissingDataError
from companion.lab import fresh as counts
from companion.lab.catalog import check_experiment, claims, experiments
from companion.lab.experiment import load, settings_of
from companion.lab.fresh import Count, Family, counted, draws_from_seeds, rare, repeat, wanted
from companion.lab.provenance import commit
from companion.press.cards import counted_words
from companion.press.execution import environment
from companion.press.supervision import Supervisor, end_with_parent
from companion.press.terminal import cost_words, shown

_UNEXPECTED = 1


@dataclass(frozen=True)
class Gathered:
    """What a process told of an experiment that it repeated.

    Attributes:
        identity: of what was repeated.
        families: what each gave.
        left_out: why it was not repeated, in a sentence; or nothing.
        refused: whether that is a fault, and not that data are missing on this machine.
    """

    identity: str = ""
    families: tuple[Family, ...] = ()
    left_out: str = ""
    refused: bool = False


def repeat_here(
    name: str,
    families: int,
    profile: str,
    device: str,
    overrides: Mapping[str, object],
    *,
    written: bool,
) -> None:
    """Repeat one experiment in this process, and print how often each verdict stayed.

    Args:
        name: of the experiment.
        families: how many families of seeds.
        profile: `quick` or `paper`.
        device: `cpu` or `cuda`.
        overrides: settings to replace.
        written: whether a file of a single result is asked for, too.

    Raises:
        InputError: as of `companion.lab.fresh.repeat`, or a file is asked for.
        Exit: with code 1 if a verdict stayed in fewer than nine families of ten.
    """
    if written:
        raise InputError(
            "--fresh counts verdicts of many results and writes none of them; leave --json and "
            "--figure out."
        )
    running = repeat(name, families, profile, device, overrides)
    cost = load(name).cost(settings_of(load(name), profile, overrides))
    typer.echo(f"{name}, {families} times: each about {cost_words(cost)}")
    outcomes, done = wanted(name, profile, device, overrides), []
    for family in running:
        done.append(family)
        told = _family_line(outcomes, family)
        typer.echo(f"[{len(done)}/{families}] first_seed={family.first_seed}: {told}")
    found = counted(outcomes, done)
    for claim, count in found.items():
        _print_count(claim, count)
    unsteady = list(rare(found))
    if unsteady:
        typer.echo(f"\nin fewer than nine of ten: {', '.join(unsteady)}")
        raise typer.Exit(_UNEXPECTED)


def fresh(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="All, if none is named.")
    ] = None,
    families: Annotated[int, typer.Option(help="Other families of seeds.")] = 10,
    jobs: Annotated[int, typer.Option(help="Experiments at once, of a thread each.")] = 1,
) -> None:
    """Count how often the verdicts of quick profiles stay on fresh seeds, in book/fresh.json.

    What is counted already with this code is not counted again, and a stopped count goes on.
    """
    check_checkout("the count on fresh seeds")
    for option, number in (("families", families), ("jobs", jobs)):
        if number < 1:
            raise InputError(f"{option} is {number}; it must be at least 1.")
    named = [check_experiment(name) for name in names or experiments()]
    check_target(counts.counts_path())
    chosen = [name for name in dict.fromkeys(named) if draws_from_seeds(load(name).QUICK)]
    for name in (name for name in dict.fromkeys(named) if name not in chosen):
        typer.echo(f"{name}: draws nothing from seeds")
    problems = list(_count(chosen, families, jobs))
    known = counts.repetitions()
    unsteady = [
        f"{claim} stayed in {_share(count)} ({name})"
        for name in chosen
        if name in known
        for claim, count in known[name].claims.items()
        if count.is_rare
    ]
    for line in [*problems, *unsteady]:
        typer.echo(line)
    typer.echo(f"the counts are in {brief(counts.counts_path())}")
    if problems or unsteady:
        raise typer.Exit(_UNEXPECTED)


def _count(names: list[str], families: int, jobs: int) -> Iterator[str]:
    """Count what is not counted yet, a line for each experiment; gives what could not be."""
    here, waiting = commit(), [name for name in names if not counts.is_done(name, families)]
    done = len(names) - len(waiting)
    if done:
        typer.echo(f"{done} of {len(names)} experiments are counted already")
    with ThreadPoolExecutor(jobs) as pool, Supervisor() as supervisor:
        running = {pool.submit(_gather, supervisor, name, families): name for name in waiting}
        for ended in as_completed(running):
            done, name = done + 1, running[ended]
            try:
                gathered = ended.result()
            except BuildError as problem:
                gathered = Gathered(left_out=str(problem), refused=True)
            if gathered.left_out:
                told = f"{name} is left out: {gathered.left_out}"
            else:
                kept = counts.keep(name, gathered.identity, here, gathered.families)
                told = f"{name}: {_counts_line(kept.claims)}"
            typer.echo(f"[{done}/{len(names)}] {told}")
            if gathered.refused:
                yield told


def _gather(supervisor: Supervisor, name: str, families: int) -> Gathered:
    """Repeat an experiment in a process of its own, with one thread; its memory goes with it."""
    folder = CACHE / "fresh"
    log, words = folder / f"{name}.log", ["-m", __spec__.name, name, str(families)]
    lines = supervisor.lines(words, log, environment(folder, threads=1))
    first, *rest = map(json.loads, lines)
    if "left_out" in (first if not rest else rest[-1]):
        return Gathered(**(first if not rest else rest[-1]))
    return Gathered(first["identity"], tuple(Family(**each) for each in rest))


def main(name: str, families: int) -> None:
    """Repeat an experiment; tell its identity and what each family gave, or why not, as JSON."""
    end_with_parent()
    told = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # nothing else is to stand between the lines
        for line in _lines(name, families):
            print(json.dumps(line), file=told, flush=True)


def _lines(name: str, families: int) -> Iterator[dict[str, Any]]:
    try:
        running = repeat(name, families)
        yield {"identity": counts.identity_of(name)}
        yield from map(asdict, running)
    except InputError as problem:
        yield {"left_out": str(problem), "refused": not isinstance(problem, MissingDataError)}


def _family_line(outcomes: Mapping[str, str], family: Family) -> str:
    if family.problem:
        return f"{counts.NO_VERDICT}, {shown(family.problem)}"
    others = [
        f"{claim} {_words(claim, found)}"
        for claim, found in family.outcomes.items()
        if found != outcomes[claim]
    ]
    return "; ".join(others) or "every verdict stays"


def _print_count(claim: str, count: Count) -> None:
    """One claim: how often its verdict stayed, and with which seeds it did not."""
    known = claims()[claim]
    told = f"{_words(claim, count.outcome)} in {_share(count)}"
    typer.secho(f"\n{known.number}, {known.name} ({known.id}): {told}", bold=True)
    for outcome, seeds in count.others.items():
        where = ", ".join(map(str, seeds))
        typer.echo(f"  {_words(claim, outcome)} with first_seed {where}")


def _counts_line(found: Mapping[str, Count]) -> str:
    """All counts of an experiment in one line."""
    others = [f"{claim} stayed in {_share(c)}" for claim, c in found.items() if c.others]
    return "; ".join(others) or f"every verdict stayed, {_share(next(iter(found.values())))}"


def _share(count: Count) -> str:
    return f"{count.stayed} of {count.families}"


def _words(claim: str, outcome: str) -> str:
    return counted_words(claims()[claim], outcome)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
