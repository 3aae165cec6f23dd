"""One version everywhere, one list of pins, and a package with all of its files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from entropylens.cli import cli
from tests.conftest import ROOT

# ---- the version -----------------------------------------------------------------------------------------------------

TOLD = {
    "pyproject.toml": r'^version = "(.*)"$',
    "CITATION.cff": r"^version: (.*)$",
    "CHANGELOG.md": r"^## \[(.*?)\]",  # the first heading is the newest
}


def versions(root: Path) -> dict[str, str]:
    """File to the version that it tells."""
    found = {name: re.search(told, (root / name).read_text(), re.MULTILINE) for name, told in TOLD.items()}
    return {name: match[1] if match else "none" for name, match in found.items()}


def test_all_tell_the_same_version() -> None:
    (version,) = set(versions(ROOT).values())
    assert metadata.version("entropylens") == version
    assert CliRunner().invoke(cli, ["--version"], prog_name="entropylens").output == f"entropylens, version {version}\n"


@pytest.mark.parametrize("victim", TOLD)
def test_another_version_is_found(victim: str, tmp_path: Path) -> None:
    for name in TOLD:
        text = (ROOT / name).read_text()
        (tmp_path / name).write_text(text.replace("0.1.0", "0.2.0", 1) if name == victim else text)
    assert len(set(versions(tmp_path).values())) == 2


def test_no_source_holds_the_version() -> None:
    """Whoever raises it edits the three files above; the package asks what is installed."""
    assert not [p for p in (ROOT / "src").rglob("*.py") if "__version__" in p.read_text(encoding="utf-8")]


def test_the_citation_keeps_its_schema(tmp_path: Path) -> None:
    from check_jsonschema.cli import main

    broken = tmp_path / "CITATION.cff"
    broken.write_text((ROOT / "CITATION.cff").read_text().replace("title:", "titel:", 1))
    codes = [
        CliRunner().invoke(main, ["--builtin-schema", "vendor.citation-file-format", str(path)]).exit_code
        for path in (ROOT / "CITATION.cff", broken)
    ]
    assert codes == [0, 1]


# ---- conda -----------------------------------------------------------------------------------------------------------


def environment_faults(environment: dict[str, Any], pins: str) -> Iterator[str]:
    """What is wrong with an environment.yml: conda's specifications, and versions that pip's pins do not have."""
    from rattler import MatchSpec, Version
    from rattler.exceptions import InvalidMatchSpecError

    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", pins.lower(), re.MULTILINE))
    python = Version(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"][2:])
    if environment["channels"] != ["conda-forge"]:
        yield "another channel"
    parts = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    if parts != [["-r requirements.txt"]]:
        yield "pip installs something else than requirements.txt"
    for text in environment["dependencies"]:
        try:
            spec = None if isinstance(text, dict) else MatchSpec(text, strict=True)
        except InvalidMatchSpecError as error:
            yield f"{text}: {error}"
            continue
        name = spec and spec.name.normalized
        wanted = str(spec.version).removesuffix(".*").removeprefix("==") if spec and spec.version else None
        if name == "python" and (wanted is None or Version(wanted) < python):
            yield f"{text}: older than requires-python"
        if name in pinned and wanted != pinned[name]:
            yield f"{text}: requirements.txt has {pinned[name]}"


def environment() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def test_conda_gets_the_same_versions() -> None:
    assert list(environment_faults(environment(), (ROOT / "requirements.txt").read_text())) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e["dependencies"].insert(0, "torch=2.12.0"), "torch=2.12.0: requirements.txt has 2.13.0"),
        (lambda e: e["dependencies"].insert(0, "numpy"), "numpy: requirements.txt has"),
        (lambda e: e["dependencies"].insert(0, "scipy=>1"), "scipy=>1: unable to parse"),
        (lambda e: e["dependencies"].__setitem__(0, "python=3.10"), "python=3.10: older"),
        (lambda e: e["dependencies"].__setitem__(0, "python"), "python: older"),
        (lambda e: e["dependencies"][-1]["pip"].append("torch"), "pip installs something else"),
        (lambda e: e["dependencies"].pop(), "pip installs something else"),
        (lambda e: e["channels"].append("defaults"), "another channel"),
    ],
)
def test_another_version_for_conda_is_found(change: Any, told: str) -> None:
    changed = environment()
    change(changed)
    (fault,) = environment_faults(changed, "torch==2.13.0\nnumpy==2.4.6\nscipy==1.17.1\n")
    assert told in fault


# ---- the wheel -------------------------------------------------------------------------------------------------------


def sources() -> set[str]:
    """The package's files, but for what Python leaves behind."""
    package = ROOT / "src" / "entropylens"
    found = (p.relative_to(package.parent) for p in package.rglob("*") if p.is_file())
    return {p.as_posix() for p in found if "__pycache__" not in p.parts}


def lacking(wheel: Path) -> set[str]:
    """The files of the package that a wheel does not hold."""
    with zipfile.ZipFile(wheel) as archive:
        return sources() - set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, in which nothing lies that an earlier build has left."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, folder)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."],
        cwd=folder, check=True,
    )  # fmt: skip
    (made,) = (folder / "dist").glob("*.whl")
    return made


def test_the_wheel_holds_all_files_and_pins(wheel: Path) -> None:
    assert lacking(wheel) == set()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        told = archive.read(name).decode()
    pins = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1].isalnum()}
    needed = set(re.findall(r"^Requires-Dist: ([^;\n]+)$", told, re.MULTILINE))
    assert needed == pins
    assert len(re.findall(r"^License-File:", told, re.MULTILINE)) == 2


def test_a_missing_file_is_found(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(tmp_path / "less.whl", "w") as less:
        for name in archive.namelist():
            if not name.endswith("loop_block.c"):
                less.writestr(name, archive.read(name))
    assert lacking(tmp_path / "less.whl") == {"entropylens/models/loop_block.c"}
