"""Which code made a result: a hash of a module and of everything in this package that it imports.

Editing a file changes the hash of exactly those results whose code can reach it. The imports are read from the source,
not executed, so that the answer does not depend on what happens to be loaded.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from entropylens.results.files import digest

PACKAGE = "entropylens"


def code_hash(*modules: str) -> str:
    """The hash of the named modules' sources and of those they import, directly or not, inside the package.

    C sources beside a Python file that names them belong to it.

    Raises:
        ModuleNotFoundError: for a module that does not exist.
    """
    reached: set[Path] = set()
    for module in modules:
        reached |= closure(module)
    root = _file(PACKAGE).parent
    return digest(*(part for p in sorted(reached) for part in (p.relative_to(root).as_posix(), p.read_bytes())))[:16]


def closure(module: str) -> set[Path]:
    """The source files that a module reaches by imports inside the package, itself included."""
    found: dict[Path, None] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path not in found:
            found[path] = None
            waiting += _imports(path, path.stat().st_mtime_ns)
            for native in path.parent.glob("*.c"):
                if native.name in path.read_text(encoding="utf-8"):
                    found[native] = None
    return set(found)


def _file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module!r}")
    return Path(spec.origin)


@cache
def _imports(path: Path, _modified: int) -> list[str]:
    """The modules of this package that a source file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return sorted(name for name in names if name.split(".")[0] == PACKAGE and _is_module(name))


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a name inside a module, not a module
        return False
