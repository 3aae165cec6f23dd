"""GitHub's workflows: by their schema, by zizmor, and by rules of ours that neither knows. Each fault is planted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
TARGETS = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())  # type: ignore[index]

WRITES = {
    ("gpu", "await"): {"actions"},
    ("weekly", "report"): {"issues"},
    ("publish", "pages"): {"pages", "id-token"},
    ("publish", "release"): {"contents"},
}
"""What a job may write; all others may read the repository, at most."""
SMALL = {"test", "echo", "exit", "nvidia-smi", "gh"}
"""Commands that a workflow may call itself; all other work is behind make or in .ci/."""
HOSTED = "ubuntu-24.04"
GPU = "${{ vars.GPU_RUNNER }}"


def triggers(workflow: dict[Any, Any]) -> dict[str, Any]:
    """YAML 1.1 takes `on` for a truth value."""
    return workflow[True] if isinstance(workflow[True], dict) else dict.fromkeys(workflow[True])


def faults(name: str, workflow: dict[Any, Any]) -> Iterator[str]:
    """Each breach of our rules in a sentence."""
    from_outside = {"pull_request", "pull_request_target"} & triggers(workflow).keys()
    if "pull_request_target" in from_outside:
        yield "pull_request_target runs a stranger's code with our rights"
    if workflow.get("permissions") != {}:
        yield "the workflow gives rights to all of its jobs"
    if "group" not in workflow.get("concurrency", {}):
        yield "no concurrency group"
    for job_name, job in workflow["jobs"].items():
        told = [*job_faults(name, job_name, job), *(stranger_faults(job) if from_outside else ())]
        told += [fault for step in job["steps"] for fault in step_faults(step)]
        yield from (f"{job_name}: {fault}" for fault in told)
    yield from gpu_faults(workflow["jobs"])


def job_faults(name: str, job_name: str, job: dict[str, Any]) -> Iterator[str]:
    if not 0 < job.get("timeout-minutes", 0) <= 360:
        yield "no time-out"
    rights, may_write = job.get("permissions"), WRITES.get((name, job_name), set())
    if not isinstance(rights, dict):
        yield "no permissions of its own"
    elif wrong := [k for k, v in rights.items() if not (k in may_write or (k, v) == ("contents", "read"))]:
        yield f"too many rights: {', '.join(wrong)}"
    if "continue-on-error" in str(job):
        yield "a failure that nobody sees"
    if job["runs-on"] not in {HOSTED, GPU}:
        yield f"runs on {job['runs-on']}"
    if (matrix := job.get("strategy", {}).get("matrix", {}).get("python", PYTHONS)) != PYTHONS:
        yield f"Python {matrix}, where pyproject.toml has {PYTHONS}"


def stranger_faults(job: dict[str, Any]) -> Iterator[str]:
    """What a job must not have that a pull request starts."""
    if re.search(r"secrets|github\.token|GITHUB_TOKEN", str(job)):
        yield "a secret in a pull request"
    if job["runs-on"] != HOSTED:
        yield "a pull request on a machine of ours"


def step_faults(step: dict[str, Any]) -> Iterator[str]:
    action, given = step.get("uses", "").partition("@")[0], step.get("with", {})
    if action and not action.startswith("actions/"):
        yield f"{action} is not GitHub's own"
    if action == "actions/checkout" and given.get("persist-credentials") is not False:
        yield "a checkout that leaves its token behind"
    if action == "actions/setup-python" and given["python-version"] not in {*PYTHONS, "${{ matrix.python }}"}:
        yield f"Python {given['python-version']}, which pyproject.toml does not have"
    if action == "actions/cache":
        key = given["key"].replace(" ", "")
        if "hashFiles('requirements.txt')" not in key or "'src/**'" not in key or "matrix.python" not in key:
            yield "a cache whose key does not tell pins, sources and Python"
    if "${{" in step.get("run", ""):
        yield "an expression inside a command"
    yield from (f"calls {' '.join(c)}" for c in commands(step.get("run", "")) if not is_known(c))


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a script, in words."""
    for line in script.splitlines():
        command: list[str] = []
        for word in [*shlex.shlex(line, posix=True, punctuation_chars=True), ";"]:
            if set(word) <= set("();|&{}"):
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def is_known(command: list[str]) -> bool:
    name, *arguments = command
    if name == "make":
        return set(arguments) <= TARGETS and bool(arguments)
    return name in SMALL or (name.startswith(".ci/") and os.access(ROOT / name, os.X_OK))


def gpu_faults(jobs: dict[str, Any]) -> Iterator[str]:
    """A job on the GPU's runner needs one that fails without a label, and is watched until a runner takes it."""
    for name, job in jobs.items():
        if job["runs-on"] == GPU:
            before = needed(jobs, name)
            if not any("vars.GPU_RUNNER" in str(jobs[other]["steps"]) for other in before):
                yield f"{name}: nothing before it fails without a label"
            first = next(other for other in [*jobs] if other in {*before, name} and jobs[other]["runs-on"] == GPU)
            watched = [
                c[1] for j in jobs.values() for s in j["steps"] for c in commands(s.get("run", "")) if "await" in c[0]
            ]
            if jobs[first]["name"] not in watched:
                yield f"{name}: nobody looks whether a runner takes it"
            if "nvidia-smi" not in str(jobs[first]["steps"][0]):
                yield f"{name}: nothing says at once that there is no GPU"


