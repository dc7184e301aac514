"""The command line: `companion list | run | book | status | cite | data | bench`."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

# Exit codes: 0 done, 1 a verdict was unexpected or a build failed, 2 wrong usage or bad input, and,
# as shells have it, 130 for Ctrl-C.
UNEXPECTED, BAD_INPUT, INTERRUPTED = 1, 2, 130

try:  # imports take so long that they, too, are interrupted, and need what not everybody installs
    import typer
    import yaml

    from companion import __version__
    from companion.base.files import write_atomically, write_checked
    from companion.base.paths import CACHE, PROJECT, check_checkout
    from companion.commands import regime
    from companion.commands.files import check_file as _check_file
    from companion.errors import BuildError, InputError, one_of
    from companion.lab import catalog, results
    from companion.lab.experiment import (
        Cost,
        check_device,
        load,
        settings_of,
    )
    from companion.lab.reproduce import (
        is_current,
        largest_difference,
        record_of,
        reproduce,
        unexpected,
        unlike_expected,
    )
    from companion.lab.results import Result
    from companion.lab.store import Store
    from companion.press import data
    from companion.press.cards import outcome_words
    from companion.press.supervision import FOREIGN
    from companion.press.terminal import shown
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)
except ModuleNotFoundError as missing:
    print(
        f"companion: the command needs {missing.name}; pip install 'companion[book]' brings it.",
        file=sys.stderr,
    )
    sys.exit(BAD_INPUT)

app = typer.Typer(
    help="Re-run, rebuild and cite the executable companion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.command("regime")(regime.command)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Re-run, rebuild and cite the executable companion."""


@app.command("list")
def list_() -> None:
    """Every experiment with its claims, its profiles and what they are estimated to cost."""
    for name in catalog.experiments():
        declared = load(name)
        typer.secho(name, bold=True)
        typer.echo(f"  {catalog.headline(name)}")
        typer.echo(f"  claims: {', '.join(catalog.expected(name))}")
        for profile, settings in (("quick", declared.QUICK), ("paper", declared.PAPER)):
            ran = Store().latest(name, settings.model_dump(mode="json"))
            took = f"; took {ran.provenance['seconds']} s here" if ran else ""
            typer.echo(f"  {profile}: about {_told(declared.cost(settings))}{took}")


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="Its name, as 'companion list' shows it.")],
    profile: Annotated[str, typer.Option(help="quick or paper.")] = "quick",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Replace a setting.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ID=]FILE",
            help="Draw a figure to this .svg, .pdf or .png, by its id where there are several.",
        ),
    ] = None,
) -> None:
    """Run one experiment and judge it; a stored result is used if nothing it depends on changed."""
    overrides = dict(_setting(text) for text in set_ or [])
    _check_file(json)
    images = [_image(catalog.check_experiment(experiment), text) for text in figure or []]
    _tell_cost(experiment, profile, overrides)
    result = reproduce(experiment, profile, device, **overrides)
    if json is not None:
        results.write_result(json, result)
    for identifier, file in images:
        _draw(identifier, result, file)
    _print_verdicts(result)
    _print_origin(result)
    for identifier, file in images:
        typer.echo(f"{identifier} is drawn as {file}")
    if unexpected(result):
        raise typer.Exit(UNEXPECTED)


@app.command()
def book(
    profile: Annotated[str, typer.Option(help="quick or paper.")] = "quick",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    jobs: Annotated[int | None, typer.Option(help="Chapters at once; one per core.")] = None,
    timeout: Annotated[int, typer.Option(help="Seconds one cell may take.")] = 7200,
    root: Annotated[Path, typer.Option(help="Folder with _toc.yml.")] = PROJECT,
    output: Annotated[Path, typer.Option(help="Where it is built.")] = CACHE,
) -> None:
    """Execute every chapter that changed and build the static site."""
    from companion.press.book import Book, build

    index = build(
        Book(root, output),
        profile=profile,
        device=device,
        jobs=jobs,
        timeout=timeout,
        say=typer.echo,
    )
    typer.echo(index)


