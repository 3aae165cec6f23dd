"""A page's HTML as Sphinx wrote it, made fit for readers without JavaScript, and for those who listen to it.

What comes from files and ends up on a page is made harmless here, too.
"""

from __future__ import annotations

import re

_VIEW = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">.*?</script>', re.DOTALL)
_NO_EXPLORER = (
    '<noscript><p class="unscripted">An explorer stands here, to play with what this section tells. It needs '
    "JavaScript, runs in the page itself, and loads nothing from elsewhere. The text and the figures around it do "
    "without.</p></noscript>"
)
_TEST = re.compile(r'(?<=<span class="pre">)[\w/*]+\.py(?:::\w+)?(?=</span>)')
_FORMULA = re.compile(r'class="math\b')
_NO_FORMULAS = (
    '<noscript><p class="unscripted">JavaScript is off: formulas appear as they were typed, in TeX. Text, tables and '
    "figures are complete.</p></noscript>"
)


def mend(body: str) -> str:
    """Return the HTML of a page's article, with a sentence where JavaScript would be, and roles that exist.

    Docutils gives references a role that ARIA has withdrawn, and that must not stand in a list.
    """
    body = _VIEW.sub(lambda view: view[0] + _NO_EXPLORER, body)
    body = body.replace(' role="doc-biblioentry"', ' role="listitem"')
    body = _TEST.sub(lambda name: re.sub(r"(::|[/_])", r"\1<wbr>", name[0]), body)  # long, and breaks between words
    return (_NO_FORMULAS if _FORMULA.search(body) else "") + body


def literal(text: str) -> str:
    """Return Markdown, fit for a table's cell, that shows `text` as it stands: no HTML, no link, no formula."""
    return re.sub(r"([\\`*\[\]<>&|$#{}!]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))


def json_in_script(text: str) -> str:
    """Return JSON that cannot end the script element it stands in; MyST-NB watches out for `</script>` only.

    HTML ends it at `</SCRIPT >`, too, and reads on past its end after `<!--<script`.
    """
    return re.sub(r"<(?=[/!s])", r"\\u003c", text, flags=re.IGNORECASE)
