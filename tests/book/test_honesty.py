"""The page of all checks: each test that it names exists, and each file of tests and each command has a row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "book" / "honesty.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^```\{list-table\}\n(?::[^\n]*\n)+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PLACE = re.compile(r"([\w/]*test_[\w*]+\.py)(?:::(test_\w+))?")
"""Below tests/: a file and a function in it, or several files."""


def rows(page: str) -> Iterator[list[str]]:
    """The cells of each row of the tables, heads left out."""
    for table in TABLE.findall(page):
        _, *found = re.split(r"^\* - ", table, flags=re.MULTILINE)[1:]
        yield from (re.split(r"^  - ", row, flags=re.MULTILINE) for row in found)


def functions(path: Path) -> set[str]:
    """The functions at a file's top level; nothing is imported."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def missing(name: str, tests: Path) -> str:
    """What is wrong with a name in the last column, if anything."""
    place = PLACE.fullmatch(name)
    if place is None or ("*" in name) == bool(place[2]):
        return f"{name}: neither FILE.py::TEST nor several files"
    found = [*tests.glob(place[1])]
    if not found:
        return f"{name}: there is no such file"
    return "" if place[2] is None or place[2] in functions(found[0]) else f"{name}: there is no such test"


def complaints(page: str, tests: Path) -> list[str]:
    """Rows that lack something, names that lead nowhere, and files of tests without a row."""
    wrong, named = [], set[Path]()
    for what, told, places in rows(page):
        names = CODE.findall(places)
        wrong += [f"{what!r}: no defect"] * ("**Planted:** " not in told and "**Caught:** " not in told)
        wrong += [f"{what!r}: no test"] * (not names) + [found for name in names if (found := missing(name, tests))]
        named |= {path for name in names for path in tests.glob(name.partition("::")[0])}
    return wrong + [f"{path.name}: no row" for path in sorted({*tests.rglob("test_*.py")} - named)]


def commands() -> set[str]:
    """What `make test` runs, by its variables."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^(\w+) :?=\s*(.*)$", makefile, re.MULTILINE))
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    text = re.sub(r"\$\((TESTS|RUN)\)", lambda name: variables[name[1]], recipe[1])
    return set(re.findall(r"\$\(BIN\)/((?:ruff|entropylens) \w+|\w+)", text))


def test_every_check_has_a_row_and_every_row_a_test() -> None:
    assert len(list(rows(PAGE))) > 80
    assert complaints(PAGE, ROOT / "tests") == []


def test_every_command_of_make_test_is_on_the_page() -> None:
    assert {"ruff check", "mypy", "pytest", "entropylens verify"} <= commands()
    assert commands() <= set(CODE.findall(PAGE))


def test_names_outside_of_the_tables_exist_too() -> None:
    places = [name for name in CODE.findall(TABLE.sub("", PAGE)) if "::" in name]
    assert [missing(name, ROOT / "tests") for name in places] == [""]


ROWS = """```{list-table}
:header-rows: 1

* - What is watched
  - What it caught
  - The test
* - Sums
  - **Planted:** a
    fault.
  - `one/test_a.py::test_it`

    `test_*.py`
```
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("test_a.py::test_it", "test_a.py::test_is", ["one/test_a.py::test_is: there is no such test"]),
        ("one/", "two/", ["two/test_a.py::test_it: there is no such file", "test_a.py: no row"]),
        ("::test_it", "", ["one/test_a.py: neither FILE.py::TEST nor several files"]),
        ("    `test_*.py`\n", "", ["test_b.py: no row"]),
        ("**Planted:** ", "", ["'Sums\\n': no defect"]),
        (
            "`one/test_a.py::test_it`\n\n    `test_*.py`", "words",
            ["'Sums\\n': no test", "test_a.py: no row", "test_b.py: no row"],
        ),
    ],
)  # fmt: skip
def test_what_is_planted_on_the_page_is_found(right: str, wrong: str, told: list[str], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "test_a.py").write_text("def test_it() -> None: ...\n")
    (tmp_path / "test_b.py").write_text("")
    assert complaints(ROWS, tmp_path) == []
    assert right in ROWS
    assert complaints(ROWS.replace(right, wrong), tmp_path) == told