@app.command()
def new(
    experiment: Annotated[str, typer.Argument(help="A name, e.g. arora2019/label_rates.")],
    claim: Annotated[str, typer.Option(help="Its claim without the paper, e.g. thm4.1.")],
) -> None:
    """Write the files of a new claim, which already run, and register them."""
    from companion.press.scaffold import write_new

    for path in write_new(experiment, claim):
        typer.echo(path.relative_to(PROJECT))
    typer.echo(f"now: companion run {experiment}; then mend every TODO, and companion check")


@app.command()
def check() -> None:
    """Whether claims, experiments, figures, chapters and tests fit together; nothing is run."""
    from companion.press.book import Book
    from companion.press.rules import problems

    check_checkout("the check")
    found = problems(Book())
    for problem in found:
        typer.echo(problem)
    if found:
        raise typer.Exit(UNEXPECTED)
    typer.echo("everything fits together")


@app.command()
def status(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Annotated[Path | None, typer.Option(help="Write all of it to this file.")] = None,
    root: Annotated[Path, typer.Option(help="Folder with _toc.yml.")] = PROJECT,
    output: Annotated[Path, typer.Option(help="Where the book is built.")] = CACHE,
) -> None:
    """Which results, records, chapters and figures are fresh, stale or missing, and why."""
    from companion.press.status import told, whole_status

    _check_file(json)
    found = list(whole_status(check_device(device), root, output))
    if json is not None:
        write_atomically(json, told(found))
    for each in found:
        typer.secho(f"{each.state:8}{each.kind:11}{each.name}", bold=each.state != "fresh")
        for line in each.in_short():
            typer.echo(f"        {line}")


@app.command()
def cite(
    figure: Annotated[
        str, typer.Argument(help="A figure id as the gallery has it, e.g. du2019-fig1a.")
    ],
    profile: Annotated[
        str | None, typer.Option(help="quick or paper; the committed record if there is one.")
    ] = None,
) -> None:
    """BibTeX for a figure: version, commit and data of the numbers behind it."""
    from companion.press.citing import bibtex, cited

    typer.echo(bibtex(figure, cited(figure, profile)))


