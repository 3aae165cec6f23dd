"""The checks themselves: what is planted is found, in whichever scheme it stands, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.looks import MOVING, barriers

pytestmark = pytest.mark.browser

_PAGE = """<!doctype html><html lang="en" data-theme="light"><meta name="color-scheme" content="light dark">
<title>a page</title><style>{style}</style><main><h1>A page</h1><p>Words</p><p>More words</p>{body}</main></html>"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(color_scheme="light", reduced_motion="reduce")
    yield opened
    opened.close()


def found(page: Page, what: str, body: str, style: str = "") -> list[str]:
    page.set_content(_PAGE.format(body=body, style=style))
    return barriers(page, what)


def test_a_fair_page_has_none(page: Page) -> None:
    for what in ("structure", "colours", "scrolling"):
        assert found(page, what, "<label>number <input></label>") == []


def test_a_field_without_a_name_is_found(page: Page) -> None:
    assert ["critical label: input" in line for line in found(page, "structure", "<input>")] == [True]


@pytest.mark.parametrize("ground", ["background: #ccc", "opacity: 0.5"])
def test_pale_words_are_found_on_the_one_ground_where_they_are_pale(page: Page, ground: str) -> None:
    body = f'<p style="color: #666">fair</p><div style="{ground}"><p style="color: #666">pale</p></div>'
    (line,) = found(page, "colours", body)
    assert line.startswith("serious color-contrast: div > p")


def test_what_scrolls_and_cannot_be_reached_is_found(page: Page) -> None:
    box = '<div style="width: 5em; overflow-x: auto; white-space: nowrap" {}>' + 50 * "wide " + "</div>"
    assert "scrollable-region-focusable" in "".join(found(page, "scrolling", box.format("")))
    assert found(page, "scrolling", box.format('tabindex="0"')) == []


def test_what_moves_is_found(page: Page) -> None:
    page.set_content(_PAGE.format(body="", style="p::before {content: '.'; transition: color 1s 2s, opacity 0s}"))
    assert page.evaluate(MOVING) == ["P.", "P."]
