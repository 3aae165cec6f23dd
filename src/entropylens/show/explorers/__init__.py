"""What a reader touches: figures that answer at once, in JupyterLab and in the built pages, without a kernel.

Each explorer is an anywidget: a `.py` that packs the data and one or more `.js` that draw them. All controls live in
JavaScript, since Python callbacks are dead in a built page; there `book/_static/explorers.js` stands in for Jupyter.
`common.js` is what all of them share, and is put in front of each.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent
_ENGINE = tuple(f"trie_{part}.js" for part in ("products", "parts", "model", "distributions", "training"))


def source(*names: str) -> str:
    """The JavaScript module of an explorer, its files in the given order, with what all of them share in front."""
    return "\n".join((_FOLDER / file).read_text(encoding="utf-8") for file in ("common.js", *names))


def engine() -> str:
    """JavaScript that trains a transformer on the trie, for a page or a Web Worker; see `trie_model.js`."""
    return "\n".join((_FOLDER / file).read_text(encoding="utf-8") for file in _ENGINE)


def style() -> str:
    """The style sheet of all explorers."""
    return (_FOLDER / "explorers.css").read_text(encoding="utf-8")
