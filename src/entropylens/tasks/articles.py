"""A text file as articles: read, freed of repeated paragraphs, and split in three without leakage.

A *paragraph* is what stands between blank lines, and two are the same if they differ in white space only. A paragraph
that is a line ` = Title = ` (WikiText's format) begins an article; ` = = Title = = ` is a heading inside one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIN_LENGTH = 20_000
"""Fewest characters that are worth a split: the two held-out parts have 2000 each."""

MIN_ARTICLES = 10
BLOCKS = 50

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_HEADING = re.compile(r" = ([^=](?:.*[^=])?) = ?")


@dataclass(frozen=True)
class Article:
    """A heading, and the paragraphs below it, with one blank line between them and one at the end."""

    title: str
    text: str


def paragraphs(text: str) -> list[str]:
    """What stands between blank lines, as it is written."""
    return [part.strip("\n") for part in _BLANK_LINES.split(f"\n{text}\n\n") if part.strip()]


def distinct(parts: Iterable[str], seen: set[str], shortest: int = 1) -> list[str]:
    """The paragraphs that are not in `seen`, which grows by them; those below `shortest` characters may recur."""
    kept = []
    for part in parts:
        key = " ".join(part.split())
        if key not in seen or len(key) < shortest:
            kept.append(part)
        seen.add(key)
    return kept


def body(parts: Iterable[str]) -> str:
    """Paragraphs as one text. It ends in a blank line, so that articles can be joined without a separator."""
    return "".join(f"{part}\n\n" for part in parts)


# ---- reading -------------------------------------------------------------------------------------------------------


def read_text(path: Path, *, any_bytes: bool = False) -> str:
    r"""The text of a file, with line ends as "\n".

    Args:
        path: of a UTF-8 text file.
        any_bytes: keep bytes that are not UTF-8, as Python's `surrogateescape` writes them.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is a folder, empty, binary or (without `any_bytes`) not UTF-8.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name one text file in it")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; a corpus is read from a text file")
    data = path.read_bytes()
    if not data.strip():
        raise ValueError(f"{path} is empty; a corpus has at least {MIN_LENGTH:,} characters")
    if b"\0" in data:
        raise ValueError(f"{path} is not text: byte {data.index(0):,} is NUL (save it as UTF-8 without markup)")
    try:
        text = data.decode("utf-8", "surrogateescape" if any_bytes else "strict")
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not UTF-8: byte {error.start:,} is 0x{data[error.start]:02x}; convert it, or use level="byte"'
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def articles(text: str, *, shortest: int) -> list[Article]:
    """The articles of a text, in its order; paragraphs of `shortest` or more characters are kept once."""
    seen: set[str] = set()
    found = [Article(title, body(distinct(parts, seen, shortest))) for title, parts in _sections(text)]
    return [article for article in found if article.text]


def balanced(found: list[Article]) -> list[Article]:
    """These articles, or 50 contiguous blocks of about the same length, cut at blank lines if possible.

    Articles stay if there are 10, and none has more than a tenth of the text: then a split comes near its shares.
    """
    whole = "".join(article.text for article in found)
    if len(found) >= MIN_ARTICLES and max(len(article.text) for article in found) * 10 <= len(whole):
        return found
    return [Article(f"block {n}", body(paragraphs(block))) for n, block in enumerate(_blocks(whole), start=1)]


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Headings and the paragraphs below each; what comes before the first one is untitled."""
    title, parts = "untitled", list[str]()
    for part in paragraphs(text):
        if heading := _HEADING.fullmatch(part):
            yield title, parts
            title, parts = heading[1], []
        else:
            parts.append(part)
    yield title, parts


def _blocks(text: str) -> Iterator[str]:
    """Cut a text in 50, each border moved on to the next good place, by at most half a block."""
    length = len(text) / BLOCKS
    start = 0
    for n in range(1, BLOCKS + 1):
        stop = _border(text, int(n * length), int((n + 0.5) * length))
        if text[start:stop].strip():
            yield text[start:stop]
        start = stop


def _border(text: str, start: int, stop: int) -> int:
    for mark in ("\n\n", "\n", " "):
        if (at := text.find(mark, start, stop)) >= 0:
            return at + len(mark)
    return start


# ---- the split -----------------------------------------------------------------------------------------------------


def split(documents: Iterable[Article], quotas: tuple[float, ...] = (0.8, 0.1, 0.1)) -> tuple[list[Article], ...]:
    """Deal whole articles to parts that get about these shares of the characters.

    They are dealt in the order of a hash of their titles, each to the part that lacks most. The order in which they are
    given is therefore of no account, and no part misses its share by more than the longest article.
    """
    dealt = sorted(documents, key=lambda a: (hashlib.sha256(a.title.encode(errors="surrogateescape")).digest(), a.text))
    total = sum(len(article.text) for article in dealt)
    parts: tuple[list[Article], ...] = tuple([] for _ in quotas)
    missing = [quota * total for quota in quotas]
    for article in dealt:
        neediest = missing.index(max(missing))
        parts[neediest].append(article)
        missing[neediest] -= len(article.text)
    return parts
