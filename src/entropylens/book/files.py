"""Folders that are whole or absent, a lock that dies with its holder, and processes that die with their parent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from entropylens.book.project import Project


@contextlib.contextmanager
def exclusive(project: Project) -> Iterator[Path]:
    """Hold the book's lock, and yield a fresh work folder that disappears afterwards.

    The kernel releases a `flock` when its holder dies, so a killed run blocks nobody. Under the lock nobody else works
    here: whatever lies in the work folder was left behind by a killed process and is deleted.
    """
    project.build_folder.mkdir(parents=True, exist_ok=True)
    with (project.build_folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another entropylens process to finish with this book", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(project.work_folder, ignore_errors=True)
        project.work_folder.mkdir(parents=True, exist_ok=True)
        try:
            yield Path(tempfile.mkdtemp(dir=project.work_folder))
        finally:
            shutil.rmtree(project.work_folder, ignore_errors=True)


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`.

    A folder cannot be renamed over another one, so the old one steps aside first; `restore_folder` undoes that step
    if the next one fails, or for a process that was killed in between.
    """
    aside = _aside(target)
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    try:
        new.rename(target)
    finally:
        restore_folder(target)
    shutil.rmtree(aside, ignore_errors=True)


def restore_folder(target: Path) -> None:
    """Bring back a folder that an interrupted `replace_folder` had set aside."""
    if _aside(target).exists() and not target.exists():
        _aside(target).rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def die_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even by `kill -9`.

    The parent holds the other end of our standard input and never writes: the read returns only when the parent has
    died (or closed it on purpose). Kernels started from here notice our death themselves, within a second.
    """

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock this thread would still hold when the interpreter shuts down
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="die-with-parent").start()
