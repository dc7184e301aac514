"""The command `companion data`: what is here of the real data, and fetching the rest."""

import json
from typing import Annotated, Any

import typer

from companion.datafetch import data_status, fetch_data
from companion.errors import InputError

app = typer.Typer(help="Real data: what is here, and fetching the rest.")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch MNIST, as 'fetch mnist' does.")
    ] = False,
) -> None:
    """Real data: what is here, and fetching the rest."""
    if download:
        fetch("mnist")
    if context.invoked_subcommand is None:
        status()


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What experiments use on this machine, whether it is intact, and how to get what is missing.

    A damaged file is bad input.
    """
    found = data_status()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        typer.echo(f"searched: {', '.join(found['searched'])}")
        for data in ("mnist", "cifar10"):
            _tell(data, found[data])
    damaged = [
        name
        for data in ("mnist", "cifar10")
        for name, state in found[data]["files"].items()
        if state == "damaged"
    ]
    if damaged:
        raise InputError(f"not as published: {', '.join(damaged)}; delete and fetch them again.")


@app.command()
def fetch(
    data: Annotated[str, typer.Argument(help="mnist or cifar10.")],
) -> None:
    """Fetch the official files, checked, to COMPANION_DATA or this user's cache.

    What breaks off goes on where it stopped when it is asked for again.
    """
    typer.echo(f"{data} is in {fetch_data(data)}")


def _tell(data: str, found: dict[str, Any]) -> None:
    typer.secho(f"{data}: {found['used'] or 'not here'}", bold=True)
    for place in found["where"]:
        typer.echo(f"  {place}")
    for name, state in found["files"].items():
        typer.echo(f"  {state:8} {name}")
    if found["advice"]:
        typer.echo(f"  {found['advice']}")
