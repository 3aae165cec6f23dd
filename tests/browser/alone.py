"""A page as the book's are, with nothing but one explorer, and where things are on it."""

from __future__ import annotations

import json
from pathlib import Path

from anywidget import AnyWidget
from ipywidgets.embed import dependency_state, embed_data
from playwright.sync_api import Locator, Page

from tests.conftest import ROOT


def page_of(explorer: AnyWidget, folder: Path) -> Path:
    """Write the page into a folder; returns where. Keys are sorted, as they are in a notebook that was written."""
    state = dependency_state([explorer], drop_defaults=False)
    data = embed_data(views=[explorer], state=state, drop_defaults=False)
    kind, script = "application/vnd.jupyter.widget", (ROOT / "book" / "_static" / "explorers.js").read_text()
    texts = [
        json.dumps(x, sort_keys=True).replace("</", r"<\/") for x in (data["manager_state"], data["view_specs"][0])
    ]
    page = folder / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<style>[data-theme=dark] { color: #ddd; background: #111 }</style><body>"
        f'<script type="{kind}-state+json">{texts[0]}</script><script type="{kind}-view+json">{texts[1]}</script>'
        f"<script>{script}</script></body></html>"
    )
    return page


def spoiled(page: Path, right: str, wrong: str) -> str:
    """The address of a copy in which the explorer's code has a fault."""
    text, copy = page.read_text(), page.with_name("spoiled.html")
    assert text.count(right) == 1
    copy.write_text(text.replace(right, wrong))
    return copy.as_uri()


def told(page: Page) -> Locator:
    """What is said of the chosen state."""
    return page.locator(".explorer .told")


def slider(page: Page, control: str) -> Locator:
    """The slider whose label begins with the control's name."""
    return page.locator(f".explorer label:has(span:text-matches('^{control} ')) input[type=range]")


def charts(page: Page) -> list[str]:
    """What is said of each picture."""
    return [str(chart.get_attribute("aria-label")) for chart in page.locator(".explorer .chart").all()]
