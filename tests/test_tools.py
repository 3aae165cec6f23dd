"""Linter and type checker, as this project sets them up, find what is planted: a setting that is lost is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def tool(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import os\n", "F401"),
        ("def f(x):\n    return x\n", "ANN001"),
        ("def f() -> None:\n    pass\n", "D103"),
        ('def f(x: list = []) -> None:\n    """Keep."""\n', "B006"),
    ],
)
def test_the_linter_finds_what_is_planted(code: str, rule: str) -> None:
    found = tool("ruff", "check", "--stdin-filename", "src/entropylens/planted.py", "-", code=code)
    assert found.returncode == 1
    assert rule in found.stdout


def test_the_formatter_finds_what_is_planted() -> None:
    planted = f"x = [{'1, ' * 60}]\n"
    assert tool("ruff", "format", "--check", "--stdin-filename", "src/planted.py", "-", code=planted).returncode == 1


def test_the_type_checker_finds_what_is_planted(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("def f(x: int) -> str:\n    return x\n\n\ndef g(x):\n    return x\n")
    found = tool("mypy", str(tmp_path / "planted.py"))
    assert found.returncode == 1
    assert "[return-value]" in found.stdout
    assert "[no-untyped-def]" in found.stdout, "strict, so that nothing stays without a type"
