"""CONTRIBUTING.md, followed to the letter in a copy of the project: computed, judged, built, and touched."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from playwright.sync_api import Browser, expect

from tests.browser.test_explorers import opened
from tests.conftest import ROOT, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.weekly]

CHAPTER = "16_weight_decay"
SRC = "src/entropylens"
NEW = [f"{SRC}/experiments", f"{SRC}/show/explorers/decay.py", "tests/experiments", f"notebooks/{CHAPTER}.ipynb"]


class Block(NamedTuple):
    """A fenced block: its language, what stands behind it, and what is in it."""

    language: str
    about: list[str]
    text: str


def blocks() -> Iterator[Block]:
    document = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for language, about, text in re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", document, re.DOTALL | re.MULTILINE):
        yield Block(language, about.split(), text)


def run(root: Path, *command: str, given: str | None = None, timeout: float = 600) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "GIT_CONFIG_GLOBAL": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{who}_NAME": "test", f"GIT_{who}_EMAIL": "test@example.org"}
    done = subprocess.run(
        command, cwd=root, env=environment, input=given, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it stands, as a repository of its own; without rows."""
    root = tmp_path_factory.mktemp("copy")
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        if not name.startswith("results/") and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    run(root, "git", "init", "-q")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "-q", "-m", "the project")
    return root


@pytest.fixture(scope="module")
def followed(copy: Path) -> dict[str, str]:
    """Every block is done, in order; what the commands said, by command."""
    said: dict[str, str] = {}
    cells = []
    for block in blocks():
        if block.language == "console":
            said |= {line: command(copy, line) for line in block.text.splitlines()}
        elif block.language == "diff":
            head = f"--- a/{block.about[0]}\n+++ b/{block.about[0]}\n"
            run(copy, "git", "apply", "--verbose", "-", given=head + block.text)
        elif "/" in block.about[0]:
            with (copy / block.about[0]).open("a", encoding="utf-8") as file:
                file.write(block.text)
        else:
            cells.append(block)
            write_chapter(copy, cells)
    return said


def write_chapter(root: Path, cells: list[Block]) -> None:
    marked = [(("#md" if c.language == "markdown" else "") + c.text.strip(), c.about[1:]) for c in cells]
    write_notebook(root / "notebooks" / f"{CHAPTER}.ipynb", marked, parameters=None)


def command(root: Path, line: str) -> str:
    """A line of a console; what would take minutes is left to the rest of the tests."""
    words = shlex.split(line)
    if words[0] == "make" or line == "entropylens run":
        return ""
    given = run_ours if words[0] == "entropylens" else run
    with only_this_chapter(root) if words[:2] == ["entropylens", "build"] else contextlib.nullcontext():
        return given(root, *words[given is run_ours :])


def run_ours(root: Path, *arguments: str, timeout: float = 600) -> str:
    return run(root, sys.executable, "-m", "entropylens.cli", *arguments, timeout=timeout)


@contextlib.contextmanager
def only_this_chapter(root: Path) -> Iterator[None]:
    """The others were not executed; that the new one is listed is seen first."""
    toc = root / "book" / "_toc.yml"
    written = toc.read_text(encoding="utf-8")
    parts = yaml.safe_load(written)["parts"]
    assert f"notebooks/{CHAPTER}" in [chapter["file"] for part in parts for chapter in part["chapters"]]
    toc.write_text(f"format: jb-book\nroot: notebooks/{CHAPTER}\nchapters:\n  - file: book/references\n")
    yield
    toc.write_text(written, encoding="utf-8")


def test_the_claim_gets_a_verdict_from_ten_seeds(followed: dict[str, str]) -> None:
    (line,) = [line for line in followed["entropylens claims"].splitlines() if line.startswith("LE-x1")]
    assert line.split()[1] in ("supported", "refuted", "inconclusive")
    assert "agrees" in followed["entropylens verify weight_decay --sample 1"]


def test_its_own_checks_pass(followed: dict[str, str], copy: Path) -> None:
    assert followed
    run(copy, sys.executable, "-m", "ruff", "check", *NEW)
    run(copy, sys.executable, "-m", "ruff", "format", "--check", *NEW)
    tests = ["tests/experiments/test_weight_decay.py", "tests/results/test_registry.py", "tests/book/test_prose.py"]
    which = f"registry or decay or {CHAPTER}"
    run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", which)


def test_the_page_shows_it_and_its_explorer_answers(followed: dict[str, str], copy: Path, browser: Browser) -> None:
    assert followed
    address = (copy / "_build" / "html-quick" / "notebooks" / f"{CHAPTER}.html").as_uri()
    with opened(browser, address) as page:
        expect(page.locator("body")).to_contain_text("Verdict on LE-x1")
        first = page.locator(".explorer .told").inner_text()
        marks = [m.get_attribute("data-value") for m in page.locator(".explorer [data-value]").all()]
        page.locator(".explorer input[type=radio]").last.check(force=True)
        expect(page.locator(".explorer .told")).to_contain_text("With weight decay 1")
        assert page.locator(".explorer .told").inner_text() != first
        assert [m.get_attribute("data-value") for m in page.locator(".explorer [data-value]").all()] != marks


def test_each_step_of_the_ten_has_something_to_do() -> None:
    steps = re.split(r"^### \d+\. ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(steps) == 10
    assert all("```" in step.split("\n## ")[0] for step in steps)


def test_the_whole_book_is_built_with_it_and_its_page_is_held_to_what_all_are(
    followed: dict[str, str], copy: Path
) -> None:
    assert followed
    shutil.copytree(ROOT / "results", copy / "results", dirs_exist_ok=True)
    assert "executed" in run_ours(copy, "run", timeout=3000)
    run_ours(copy, "build", "--profile", "quick")
    site = copy / "_build" / "html-quick"
    assert len(list(site.glob("notebooks/*.html"))) == len(list(copy.glob("notebooks/*.ipynb")))
    ours = [f"tests/browser/{name}.py" for name in ("test_pages", "test_policy", "test_without_javascript")]
    at = f"ENTROPYLENS_SITE={site}"
    told = run(copy, "env", at, sys.executable, "-m", "pytest", "-q", "-m", "browser", *ours, "-k", CHAPTER)
    assert " failed" not in told
