"""Execute notebooks in parallel, one process each, and publish only those that ran to their end.

A worker writes into a work folder; this process moves the result into `_build/executed/<profile>/`, beside the record
that makes it count. A crash at any moment leaves the old copy, or a copy without a valid record.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from entropylens.book import faults, provenance
from entropylens.book.files import exclusive
from entropylens.book.keys import execution_key, surroundings_digest
from entropylens.book.project import Project

_SECONDS_TO_SHUT_DOWN = 5.0

#: A worker's last event, and the exit status that belongs to it.
_ENDS = {"done": 0, "failed": 1, "fault": 1}


@dataclass(frozen=True)
class Task:
    """A notebook to be executed with `parameters` (profile and device among them)."""

    notebook: Path
    parameters: Mapping[str, Any]
    key: str
    cell_ids: list[str]


@dataclass(frozen=True)
class Outcome:
    """What became of a notebook: `failure` is None if its copy is good, and `cached` says that it was so before."""

    notebook: Path
    seconds: float = 0.0
    failure: str | None = None
    cached: bool = False


def run(
    project: Project,
    parameters: Mapping[Path, Mapping[str, Any]],
    *,
    jobs: int,
    fresh: bool = False,
    timeout: int = 900,
) -> list[Outcome]:
    """Bring the executed copies of notebooks up to date.

    Args:
        project: the book.
        parameters: for each notebook the values to inject, profile and device included.
        jobs: how many notebooks are executed at a time; the cores are shared out among them.
        fresh: execute even where the copy is current.
        timeout: the most seconds one cell may take.

    Returns:
        One outcome per notebook, in the order given.
    """
    with exclusive(project) as work:
        tasks, outcomes = _plan(project, parameters, fresh)
        if tasks:
            crew = Crew(project, work, threads=max(1, cores() // min(jobs, len(tasks))), timeout=timeout)
            outcomes.update(crew.run(tasks, jobs))
    return [outcomes[notebook] for notebook in parameters]


def cores() -> int:
    """Return how many processor cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan(
    project: Project, parameters: Mapping[Path, Mapping[str, Any]], fresh: bool
) -> tuple[list[Task], dict[Path, Outcome]]:
    """Return what is to be executed, and the outcomes of the notebooks that need no execution."""
    surroundings = surroundings_digest(project)
    tasks, outcomes = [], {}
    for notebook, values in parameters.items():
        key = execution_key(project, notebook, values, surroundings)
        found = None if fresh else provenance.read_valid(project, values["profile"], notebook)
        if found and found.key == key:
            outcomes[notebook] = Outcome(notebook, found.seconds, cached=True)
        else:
            tasks.append(Task(notebook, values, key, _cell_ids(notebook)))
    return tasks, outcomes


def _cell_ids(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell.get("id", "") for cell in cells]