def needed(jobs: dict[str, Any], name: str) -> set[str]:
    """The jobs that have to succeed before one begins."""
    direct = jobs[name].get("needs", [])
    direct = {direct} if isinstance(direct, str) else set(direct)
    return direct.union(*(needed(jobs, other) for other in direct))


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", "--persona", "pedantic",
         "--config", ROOT / ".github" / "zizmor.yml", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def schema(*paths: Path) -> str:
    """What check-jsonschema has to say, if it refuses."""
    from check_jsonschema.cli import main as check_jsonschema

    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.github-workflows", *map(str, paths)])
    return done.output if done.exit_code else ""


def test_there_are_four() -> None:
    assert NAMES == ["ci", "gpu", "publish", "weekly"]


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_keeps_the_rules(name: str) -> None:
    assert list(faults(name, yaml.safe_load((FOLDER / f"{name}.yml").read_text()))) == []


def test_workflows_keep_their_schema() -> None:
    assert schema(*FOLDER.glob("*.yml")) == ""


def test_zizmor_has_no_finding() -> None:
    done = zizmor(ROOT / ".github")
    assert done.returncode == 0, done.stdout + done.stderr


PLANTED = {
    "a stranger's trigger": ("ci", "  pull_request:", "  pull_request_target:", "pull_request_target"),
    "rights for all": ("ci", "permissions: {}", "permissions: write-all", "gives rights to all"),
    "no group": ("ci", "concurrency:\n  group: ci-${{ github.ref }}", "x-concurrency:\n  group: x", "no concurrency"),
    "no time-out": ("weekly", "    timeout-minutes: 150\n", "", "test: no time-out"),
    "no rights of its own": ("gpu", "    permissions: {}\n", "", "no permissions of its own"),
    "a right too many": ("ci", "contents: read", "contents: write", "too many rights: contents"),
    "a right of another job": ("publish", "pages: write", "packages: write", "pages: too many rights: packages"),
    "nobody told": ("weekly", "run: make links", "continue-on-error: true\n        run: make links", "nobody sees"),
    "another machine": ("weekly", "ubuntu-24.04", "ubuntu-latest", "runs on ubuntu-latest"),
    "a Python too few": ("ci", '["3.11", "3.12", "3.13"]', '["3.11", "3.12"]', "where pyproject.toml has"),
    "a Python too old": ("publish", '"3.11"', '"3.10"', "Python 3.10"),
    "a secret for strangers": ("ci", "run: .ci/run", "env: {T: '${{ secrets.T }}'}\n        run: .ci/run", "a secret"),
    "our token, too": ("ci", "run: .ci/run", "env: {T: '${{ github.token }}'}\n        run: .ci/run", "a secret"),
    "strangers on our machine": ("ci", "runs-on: ubuntu-24.04", "runs-on: ${{ vars.GPU_RUNNER }}", "a machine of ours"),
    "somebody's action": ("ci", "actions/cache@v4", "somebody/cache@v4", "not GitHub's own"),
    "a token left behind": ("weekly", "persist-credentials: false", "persist-credentials: true", "leaves its token"),
    "a key without pins": ("ci", "hashFiles('requirements.txt') }}-${{\n", "github.ref }}-${{\n", "a cache whose key"),
    "a key without sources": ("ci", "'src/**', ", "", "a cache whose key"),
    "an expression in a command": ("publish", 'create "$TAG"', "create ${{ github.ref_name }}", "expression inside"),
    "work of its own": ("ci", "      - run: .ci/run", "      - run: pip install .", "calls pip install ."),
    "work after a known command": ("ci", "      - run: .ci/run", "      - run: .ci/run && curl x", "calls curl x"),
    "an unknown target": ("publish", "make book", "make books", "calls make books"),
    "an unknown script": ("ci", ".ci/run", ".ci/runs", "calls .ci/runs"),
    "no word about a label": ("gpu", "    needs: label\n    runs-on: ${{", "    runs-on: ${{", "fails without a label"),
    "no look at the GPU": ("gpu", "- run: nvidia-smi", "- run: echo yes", "that there is no GPU"),
    "nobody who waits": ("gpu", 'await-runner "the runner has a GPU"', "await-runner gpu", "nobody looks whether"),
}  # fmt: skip


def planted(what: str) -> tuple[str, str, str]:
    """The workflow's name, its text with the fault, and what is to be said."""
    name, old, new, told = PLANTED[what]
    text = (FOLDER / f"{name}.yml").read_text()
    assert old in text
    return name, text.replace(old, new, 1), told


@pytest.mark.parametrize("what", PLANTED)
def test_a_fault_is_found(what: str) -> None:
    name, text, told = planted(what)
    found = list(faults(name, yaml.safe_load(text)))
    assert any(told in fault for fault in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [("timeout-minutes: 60", "timeout-minutes: soon"), ("runs-on:", "runs_on:"), ("  push:", "  pushed:")],
)
def test_the_schema_finds_a_fault(old: str, new: str, tmp_path: Path) -> None:
    text = (FOLDER / "ci.yml").read_text()
    assert old in text
    (tmp_path / "ci.yml").write_text(text.replace(old, new, 1))
    assert "ci.yml" in schema(tmp_path / "ci.yml")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("a stranger's trigger", "dangerous-triggers"),
        ("rights for all", "excessive-permissions"),
        ("an expression in a command", "template-injection"),
        ("somebody's action", "unpinned-uses"),
    ],
)
def test_zizmor_finds_a_fault(what: str, told: str, tmp_path: Path) -> None:
    name, text, _ = planted(what)
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / f"{name}.yml").write_text(text)
    done = zizmor(tmp_path / ".github")
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
