"""The command `companion regime`: whether a network on given data is in the theorems' regime."""

import json as as_json
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from companion.base.files import write_atomically
from companion.base.memory import keep_freed_memory
from companion.commands.files import check_file
from companion.errors import InputError

# Of the digits that every machine has, so many of each.
_EMBEDDED = 500


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="An .npz file with inputs x, shape (n, d), and labels y, shape (n,); or digits, "
            "mnist (3 against 8), cifar10 (cat against ship)."
        ),
    ],
    width: Annotated[int, typer.Option(help="Of every hidden layer.")] = 512,
    depth: Annotated[int, typer.Option(help="Hidden layers.")] = 3,
    loss: Annotated[str, typer.Option(help="cross-entropy, quadratic, ...")] = "cross-entropy",
    parameterisation: Annotated[str, typer.Option(help="du, zou or chen.")] = "du",
    step_size: Annotated[
        float | None, typer.Option(help="Of the mean loss; half of the largest stable one.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of gradient descent.")] = 100,
    count: Annotated[
        int | None, typer.Option(help="Take so many inputs, of images half of each class.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the network.")] = 0,
    device: Annotated[str, typer.Option(help="Where it is trained: cpu or cuda.")] = "cpu",
    accuracy: Annotated[float, typer.Option(help="The theorems' epsilon.")] = 0.1,
    delta: Annotated[float, typer.Option(help="Their failure probability.")] = 0.1,
    tolerance: Annotated[
        float, typer.Option(help="What a frozen kernel may miss of a lazy network.")
    ] = 0.1,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Divide every input by its norm.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write all of it to this file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw it to this .svg, .pdf or .png.")] = None,
) -> None:
    """Is my network in the regime of these theorems? What they ask for, and how lazy it is."""
    from companion.figures import check_image, save_drawing
    from companion.lab.experiment import check_device
    from companion.press.regime import lines

    check_file(json)
    if figure is not None:
        check_file(check_image(figure))
    told = _examined(
        data, count, check_device(device), width=width, depth=depth, loss=loss,
        parameterisation=parameterisation, step_size=step_size, steps=steps, seed=seed,
        accuracy=accuracy, delta=delta, tolerance=tolerance, normalise=normalise,
    )  # fmt: skip
    if json is not None:
        text = as_json.dumps(told, indent=1, allow_nan=False)
        write_atomically(json, f"{text}\n".encode())
    for line in lines(told):
        typer.echo(line)
    if figure is not None:
        from companion.figures.regime import drawn

        save_drawing(drawn(told), figure)
        typer.echo(f"drawn as {figure}")


def _examined(data: str, count: int | None, device: str, **options: Any) -> dict[str, Any]:
    """What `Report.told` says, and which data it is about."""
    from companion.base.arguments import tensor
    from companion.regime.examination import examination_memory, examine

    keep_freed_memory()
    available = _available(device)
    x, y, source = _read(data, count, available)
    if min(options["width"], options["depth"]) > 0:
        needed = examination_memory(len(x), x.shape[1], options["width"], options["depth"])
        typer.echo(
            f"{source}: at most {needed / 1e9:.2g} GB, of {available / 1e9:.2g} GB available",
            err=True,
        )
    x, y = tensor("x", x).to(device), tensor("y", y).to(device)
    report = examine(x, y, memory_budget=available, **options)
    return {"data": source, **report.told()}


def _available(device: str) -> int:
    """Bytes that are free, on a GPU there and here: data are measured here and trained on there."""
    here: int = psutil.virtual_memory().available
    if device == "cpu":
        return here
    from torch import cuda

    return min(here, cuda.mem_get_info()[0])


def _read(data: str, count: int | None, available: float) -> tuple[Any, Any, str]:
    """Inputs and labels, and what they are."""
    if count is not None and count < 2:
        raise InputError(f"count is {count}; it must be at least 2.")
    if data in ("digits", "mnist", "cifar10"):
        return _images(data, count)
    path = Path(data)
    x, y = _arrays(path, available)
    if count is not None and count > len(y):
        raise InputError(f"count is {count}; {path} has {len(y)} inputs.")
    told = f"{path.name}, first {count} inputs" if count is not None else path.name
    return x[:count], y[:count], told


def _images(name: str, count: int | None) -> tuple[Any, Any, str]:
    from companion.images import cifar10, mnist

    if count is not None and count % 2:
        raise InputError(f"count is {count}; it must be even, as half are of each class.")
    per_class = None if count is None else count // 2
    if name == "digits":
        found = mnist(per_class=_EMBEDDED if per_class is None else per_class)
    else:
        found = (mnist if name == "mnist" else cifar10)(per_class=per_class)
    return found.x.numpy(), found.y.numpy(), found.source


def _arrays(path: Path, available: float) -> tuple[Any, Any]:
    """X and y of an .npz file, of which no number is read before they are known to fit."""
    from companion.datasets import own_shape

    if not path.is_file():
        raise InputError(
            f"there is no file {path}; give an .npz file with arrays x and y, or digits, mnist or "
            "cifar10."
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in "xy" if name not in archive]
            if missing:
                raise InputError(
                    f"{path} has no array {' and no array '.join(missing)}; x and y are needed."
                )
            count, dimension = own_shape(path)
            if 8 * count * dimension > available:
                raise InputError(
                    f"{path} has {count} inputs of length {dimension}, which alone are "
                    f"{8 * count * dimension / 1e9:.3g} GB, of {available / 1e9:.3g} GB available; "
                    "save fewer of them."
                )
            x, y = archive["x"], archive["y"]
    except InputError:  # a ValueError, too
        raise
    # An .npy file loads as an array, which is no context (TypeError).
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(
            f"{path} is not an .npz file with numeric arrays x and y, as numpy.savez writes it."
        ) from None
    if y.shape != x.shape[:1]:
        raise InputError(
            f"{path} has x of shape {x.shape} and y of shape {y.shape}; (n, d) and (n,) are needed."
        )
    return x, y
