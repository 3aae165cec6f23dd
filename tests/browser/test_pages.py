"""Every page of the built site, in a real browser: whole, quiet, offline, open to everyone, and readable on a phone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser.conftest import _ByPage
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


# ---- what is planted is found ----------------------------------------------------------------------------------------

_PLANTED = """<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8"><title>a page</title>
<style>p { transition: color 1s }</style>
<h1>A page</h1><p>words</p><span class="math">x</span> <mjx-merror>y</mjx-merror>
<img src="picture.svg"> <img src="picture.svg" alt="picture.svg">
<img src="http://127.0.0.1:9/elsewhere.png" alt="of elsewhere">
<div style="width: 900px">wide</div><div style="width: 9em; overflow-x: auto; white-space: nowrap">WIDE</div>
<script>
  window.MathJax = { startup: { promise: Promise.resolve() } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => (document.documentElement.dataset.theme = dark.matches ? "dark" : "light"));
  console.error("planted"); throw new Error("thrown");
</script>""".replace("WIDE", 50 * "wide ")


def test_what_is_planted_on_a_page_is_found(context: BrowserContext, tmp_path: Path) -> None:
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    (tmp_path / "picture.svg").write_text(picture)
    (tmp_path / "page.html").write_text(_PLANTED)
    seen = look_at(context, tmp_path.as_uri(), "page.html")
    complaints = "\n".join(seen.complaints)
    for words in ("outside request: http", "failed: http", "console error: planted", "uncaught: thrown"):
        assert words in complaints
    assert (seen.formulas, seen.typeset, seen.math_errors) == (1, 0, ["y"])
    assert [Path(image).name for image in seen.untold_images] == 2 * ["picture.svg"]
    assert seen.moving == ["P."]
    assert "image-alt" in "".join(seen.barriers["light"])
    assert seen.phone_width >= 900
    assert "scrollable-region-focusable" in "".join(seen.unreachable)
    assert seen.weight >= len(picture) + len(_PLANTED)


def test_planted_data_is_weighed_and_code_is_not(tmp_path: Path) -> None:
    state = {"state": {"one": {"state": {"_esm": 5000 * "x", "data": 3000 * "y"}}}}
    page = tmp_path / "page.html"
    page.write_text(f'<script type="application/vnd.jupyter.widget-state+json">{json.dumps(state)}</script>')
    assert 3000 <= data_weight(page) < 3100


def test_tests_of_a_page_or_of_a_file_go_to_one_worker() -> None:
    pages = ("test_a[http-book/intro.html]", "test_b[light-book/intro.html]", "test_a[http-book/other.html]")
    names = (*pages, "test_c", "test_d")
    groups = [_ByPage._split_scope(None, f"tests/browser/test_pages.py::{name}") for name in names]  # type: ignore[arg-type]
    assert groups[0] == "http-book/intro.html"
    assert len(set(groups)) == 4
    assert groups[3] == groups[4]
