"""Linter, type checker and pytest, as this project sets them up, find what is planted: a lost setting is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def tool(
    *arguments: str, code: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, input=code, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


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


def run_planted(tests: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a file of tests as CI would, with our settings."""
    ours = ["-c", "pyproject.toml", "--rootdir", ".", "-p", "no:cacheprovider"]
    return tool("pytest", *ours, *options, str(tests), env={"CI": "true", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def test_a_test_that_hangs_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    planted = tmp_path / "test_planted.py"
    others = "".join(f"def test_{i}():\n    pass\n" for i in range(5))
    planted.write_text(f"import time\n\ndef test_hangs():\n    time.sleep(100)  # waits\n\n{others}")
    done = run_planted(planted, "-p", "xdist", "--numprocesses", "1", "-o", "faulthandler_timeout=2")
    assert done.returncode == 1
    assert "5 passed" in done.stdout
    assert "::test_hangs" in done.stdout
    assert f'File "{planted}", line 4 in test_hangs' in done.stderr


def test_two_long_lists_that_differ_are_told_at_once(tmp_path: Path) -> None:
    """The whole difference, which pytest looks for where CI is set, takes hours."""
    planted = tmp_path / "test_planted.py"
    planted.write_text(
        "import random\n\ndef test_differs():\n    draw = random.Random(1)\n    a, b = "
        "([[draw.randrange(3) for _ in range(20)] for _ in range(2500)] for _ in range(2))\n    assert a == b\n"
    )
    done = run_planted(planted, "-p", "tests.conftest")
    assert done.returncode == 1
    assert "At index 0 diff: " in done.stdout
