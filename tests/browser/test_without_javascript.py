"""Every page with JavaScript off: figures, tables and text are there, and a sentence where an explorer would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser.looks import DESK

pytestmark = pytest.mark.browser

# What is folded away can be unfolded without JavaScript, and counts as shown.
_LOOK = """() => {
    document.querySelectorAll('details').forEach(e => (e.open = true));
    const article = document.querySelector('.bd-article') ?? document.body;
    const all = (what) => [...article.querySelectorAll(what)];
    const visible = { opacityProperty: true, visibilityProperty: true };
    const shown = (e) => e.checkVisibility(visible) && e.getClientRects().length;
    const outer = (e) => e.parentElement.closest('section section');
    const chapter = (e) => (outer(e) ? chapter(outer(e)) : e.closest('section') ?? e);
    const near = (e) => [chapter(e), chapter(e).previousElementSibling, chapter(e).nextElementSibling];
    return {
        ground: getComputedStyle(document.body).getPropertyValue('--pst-color-background'),
        text: article.innerText.trim(),
        hidden: all('p, li, h1, h2, h3, pre, table, th, td, img, svg, figure')
            .filter(e => !e.closest('summary') && !shown(e)).map(e => e.outerHTML.slice(0, 100)),
        broken: all('img').filter(e => !e.naturalWidth).map(e => e.src),
        explorers: all('script[type$="widget-view+json"]').map(e => ({
            told: e.nextElementSibling?.innerText ?? '', figure: near(e).some(s => s?.querySelector('img')) })),
    };
}"""


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    return browser.new_context(java_script_enabled=False, reduced_motion="reduce", viewport=DESK)  # type: ignore[arg-type]


def look(context: BrowserContext, address: str) -> dict[str, Any]:
    page = context.new_page()
    page.goto(address)
    page.locator("main").wait_for()  # where a redirect leads
    page.wait_for_load_state()  # with its style sheets, which the redirect's `goto` did not wait for
    seen: dict[str, Any] = page.evaluate(_LOOK)
    page.close()
    return seen


def test_a_page_without_javascript_is_complete(context: BrowserContext, server: str, page_name: str) -> None:
    seen = look(context, f"{server}/{page_name}")
    assert seen["text"]
    assert seen["ground"], "the theme's colours are missing"
    assert seen["hidden"] == []
    assert seen["broken"] == []
    for explorer in seen["explorers"]:
        assert "needs JavaScript" in explorer["told"]
        assert explorer["figure"], "a figure must stand near an explorer, for those who cannot use it"


def test_what_is_missing_without_javascript_is_found(context: BrowserContext, tmp_path: Path) -> None:
    body = """<section><h2>One</h2><p>words</p>
        <p style="opacity: 0">shown by a script</p><img src="gone.svg" alt="gone">
        </section><section><h2>Two</h2></section>
        <section><h2>Three</h2><script type="application/vnd.jupyter.widget-view+json">{}</script></section>"""
    (tmp_path / "page.html").write_text(
        f'<!doctype html><html lang="en"><title>a page</title><main>{body}</main></html>'
    )
    seen = look(context, (tmp_path / "page.html").as_uri())
    assert seen["hidden"] == ['<p style="opacity: 0">shown by a script</p>']
    assert [Path(image).name for image in seen["broken"]] == ["gone.svg"]
    assert seen["explorers"] == [{"told": "", "figure": False}]
    assert seen["ground"] == ""
