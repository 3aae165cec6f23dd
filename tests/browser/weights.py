"""How many bytes of data a page's explorers carry."""

from __future__ import annotations

import json
import re
from pathlib import Path

_STATES = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL)
_CODE = ("_esm", "_css")  # the same for all pages that show an explorer, and weighed with the page


def data_weight(page: Path) -> int:
    """Return the bytes of all widgets' state on a page, as JSON with buffers in base64, without their code."""
    return sum(map(_weight, _STATES.findall(page.read_text(encoding="utf-8"))))


def _weight(script: str) -> int:
    widgets = json.loads(script)
    if isinstance(widgets, str):  # MyST-NB may wrap the text once more
        widgets = json.loads(widgets)
    for widget in widgets["state"].values():
        for part in _CODE:
            widget["state"].pop(part, None)
    return len(json.dumps(widgets, ensure_ascii=False).encode())
