"""In a real JupyterLab: a chapter's panel trains, shows how far it is, stops, and draws; every explorer obeys the keys.

The chapter is 12, without what its panel does not need: live trainings, and what is told. A second notebook shows all
explorers of the book.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import nbformat
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests._explorers import every_explorer
from tests.conftest import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("lab")]

_CHAPTER = "12_entropy_gated_training"
_CELLS = ("parameters", "imports", "explorer", "published", "tweak")
_ALL = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
from tests._explorers import every_explorer
for explorer in every_explorer():
    display(explorer)
print("that is all")"""
_SCREEN = {"width": 1280, "height": 4000}
"""So high that all cells are in sight: JupyterLab draws no others."""
_READY = """(name) => {
    const context = window.jupyterapp?.shell.currentWidget?.context;
    return context?.path === name && context.isReady && context.sessionContext.session?.kernel;
}"""
_SHOWN = "control => control.closest('.explorer').innerHTML"
_START, _RUN = 60, 90_000
"""Seconds in which a server answers, and milliseconds in which a kernel starts and runs these cells, on a busy core."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a notebook, {}, in a JupyterLab with settings, workspaces and runtime files of its own."""
    book = tmp_path_factory.mktemp("lab")
    (book / "notebooks").mkdir()
    for name in ("book", "results"):
        (book / name).symlink_to(ROOT / name)
    notebook = nbformat.read(ROOT / "notebooks" / f"{_CHAPTER}.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id in _CELLS]
    assert [cell.id for cell in notebook.cells] == list(_CELLS)
    nbformat.write(notebook, book / "notebooks" / f"{_CHAPTER}.ipynb")
    notebook.cells = [nbformat.v4.new_code_cell(_ALL)]
    nbformat.write(notebook, book / "notebooks" / "explorers.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    token = secrets.token_hex()
    server = serve(book, address, token)
    try:
        wait_for(f"{address}/api?token={token}", server, book / "log")
        yield f"{address}/lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={token}"  # else one opens the other, too
    finally:
        server.terminate()  # it takes its kernels along
        with suppress(subprocess.TimeoutExpired):
            server.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def serve(book: Path, address: str, token: str) -> subprocess.Popen[bytes]:
    own = {name: str(book / name.lower()) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")}  # fmt: skip
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": address.rpartition(":")[2], "ServerApp.port_retries": 0,
        "IdentityProvider.token": token, "ServerApp.root_dir": book / "notebooks", "ServerApp.open_browser": False,
        "ServerApp.allow_root": True, "LabApp.news_url": "None", "LabApp.extension_manager": "readonly",
        "LabApp.expose_app_in_browser": True,
    }  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "ENTROPYLENS_PANELS"}
    with (book / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())],
            cwd=book, env={**environment, **own, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"JupyterLab does not answer: {log.read_text()[-2000:]}")


@contextmanager
def run(browser: Browser, address: str) -> Iterator[Page]:
    """A notebook, whose cells are being run; in the end no error may have happened."""
    context, errors = browser.new_context(viewport=_SCREEN), list[str]()  # type: ignore[arg-type]
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, timeout=_RUN)
    page.wait_for_function(_READY, arg=urlsplit(address).path.rpartition("/")[2], timeout=_RUN)
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    yield page
    assert errors == []
    context.close()


@pytest.fixture(scope="module")
def page(browser: Browser, lab: str) -> Iterator[Page]:
    """The chapter, all of whose cells have been run."""
    with run(browser, lab.format(_CHAPTER)) as page:
        expect(page.locator(".entropylens-tweak")).to_be_visible(timeout=_RUN)
        yield page


@pytest.fixture
def panel(page: Page) -> Locator:
    return page.locator(".entropylens-tweak")


def choose_steps(panel: Locator, steps: int) -> None:
    box = panel.get_by_label("steps")
    box.fill(str(steps))
    box.press("Tab")


def test_an_explorer_answers_to_the_keyboard(page: Page) -> None:
    told = page.locator(".explorer .told")
    expect(told).to_contain_text("With the diffuse gate")
    gates = page.locator(".explorer fieldset:has(legend:text-is('gate')) input:checked")
    gates.focus()
    page.keyboard.press("ArrowRight")
    expect(told).to_contain_text("With the exponential gate")
    slider = page.locator(".explorer label:has(span:text-matches('^sharpness β ')) input[type=range]")
    slider.focus()
    before = str(slider.get_attribute("aria-valuetext"))
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", f"{float(before) + 0.5:.1f}")


def test_a_training_shows_how_far_it_is_and_stops(panel: Locator) -> None:
    choose_steps(panel, 3000)
    train, stop = (panel.get_by_role("button", name=name) for name in ("Train", "Stop"))
    expect(stop).to_be_disabled()
    train.click()
    expect(panel).to_contain_text(re.compile(r"Training: [1-9]\d* of 3000 steps"))
    expect(panel.locator(".widget-hprogress")).to_be_visible()
    expect(train).to_be_disabled()
    stop.click()
    expect(panel).to_contain_text(re.compile(r"Stopped after \d+ of 3000 steps; nothing is drawn of it\."))
    expect(train).to_be_enabled()
    expect(panel.locator("img")).to_have_count(0)


def test_runs_are_drawn_over_the_published_figure(page: Page, panel: Locator) -> None:
    published = page.locator(".jp-OutputArea img[alt^='Arms compared']").first
    label, drawn = "update plain, loops 4, learning rate 0.01, steps 50, seed 0", panel.locator("img")
    other = label.replace("plain", "by entropy")
    choose_steps(panel, 50)
    panel.get_by_role("button", name="Train").click()
    expect(drawn).to_have_attribute("alt", re.compile(f"Your runs: {label}: "), timeout=_RUN)
    expect(panel).to_contain_text(f"s: {label}")
    assert str(drawn.get_attribute("alt")).startswith(str(published.get_attribute("alt")))
    assert drawn.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    panel.get_by_label("update").select_option("by entropy")
    panel.get_by_role("button", name="Train").click()
    expect(drawn).to_have_attribute("alt", re.compile(f"Your runs: {label}: .*{other}: "), timeout=_RUN)
    panel.get_by_role("button", name="Clear").click()
    expect(drawn).to_have_count(0)


@pytest.mark.weekly
def test_every_explorer_answers_to_a_key(browser: Browser, lab: str) -> None:
    with run(browser, lab.format("explorers")) as page:
        expect(page.get_by_text("that is all", exact=True)).to_be_visible(timeout=_RUN)
        explorers = page.locator(".explorer")
        expect(explorers).to_have_count(len(list(every_explorer())), timeout=_RUN)
        for explorer in explorers.all():
            expect(explorer.locator(".told").first).not_to_be_empty()
            control = explorer.locator("input[type=range]:visible, input[type=radio]:checked").first
            before = control.evaluate(_SHOWN)
            for key in ("ArrowRight", "ArrowLeft"):  # of which one may lead beyond an end
                control.focus()
                page.keyboard.press(key)
                if control.evaluate(_SHOWN) != before:
                    break
            assert control.evaluate(_SHOWN) != before, f"no key moves {before[:200]}"
