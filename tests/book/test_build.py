"""`entropylens build` on miniature books: it publishes what is whole and current, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entropylens.book import build as build_module
from entropylens.book.build import build, documents
from entropylens.book.errors import BookError
from entropylens.book.files import replace_folder, restore_folder
from entropylens.book.project import Project
from tests.conftest import Command, list_chapters, write_notebook

MARK = "an earlier site"


def _page(book: Project, name: str = "notebooks/01_one.html") -> str:
    return (book.site("quick") / name).read_text()


def _put_earlier_site(book: Project) -> Path:
    page = book.site("quick") / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(MARK)
    return page


def test_publishes_executed_copies_and_then_has_nothing_to_do(book: Project, entropylens: Command) -> None:
    cells = [
        "#md # One\n\nThe sum is {glue:text}`sum:d`.",
        "from myst_nb import glue\nglue('sum', 41 + 1, display=False)",
        "import sys\nfor i in range(3): print(f'\\r{i}', end='', file=sys.stderr)",
        ("1/3", ["remove-cell"]),
        "seeds",
    ]
    write_notebook(book.notebooks_folder / "01_one.ipynb", cells)
    two = "#md # Two\n\nFrom one: {glue:text}`01_one.ipynb::sum:d`.\n\n```{exercise}\n:label: ex\nTry.\n```"
    write_notebook(book.notebooks_folder / "02_two.ipynb", [two])
    list_chapters(book.root, ["01_one", "02_two"])
    assert entropylens("run").returncode == 0
    done = entropylens("build")
    assert done.returncode == 0, done.stderr
    one = _page(book)
    assert re.search(r"The sum is (<[^>]+>)*42", one)
    assert "0.333" not in one
    assert "# Parameters" not in one, "papermill's injected cell is noise to a reader"
    assert "How this page was made" in one
    assert re.search(r"From one: (<[^>]+>)*42", _page(book, "notebooks/02_two.html"))
    assert "quick</strong> profile" in one
    assert (book.site("quick") / ".nojekyll").exists()
    assert "unpkg.com" not in one
    assert "up to date" in entropylens("build").stdout
    (book.root / "book" / "intro.md").write_text("# Other words\n")
    assert "built" in entropylens("build").stdout
    assert "Other words" in _page(book, "book/intro.html")


def test_refuses_a_page_whose_notebook_fails(book: Project, entropylens: Command) -> None:
    notebook = write_notebook(book.notebooks_folder / "01_one.ipynb", ["x = 1"])
    list_chapters(book.root, ["01_one"])
    earlier = _put_earlier_site(book)
    assert entropylens("run").returncode == 0
    write_notebook(notebook, ["x = 1", "raise ValueError('planted')"])
    failed = entropylens("run")
    assert failed.returncode == 1
    assert "01_one.ipynb failed: cell index 2 (id cell-2): ValueError: planted" in failed.stderr
    refused = entropylens("build")
    assert refused.returncode == 1
    assert "notebooks/01_one.ipynb has not been executed" in refused.stderr
    assert "entropylens run 01_one --profile quick" in refused.stderr
    assert earlier.read_text() == MARK


@pytest.mark.parametrize("change", ["source", "package", "override", "damage"])
def test_refuses_a_stale_copy(book: Project, change: str) -> None:
    """The copy is forged here rather than executed: only its record matters."""
    from entropylens.book import provenance
    from entropylens.book.keys import execution_key

    notebook = write_notebook(book.notebooks_folder / "01_one.ipynb", ["x = 1"])
    list_chapters(book.root, ["01_one"])
    values = {"profile": "quick", "device": "cpu", **({"seeds": 9} if change == "override" else {})}
    copy = book.executed(notebook, "quick")
    copy.parent.mkdir(parents=True)
    copy.write_bytes(notebook.read_bytes())
    key = execution_key(book, notebook, values)
    provenance.write(book, "quick", notebook, provenance.record(book, notebook, key, values, 1.0, 1, copy.read_bytes()))
    if change != "override":
        assert provenance.why_stale(book, "quick", notebook) is None
    if change == "source":
        write_notebook(notebook, ["x = 2"])
    elif change == "package":
        (book.package / "measure.py").write_text("x = 2\n")
    elif change == "damage":
        copy.write_text("{}")
    told = {"override": "was executed with -p seeds=9", "damage": "damaged"}.get(change, "has changed")
    with pytest.raises(BookError, match=told):
        build(book, "quick")


def test_a_warning_keeps_the_earlier_site(book: Project) -> None:
    earlier = _put_earlier_site(book)
    (book.root / "book" / "intro.md").write_text("# Words\n\n[nowhere](nowhere.md)\n")
    with pytest.raises(BookError, match="nowhere"):
        build(book, "quick")
    assert earlier.read_text() == MARK
    assert not book.work_folder.exists()


def test_the_extension_refuses_by_itself(book: Project, tmp_path: Path) -> None:
    """Whoever calls Jupyter Book directly gets the same answer."""
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["#md # One"])
    list_chapters(book.root, ["01_one"])
    (tmp_path / "work").mkdir()
    with pytest.raises(BookError, match=r"01_one\.ipynb has not been executed\. Run: entropylens run 01_one"):
        build_module._run_jupyter_book(book, "quick", tmp_path / "work")


def test_another_major_version_of_jupyter_book_is_refused(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module.metadata, "version", lambda _: "2.0.1")
    with pytest.raises(BookError, match=r"jupyter-book 2\.0\.1 is installed"):
        build(book, "quick")


def test_a_missing_page_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    with pytest.raises(BookError, match="did not write: book/intro"):
        build_module._check_pages(tmp_path, ["book/intro"])


def test_a_killed_build_leaves_the_earlier_site_and_nothing_to_trip_over(book: Project) -> None:
    earlier = _put_earlier_site(book)
    command = [sys.executable, "-m", "entropylens.cli", "build"]
    with subprocess.Popen(command, cwd=book.root, stderr=subprocess.DEVNULL) as killed:
        deadline = time.monotonic() + 60
        while not list(book.work_folder.glob("*/_build")):  # Jupyter Book has begun to write
            assert time.monotonic() < deadline
            time.sleep(0.02)
        killed.kill()
    assert earlier.read_text() == MARK
    assert build(book, "quick")
    assert earlier.read_text() != MARK
    assert not book.work_folder.exists()


def test_a_broken_table_of_contents_is_named(book: Project) -> None:
    book.toc.write_text("chapters: 3\n")
    with pytest.raises(BookError, match=r"_toc\.yml"):
        documents(book)


def test_a_site_set_aside_by_a_killed_build_comes_back(tmp_path: Path) -> None:
    site, new = tmp_path / "html", tmp_path / "new"
    for folder, text in ((site, "old"), (new, "new")):
        folder.mkdir()
        (folder / "index.html").write_text(text)
    site.rename(tmp_path / ".html.old")  # where replace_folder stands between its two renames
    restore_folder(site)
    assert (site / "index.html").read_text() == "old"
    replace_folder(new, site)
    assert (site / "index.html").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["html"]


def test_the_site_says_what_it_was_built_from(book: Project) -> None:
    for stray in ("NOTES.md", ".pytest_cache/README.md", "src/notes.md"):  # pages of nobody's book
        (book.root / stray).parent.mkdir(exist_ok=True)
        (book.root / stray).write_text("# Stray\n")
    assert build(book, "full")
    assert json.loads((book.site("full") / build_module.RECORD).read_text())["profile"] == "full"
    assert not build(book, "full")
    assert "announcement" not in (book.site("full") / "book" / "intro.html").read_text().split("<body")[1][:3000]
