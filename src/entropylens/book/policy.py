"""Each page's Content-Security-Policy: what comes out of data never runs, and nothing is asked of another host.

It stands in the page, since pages are opened from disk, too; there `'self'` means any file, to Chromium and Firefox
alike. Inline scripts are the theme's alone, named by their hashes: those in a page's head. Its body is what notebooks
and data made; that of a page without an article, such as the search, is the theme's, too.
"""

from __future__ import annotations

import base64
import hashlib
import re

_SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_DATA_OR_FILE = re.compile(r"\b(type|src)\s*=", re.IGNORECASE)
_HANDLER = re.compile(r'(<button) onclick="[^"]*"')
_EXPLORERS = "_static/explorers.js"


def guard(page: str) -> str:
    """Return a finished page with its policy in front of all that it is about.

    The theme's two buttons lose their inline handlers, which no hash covers; `book/_static/book.js` has them instead.
    """
    page = _HANDLER.sub(r"\1", page)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(page)}">'
    return re.sub(r"(<meta charset=[^>]*>)", rf"\1\n    {meta}", page, count=1)


def policy(page: str) -> str:
    """Return the policy of a page: hashes for its inline scripts, and more only where there are explorers."""
    own, hashes = "'self'", " ".join(_hashes(page))
    blob = " blob:" if _EXPLORERS in page else ""  # an explorer is a module made from what the page carries
    directives = {
        "default-src": "'none'",
        "script-src": f"{own}{blob} {hashes}".strip(),
        "style-src": f"{own} 'unsafe-inline'",  # MathJax and explorers make style sheets, tables have widths
        "img-src": f"{own} data:",
        "font-src": own,
        "connect-src": own,  # the search reads pages, to quote them
        "form-action": own,
        "base-uri": "'none'",
        **({"worker-src": "blob:"} if blob else {}),  # the playground trains in one
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _hashes(page: str) -> list[str]:
    theme = page.partition("</head>")[0] if "<article" in page else page
    scripts = [body for attributes, body in _SCRIPT.findall(theme) if not _DATA_OR_FILE.search(attributes)]
    return [f"'sha256-{_digest(body)}'" for body in dict.fromkeys(scripts)]


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
