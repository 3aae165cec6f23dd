"""Another commit's code beside today's: in a repository of its own, whose commits are real edits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from entropylens.experiments import EXPERIMENTS
from entropylens.results import verify
from entropylens.results.beside import resolve_commit, rows_of
from entropylens.results.sweep import tasks
from tests.conftest import ROOT

NAME = "residual_dominance"


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package; with a measure that adds a thousandth to a number; one that fails; and one without the package."""
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
    git(root, "rm", "-rq", "src")
    git(root, "commit", "-q", "-m", "empty")
    git(root, "tag", "empty")
    git(root, "checkout", "-q", "first")
    return root


def cheapest(root: Path) -> str:
    return tasks(EXPERIMENTS[NAME], "quick", root / "_store", root)[-1].population


@pytest.mark.weekly
def test_each_commit_gives_its_own_rows_and_leaves_no_trace(repository: Path) -> None:
    one, (code, other) = cheapest(repository), (measured_by(repository, tag) for tag in ("first", "changed"))
    assert code != other
    here = rows_of(resolve_commit("first", repository), repository, NAME, "quick", [one], [code], 1)
    there = rows_of(resolve_commit("changed", repository), repository, NAME, "quick", [one], [code, other], 1)
    assert list(here) == list(there) == [one]
    kl = there[one]["kl"] - here[one]["kl"]
    assert np.allclose(kl.dropna(), 1e-3, atol=1e-9)
    assert verify._difference(here[one], there[one]) == pytest.approx(1e-3)
    assert rows_of("first", repository, NAME, "quick", ["no such one"], [code], 1) == {}
    assert git(repository, "worktree", "list").count("\n") == 0
    assert git(repository, "status", "--porcelain") == ""


def measured_by(root: Path, commit: str) -> str:
    """The hash of a commit's measuring code, as the complaint tells it that it is none of ours."""
    with pytest.raises(ValueError, match=r"its hash is \w+; rows were made by, or attested for, another") as told:
        rows_of(commit, root, NAME, "quick", [], ["another"], 1)
    return str(told.value).split("its hash is ")[1].split(";")[0]


def test_what_is_no_commit_or_cannot_be_used_is_named(repository: Path) -> None:
    for name in ("nowhere", "", "--force"):
        with pytest.raises(ValueError, match=f"no commit '{name}' here"):
            resolve_commit(name, repository)
    with pytest.raises(ValueError, match=r"the code of broken cannot be used: RuntimeError: planted"):
        rows_of("broken", repository, NAME, "quick", [], ["x"], 1)
    with pytest.raises(ValueError, match=r"the code of empty cannot be used: LookupError: it has no src/entropylens"):
        rows_of("empty", repository, NAME, "quick", [], ["x"], 1)
    assert len(resolve_commit("first", repository)) == 40


def test_a_grid_that_lacks_a_population_is_no_witness(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "rows_of", lambda *_: {})
    with pytest.raises(ValueError, match=r"the grid of 'low_entropy' at \w+ lacks some"):
        verify.verify(repository, [EXPERIMENTS["low_entropy"]], sample=1, jobs=1, beside="first")
