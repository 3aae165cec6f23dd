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
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

_COMPUTE = """
import sys
from pathlib import Path

folder, name, profile, jobs, device, known, *populations = sys.argv[1:]
try:
    import entropylens
    if not Path(entropylens.__file__).resolve().is_relative_to(Path.cwd().resolve()):
        raise LookupError("it has no src/entropylens")
    from entropylens.experiments import EXPERIMENTS
    from entropylens.results.sweep import compute, measuring_code, tasks
    experiment = EXPERIMENTS[name]
    if measuring_code(experiment) not in known.split():
        raise LookupError(f"its hash is {measuring_code(experiment)}; rows were made by, or attested for, {known}")
    todo = [t for t in tasks(experiment, profile, Path(folder), Path.cwd(), device) if t.population in populations]
    rows = compute(todo, int(jobs) or None, label=f"{name} with the other code")
    for t, part in zip(todo, rows, strict=True):
        part.frame.to_csv(Path(folder) / f"{t.population}.csv", index=False)
except Exception as error:
    (Path(folder) / "error").write_text(f"{type(error).__name__}: {error}")
    sys.exit(1)
"""
"""What the other code is asked to do; as little as possible, since it is as old as it is. `python -c` keeps the folder
where it runs, and PYTHONPATH, before whatever is installed; that it is the other package is checked all the same."""


def resolve_commit(commit: str, root: Path) -> str:
    """The full hash of a commit.

    Raises:
        ValueError: if git knows none by that name.
    """
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if found.returncode:
        raise ValueError(f"no commit {commit!r} here")
    return found.stdout.strip()


def rows_of(
    commit: str,
    root: Path,
    experiment: str,
    profile: str,
    populations: Sequence[str],
    known: Collection[str],
    jobs: int | None = None,
    device: str = "cpu",
) -> dict[str, pd.DataFrame]:
    """The rows that a commit's code gives here: population to rows.

    Args:
        commit: its full hash.
        root: of the project, which is the repository's.
        experiment: its name.
        profile: of its grid.
        populations: which ones; those that the commit's grid does not have are left out.
        known: hashes of measuring code, of which the commit's has to be one; seen to before anything is computed.
        jobs: processes.
        device: to train on, cpu or cuda.

    Raises:
        ValueError: if the commit's code is another one, or fails; the message says how.
    """
    with tempfile.TemporaryDirectory() as folder, _checked_out(commit, root) as there:
        arguments = [folder, experiment, profile, str(jobs or 0), device, " ".join(known), *populations]
        environment = {**os.environ, "PYTHONPATH": str(there / "src")}
        done = subprocess.run([sys.executable, "-c", _COMPUTE, *arguments], cwd=there, env=environment, check=False)
        if done.returncode:
            said = Path(folder) / "error"
            raise ValueError(
                f"the code of {commit[:9]} cannot be used: {said.read_text() if said.exists() else 'killed'}"
            )
        # Rows come from CSV in the store, too; a pickle would run whatever is in it.
        return {path.stem: pd.read_csv(path) for path in Path(folder).glob("*.csv")}


@contextmanager
def _checked_out(commit: str, root: Path) -> Iterator[Path]:
    """A folder with the files of a commit; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as parent:
        there = Path(parent) / "project"
        made = _git(root, "worktree", "add", "--detach", str(there), commit)
        if made.returncode:
            raise ValueError(f"{commit[:9]} cannot be checked out: {' '.join(made.stderr.split())}")
        try:
            yield there
        finally:
            _git(root, "worktree", "remove", "--force", str(there))


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"git cannot be run: {error}") from None
