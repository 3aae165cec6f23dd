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


FAILURES = {
    "01_raises": ("raise ValueError('no\\nluck')", "ValueError: no luck"),
    "02_dies": ("import os; os._exit(3)", "DeadKernelError"),
    "03_hangs": ("import time; time.sleep(60)", "CellTimeoutError: ran for more than 4 s"),
    "04_leaves": ("raise SystemExit(0)", "the kernel exited here"),
}


def test_failing_notebooks_are_named_and_the_others_finish(book: Project, entropylens: Command) -> None:
    for stem, (code, _) in FAILURES.items():
        write_notebook(book.notebooks_folder / f"{stem}.ipynb", ["x = 1", code, "y = 2"])
    write_notebook(book.notebooks_folder / "05_good.ipynb", ["z = 3"])
    old = _copy(book, "01_raises")
    old.parent.mkdir(parents=True)
    old.write_text("an earlier, good copy")
    done = entropylens("run", "--cell-timeout", "4")
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stderr.splitlines() if line.startswith("entropylens: ")}
    for stem, (_, told) in FAILURES.items():
        assert lines[f"{stem}.ipynb"].startswith(f"entropylens: {stem}.ipynb failed: cell index 2 (id cell-2): ")
        assert told in lines[f"{stem}.ipynb"]
    assert sorted(_leftovers(book)) == ["05_good.ipynb", "05_good.json"], "an older copy must not look current"


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


def test_a_second_run_waits_for_the_first(book: Project) -> None:
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["import time; time.sleep(3)"])
    command = [sys.executable, "-m", "entropylens.cli", "run"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": book.root}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum("waiting for another entropylens process" in errors for _, errors in outputs) == 1
    assert sorted(out.split()[1] for out, _ in outputs) == ["current", "executed"]
