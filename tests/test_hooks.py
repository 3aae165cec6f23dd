"""The hooks for pre-commit check what `make test` checks, with the tools that `make` installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

BIN = Path(sys.executable).parent


def hook_faults(config: dict[str, Any]) -> Iterator[str]:
    """Hooks that need a network, whose tool or test is not there, and checks of `make test` that are left out."""
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    if {repository["repo"] for repository in config["repos"]} != {"local"} or {h["language"] for h in hooks} != {
        "system"
    }:
        yield "a hook from elsewhere"
    for hook in hooks:
        tool, *arguments = hook["entry"].split()
        if not os.access(BIN / tool.removeprefix(".venv/bin/"), os.X_OK) or not tool.startswith(".venv/bin/"):
            yield f"{hook['id']}: no tool {tool}"
        yield from (f"{hook['id']}: no {a}" for a in arguments if a.startswith("tests/") and not (ROOT / a).exists())
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    first = re.findall(r"^\t\$\(BIN\)/((?:ruff|mypy).*)$", recipe[1], re.MULTILINE)
    yield from (
        f"{command} is left out" for command in first if f".venv/bin/{command}" not in [h["entry"] for h in hooks]
    )


def hooks() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())


def test_hooks_check_what_make_test_checks(tmp_path: Path) -> None:
    assert list(hook_faults(hooks())) == []
    broken = tmp_path / "broken.yaml"
    broken.write_text((ROOT / ".pre-commit-config.yaml").read_text().replace("language: system", "language: none", 1))
    codes = [
        subprocess.run([BIN / "pre-commit", "validate-config", path], capture_output=True, check=False).returncode
        for path in (ROOT / ".pre-commit-config.yaml", broken)
    ]
    assert codes == [0, 1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda repo: repo.update(repo="https://github.com/x/y"), "from elsewhere"),
        (lambda repo: repo["hooks"][0].update(language="python"), "from elsewhere"),
        (lambda repo: repo["hooks"][0].update(entry=".venv/bin/ruf check ."), "ruff: no tool"),
        (
            lambda repository: repository["hooks"][0].update(entry=".venv/bin/ruff check src"),
            "ruff check . is left out",
        ),
        (lambda repo: repo["hooks"].pop(2), "mypy is left out"),
        (lambda repo: repo["hooks"][3].update(entry=".venv/bin/pytest tests/no.py"), "no tests/no.py"),
    ],
)
def test_a_hook_that_does_not_fit_is_found(change: Any, told: str) -> None:
    config = hooks()
    change(config["repos"][0])
    assert any(told in fault for fault in hook_faults(config))