@app.command()
def bench(
    only: Annotated[
        list[str] | None,
        typer.Option(help="Rows whose names start so, e.g. gram or step-2000-jax."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    rounds: Annotated[int, typer.Option(help="Turns every side has.")] = 5,
    cores: Annotated[int | None, typer.Option(help="Cores to use; all there are.")] = None,
    busy: Annotated[
        int, typer.Option(help="Cores that a competing process each keeps busy meanwhile.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write what was measured to this file.")] = None,
) -> None:
    """Measure every promised ratio beside its peer, in one run."""
    check_checkout("the benchmark")
    sys.path.insert(0, str(PROJECT))  # it is no part of the installed package
    from benchmarks.harness import conditions, table, targets, turns

    if rounds < 1 or (cores is not None and cores < 1):
        raise InputError(f"rounds is {rounds} and cores {cores}; both must be at least 1.")
    used = cores or conditions.cores_here()
    if not 0 <= busy <= used:
        raise InputError(f"busy is {busy}; 0 to {used} is needed, as {used} cores are used.")
    _check_file(json)
    chosen = targets.select(only or [], check_device(device))
    here = conditions.Conditions(device, used, busy, conditions.instructions_here(used))
    wanted = [targets.promised(target, here.kind) for target in chosen]
    rows = turns.measure(wanted, here, rounds=rounds, say=_aside)
    if json is not None:
        write_checked(json, table.told(rows, here))
    typer.echo(table.table(rows))
    if len(rows) < len(wanted) or any(row.met is False for row in rows):
        raise typer.Exit(UNEXPECTED)


def main() -> None:
    """Entry point: one sentence and an exit code instead of a traceback for what users can mend."""
    for name in FOREIGN:
        os.environ.pop(name, None)
    with _sentences():
        app(prog_name="companion")


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        typer.secho(f"companion: {error}", fg="red", err=True)
        sys.exit(BAD_INPUT)
    except BuildError as error:
        typer.secho(f"companion: {error}", fg="red", err=True)
        sys.exit(UNEXPECTED)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _aside("companion: stopped; what was computed is kept.")
        raise


def _aside(line: str) -> None:
    typer.echo(line, err=True)


def _tell_cost(name: str, profile: str, overrides: dict[str, Any]) -> None:
    """Say what a run will take before it starts."""
    declared = load(name)
    settings = settings_of(declared, profile, overrides)
    typer.echo(f"{name}: about {_told(declared.cost(settings))}")


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        # Lists are YAML's and what stands in them is text: the settings know what they want. YAML
        # would take 010 for 8, yes for true and 1:30 for 90.
        parsed = yaml.load(value, yaml.BaseLoader)
    except yaml.YAMLError:
        raise InputError(f"--set {text!r}: the value is not readable as YAML.") from None
    if not name or parsed is None:
        raise InputError(f"--set {text!r} is not of the form name=value.")
    # Python reads 1_0 as ten.
    if any(re.fullmatch(r"[-+.\deE]*\d_[-+.\deE_]*", part) for part in _texts(parsed)):
        raise InputError(f"--set {text!r}: write numbers without underscores.")
    return name, parsed


def _texts(parsed: object) -> list[str]:
    parts = parsed if isinstance(parsed, list) else [parsed]
    return [part for part in parts if isinstance(part, str)]


def _image(experiment: str, text: str) -> tuple[str, Path]:
    """The figure and the file that a --figure names, refused before anything is computed."""
    from companion.figures import check_image

    known = list(catalog.figures(experiment))
    identifier, _, name = text.rpartition("=")
    if not identifier and len(known) != 1:
        raise InputError(
            f"{experiment} has {len(known)} figures; say which as --figure ID={name}, from "
            f"{', '.join(known) or 'none'}."
        )
    file = check_image(Path(name))
    _check_file(file)
    return one_of(f"figure of {experiment}", identifier or known[0], known), file


def _draw(identifier: str, result: Result, file: Path) -> None:
    from companion.figures import save_image

    save_image(identifier, result, file)


def _print_verdicts(result: Result) -> None:
    """Each verdict, and where it is another than the profiles are expected to give."""
    expected, unlike = load(result.experiment).EXPECTED, unlike_expected(result)
    for verdict in result.verdicts:
        claim = catalog.claims()[verdict.claim]
        outcome = outcome_words(claim, verdict.outcome)
        typer.echo()
        typer.secho(f"{claim.number}, {claim.name} ({claim.id}): {outcome}", bold=True)
        _say("", verdict.sentence)
        _say("predicted", verdict.predicted)
        for check in verdict.checks:
            _say("measured", f"{check.what}: {check.measured}" if check.what else check.measured)
            _say("asked", check.tolerance)
            _say("slack", check.slack)
        if verdict.control is not None:
            judged = outcome_words(claim, verdict.control.outcome)
            _say("control", f"{judged}, if {verdict.control.lie}")
        if verdict in unlike:
            wanted = outcome_words(claim, expected[claim.id])
            _say("expected", f"{wanted}, with the settings of a profile")
    typer.echo()


def _say(label: str, text: str) -> None:
    """A line on a verdict, if there is something to say."""
    if text:
        typer.echo(f"  {label:11}{shown(text)}" if label else f"  {shown(text)}")


def _print_origin(result: Result) -> None:
    """What was run, what stands behind it, how far it is from the record, where it is stored."""
    told = result.provenance
    typer.echo(
        f"{result.experiment}, profile {result.profile}, {result.device}: {shown(result.summary)}\n"
        f"data: {shown(result.data)}, {told['data']}\n"
        f"computed in {told['seconds']} s at commit {told['commit']}"
    )
    record = record_of(result.experiment)
    same = record is not None and dict(record.settings) == dict(result.settings)
    if record is not None and same and is_current(record):
        worst, where = largest_difference(result, record)
        typer.echo(
            f"record of commit {record.provenance['commit']}: largest difference {worst:.2g} of "
            f"the array's largest value ({where or 'none'})"
        )
    typer.echo(f"stored as {Store().path(result.experiment, result.fingerprint)}")


def _told(cost: Cost) -> str:
    return f"{_engineering(cost.flops)}FLOP, {_engineering(cost.bytes)}B of arrays"


def _engineering(number: float) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} P"


if __name__ == "__main__":
    main()
