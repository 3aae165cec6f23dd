"""Another commit's code, run beside today's: what rows does it give on this machine?

Training amplifies rounding, and processors round differently. So rows that were published from one machine come out
with other digits on another, whatever the code. Whether a change of the code changes numbers is seen where both run on
the same machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

_COMPUTE = """
import sys
from pathlib import Path
import pandas as pd
from entropylens.experiments import EXPERIMENTS
from entropylens.results.sweep import compute, measuring_code, tasks

name, profile, folder, jobs, *populations = sys.argv[1:]
experiment = EXPERIMENTS[name]
todo = [t for t in tasks(experiment, profile, Path(folder), Path.cwd()) if t.population in populations]
rows = compute(todo, int(jobs) or None, label=f"{name} with the other code")
frames = {t.population: part.frame for t, part in zip(todo, rows, strict=True)}
pd.to_pickle((measuring_code(experiment), frames), Path(folder) / "frames")
"""
"""What the other code is asked to do; as little as possible, since it is as old as it is."""


def rows_of(
    commit: str, root: Path, experiment: str, profile: str, populations: Sequence[str], jobs: int | None = None
) -> tuple[str, dict[str, pd.DataFrame]]:
    """The hash of a commit's measuring code, and the rows that it gives here: population to rows.

    Args:
        commit: anything that git takes for one.
        root: of the project.
        experiment: its name.
        profile: of its grid.
        populations: which ones; those that the commit's grid does not have are left out.
        jobs: processes.

    Raises:
        ValueError: if there is no such commit, or its code fails; the message ends with its last words.
    """
    with tempfile.TemporaryDirectory() as folder, _checked_out(commit, root) as there:
        command = [sys.executable, "-c", _COMPUTE, experiment, profile, folder, str(jobs or 0), *populations]
        environment = {**os.environ, "PYTHONPATH": str(there / "src")}
        done = subprocess.run(command, cwd=there, env=environment, check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise ValueError(f"the code of {commit} fails: {' '.join(done.stderr.split()[-30:])}")
        code, frames = pd.read_pickle(Path(folder) / "frames")
    return code, frames


@contextmanager
def _checked_out(commit: str, root: Path) -> Iterator[Path]:
    """A folder with the files of a commit; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as parent:
        there = Path(parent) / "project"
        made = _git(root, "worktree", "add", "--detach", str(there), commit)
        if made.returncode:
            raise ValueError(f"no commit {commit!r} here: {' '.join(made.stderr.split())}")
        try:
            yield there
        finally:
            _git(root, "worktree", "remove", "--force", str(there))


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
