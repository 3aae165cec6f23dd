"""Notebooks in git hold what was written, and nothing that was computed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.validator import ValidationError

from tests.conftest import ROOT, write_notebook

OUTPUT = {"output_type": "stream", "name": "stdout", "text": "1"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RANDOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,4}[0-9a-f]*")
"""What Jupyter makes up: a new one for the same cell whenever it is written anew."""


def complaints(path: Path) -> Iterator[str]:
    """Cells with outputs, counts, or an id that is missing, double or made up; a notebook of another format."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if (notebook["nbformat"], notebook["nbformat_minor"]) != (4, 5):
        yield "is not of format 4.5"
    if "widgets" in notebook["metadata"]:
        yield "keeps the state of widgets"
    ids = [cell.get("id", "") for cell in notebook["cells"]]
    for name, cell in zip(ids, notebook["cells"], strict=True):
        yield from (f"cell {name}: {fault}" for fault in cell_complaints(cell))
        if not name or ids.count(name) > 1 or RANDOM_ID.fullmatch(name):
            yield f"cell {name}: needs a name of its own as its id"
    try:
        nbformat.validate(notebook)
    except ValidationError as error:
        yield f"is no notebook: {error}"


def cell_complaints(cell: dict[str, Any]) -> Iterator[str]:
    if cell.get("outputs"):
        yield "has outputs"
    if cell.get("execution_count") is not None:
        yield "has a count"
    if "execution" in cell["metadata"]:
        yield "has times"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_nothing_computed(path: Path) -> None:
    assert list(complaints(path)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda nb: nb["cells"][1].update(outputs=[OUTPUT]), "has outputs"),
        (lambda nb: nb["cells"][1].update(execution_count=3), "a count"),
        (lambda nb: nb["cells"][1]["metadata"].update(execution={"iopub.status.busy": "now"}), "has times"),
        (lambda nb: nb["cells"][1].update(id=nb["cells"][0]["id"]), "a name of its own"),
        (lambda nb: nb["cells"][1].update(id="3f2a9c01"), "a name of its own"),
        (lambda nb: nb["cells"][1].update(id="3f2a9c01-1b2c-4d5e-8f90-0123456789ab"), "a name of its own"),
        (lambda nb: nb["cells"][1].pop("id"), "a name of its own"),
        (lambda nb: nb["cells"][1].pop("source"), "is no notebook"),
        (lambda nb: nb["metadata"].update(widgets={}), "state of widgets"),
        (lambda nb: nb.update(nbformat_minor=4), "format 4.5"),
    ],
)  # fmt: skip
def test_what_was_computed_is_found(change: Any, told: str, tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "01_one.ipynb", ["x = 1"])
    assert list(complaints(path)) == []
    notebook = json.loads(path.read_text())
    change(notebook)
    path.write_text(json.dumps(notebook))
    assert any(told in complaint for complaint in complaints(path)), list(complaints(path))
