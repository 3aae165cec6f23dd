"""The `-p NAME=VALUE` of the command line, checked against what a notebook's `parameters` cell declares."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from entropylens.book.errors import BadInput, unknown

#: Parameters that every notebook has and that have an option of their own.
RESERVED = ("profile", "device")


def parse_literal(text: str) -> Any:
    """Return `text` read as a Python literal, or as it stands when it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: thousands of brackets
        return text


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of `NAME=VALUE` pairs.

    Raises:
        BadInput: a pair has no `=`, or sets a parameter that has its own option.
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise BadInput(f"-p {pair!r} is not NAME=VALUE")
        if name in RESERVED:
            raise BadInput(f"-p {pair!r}: use --{name} {value}")
        overrides[name] = _plain(pair, parse_literal(value))
    return overrides


def _plain(pair: str, value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError as error:  # a set, bytes or a complex number
        raise BadInput(f"-p {pair!r}: a value is a number, a text, True, False, None, or a list of them") from error
    return value


def declared(notebook: Path) -> dict[str, Any]:
    """Return a notebook's parameters and their defaults, read from its `parameters` cell.

    Raises:
        BadInput: the notebook cannot be read, or does not declare `profile` and `device` as literals.
    """
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it announces each file that it opens
    try:
        found = papermill.inspect_notebook(notebook)
    except Exception as error:  # whatever nbformat, json or papermill trip over, the file is at fault
        raise BadInput(f"{notebook.name} is not a notebook that can be read: {error}") from error
    missing = [name for name in RESERVED if name not in found]
    if missing:
        raise BadInput(f"{notebook.name} has no parameter {missing[0]!r} in a cell tagged 'parameters'")
    return {name: parse_literal(str(entry["default"])) for name, entry in found.items()}


def resolve(wanted: Mapping[str, Any], defaults: Mapping[Path, Mapping[str, Any]]) -> dict[Path, dict[str, Any]]:
    """Return for each notebook those of the `wanted` values that it declares, converted to the declared type.

    Args:
        wanted: parsed `-p` values; each must be declared by at least one of the notebooks.
        defaults: per notebook, the declared parameters.

    Raises:
        BadInput: a name is declared nowhere, or a value has the wrong type.
    """
    known = sorted({name for declared_here in defaults.values() for name in declared_here} - set(RESERVED))
    for name in wanted:
        if name not in known:
            raise unknown("parameter", name, known)
    return {
        notebook: {name: _fit(name, value, here[name]) for name, value in wanted.items() if name in here}
        for notebook, here in defaults.items()
    }


def _fit(name: str, value: Any, default: Any) -> Any:
    if default is None or type(value) is type(default):
        _check_elements(name, value, default)
        return value
    if type(default) is float and type(value) is int:
        return float(value)
    if {type(default), type(value)} == {list, tuple}:
        return _fit(name, type(default)(value), default)
    raise BadInput(
        f"parameter {name!r} is of type {type(default).__name__} (default {default!r}), "
        f"and {value!r} is of type {type(value).__name__}"
    )


def _check_elements(name: str, value: Any, default: Any) -> None:
    if isinstance(default, (list, tuple)) and default:
        for element in value:
            _fit(f"{name}[…]", element, default[0])
