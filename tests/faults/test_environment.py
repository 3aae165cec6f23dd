"""Machines that lack something: tools, a home, cores, UTF-8, or a plain name for the folder of the book."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch

from entropylens.book.project import Project
from entropylens.cli import main
from entropylens.experiments import EXPERIMENTS
from entropylens.models.trie_kernel import attend_reference
from entropylens.results import verify
from entropylens.results.publish import Order, execute
from tests.conftest import ROOT, list_chapters, write_notebook
from tests.results.test_publish import EXPERIMENT

ATTENTION = """
import torch
from entropylens.models import loop_kernel
from entropylens.models.layouts import TrieLayout
from entropylens.models.trie_kernel import attend, has_kernel
from entropylens.tasks.language import Language
path = TrieLayout(Language(3, 4)).paths[40]
qkv = torch.randn(40, 3, 2, 4, generator=torch.Generator().manual_seed(1))
print(has_kernel(qkv.dtype), loop_kernel.has_kernel(qkv.dtype), attend(qkv, path)[0].double().abs().sum().item())
"""
PICTURE = """
from entropylens.show.figures import canvas, picture
@picture
def draw():
    figure, (ax,) = canvas()
    ax.plot([1, 2], label="Größe")
    return figure, "Eine Länge"
draw()
"""


@pytest.fixture
def oddly_named(book: Project) -> Project:
    """A miniature book in a folder whose name has blanks and letters beyond ASCII; its package is the installed one."""
    root = book.root / "Büchlein, größer als 1 %"
    root.mkdir()
    for path in [p for p in book.root.iterdir() if p not in (root, book.root / "src")]:
        path.rename(root / path.name)
    return Project(root)


def run_there(book: Project, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "entropylens.cli", *arguments]
    return subprocess.run(
        command, cwd=book.root, capture_output=True, encoding="utf-8", check=False, timeout=300, **how
    )


def environment(**change: str | None) -> Mapping[str, str]:
    return {name: value for name, value in {**os.environ, **change}.items() if value is not None}


def said(book: Project, stem: str) -> tuple[str, str]:
    """What an executed notebook printed, and what it said on stderr, which a reader would see on the page."""
    copy = nbformat.read(book.executed(book.notebooks_folder / f"{stem}.ipynb", "quick"), as_version=4)
    outputs = [o for cell in copy.cells for o in cell.get("outputs", ()) if o.output_type == "stream"]
    return tuple("".join(o.text for o in outputs if o.name == name) for name in ("stdout", "stderr"))  # type: ignore[return-value]


def by_definition() -> float:
    from entropylens.models.layouts import TrieLayout
    from entropylens.tasks.language import Language

    qkv = torch.randn(40, 3, 2, 4, generator=torch.Generator().manual_seed(1))
    return float(attend_reference(qkv, TrieLayout(Language(3, 4)).paths[40])[0].double().abs().sum())


@pytest.mark.weekly
def test_nothing_is_needed_but_python(oddly_named: Project, tmp_path: Path) -> None:
    """No node, no npm, no git, no C compiler: the folder that PATH names is empty."""
    write_notebook(oddly_named.notebooks_folder / "01_one.ipynb", ["#md # One", ATTENTION, PICTURE])
    list_chapters(oddly_named.root, ["01_one"])
    (tmp_path / "empty").mkdir()
    bare = environment(PATH=str(tmp_path / "empty"), CC=None, CXX=None)
    ran = run_there(oddly_named, "run", env=bare)
    assert ran.returncode == 0, ran.stderr
    assert [line for line in ran.stderr.splitlines() if line and not line.startswith("executing notebooks:")] == []
    printed, complained = said(oddly_named, "01_one")
    assert complained == ""
    assert printed.split()[:2] == ["False", "False"]
    assert float(printed.split()[2]) == pytest.approx(by_definition(), rel=1e-6)
    built = run_there(oddly_named, "build", env=bare)
    assert (built.returncode, built.stderr) == (0, ""), built.stderr
    page = (oddly_named.site("quick") / "notebooks" / "01_one.html").read_text(encoding="utf-8")
    assert "Eine Länge" in page
    assert "commit unknown" in page


@pytest.mark.weekly
def test_a_home_that_cannot_be_written_to_is_replaced(oddly_named: Project) -> None:
    write_notebook(oddly_named.notebooks_folder / "01_one.ipynb", [PICTURE, "import os; print(os.environ['HOME'])"])
    done = run_there(oddly_named, "run", env=environment(HOME="/dev/null/x", XDG_CACHE_HOME=None, MPLCONFIGDIR=None))
    assert done.returncode == 0, done.stderr
    own = oddly_named.build_folder / ".home"
    assert done.stderr.splitlines()[0] == f"the home folder /dev/null/x cannot be written to: caches go to {own}"
    assert said(oddly_named, "01_one") == (f"{own}\n", "")
    assert list(own.rglob("matplotlib"))


@pytest.mark.weekly
def test_another_encoding_than_utf_8_does_no_harm(oddly_named: Project) -> None:
    """Also to those who read C sources, in which there are letters beyond ASCII."""
    code = [ATTENTION, "import sys; print(sys.flags.utf8_mode); raise ValueError('kein Glück')"]
    write_notebook(oddly_named.notebooks_folder / "01_one.ipynb", code)
    done = run_there(oddly_named, "run", env=environment(LC_ALL="C", PYTHONUTF8="0"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("cell index 2 (id cell-2): ValueError: kein Glück")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tie processes to cores")
@pytest.mark.weekly
def test_on_one_core_notebooks_are_executed_one_by_one(book: Project) -> None:
    times = "import os, time; print(time.time()); time.sleep(1); print(time.time(), os.environ['OMP_NUM_THREADS'])"
    for stem in ("01_one", "02_two"):
        write_notebook(book.notebooks_folder / f"{stem}.ipynb", [times])
    one = {min(os.sched_getaffinity(0))}
    done = run_there(book, "run", preexec_fn=lambda: os.sched_setaffinity(0, one))
    assert done.returncode == 0, done.stderr
    (a, b, threads), (c, d, _) = sorted(
        [float(x) for x in said(book, stem)[0].split()] for stem in ("01_one", "02_two")
    )
    assert b <= c, "two ran at a time"
    assert (threads, b > a, d > c) == (1, True, True)


def test_results_are_computed_and_verified_in_such_a_folder(
    oddly_named: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EXPERIMENTS, EXPERIMENT.name, EXPERIMENT)
    shutil.copy(ROOT / "book" / "claims.yml", oddly_named.root / "book")
    execute(Order(oddly_named.root, EXPERIMENT, "full", "cpu"), jobs=1)
    (check,) = verify.verify(oddly_named.root, [EXPERIMENT], jobs=1)[EXPERIMENT.name]
    assert check.agrees
    monkeypatch.chdir(oddly_named.notebooks_folder)
    main(["claims", "--json"])
    listed = {claim["id"]: claim["verdict"] for claim in json.loads(capsys.readouterr().out)}
    assert listed["LE-1a"] != "untested"
