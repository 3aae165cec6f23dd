"""Chapters 2 to 14 each have a panel in which readers train; built pages, where it could not, have nothing of it."""

from __future__ import annotations

import dis
import json
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import nbformat
import pytest

from entropylens.book.project import Project
from tests.conftest import ROOT, Command, write_notebook

CHAPTERS = sorted(p for p in (ROOT / "notebooks").glob("*.ipynb") if "02" <= p.name[:2] <= "14")


def code_cells(chapter: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(chapter.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def compiled(cell: dict[str, Any]) -> CodeType:
    return compile("".join(cell["source"]), cell["id"], "exec")


def functions(code: CodeType) -> Iterator[CodeType]:
    """Whatever is called later than its cell is run."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from functions(inner)


def names(code: CodeType, operation: str) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == operation}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_a_panel_of_its_own(chapter: Path) -> None:
    (cell,) = (c for c in code_cells(chapter) if "tweak(\n" in "".join(c["source"]))
    assert cell["id"] == "tweak"
    assert cell["metadata"]["tags"] == ["remove-cell"]
    assert len([line for line in cell["source"] if line.strip()]) <= 15


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_what_a_panel_calls_is_what_it_was_when_the_last_cell_has_been_run(chapter: Path) -> None:
    """A reader runs all cells, and then presses Train."""
    cells = code_cells(chapter)
    at = [c["id"] for c in cells].index("tweak")
    used = set().union(*(names(code, "LOAD_GLOBAL") for code in functions(compiled(cells[at]))))
    assert used
    for later in cells[at + 1 :]:
        assert not used & names(compiled(later), "STORE_NAME"), later["id"]


def test_a_page_has_nothing_of_its_panel(book: Project, entropylens: Command) -> None:
    panel = """
from entropylens.show.figures import Picture
from entropylens.show.tweak import Number, tweak
tweak({"steps": Number("steps", 1, 9, 5)}, lambda _, steps: open(f"{steps}.txt", "w"), lambda _: Picture("", ""))
"""
    notebook = write_notebook(book.notebooks_folder / "01_one.ipynb", [(panel, ["remove-cell"])])
    ran = entropylens("run")
    assert ran.returncode == 0, ran.stderr
    copy = nbformat.read(book.executed(notebook, "quick"), as_version=4)
    assert copy.cells[-1].outputs == []
    assert "widgets" not in copy.metadata
    assert (book.notebooks_folder / "1.txt").exists(), "it was rehearsed"
