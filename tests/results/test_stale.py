"""A real edit of a real file: who is called stale by the command that visitors use?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GATED = {"EER-8", "EER-9", "EER-10", "EER-f1", "EER-f2"}
"""What is decided by the experiments of chapters 12 and 13."""
TEXTS = {"LE-q4", "LE-n1", "EER-f3"}
"""What is decided by the experiments of chapter 14, looped language models among them."""
LOOPED = {f"EER-{i}" for i in (1, 2, 3, 4, 6, 7)} | GATED


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, whose own copy of the package is the one that runs."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("book", "results", "notebooks"):  # read, and never written
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "_config.yml", tmp_path)
    return tmp_path


def stale(project: Path) -> set[str]:
    """The claims that `entropylens claims --json` calls stale."""
    command = [sys.executable, "-m", "entropylens.cli", "claims", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    return {entry["id"] for entry in json.loads(done.stdout) if entry["stale"]}


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("show/ledger.py", set()),
        ("results/statistics.py", set()),
        ("measures/memory.py", {"LE-2", "LE-5", "LE-q1"}),
        ("measures/regularised.py", {"LE-5", "LE-q1"}),
        ("models/routed.py", {"LE-3", "LE-n2", "LE-n1", "EER-f3"}),
        ("measures/events.py", {"LE-4b", "LE-4c", "LE-4d", "LE-n3", "LE-q2", "LE-q3"}),
        ("training/branches.py", {"LE-q2"}),
        ("models/loop_block.c", LOOPED | TEXTS),
        ("training/regularizers.py", LOOPED | TEXTS),
        ("tasks/ngram.py", TEXTS),
        ("measures/settling.py", GATED),
        ("measures/gating.py", set()),
        ("measures/landscape.py", {"EER-3"}),
        ("measures/transitions.py", {"EER-2", "EER-3", "EER-4"} | GATED),
        ("measures/contraction.py", {"EER-5", "EER-6", "EER-7", "EER-10", "EER-f1"}),
        (
            "training/optimizers.py",
            {f"LE-{i}" for i in ("1a", "1b", "2", "3", "4a", "4b", "4c", "4d", "5", "n2", "n3", "q1", "q2", "q3")}
            | LOOPED
            | TEXTS
            | {"EER-5"},
        ),
    ],
)
def test_an_edit_makes_stale_what_can_reach_it(copy: Path, edited: str, expected: set[str]) -> None:
    path = copy / "src" / "entropylens" / edited
    path.write_text(
        path.read_text(encoding="utf-8") + ("\n// edited\n" if edited.endswith(".c") else "\n# edited\n"),
        encoding="utf-8",
    )
    assert stale(copy) == expected


def test_published_rows_are_current(copy: Path) -> None:
    """Whoever edits code that made them has to compute again, or attest."""
    assert stale(copy) == set()
