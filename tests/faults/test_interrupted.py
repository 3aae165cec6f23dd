"""Ctrl-C at random moments, as a terminal sends it, to the whole group: 130, nobody left behind, nothing by halves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from entropylens.book.project import Project
from entropylens.experiments import EXPERIMENTS, low_entropy
from entropylens.experiments.experiment import Experiment
from tests.conftest import list_chapters, write_notebook
from tests.faults.conftest import Done, contents, forge

pytestmark = pytest.mark.weekly

PROGRAM = "import sys; from entropylens.cli import main; print('ready', flush=True); main(sys.argv[1:])"


def family(mark: str) -> list[psutil.Process]:
    """The processes that descend from the one that was started with `mark` in its environment, and itself."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("ENTROPYLENS_TEST") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def interrupt(root: Path, *arguments: str, after: float, processes: int = 1) -> None:
    """Start a command, interrupt it `after` so many seconds since it had so many processes, and look at how it ends."""
    mark = uuid.uuid4().hex
    command = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=root, env={**os.environ, "ENTROPYLENS_TEST": mark},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == "ready\n"
    while processes > 1 and len(family(mark)) < processes:
        assert command.poll() is None
        time.sleep(0.1)
    with suppress(subprocess.TimeoutExpired):
        command.wait(after)
    with suppress(ProcessLookupError):
        os.killpg(command.pid, signal.SIGINT)
    try:
        _, errors = command.communicate(timeout=60)
    finally:
        _, alive = psutil.wait_procs(family(mark), timeout=20)
        for process in alive:
            process.kill()
    assert alive == []
    assert command.returncode == 130, errors
    assert errors.splitlines()[-1] == "entropylens: interrupted"
    # Workers of a computation that are still importing have not yet been told that Ctrl-C is not for them.
    assert "Traceback" not in errors or (arguments[0] == "compute" and processes > 1)


def test_a_run_that_is_interrupted_at_random_moments(book: Project, command: Callable[..., Done]) -> None:
    cell = "import pathlib, time\nif not pathlib.Path('../hurry').exists(): time.sleep(120)"
    write_notebook(book.notebooks_folder / "01_one.ipynb", [cell])
    good = forge(book.root, "02_two")
    moments = random.Random(1)
    for span, processes in ((1.5, 1), (1.5, 3)):  # while it imports, and with a worker and a kernel
        interrupt(book.root, "run", after=moments.uniform(0.1, span), processes=processes)
        made = contents(book.build_folder)
        assert all(json.loads(data) for data in made.values())
        assert good.exists()
    (book.root / "hurry").touch()
    done = command("run")
    assert (done.status, done.errors) == (0, [])
    assert len(contents(book.build_folder)) == 4


def test_a_build_that_is_interrupted_at_random_moments(book: Project, command: Callable[..., Done]) -> None:
    forge(book.root, "01_one")
    list_chapters(book.root, ["01_one"])
    page = book.site("quick") / "notebooks" / "01_one.html"
    page.parent.mkdir(parents=True)
    page.write_text("an earlier site")
    moments = random.Random(2)
    for processes in (1, 2):  # by itself, and with Sphinx
        interrupt(book.root, "build", after=moments.uniform(0.0, 0.3), processes=processes)
        assert page.read_text() == "an earlier site" or page.read_text().endswith("</html>")
    assert command("build").status == 0
    assert page.read_text() != "an earlier site"


def test_a_computation_that_is_interrupted_at_random_moments(
    book: Project, command: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once while it imports, and once with its workers (and Python's own helper) on their way."""
    moments, ask = random.Random(3), ("compute", "low_entropy", "--jobs", "2")
    for span, processes in ((1.5, 1), (1.0, 4)):
        interrupt(book.root, *ask, after=moments.uniform(0.1, span), processes=processes)
        for path, data in contents(book.root / "_store").items():
            name = path.rpartition("/")[2]
            assert name.startswith(".") or name.split(".")[1] == hashlib.sha256(data).hexdigest()[:24]
    grid = low_entropy.Grid(widths=(4,), seeds=1, steps=3, n_snapshots=3)
    tiny = Experiment("low_entropy", (), {"quick": grid.populations}, low_entropy.measure)
    monkeypatch.setitem(EXPERIMENTS, "low_entropy", tiny)
    done = command("compute", "low_entropy", "--jobs", "1")
    assert (done.status, done.errors) == (0, []), done
    assert "6 measured, 6 trained" in command("compute", "low_entropy").out
