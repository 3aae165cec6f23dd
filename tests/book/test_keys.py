"""What makes an executed copy stale, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from entropylens.book.keys import execution_key
from entropylens.book.project import Project
from entropylens.results.files import digest, write_atomically
from tests.conftest import write_notebook

PARAMETERS = {"profile": "quick", "device": "auto"}


@pytest.fixture
def notebook(book: Project) -> Path:
    return write_notebook(book.notebooks_folder / "01_one.ipynb", ["x = 1"])


def _write(relative: str, text: str) -> Callable[[Project], object]:
    def write(book: Project) -> None:
        write_atomically(book.root / relative, text)

    return write


def _edit_notebook(change: Callable[[nbformat.NotebookNode], object]) -> Callable[[Project], object]:
    def edit(book: Project) -> None:
        path = book.notebooks_folder / "01_one.ipynb"
        content = nbformat.read(path, as_version=4)
        change(content)
        nbformat.write(content, path)

    return edit


CHANGES = {
    "a cell": _edit_notebook(lambda nb: nb.cells[1].update(source="x = 2")),
    "a tag": _edit_notebook(lambda nb: nb.cells[1].metadata.update(tags=["hide-input"])),
    "an imported module": _write("src/entropylens/measure.py", "x = 2\n"),
    "a new module": _write("src/entropylens/tasks/new.py", ""),
    "a script of an explorer": _write("src/entropylens/show/slider.js", "1"),
    "the pins": _write("requirements.txt", "torch==2\n"),
    "the claims": _write("book/claims.yml", "- id: LE-1a\n"),
    "the stored results": _write("results/bias.csv", "a,b\n"),
}

NO_CHANGES = {
    "an output": _edit_notebook(lambda nb: nb.cells[1].update(outputs=[nbformat.v4.new_output("stream", text="1")])),
    "an editor's metadata": _edit_notebook(lambda nb: nb.cells[1].metadata.update(collapsed=True)),
    "the book machinery": _write("src/entropylens/book/machinery.py", "y = 2\n"),
    "the command line": _write("src/entropylens/cli.py", "y = 2\n"),
    "compiled files": _write("src/entropylens/__pycache__/measure.pyc", "0"),
    "another page": _write("book/intro.md", "# Other words\n"),
    "another notebook": lambda book: write_notebook(book.notebooks_folder / "02_two.ipynb", ["1"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_key_changes_with(book: Project, notebook: Path, what: str) -> None:
    before = execution_key(book, notebook, PARAMETERS)
    CHANGES[what](book)
    assert execution_key(book, notebook, PARAMETERS) != before


@pytest.mark.parametrize("what", NO_CHANGES)
def test_key_does_not_change_with(book: Project, notebook: Path, what: str) -> None:
    before = execution_key(book, notebook, PARAMETERS)
    NO_CHANGES[what](book)
    assert execution_key(book, notebook, PARAMETERS) == before


def test_key_covers_the_parameters(book: Project, notebook: Path) -> None:
    variants = [PARAMETERS, {**PARAMETERS, "device": "cpu"}, {**PARAMETERS, "seeds": 2}, {**PARAMETERS, "seeds": 2.0}]
    assert len({execution_key(book, notebook, values) for values in variants}) == len(variants)


def test_digest_tells_where_a_part_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_write_atomically_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
