"""The page of costs: what records say, in a form that Sphinx can read."""

from __future__ import annotations

import json

import nbformat
import pytest

from entropylens.book import provenance
from entropylens.book.build import build
from entropylens.book.execution import MARKER, tables
from entropylens.book.keys import execution_key
from entropylens.book.project import Project
from tests.conftest import list_chapters, write_notebook


@pytest.fixture
def executed(book: Project) -> Project:
    """A book with one notebook whose executed copy is forged: only its record matters.

    Sphinx, a process of its own, takes the installed package for the one that notebooks import.
    """
    book = Project(book.root)
    notebook = write_notebook(book.notebooks_folder / "01_one.ipynb", ["#md # One", "x = 1", "y = 2"])
    list_chapters(book.root, ["01_one"])
    made = nbformat.read(notebook, as_version=4)
    for count, cell in enumerate((c for c in made.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    copy = book.executed(notebook, "quick")
    copy.parent.mkdir(parents=True)
    nbformat.write(made, copy)
    values = {"profile": "quick", "device": "cpu"}
    key = execution_key(book, notebook, values)
    record = provenance.record(book, notebook, key, values, 75.26, 1, copy.read_bytes())
    provenance.write(book, "quick", notebook, record)
    return book


def population(**change: object) -> dict[str, object]:
    how = {"seconds": 100.0, "measuring_seconds": 1.5, "date": "2026-01-02T03:04:05+00:00", "device": "cpu"}
    return {**how, "cpu": "a processor", "threads": 1, "torch": "2.0", "commit": "a" * 40, "dirty": False, **change}


def test_notebooks_are_listed_with_their_costs(executed: Project) -> None:
    text = tables(executed, "quick", executed.notebooks())
    assert "[01_one](../notebooks/01_one.ipynb) | 75.3 | 3 | cpu |" in text
    assert "together took 1.3 minutes" in text
    assert "Experiments" not in text
    (made,) = (line for line in text.splitlines() if line.startswith("1. "))
    assert all(word in made for word in ("Python 3", "PyTorch", "thread(s)", "GPU: "))


def test_experiments_are_summed_over_populations(executed: Project) -> None:
    results = executed.root / "results"
    results.mkdir()
    populations = {"p1": population(), "p2": population(seconds=50.0, date="2026-01-04T00:00:00+00:00")}
    populations["p3"] = population(cpu="another | processor")
    record = {"experiment": "fake", "profile": "full", "populations": populations}
    (results / "fake.json").write_text(json.dumps(record))
    (results / "other.json").write_text("[]")
    (results / "broken.json").write_text("{")
    (results / "empty.json").write_text(json.dumps({**record, "populations": {}}))
    text = tables(executed, "quick", executed.notebooks())
    (row,) = (line for line in text.splitlines() if line.startswith("| fake"))
    assert row.replace("\N{NON-BREAKING HYPHEN}", "-").endswith(
        "| fake | 254 | 3 | full | 2026-01-02 to 2026-01-04 | (2), (3) |"
    )
    assert "\n2. PyTorch 2.0, device cpu, a processor, 1 thread(s), commit aaaaaaaaaa\n" in text


def test_a_model_is_counted_once_and_where_it_was_trained(executed: Project) -> None:
    results = executed.root / "results"
    results.mkdir()
    shared = {"training_key": "k", "trained_for": "fake"}
    populations = {"p1": population(**shared), "p2": population(**shared), "p3": population(trained_for="other")}
    record = {"experiment": "fake", "profile": "full", "populations": populations}
    (results / "fake.json").write_text(json.dumps(record))
    text = tables(executed, "quick", executed.notebooks())
    (row,) = (line for line in text.splitlines() if line.startswith("| fake"))
    assert row.startswith("| fake | 104 | 3 |")  # one training of 100 s, three measurings of 1.5 s


def test_a_notebook_without_a_record_is_listed_as_such(book: Project) -> None:
    notebook = write_notebook(book.notebooks_folder / "01_one.ipynb", ["x = 1"])
    assert "| not executed |" in tables(book, "quick", [notebook])


def test_the_page_is_made_when_the_book_is_built(executed: Project) -> None:
    (executed.root / "book" / "execution.md").write_text(f"# Costs\n\n{MARKER}\n")
    with executed.toc.open("a") as toc:
        toc.write("  - file: book/execution\n")
    assert build(executed, "quick")
    page = (executed.site("quick") / "book" / "execution.html").read_text()
    assert MARKER not in page
    assert "75.3" in page
    assert 'href="../notebooks/01_one.html"' in page
    assert not build(executed, "quick")


def test_a_gpu_is_asked_for_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError

    provenance.gpu_model.cache_clear()
    monkeypatch.setattr(provenance.subprocess, "run", absent)
    assert provenance.gpu_model() == "none"
    provenance.gpu_model.cache_clear()
