"""An explorer on a page of its own, as the book's pages carry it, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

from anywidget import AnyWidget
from ipywidgets.embed import dependency_state, embed_data

from tests.conftest import ROOT

_KIND = "application/vnd.jupyter.widget"


def alone(explorer: AnyWidget, folder: Path) -> Path:
    """Write the page into the folder, and return its path."""
    state = dependency_state([explorer], drop_defaults=False)
    data = embed_data(views=[explorer], state=state, drop_defaults=False)
    script = (ROOT / "book" / "_static" / "explorers.js").read_text(encoding="utf-8")
    texts = [json.dumps(x).replace("</", r"<\/") for x in (data["manager_state"], data["view_specs"][0])]
    page = folder / "page.html"
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<style>[data-theme=dark] { color: #ddd; background: #111 }</style><body>"
        f'<script type="{_KIND}-state+json">{texts[0]}</script><script type="{_KIND}-view+json">{texts[1]}</script>'
        f"<script>{script}</script></body></html>",
        encoding="utf-8",
    )
    return page
