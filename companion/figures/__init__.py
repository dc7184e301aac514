"""Figures: functions from a `Result` to a `Drawing`, shown in notebooks and saved for citing.

A figure `du2019-fig1a` is the function `fig1a` of a module in `companion/figures/du2019`, named
like the experiment whose result it draws. Figures compute nothing, so restyling re-runs nothing.
"""

import csv
import importlib
import io
import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.base.files import write_atomically
from companion.errors import InputError
from companion.figures.panels import COLUMNS, Drawing, narrow
from companion.figures.style import house_style
from companion.lab.catalog import check_figure, figures
from companion.lab.results import Result

# The subsetter of PDF fonts remarks on the fixed dates in the fonts that matplotlib brings.
logging.getLogger("fontTools").setLevel(logging.ERROR)

# Stands between a figure's name and `.svg` in the name of its form for phones.
NARROW = "-narrow"

# Pages and slides are light or dark; the site sees to a figure's own colours on its dark pages,
# other places show a PNG or a PDF as it is.
_GROUND = {"svg": "none", "pdf": "white", "png": "white"}

# Kinds of images; without what stands here they carry the date and differ between two runs.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Shown:
    """A figure as a notebook cell shows it; the mark lets the site place it with its links."""

    identifier: str
    result: Result

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        drawing = draw(self.identifier, self.result)
        mark = {"figure": self.identifier, **self.result.mark}
        return {
            "image/svg+xml": _render(drawing, "svg").decode(),
            "text/plain": drawing.alt,
            "application/vnd.companion.figure+json": mark,
        }


def show(identifier: str, result: Result) -> Shown:
    """The figure of that id, drawn from `result`, for the last line of a notebook cell.

    Raises:
        InputError: no such figure; the nearest id is named.
    """
    check_figure(identifier)
    return Shown(identifier, result)


def draw(identifier: str, result: Result, *, phone: bool = False) -> Drawing:
    """Draw one figure from a result, if asked in its form for phones."""
    experiment = figures()[check_figure(identifier)]
    module = importlib.import_module(f"companion.figures.{experiment.replace('/', '.')}")
    function = getattr(module, identifier.split("-", 1)[1].replace("-", "_"))
    with house_style(), narrow() if phone else nullcontext():
        drawing: Drawing = function(result)
    return drawing


def save(identifier: str, result: Result, folder: Path, stem: str | None = None) -> Drawing:
    """Write a figure's files; the same bytes for the same result.

    They are `<stem>.svg`, .pdf, .png, .csv and .json, and `<stem>-narrow.svg` for phones.
    """
    drawing = draw(identifier, result)
    base = folder / (stem or identifier)
    for kind in _METADATA:
        write_atomically(base.with_suffix(f".{kind}"), _render(drawing, kind))
        drawing.figure.set_layout_engine("none")  # all kinds as the first is laid out
    phone = _render(draw(identifier, result, phone=True), "svg")
    write_atomically(base.with_name(f"{base.name}{NARROW}.svg"), phone)
    write_atomically(base.with_suffix(".csv"), _csv(drawing))
    write_atomically(base.with_suffix(".json"), _json(identifier, drawing, result))
    return drawing


def check_image(path: Path) -> Path:
    """Return `path` if its suffix is that of a kind of image that figures are written as.

    Raises:
        InputError: it is not.
    """
    if path.suffix[1:] not in _METADATA:
        known = ", ".join(f".{kind}" for kind in _METADATA)
        raise InputError(f"cannot draw {path}: its name must end in one of {known}.")
    return path


def save_image(identifier: str, result: Result, path: Path) -> None:
    """Write one figure to one file, as the kind of image that its suffix names."""
    save_drawing(draw(identifier, result), path)


def save_drawing(drawing: Drawing, path: Path) -> None:
    """Write a drawing to one file, as the kind of image that its suffix names."""
    write_atomically(path, _render(drawing, check_image(path).suffix[1:]))


def _render(drawing: Drawing, kind: str) -> bytes:
    buffer = io.BytesIO()
    with house_style():
        drawing.figure.savefig(
            buffer, format=kind, facecolor=_GROUND[kind], metadata=_METADATA[kind]
        )
    return buffer.getvalue()


def _csv(drawing: Drawing) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(drawing.table)
    writer.writerows(zip(*drawing.table.values(), strict=True))
    return text.getvalue().encode()


def _json(identifier: str, drawing: Drawing, result: Result) -> bytes:
    """What the figure shows and what stands behind it; nothing that changes from run to run."""
    told = {
        key: result.provenance[key] for key in ("commit", "companion", "torch", "data", "machine")
    }
    content = {
        "id": identifier,
        "caption": drawing.caption,
        "alt": drawing.alt,
        "experiment": result.experiment,
        "profile": result.profile,
        "device": result.device,
        "settings": dict(result.settings),
        "fingerprint": result.fingerprint,
        "data": result.data,
        "provenance": told,
        "values": dict(result.values),
        "panels": drawing.panels,
        "described": COLUMNS,
        "columns": drawing.table,
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
