"""What tests of faults share: ways to cause them, and the command line in this process, since imports take seconds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from entropylens.book import provenance
from entropylens.book.keys import execution_key
from entropylens.book.project import Project
from tests.conftest import Command, write_notebook

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


@dataclass(frozen=True)
class Done:
    """What a command returned and said; `errors` without the progress bar."""

    status: int
    out: str
    errors: list[str]


@pytest.fixture
def command(entropylens: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a limit on the size of files would cut it short
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("ENTROPYLENS_PROGRESS", "0")

    def call(*arguments: str) -> Done:
        done = entropylens(*arguments)
        # what is left of a bar that is drawn over
        said = (line.rpartition("\r")[2] for line in done.stderr.split("\n"))
        errors = [line for line in said if line.strip() and "executing notebooks" not in line]
        return Done(done.returncode, done.stdout, errors)

    return call


def forge(root: Path, stem: str) -> Path:
    """Write a notebook and the copy, current, that an execution at the quick profile would leave; return the copy."""
    project = Project(root)  # with the installed package, as the command line has it
    notebook = write_notebook(project.notebooks_folder / f"{stem}.ipynb", ["#md # One", "x = 1"])
    values = {"profile": "quick", "device": "auto"}
    copy = project.executed(notebook, "quick")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(notebook.read_bytes())
    key = execution_key(project, notebook, values)
    provenance.write(
        project, "quick", notebook, provenance.record(project, notebook, key, values, 1.0, 1, copy.read_bytes())
    )
    return copy


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for the lock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size`, here and in what is started from here: a disk that is full for large files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be made or deleted in `folder`, not even by root, who puts down the right to ignore modes."""
    folder.chmod(0o555)
    with _modes_count() if os.geteuid() == 0 else contextlib.nullcontext():
        try:
            yield
        finally:
            folder.chmod(0o755)


@contextlib.contextmanager
def _modes_count() -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0
