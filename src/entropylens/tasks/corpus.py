"""Real text, for language models that cannot be exact any more: documents as symbols, in three parts without leakage.

Glossary of shapes
------------------
n        symbols of a document or of a stream; a symbol is a character or a byte, V = `vocab_size` of them
W        windows of `length` symbols, none of which crosses the border of a document

`documentation()` ships with this package: what Python says about itself (`python_text.py` made the file).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from entropylens.tasks.articles import MIN_LENGTH, Article, articles, balanced, read_text, split

Level = Literal["character", "byte"]

STAND_IN = "\ufffd"
"""The last symbol of an alphabet of characters: all that are rare in training, or do not occur there."""

FOLDED = "\n ,.abcdefghijklmnopqrstuvwxyz"
"""What is left of an alphabet that is folded, in the order of code points."""

SHORTEST_REPEAT = 40
"""Paragraphs from this many characters on are kept once; shorter ones are phrases, and may recur."""

DOCUMENTATION = Path(__file__).with_name("python_documentation.txt")


@dataclass(frozen=True, eq=False)
class Document:
    """An article: its heading, which is not part of its text, and its symbols, (n,) int64."""

    title: str
    symbols: Tensor


@dataclass(frozen=True, eq=False)
class Corpus:
    r"""Documents in three parts, and the alphabet in which they are written.

    Attributes:
        name: of the text.
        level: what a symbol is, "character" or "byte".
        alphabet: symbol → text: characters in the order of their code points, then `STAND_IN`, which may not occur;
            or bytes, as "\x00" … "\xff".
        train: the documents to learn from, about 80 % of the characters.
        validation: those to choose by, about 10 %.
        test: those to judge by, about 10 %.
    """

    name: str
    level: Level
    alphabet: tuple[str, ...]
    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]

    @property
    def vocab_size(self) -> int:
        """V, the length of the alphabet."""
        return len(self.alphabet)

    def encode(self, text: str) -> Tensor:
        """Text to symbols, (n,) int64; a character outside the alphabet becomes its last symbol."""
        return _encode(text, self.level, self.alphabet)

    def decode(self, symbols: Tensor) -> str:
        """Symbols (n,) to text; bytes that are not UTF-8, because a window cut a character, become `STAND_IN`.

        Raises:
            ValueError: if a symbol lies outside the alphabet.
        """
        if symbols.numel() and not 0 <= int(symbols.min()) <= int(symbols.max()) < self.vocab_size:
            raise ValueError(f"symbols are 0 … {self.vocab_size - 1}")
        if self.level == "byte":
            return bytes(symbols.tolist()).decode("utf-8", "replace")
        return "".join(self.alphabet[s] for s in symbols.tolist())

    @cached_property
    def digest(self) -> str:
        """Identifies all that training depends on: level, alphabet, and the documents of each part in their order."""
        sha = hashlib.sha256(json.dumps([self.level, self.alphabet]).encode())
        for part in (self.train, self.validation, self.test):
            sha.update(json.dumps([[document.title, len(document.symbols)] for document in part]).encode())
            for document in part:
                sha.update(document.symbols.numpy().astype("<i4").tobytes())
        return sha.hexdigest()[:24]


# ---- reading -------------------------------------------------------------------------------------------------------


@functools.cache
def documentation(level: Level = "character") -> Corpus:
    """Python's documentation of its language and library: 1.6 MB of English with some code, bundled with this package.

    Language topics and library modules are documents. It is the same text under every version of Python.
    """
    return read_corpus(DOCUMENTATION, level, name="Python documentation")


def read_corpus(
    path: str | Path, level: Level = "character", *, min_count: int = 20, name: str | None = None
) -> Corpus:
    """A text file as documents in three parts, about 80 %, 10 % and 10 % of it.

    A line ` = Title = ` between blank lines begins a document, as in WikiText's raw files. A text without such lines,
    with fewer than 10 documents, or with one that holds more than a tenth of it, is cut into 50 contiguous blocks
    instead, at blank lines if possible. A paragraph of 40 characters or more that occurred before is dropped, and a
    document is in one part only: no such paragraph is learned and then met again in the test.

    Args:
        path: of a UTF-8 text file; at the level of bytes, in any encoding that is a superset of ASCII.
        level: what a symbol is.
        min_count: a character that occurs less often in the training part becomes `STAND_IN`.
        name: of the corpus; the file's name by default.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, empty, binary, not UTF-8 or too short; for an unknown `level`; for a `min_count`
            that leaves no alphabet.
    """
    if level not in get_args(Level):
        raise ValueError(f"unknown level {level!r}; choose from {', '.join(get_args(Level))}")
    path = Path(path)
    found = articles(read_text(path, any_bytes=level == "byte"), shortest=SHORTEST_REPEAT)
    length = sum(len(article.text) for article in found)
    if length < MIN_LENGTH:
        raise ValueError(
            f"{path} is too short: {length:,} characters, repeated paragraphs not counted; a split needs {MIN_LENGTH:,}"
        )
    parts = split(balanced(found))
    alphabet = _alphabet(parts[0], level, min_count)
    train, validation, test = (
        tuple(Document(article.title, _encode(article.text, level, alphabet)) for article in part) for part in parts
    )
    return Corpus(name or path.name, level, alphabet, train, validation, test)


def _alphabet(train: Iterable[Article], level: Level, min_count: int) -> tuple[str, ...]:
    if level == "byte":
        return tuple(f"\\x{byte:02x}" for byte in range(256))
    counts = Counter[str]()
    for article in train:
        counts.update(article.text)
    frequent = sorted(c for c, n in counts.items() if n >= min_count and c != STAND_IN)
    if min_count < 1 or not frequent:
        raise ValueError(f"min_count is 1 … {max(counts.values()):,} for this text, got {min_count}")
    return (*frequent, STAND_IN)


def _encode(text: str, level: Level, alphabet: tuple[str, ...]) -> Tensor:
    if level == "byte":
        data = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
        return torch.from_numpy(data.astype(np.int64))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    known = np.array([ord(c) for c in alphabet[:-1]])
    place = np.searchsorted(known, codes).clip(max=len(known) - 1)
    return torch.from_numpy(np.where(known[place] == codes, place, len(known)))


def folded(corpus: Corpus) -> Corpus:
    """The same documents in few symbols: small letters, blank, line end, full stop, comma, and `STAND_IN` for the rest.

    A source that is fitted to them is within reach of a small model, and still looks like English.

    Raises:
        ValueError: for a corpus of bytes.
    """
    if corpus.level != "character":
        raise ValueError(f"characters can be folded, not symbols of level {corpus.level!r}")
    small = [c.lower() if c.lower() in FOLDED else STAND_IN for c in corpus.alphabet]
    alphabet = (*FOLDED, STAND_IN)
    table = torch.tensor([alphabet.index(c) for c in small])
    parts = (
        tuple(Document(document.title, table[document.symbols]) for document in part)
        for part in (corpus.train, corpus.validation, corpus.test)
    )
    return Corpus(f"{corpus.name}, folded", corpus.level, alphabet, *parts)


# ---- what models are fed -------------------------------------------------------------------------------------------


def joined(documents: Sequence[Document], limit: int | None = None) -> Tensor:
    """The documents one after the other, or their first `limit` symbols, (n,) int64; each ends in a blank line."""
    if not documents or (limit is not None and limit < 1):
        raise ValueError(f"a stream has at least one symbol, got {len(documents)} documents and limit = {limit}")
    return torch.cat([document.symbols for document in documents])[:limit]


def windows(documents: Sequence[Document], length: int) -> tuple[Tensor, Tensor]:
    """Non-overlapping windows that lie in one document each; what remains at its end is left out.

    Returns:
        The windows, (W, length) int64, and the index in `documents` that each is from, (W,) int64.

    Raises:
        ValueError: if no document is that long.
    """
    longest = max((len(document.symbols) for document in documents), default=0)
    if not 1 <= length <= longest:
        raise ValueError(f"the longest of these documents allows windows of 1 … {longest:,} symbols, got {length}")
    cut = [document.symbols[: len(document.symbols) // length * length].view(-1, length) for document in documents]
    counts = torch.tensor([len(rows) for rows in cut])
    return torch.cat(cut), torch.arange(len(cut)).repeat_interleave(counts)


def subset(documents: Sequence[Document], n_symbols: int, seed: int) -> tuple[Document, ...]:
    """A finite sample of n_symbols symbols: whole documents in random order, of which the last one is cut.

    For one seed a larger sample contains a smaller one.

    Raises:
        ValueError: if the documents have fewer symbols.
    """
    total = sum(len(document.symbols) for document in documents)
    if not 1 <= n_symbols <= total:
        raise ValueError(f"these documents allow samples of 1 … {total:,} symbols, got {n_symbols}")
    drawn, missing = [], n_symbols
    for index in np.random.default_rng([seed, *b"subset"]).permutation(len(documents)):
        document = documents[index]
        drawn.append(Document(document.title, document.symbols[:missing]))
        missing -= len(drawn[-1].symbols)
        if missing == 0:
            break
    return tuple(drawn)
