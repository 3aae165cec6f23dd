"""Where and with what something was computed."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def cpu_features() -> str:
    """A hash of the processor's instruction sets: those that share a name may differ in them, and so in rounding."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
    return hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12]


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())} ({os.cpu_count()} cores)"


def git_state(root: Path) -> tuple[str, bool]:
    """Return the commit that is checked out and whether the tree differs from it; ("unknown", True) outside git."""
    commit = _git(root, "rev-parse", "HEAD")
    return (commit or "unknown", commit is None or bool(_git(root, "status", "--porcelain")))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
