"""The record beside an executed copy: what was executed, where, with what, and is it still true?"""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from entropylens.book.keys import execution_key
from entropylens.book.project import Project
from entropylens.results.environment import cpu_model, git_state, installed_version
from entropylens.results.files import digest, read_json, write_atomically


@dataclass(frozen=True)
class Provenance:
    """How an executed copy came to be. Stored as JSON beside it, under the same stem."""

    key: str
    copy: str
    notebook: str
    parameters: dict[str, Any]
    profile: str
    device: str
    seconds: float
    date: str
    python: str
    torch: str
    entropylens: str
    cpu: str
    threads: int
    commit: str
    dirty: bool
    gpu: str = "unknown"


def record(
    project: Project,
    notebook: Path,
    key: str,
    parameters: Mapping[str, Any],
    seconds: float,
    threads: int,
    copy: bytes,
) -> Provenance:
    """Return the provenance of the executed `copy` of `notebook`, made just now on this machine."""
    commit, dirty = git_state(project.root)
    return Provenance(
        key=key,
        copy=digest(copy),
        notebook=notebook.relative_to(project.root).as_posix(),
        parameters=dict(parameters),
        profile=parameters["profile"],
        device=parameters["device"],
        seconds=round(seconds, 2),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        torch=installed_version("torch"),
        entropylens=installed_version("entropylens"),
        cpu=cpu_model(),
        threads=threads,
        commit=commit,
        dirty=dirty,
        gpu=gpu_model(),
    )


def write(project: Project, profile: str, notebook: Path, provenance: Provenance) -> None:
    """Store the record; from now on the copy beside it counts."""
    text = json.dumps(asdict(provenance), indent=1, ensure_ascii=False) + "\n"
    write_atomically(project.executed(notebook, profile).with_suffix(".json"), text)


def read(project: Project, profile: str, notebook: Path) -> Provenance | None:
    """Return the record of a notebook's copy, or None where there is no readable one."""
    path = project.executed(notebook, profile).with_suffix(".json")
    try:
        found = Provenance(**read_json(path))
    except (OSError, ValueError, TypeError):
        return None
    kinds = {name: get_origin(kind) or kind for name, kind in get_type_hints(Provenance).items()}
    return found if all(isinstance(getattr(found, name), kind) for name, kind in kinds.items()) else None


def read_valid(project: Project, profile: str, notebook: Path) -> Provenance | None:
    """Return the record if it belongs to the copy that lies beside it, byte for byte."""
    copy, found = project.executed(notebook, profile), read(project, profile, notebook)
    return found if found and copy.is_file() and digest(copy.read_bytes()) == found.copy else None


def why_stale(project: Project, profile: str, notebook: Path, surroundings: str | None = None) -> str | None:
    """Return why the copy of `notebook` must not be published, or None if it is what its source says today.

    A copy counts if it was made with the notebook's own parameters, on whatever device.
    """
    found = read_valid(project, profile, notebook)
    if found is None:
        damaged = project.executed(notebook, profile).exists()
        return "has a damaged executed copy" if damaged else "has not been executed"
    defaults = {"profile": profile, "device": found.device}
    changed = {name: value for name, value in found.parameters.items() if name not in defaults}
    if changed:
        return "was executed with " + " ".join(f"-p {name}={value!r}" for name, value in changed.items())
    if execution_key(project, notebook, defaults, surroundings) != found.key:
        return "has changed, or what it imports has, since it was executed"
    return None


def command_for(profile: str, notebooks: list[Path]) -> str:
    """Return the command that brings the copies of `notebooks` up to date."""
    return " ".join(["entropylens run", *(path.stem for path in notebooks), "--profile", profile])


@functools.cache
def gpu_model() -> str:
    """Return the first NVIDIA GPU's name as its driver tells it, or "none"; PyTorch is not imported for that."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.partition("\n")[0].strip() or "none"
