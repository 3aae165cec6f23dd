"""Every page of the built site, in a real browser: whole, quiet, offline, open to everyone, and readable on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser.looks import PHONE, Report, look_at
from tests.browser.weights import data_weight

pytestmark = pytest.mark.browser

_HEAVIEST_PAGE = 8_000_000
_MOST_DATA_ON_A_PAGE = 300_000
_MOST_DATA = 3_000_000


@pytest.fixture(scope="session")
def context(browser: Browser) -> BrowserContext:
    """One browser profile for all pages; the browser's end closes it."""
    return browser.new_context()


@pytest.fixture(scope="session")
def seen() -> dict[tuple[str, str], Report]:
    """Reports so far, so that each page is opened once however many tests ask about it."""
    return {}


def _report(context: BrowserContext, base: str, page_name: str, seen: dict[tuple[str, str], Report]) -> Report:
    if (base, page_name) not in seen:
        seen[base, page_name] = look_at(context, base, page_name)
    return seen[base, page_name]


@pytest.fixture
def report(context: BrowserContext, base_url: str, page_name: str, seen: dict[tuple[str, str], Report]) -> Report:
    return _report(context, base_url, page_name, seen)


@pytest.fixture
def close_report(context: BrowserContext, site: Path, page_name: str, seen: dict[tuple[str, str], Report]) -> Report:
    """What does not depend on how a page is reached is looked at once, from disk."""
    return _report(context, site.as_uri(), page_name, seen)


def test_page_is_quiet_and_offline(report: Report) -> None:
    assert report.complaints == []
    assert report.title.strip()


def test_page_shows_its_formulas(report: Report) -> None:
    assert report.typeset >= report.formulas, "some formulas were not typeset"
    assert report.math_errors == []


def test_images_are_described(close_report: Report) -> None:
    assert close_report.untold_images == [], "alternative text must say what an image shows"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(close_report: Report, scheme: str) -> None:
    assert close_report.barriers[scheme] == []


def test_page_fits_a_phone(close_report: Report) -> None:
    assert close_report.phone_width <= PHONE["width"], f"it scrolls sideways; look at {close_report.too_wide}"
    assert close_report.unreachable == [], "what scrolls must do so by keyboard, too"


def test_nothing_moves_for_those_who_want_no_motion(close_report: Report) -> None:
    assert close_report.moving == []


def test_page_is_light(close_report: Report, site: Path, page_name: str) -> None:
    assert close_report.weight <= _HEAVIEST_PAGE
    assert data_weight(site / page_name) <= _MOST_DATA_ON_A_PAGE


def test_all_explorers_together_are_light(site: Path) -> None:
    assert sum(map(data_weight, site.rglob("*.html"))) <= _MOST_DATA


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colour_scheme_follows_the_reader(browser: Browser, base_url: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{base_url}/book/intro.html")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    brightness = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3
    assert (brightness > 128) == (scheme == "light")
