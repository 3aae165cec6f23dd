"""Two runs and two builds at once: each waits its turn, and all end well."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from entropylens.book.project import Project
from tests.conftest import list_chapters, write_notebook

pytestmark = pytest.mark.weekly

WAITS = "waiting for another entropylens process to finish with this book"


def start(book: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "entropylens.cli", *arguments],
        cwd=book.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_runs_and_builds_wait_for_each_other(book: Project) -> None:
    started, others_wait = book.root / "started", book.root / "others_wait"
    code = (
        f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\n"
        f"while not pathlib.Path({str(others_wait)!r}).exists(): time.sleep(0.05)"
    )
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["#md # One", code])
    list_chapters(book.root, ["01_one"])
    run = start(book, "run")
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    others = [start(book, "run"), start(book, "build"), start(book, "build")]
    try:
        for one in others:
            assert one.stderr is not None
            assert one.stderr.readline().strip() == WAITS
        assert not book.site("quick").exists()
    finally:
        others_wait.touch()
    outputs = [one.communicate(timeout=120) for one in (run, *others)]
    assert [one.returncode for one in (run, *others)] == [0] * 4, outputs
    assert [errors for _, errors in outputs[1:]] == [""] * 3
    assert [out.split()[1] for out, _ in outputs[:2]] == ["executed", "current"]
    assert sorted(out.split()[0] for out, _ in outputs[2:]) == ["_build/html-quick/index.html", "built"]
    assert (book.site("quick") / "notebooks" / "01_one.html").exists()
