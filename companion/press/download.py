"""The notebook that a page offers for download: with its outputs, whole in one file."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion.press.chapters import FIGURE_MARK, RESULT_MARK
from companion.press.ledger import Findings, found


def downloadable(
    page: str,
    notebook: NotebookNode,
    prose: Callable[[str], str],
    findings: Findings,
    figures: Path,
    captions: Mapping[str, Mapping[str, str]],
) -> NotebookNode:
    """A grafted chapter that shows everything with no file beside it.

    Args:
        page: its name.
        notebook: as `graft` gives it; its cells are changed.
        prose: makes Markdown for Jupyter out of the text of a cell.
        findings: what the chapters found.
        figures: the folder with the drawn figures.
        captions: figure file stem -> its caption, among others.
    """
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = prose(cell.source)
        elif cell.cell_type == "code":
            stems = [_stem(page, output, findings) for output in cell.outputs]
            cell.outputs = [
                _whole(output, figures / f"{stem}.png" if stem else None)
                for output, stem in zip(cell.outputs, stems, strict=True)
            ]
            cells += [
                nbformat.v4.new_markdown_cell(f"*{stem}.* {captions[stem]['caption']}")
                for stem in stems
                if stem
            ]
    notebook.cells = cells
    return notebook


def _stem(page: str, output: NotebookNode, findings: Findings) -> str | None:
    """File name of the figure that an output is, if it is one."""
    mark = output.get("data", {}).get(FIGURE_MARK)
    return findings.stem(page, mark["figure"], found(mark)) if mark else None


def _whole(output: NotebookNode, picture: Path | None) -> NotebookNode:
    """An output without what only the builder reads; a figure as PNG.

    JupyterLab shows no SVG of a notebook until its reader has run it.
    """
    if "data" not in output:
        return output
    data: dict[str, Any] = dict(output.data)
    data.pop(RESULT_MARK, None)
    if picture:
        del data[FIGURE_MARK], data["image/svg+xml"]
        data["image/png"] = base64.b64encode(picture.read_bytes()).decode()
    whole: NotebookNode = nbformat.from_dict({**output, "data": data})
    return whole
