"""`entropylens run` on miniature books: what it executes, what it skips, how it fails, and how it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest

from entropylens.book.project import Project
from tests.conftest import Command, write_notebook


def _copy(book: Project, stem: str, profile: str = "quick") -> Path:
    return book.executed(book.notebooks_folder / f"{stem}.ipynb", profile)


def _leftovers(book: Project) -> list[str]:
    return [path.name for path in book.build_folder.rglob("*") if path.is_file() and path.name != ".lock"]


def test_executes_in_parallel_then_skips_then_repeats_on_demand(book: Project, entropylens: Command) -> None:
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["print(profile, device, seeds)"])
    write_notebook(book.notebooks_folder / "02_two.ipynb", ["import os; print(os.environ['OMP_NUM_THREADS'])"])
    first = entropylens("run", "--profile", "full", "--device", "cpu", "--jobs", "2", "-p", "seeds=7")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("executed") == 2
    outputs = nbformat.read(_copy(book, "01_one", "full"), as_version=4).cells[2].outputs
    assert outputs[0].text == "full cpu 7\n"
    record = json.loads(_copy(book, "01_one", "full").with_suffix(".json").read_text())
    assert record["parameters"] == {"profile": "full", "device": "cpu", "seeds": 7}
    assert record["notebook"] == "notebooks/01_one.ipynb"
    again = ["run", "--profile", "full", "--device", "cpu", "-p", "seeds=7"]
    assert entropylens(*again).stdout.count("current") == 2
    assert entropylens(*again, "1", "--fresh").stdout.count("executed") == 1
    assert entropylens(*again[:-2], "1").stdout.count("executed") == 1, "an override must not pass for the default"


def test_a_failing_override_does_not_cost_the_default_copy(book: Project, entropylens: Command) -> None:
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["assert seeds == 2, 'too many'"])
    assert entropylens("run").returncode == 0
    failed = entropylens("run", "-p", "seeds=3")
    assert failed.returncode == 1
    assert "AssertionError: too many" in failed.stderr
    assert entropylens("run").stdout.count("current") == 1


def _start(book: Project) -> subprocess.Popen[str]:
    """Start a run and wait until its kernel is inside a cell that would take minutes."""
    mark = book.root / "started"
    code = f"import os, pathlib, time\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\ntime.sleep(300)"
    write_notebook(book.notebooks_folder / "01_slow.ipynb", [code])
    run = subprocess.Popen(
        [sys.executable, "-m", "entropylens.cli", "run"], cwd=book.root, stderr=subprocess.PIPE, text=True
    )
    _wait_for(lambda: mark.exists() and bool(mark.read_text()))
    return run


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def _kernel_is_gone(book: Project) -> bool:
    pid = int((book.root / "started").read_text())
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_nothing_to_trip_over(
    book: Project, entropylens: Command, blow: signal.Signals
) -> None:
    run = _start(book)
    os.kill(run.pid, blow)
    _, errors = run.communicate(timeout=30)
    assert run.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    if blow == signal.SIGINT:
        assert errors.splitlines()[-1] == "entropylens: interrupted"
    _wait_for(lambda: _kernel_is_gone(book), seconds=15)
    assert [name for name in _leftovers(book) if name.startswith("01_slow.ip")] == []
    write_notebook(book.notebooks_folder / "01_slow.ipynb", ["x = 1"])
    assert entropylens("run").returncode == 0
    assert sorted(_leftovers(book)) == ["01_slow.ipynb", "01_slow.json"]


def test_no_grammar_is_built_to_read_a_notebook() -> None:
    """It takes a second or more in each process; see `entropylens.book`."""
    code = "import sys, entropylens.book, nbformat, papermill; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
