"""What workflows call besides make, with a `gh` that writes down what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


def call(script: str, *arguments: str, folder: Path, answers: str) -> tuple[int, list[str], str]:
    """Exit status, what gh was asked, and stderr."""
    gh = folder / "gh"
    gh.write_text(f'#!/bin/sh\necho "$*" >> "{folder}/asked"\ncase "$*" in\n{answers}\nesac\n')
    gh.chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci" / script, *arguments], capture_output=True, text=True, check=False,
        env={
            "PATH": f"{folder}:{os.environ['PATH']}", "PAUSE": "0", "GITHUB_RUN_ID": "7",
            "GITHUB_REPOSITORY": "me/book", "GITHUB_SERVER_URL": "https://github.com",
        },
    )  # fmt: skip
    return done.returncode, (folder / "asked").read_text().splitlines(), done.stderr


@pytest.mark.parametrize("status", ["in_progress", "completed"])
def test_a_run_goes_on_once_a_runner_has_taken_its_job(status: str, tmp_path: Path) -> None:
    code, asked, _ = call("await-runner", "gpu", folder=tmp_path, answers=f"api*) echo {status};;")
    assert (code, len(asked)) == (0, 1)
    assert 'select(.name == "gpu")' in asked[0]


def test_a_run_that_no_runner_takes_is_cancelled(tmp_path: Path) -> None:
    code, asked, told = call("await-runner", "gpu", folder=tmp_path, answers="api*) echo queued;;")
    assert code == 1
    assert "no runner has taken the job 'gpu'" in told
    assert len(asked) == 16
    assert asked[-1] == "run cancel 7 --repo me/book"


@pytest.mark.parametrize(("open_issue", "done"), [("12", "issue comment 12"), ("", "issue create --title It failed")])
def test_a_failure_is_told_in_one_issue(open_issue: str, done: str, tmp_path: Path) -> None:
    code, asked, _ = call("report", "It failed", folder=tmp_path, answers=f'"issue list"*) echo "{open_issue}";;')
    assert code == 0
    assert asked[-1].startswith(done)
    assert asked[-1].endswith("https://github.com/me/book/actions/runs/7")


def test_the_profile_reaches_the_commands_on_a_gpu() -> None:
    done = subprocess.run(
        ["make", "-n", "gpu", "--assume-old", ".venv/.installed"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "PROFILE": "full"},
    )  # fmt: skip
    lines = [line.rpartition("/bin/")[2].split() for line in done.stdout.splitlines() if "/bin/" in line]
    assert ["entropylens", "run", "--device", "cuda", "--profile", "full"] in lines
    assert lines[0] == ["entropylens", "bench", "--device", "cuda"]  # which refuses at once where there is no GPU
    assert [line[1] for line in lines if line[0] == "entropylens"][-2:] == ["verify", "verify"]
