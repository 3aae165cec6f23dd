"""Another commit's code beside today's: in a repository of its own, whose commits are real edits."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from entropylens.experiments import EXPERIMENTS
from entropylens.results import verify
from entropylens.results.beside import rows_of
from entropylens.results.sweep import tasks
from tests.conftest import ROOT

NAME = "residual_dominance"


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits: the package; with a measure that adds a thousandth to a number; and one that fails."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("src", "book", "results"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    git(root, "init", "-q")
    for tag, line in (
        ("first", ""),
        ("changed", "_of_models = measure\n\n\ndef measure(spec, trained):\n    rows = _of_models(spec, trained)\n"
         "    rows['kl'] += 1e-3\n    return rows\n\n\nEXPERIMENT = __import__('dataclasses').replace(EXPERIMENT, "
         "measure=measure)\n"),
        ("broken", "raise RuntimeError('planted')\n"),
    ):  # fmt: skip
        with (root / "src/entropylens/experiments/residual_dominance.py").open("a", encoding="utf-8") as file:
            file.write(line)
        git(root, "add", "-A")
        git(root, "commit", "-q", "--allow-empty", "-m", tag)
        git(root, "tag", tag)
    return root


def cheapest(root: Path) -> str:
    return tasks(EXPERIMENTS[NAME], "quick", root / "_store", root)[-1].population


def test_each_commit_gives_its_own_rows_and_leaves_no_trace(repository: Path) -> None:
    one = cheapest(repository)
    (code, here), (other, there) = (rows_of(tag, repository, NAME, "quick", [one], 1) for tag in ("first", "changed"))
    assert code != other
    assert list(here) == list(there) == [one]
    kl = there[one]["kl"] - here[one]["kl"]
    assert np.allclose(kl.dropna(), 1e-3, atol=1e-9)
    assert verify._difference(here[one], there[one]) == pytest.approx(1e-3)
    assert rows_of("first", repository, NAME, "quick", ["no such one"], 1)[1] == {}
    assert git(repository, "worktree", "list").count("\n") == 0
    assert git(repository, "status", "--porcelain") == ""


def test_a_commit_that_is_not_there_or_does_not_run_is_named(repository: Path) -> None:
    with pytest.raises(ValueError, match="no commit 'nowhere' here"):
        rows_of("nowhere", repository, NAME, "quick", [cheapest(repository)], 1)
    with pytest.raises(ValueError, match=r"the code of broken fails: .*RuntimeError: planted"):
        rows_of("broken", repository, NAME, "quick", [cheapest(repository)], 1)


def test_code_that_did_not_make_the_rows_is_no_witness(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "rows_of", lambda *_: ("another", {}))
    monkeypatch.setattr(verify, "compute", lambda *_, **__: [None])
    with pytest.raises(ValueError, match=r"first has other code .another. than what made the rows of 'low_entropy'"):
        verify.verify(repository, EXPERIMENTS["low_entropy"], sample=1, jobs=1, beside="first")
    stamped = json.loads((repository / "results/low_entropy.json").read_text(encoding="utf-8"))["measuring_code"]
    monkeypatch.setattr(verify, "rows_of", lambda *_: (stamped, {}))
    with pytest.raises(ValueError, match="the grid of 'low_entropy' at first lacks some"):
        verify.verify(repository, EXPERIMENTS["low_entropy"], sample=1, jobs=1, beside="first")
