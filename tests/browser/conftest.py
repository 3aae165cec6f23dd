"""A built site, served over http and opened from disk, and a browser that may talk to nobody else."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from xdist.scheduler import LoadScopeScheduling

from tests.conftest import ROOT, find_chromium

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

expect.set_options(timeout=20_000)  # as many browsers as cores share them, and the usual 5 seconds may be too few


_NOT_FOR_EXPLORERS = re.compile(r"/(tex-chtml-full|fontawesome|searchindex)\.js")


def lean_context(browser: Browser, **options: Any) -> BrowserContext:
    """A profile for tests of explorers: without formulas, icons and search, a page opens in two thirds of the time."""
    context = browser.new_context(**options)
    context.route(_NOT_FOR_EXPLORERS, lambda route: route.fulfill(body="", content_type="text/javascript"))
    return context


def built_site() -> Path | None:
    """Return the site to look at: the one named by ENTROPYLENS_SITE, else the one that was built last."""
    named = os.environ.get("ENTROPYLENS_SITE")
    if named:
        return Path(named).resolve()
    found = [site for site in (ROOT / "_build" / "html-quick", ROOT / "_build" / "html") if site.is_dir()]
    return max(found, key=lambda site: (site / "index.html").stat().st_mtime, default=None)


def page_names(site: Path | None) -> list[str]:
    """Return the site's pages; a redirect such as index.html counts, the theme's building blocks do not."""
    if site is None:
        return []
    pages = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted(page.as_posix() for page in pages if not page.parts[0].startswith("_"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        names = page_names(built_site()) or ["index.html"]
        metafunc.parametrize("page_name", names)
    if "base_url" in metafunc.fixturenames:
        metafunc.parametrize("base_url", ["http", "file"], indirect=True)


class _ByPage(LoadScopeScheduling):
    """One worker gets all tests of a page, or of a file, so that several do not each open what these share.

    (xdist_group, which would say so test by test, is ignored by pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        page = re.search(r"\[(.*\.html)", nodeid)
        return page[1] if page else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return _ByPage(config, log) if config.getvalue("dist") == "loadgroup" else None


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Say nothing: the tests report what was requested."""


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site; without one there is nothing to test, and that is an error."""
    found = built_site()
    if found is None or not (found / "index.html").is_file():
        pytest.fail("no built site: run `entropylens run` and `entropylens build` first")
    return found


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    handler = functools.partial(_QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def base_url(request: pytest.FixtureRequest, site: Path) -> str:
    if request.param == "file":
        return site.as_uri()
    return str(request.getfixturevalue("server"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; where there is none, skip, or fail if ENTROPYLENS_REQUIRE_BROWSER is set."""
    chromium = find_chromium()
    if chromium is None:
        message = "no Chromium found: install one (apt-get install chromium) to run the browser tests"
        if os.environ.get("ENTROPYLENS_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=_FLAGS.split())
        yield launched
        launched.close()
