"""Every explorer's JavaScript, as a page gets it, is a module: what its files declare does not clash."""

from __future__ import annotations

import pkgutil
import subprocess
from importlib import import_module

import pytest
from anywidget import AnyWidget
from playwright._impl._driver import compute_driver_executable

from entropylens.show import explorers

MODULES = [found.name for found in pkgutil.iter_modules(explorers.__path__)]


def checked(code: str) -> subprocess.CompletedProcess[str]:
    """Node's opinion on a module's syntax."""
    node = str(compute_driver_executable()[0])
    command = [node, "--check", "--input-type=module"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", MODULES)
def test_an_explorer_s_module_can_be_loaded(name: str) -> None:
    found = vars(import_module(f"{explorers.__name__}.{name}")).values()
    widgets = [x for x in found if isinstance(x, type) and issubclass(x, AnyWidget) and x.__module__.endswith(name)]
    assert widgets, "no explorer in this module"
    for widget in widgets:
        done = checked(str(widget._esm))
        assert done.returncode == 0, done.stderr


def test_a_name_that_is_declared_twice_is_found() -> None:
    assert "already been declared" in checked("function a() {}\nfunction a() {}\nexport default {};").stderr
