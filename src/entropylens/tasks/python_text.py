"""What Python says about itself, as one text: the source of `python_documentation.txt`, which is the same everywhere.

The topics of `help()` and the docstrings of the standard library, one document for each topic and each top-level
module. `python -m entropylens.tasks.python_text` writes the file anew, from the Python that runs it.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from entropylens.tasks.articles import body, distinct, paragraphs
from entropylens.tasks.corpus import DOCUMENTATION

SNAPSHOT_OF = "3.11.7"
"""The version of Python that the bundled text was taken from."""

SHORTEST_DOCUMENT = 400
"""Characters; what is left of smaller ones is a remark or two."""

LEFT_OUT = {
    *("test", "tests", "site-packages", "pydoc_data"),  # not the library's documentation
    *("idlelib", "lib2to3", "ensurepip", "distutils"),  # programs, and other packages
    *("tkinter", "turtle", "turtledemo"),  # lists of options and of the same method under many names
    *("aifc", "sunau"),  # what wave says, with another name in it
}

_OTHER_LICENCE = re.compile(r"Permission (is hereby granted|to use)|Redistribution and use")
_ASCII = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "...", "•": "*", "\xa0": " "})


def snapshot() -> str:
    """The documents of the running Python, each under a line ` = Title = `, in the order of their titles.

    A paragraph that several have stays in the shortest of them, since many a topic is a section of a longer one.
    """
    documents = {f"topic {name}": _plain(text) for name, text in _topics().items()}
    documents |= {f"module {name}": _plain("\n\n".join(texts)) for name, texts in _docstrings().items()}
    seen: set[str] = set()
    kept = {
        title: body(distinct(paragraphs(text), seen))
        for title, text in sorted(documents.items(), key=lambda item: (len(item[1]), item[0]))
    }
    return "".join(f" = {title} = \n\n{kept[title]}" for title in sorted(kept) if len(kept[title]) >= SHORTEST_DOCUMENT)


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics  # minimal installations of Python lack it

    return dict(topics)


def _docstrings() -> dict[str, list[str]]:
    """The docstrings of each top-level module, in the order of the source."""
    library = Path(sysconfig.get_path("stdlib"))
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(library.rglob("*.py"), key=lambda p: p.relative_to(library).parts):
        parts = path.relative_to(library).with_suffix("").parts
        if LEFT_OUT.isdisjoint(parts) and not parts[0].startswith(("_sysconfigdata", "config-")):
            found[parts[0]] += _docstrings_of(path.read_text(encoding="utf-8"))
    return found


def _docstrings_of(source: str) -> Iterator[str]:
    """Nothing if another licence than Python's is in the source."""
    if _OTHER_LICENCE.search(source):
        return
    places = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for node in sorted(places, key=lambda n: getattr(n, "lineno", 0)):
        if text := ast.get_docstring(node):
            yield text


def _plain(text: str) -> str:
    """Printable ASCII and newlines only: few symbols, and each of them frequent."""
    ascii_only = unicodedata.normalize("NFKD", text.translate(_ASCII)).encode("ascii", "ignore").decode()
    lines = (line.expandtabs().rstrip() for line in ascii_only.split("\n"))
    return "\n".join("".join(c for c in line if c.isprintable()) for line in lines)


if __name__ == "__main__":
    DOCUMENTATION.write_text(snapshot(), encoding="utf-8", newline="\n")