@dataclass
class Crew:
    """The workers of one run, their progress bar, and the power to stop them all."""

    project: Project
    work: Path
    threads: int
    timeout: int
    workers: set[subprocess.Popen[str]] = field(default_factory=set)
    stopping: bool = False
    guard: threading.Lock = field(default_factory=threading.Lock)

    def run(self, tasks: Sequence[Task], jobs: int) -> dict[Path, Outcome]:
        """Execute all tasks, at most `jobs` at a time; a failing one does not stop the others.

        Raises:
            KeyboardInterrupt: after every worker and kernel has been stopped.
        """
        total = sum(len(task.cell_ids) + 1 for task in tasks)  # papermill injects one cell into each
        with _progress_bar(total) as bar, ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(self._execute, task, bar) for task in tasks]
            try:
                return {task.notebook: future.result() for task, future in zip(tasks, futures, strict=True)}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.stop()
                raise

    def stop(self) -> None:
        """End all workers: first ask, so that they take their kernels along, then insist."""
        with self.guard:
            self.stopping = True
            workers = list(self.workers)
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + _SECONDS_TO_SHUT_DOWN
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, deadline - time.monotonic()))
            worker.kill()

    def _execute(self, task: Task, bar: tqdm[Any]) -> Outcome:
        start = time.monotonic()
        try:
            failure = self._attempt(task, bar)
        except OSError as error:  # the notebook is not to blame, and an earlier copy is as good as it was
            failure = faults.describe(error)
        return Outcome(task.notebook, time.monotonic() - start, failure)

    def _attempt(self, task: Task, bar: tqdm[Any]) -> str | None:
        """Execute a notebook and publish its copy; return what went wrong in it, if anything did."""
        start = time.monotonic()
        folder = self.work / task.notebook.stem
        folder.mkdir()
        end = self._watch(task, folder, bar)
        if "done" in end:
            self._publish(task, folder, time.monotonic() - start)
        elif "failed" in end:
            self._withdraw(task)
        return end.get("failed") or end.get("fault")

    def _watch(self, task: Task, folder: Path, bar: tqdm[Any]) -> dict[str, Any]:
        """Run the worker to its end, moving the bar; return its last event, or what its process said last instead."""
        seen = 0
        event: dict[str, Any] = {}
        with self._worker(task, folder) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                event = json.loads(line)
                step = max(event.get("cell", 0) - seen, 0)
                seen += step
                self._advance(bar, step)
        self._advance(bar, len(task.cell_ids) + 1 - seen)
        if any(kind in event and worker.returncode == status for kind, status in _ENDS.items()):
            return event
        log = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last_words = log[-1:] if worker.returncode > 0 else []  # who is killed has no time for any
        return {"failed": " ".join([faults.ending(worker.returncode), *last_words])}

    def _advance(self, bar: tqdm[Any], step: int) -> None:
        with self.guard:
            bar.update(step)

    @contextlib.contextmanager
    def _worker(self, task: Task, folder: Path) -> Iterator[subprocess.Popen[str]]:
        spec = {
            "notebook": str(task.notebook),
            "output": str(folder / task.notebook.name),
            "parameters": dict(task.parameters),
            "cell_ids": task.cell_ids,
            "timeout": self.timeout,
        }
        with (folder / "log").open("w") as log, self.guard:
            if self.stopping:
                raise RuntimeError("the run was interrupted")
            worker = subprocess.Popen(
                [sys.executable, "-m", "entropylens.book.worker", json.dumps(spec)],
                stdin=subprocess.PIPE,  # never written to: its end tells the worker that we are gone
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(folder, self.threads),
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone, and we stop the workers in order
            )
            self.workers.add(worker)
        with worker:
            yield worker
            worker.wait()  # before its standard input is closed, which it would take for our death
        with self.guard:
            self.workers.discard(worker)

    def _publish(self, task: Task, folder: Path, seconds: float) -> None:
        made = folder / task.notebook.name
        entry = provenance.record(
            self.project, task.notebook, task.key, task.parameters, seconds, self.threads, made.read_bytes()
        )
        target = self.project.executed(task.notebook, entry.profile)
        target.parent.mkdir(parents=True, exist_ok=True)
        # In this order, since only the first can lack room: if it does, the older copy still has its record.
        provenance.write(self.project, entry.profile, task.notebook, entry)
        made.replace(target)

    def _withdraw(self, task: Task) -> None:
        """Take an older copy away, unless it was made with other parameters, about which this failure says nothing."""
        profile = task.parameters["profile"]
        found = provenance.read(self.project, profile, task.notebook)
        if self.stopping or (found and found.parameters != dict(task.parameters)):
            return
        copy = self.project.executed(task.notebook, profile)
        copy.with_suffix(".json").unlink(missing_ok=True)
        copy.unlink(missing_ok=True)


def _environment(folder: Path, threads: int) -> dict[str, str]:
    own = {
        "IPYTHONDIR": str(folder / "ipython"),  # parallel kernels would fight over one history database
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "ENTROPYLENS_PROGRESS": "0",  # bars inside a notebook would end up in its copy, line by line
        "ENTROPYLENS_PANELS": "rehearse",  # nobody could press their buttons
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # silences the debugger's start-up warning about frozen modules
    }
    return {**os.environ, **own}


def _progress_bar(total: int) -> tqdm[Any]:
    patience = 0.2 if sys.stderr.isatty() else 10.0  # a log file needs no animation
    return tqdm(total=total, unit="cell", desc="executing notebooks", mininterval=patience, dynamic_ncols=True)
