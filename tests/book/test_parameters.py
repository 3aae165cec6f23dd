"""`-p NAME=VALUE`: how values are read, checked and spread over notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entropylens.book.errors import BadInput
from entropylens.book.parameters import declared, parse_overrides, resolve
from tests.conftest import write_notebook

ONE, TWO = Path("01_one.ipynb"), Path("02_two.ipynb")
DEFAULTS: dict[str, Any] = {
    "profile": "quick", "device": "auto", "seeds": 5, "rate": 1e-3, "name": "adam", "widths": [8, 16], "on": True,
    "limit": None,
}  # fmt: skip


def test_values_are_python_literals_or_text() -> None:
    pairs = ["a=1", "b=0.5", "c=[8, 16]", "d=adam", "e=True", "f=x=y", "g='7'", "h="]
    expected = {"a": 1, "b": 0.5, "c": [8, 16], "d": "adam", "e": True, "f": "x=y", "g": "7", "h": ""}
    assert parse_overrides(pairs) == expected


@pytest.mark.parametrize("pair", ["seeds", "=3", "two words=3", "profile=full", "device=cpu", "seeds={1, 2}"])
def test_a_pair_that_cannot_be_meant_is_refused(pair: str) -> None:
    with pytest.raises(BadInput):
        parse_overrides([pair])


@pytest.mark.parametrize(
    ("name", "value", "injected"),
    [("seeds", 3, 3), ("rate", 1, 1.0), ("widths", (8,), [8]), ("limit", "any", "any"), ("on", False, False)],
)
def test_a_value_of_the_declared_type_is_taken(name: str, value: object, injected: object) -> None:
    result = resolve({name: value}, {ONE: DEFAULTS})[ONE][name]
    assert result == injected
    assert type(result) is type(injected)


@pytest.mark.parametrize(
    ("name", "value"), [("seeds", 2.5), ("seeds", True), ("seeds", "3"), ("on", 1), ("name", 3), ("widths", [8, "a"])]
)
def test_a_value_of_another_type_is_refused_with_both_types(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=rf"parameter '{name}.*' is of type .* is of type"):
        resolve({name: value}, {ONE: DEFAULTS})


def test_a_parameter_reaches_the_notebooks_that_have_it() -> None:
    other = {"profile": "quick", "device": "auto"}
    assert resolve({"seeds": 3}, {ONE: DEFAULTS, TWO: other}) == {ONE: {"seeds": 3}, TWO: {}}


def test_a_misspelled_parameter_is_refused_with_a_suggestion() -> None:
    with pytest.raises(BadInput, match=r"unknown parameter 'sedds'.*did you mean 'seeds'"):
        resolve({"sedds": 1}, {ONE: DEFAULTS})


def test_declared_reads_the_parameters_cell(tmp_path: Path) -> None:
    cell = 'profile = "quick"\ndevice = "auto"\nwidths: list = [8, 16]  # how wide\nrate = 1e-3'
    path = write_notebook(tmp_path / "01_one.ipynb", [], parameters=cell)
    assert declared(path) == {"profile": "quick", "device": "auto", "widths": [8, 16], "rate": 1e-3}


def test_a_notebook_without_the_two_common_parameters_is_refused(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "01_one.ipynb", ["x = 1"], parameters=None)
    with pytest.raises(BadInput, match=r"01_one\.ipynb has no parameter 'profile'"):
        declared(path)


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "01_one.ipynb"
    path.write_text("{")
    with pytest.raises(BadInput, match=r"01_one\.ipynb is not a notebook"):
        declared(path)
