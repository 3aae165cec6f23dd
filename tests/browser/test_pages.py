"""Every page of the built site, in a real browser: whole, quiet, offline, and readable on a phone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

pytestmark = pytest.mark.browser

_DESK = {"width": 1280, "height": 900}
_PHONE = {"width": 400, "height": 800}
_MATH = "document.querySelectorAll('.math').length"
_TYPESET = "document.querySelectorAll('mjx-container').length"
_MATH_ERRORS = "[...document.querySelectorAll('mjx-merror')].map(e => e.textContent)"
_UNTOLD = "[...document.images].filter(i => !i.alt.trim() || /\\.(png|svg|jpe?g)$/.test(i.alt)).map(i => i.src)"
_WIDTH = "document.documentElement.scrollWidth"
_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility())
    .slice(0, 5).map(e => `${e.tagName}.${e.className}`)"""


@dataclass
class Report:
    """What a browser saw on one page."""

    complaints: list[str] = field(default_factory=list)
    title: str = ""
    formulas: int = 0
    typeset: int = 0
    math_errors: list[str] = field(default_factory=list)
    untold_images: list[str] = field(default_factory=list)
    phone_width: int = 0
    too_wide: list[str] = field(default_factory=list)


def look_at(context: BrowserContext, base: str, name: str) -> Report:
    """Open a page once, on a desk and then on a phone, and note everything that the tests ask about."""
    report, page = Report(), context.new_page()
    _listen(page, base, report)
    page.set_viewport_size(_DESK)
    page.goto(f"{base}/{name}")
    page.wait_for_load_state("networkidle")
    report.formulas = page.evaluate(_MATH)
    if report.formulas:
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise", timeout=20_000)
        page.evaluate("MathJax.startup.promise")
    report.title = page.title()
    report.typeset = page.evaluate(_TYPESET)
    report.math_errors = page.evaluate(_MATH_ERRORS)
    report.untold_images = page.evaluate(_UNTOLD)
    page.set_viewport_size(_PHONE)
    report.phone_width = page.evaluate(_WIDTH)
    report.too_wide = page.evaluate(_WIDE)
    page.close()
    return report


def _listen(page: Page, base: str, report: Report) -> None:
    def request(sent: Request) -> None:
        if not sent.url.startswith((base, "data:", "blob:", "about:")):
            report.complaints.append(f"outside request: {sent.url}")

    def response(received: Response) -> None:
        if received.status >= 400:
            report.complaints.append(f"status {received.status}: {received.url}")

    def console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            report.complaints.append(f"console {message.type}: {message.text}")

    page.on("request", request)
    page.on("response", response)
    page.on("console", console)
    page.on("requestfailed", lambda failed: report.complaints.append(f"failed: {failed.url} {failed.failure}"))
    page.on("pageerror", lambda error: report.complaints.append(f"uncaught: {error}"))


@pytest.fixture(scope="session")
def context(browser: Browser) -> BrowserContext:
    """One browser profile for all pages; the browser's end closes it."""
    return browser.new_context()


@pytest.fixture(scope="session")
def seen() -> dict[tuple[str, str], Report]:
    """Reports so far, so that each page is opened once however many tests ask about it."""
    return {}


@pytest.fixture
def report(context: BrowserContext, base_url: str, page_name: str, seen: dict[tuple[str, str], Report]) -> Report:
    key = (base_url, page_name)
    if key not in seen:
        seen[key] = look_at(context, base_url, page_name)
    return seen[key]


def test_page_is_quiet_and_offline(report: Report) -> None:
    assert report.complaints == []
    assert report.title.strip()


def test_page_shows_its_formulas(report: Report) -> None:
    assert report.typeset >= report.formulas, "some formulas were not typeset"
    assert report.math_errors == []


def test_images_are_described(report: Report) -> None:
    assert report.untold_images == [], "alternative text must say what an image shows"


def test_page_fits_a_phone(report: Report) -> None:
    assert report.phone_width <= _PHONE["width"], f"it scrolls sideways; look at {report.too_wide}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colour_scheme_follows_the_reader(browser: Browser, base_url: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{base_url}/book/intro.html")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    brightness = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3
    assert (brightness > 128) == (scheme == "light")
