"""Data flows one way: an import never points back up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import entropylens

LAYERS = ("tasks", "models", "training", "measures", "experiments", "results", "show", "book", "cli")
ROOT = Path(entropylens.__file__).parent


def imported(source: str) -> Iterator[str]:
    """The modules that a source imports anywhere, by their full names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def pointing_up(layer: str, source: str) -> list[str]:
    """Its imports from layers that come later."""
    later = {f"entropylens.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :]}
    return [name for name in imported(source) if any(name == up or name.startswith(f"{up}.") for up in later)]


def test_imports_point_down() -> None:
    sources = {p: p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")}
    checked = {p: layer for p, layer in sources.items() if layer in LAYERS}
    assert set(checked.values()) == set(LAYERS)
    wrong = {str(p): up for p, layer in checked.items() if (up := pointing_up(layer, p.read_text(encoding="utf-8")))}
    assert wrong == {}


def test_the_check_finds_what_it_looks_for() -> None:
    source = "def f():\n    from entropylens.measures.loops import head_of\n    import entropylens.cli"
    assert pointing_up("training", source) == ["entropylens.measures.loops.head_of", "entropylens.cli"]
    assert pointing_up("models", "from entropylens import cli, tasks") == ["entropylens.cli"]
    assert pointing_up("show", source) == ["entropylens.cli"]
