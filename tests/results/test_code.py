"""Which code made a result: exactly what its module can reach."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from entropylens.results import code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "tinypkg"
    (root / "deep").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "a.py": "from tinypkg.b import thing\nfrom tinypkg import c\n",
        "b.py": "thing = 1\n",
        "c.py": "def f():\n    import tinypkg.deep.d\n    return 'kernel.c'\n",
        "kernel.c": "int x;\n",
        "deep/__init__.py": "",
        "deep/d.py": "import os\n",
        "unrelated.py": "",
    }.items():
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "PACKAGE", "tinypkg")
    for name in [n for n in sys.modules if n.startswith("tinypkg")]:
        monkeypatch.delitem(sys.modules, name)
    return root


def test_imports_are_followed_wherever_they_stand(package: Path) -> None:
    names = {p.relative_to(package).as_posix() for p in code.closure("tinypkg.a")}
    assert {"a.py", "b.py", "c.py", "deep/d.py", "kernel.c"} <= names
    assert "unrelated.py" not in names


@pytest.mark.parametrize(
    ("name", "changes"), [("b.py", True), ("deep/d.py", True), ("kernel.c", True), ("unrelated.py", False)]
)
def test_the_hash_notices_what_matters_and_nothing_else(package: Path, name: str, changes: bool) -> None:
    before = code.code_hash("tinypkg.a")
    assert code.code_hash("tinypkg.a") == before
    path = package / name
    path.write_text(path.read_text() + "# edited\n" if name.endswith(".py") else "int y;\n")
    assert (code.code_hash("tinypkg.a") != before) is changes


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no module 'entropylens\.nothing'"):
        code.code_hash("entropylens.nothing")
