"""Miniature books: real folders with tiny notebooks, so that the machinery is tested on what it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import entropylens.book  # before nbformat, whose import takes a tenth of the time then

# isort: split
import nbformat
import pytest

from entropylens.book.project import Project
from entropylens.cli import main

# Where CI is set, pytest shows all of a difference. For two lists of 50,000 numbers that takes hours, which hung a run.
os.environ["CI"] = ""

PARAMETERS = 'profile = "quick"\ndevice = "auto"\nseeds = 2'

ROOT = Path(__file__).resolve().parents[1]

Cell = str | tuple[str, list[str]]


def write_notebook(path: Path, cells: Sequence[Cell], parameters: str | None = PARAMETERS) -> Path:
    """Write a notebook whose cells are code, or markdown where they begin with `#md`; a pair adds tags."""
    built = [] if parameters is None else [_cell((parameters, ["parameters"]), 0)]
    built += [_cell(cell, index) for index, cell in enumerate(cells, 1)]
    notebook = nbformat.v4.new_notebook(cells=built)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def _cell(cell: Cell, index: int) -> nbformat.NotebookNode:
    source, tags = (cell, []) if isinstance(cell, str) else cell
    make = nbformat.v4.new_markdown_cell if source.startswith("#md") else nbformat.v4.new_code_cell
    node = make(source.removeprefix("#md").strip(), id=f"cell-{index}")
    node.metadata["tags"] = tags
    return node


@pytest.fixture
def book(tmp_path: Path) -> Project:
    """A book in our style with an introduction and no chapter, whose notebooks depend on a package of its own."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "_config.yml", tmp_path)
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    shutil.copytree(ROOT / "book" / "_static", tmp_path / "book" / "_static")
    (tmp_path / "requirements.txt").write_text("torch==1\n")
    (tmp_path / "book" / "intro.md").write_text("# A miniature book\n\nSome words.\n")
    package = tmp_path / "src" / "entropylens"
    (package / "book").mkdir(parents=True)
    (package / "measure.py").write_text("x = 1\n")
    (package / "book" / "machinery.py").write_text("y = 1\n")
    list_chapters(tmp_path, [])
    return Project(tmp_path, package)


def list_chapters(root: Path, stems: Sequence[str]) -> None:
    """Write the table of contents."""
    chapters = "".join(f"  - file: notebooks/{stem}\n" for stem in stems)
    text = "format: jb-book\nroot: book/intro\n" + (f"chapters:\n{chapters}" if stems else "")
    (root / "book" / "_toc.yml").write_text(text)


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def entropylens(book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in the miniature book; in this process, since each new one spends seconds on imports."""
    monkeypatch.chdir(book.root)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        status: str | int | None = 0
        try:
            main(arguments)
        except SystemExit as stopped:
            status = stopped.code
        assert isinstance(status, int)
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return call


@pytest.fixture
def compiler() -> None:
    """Skip where torch.compile does not work; found out when a test asks, since it takes seconds."""
    from entropylens.training.population import compiler_works

    if not compiler_works():
        pytest.skip("torch.compile needs a C++ compiler (g++, or the one named by CXX)")


def find_chromium() -> str | None:
    """Return the path of a Chromium-like browser, or None; the shell has no windows, and takes 40 % less time."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)
