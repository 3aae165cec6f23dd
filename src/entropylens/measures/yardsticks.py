"""What a language model has to beat: counting, and the compressors that everybody has. In bits a character.

Models are asked about the same symbols of held-out documents: those of each window of T that have half a window before
them. A compressor gets the whole text, and its file's length is shared among all characters.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
from collections.abc import Callable, Sequence

import pandas as pd
import torch

from entropylens.tasks.corpus import Corpus, Document
from entropylens.tasks.ngram import NGram

BITS = 1 / math.log(2)
"""Of a nat."""

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "lzma": lzma.compress,
}
"""Of Python's standard library, with their own settings."""


def ngrams(corpus: Corpus, orders: Sequence[int], length: int) -> pd.DataFrame:
    """Kneser–Ney models of the training documents, on the test documents.

    Args:
        corpus: characters.
        orders: of the models.
        length: T, an even number.

    Returns:
        Columns name, kind ("n-gram") and bits.
    """
    train = [document.symbols for document in corpus.train]
    rows = []
    for order in orders:
        model = NGram.fit(train, corpus.vocab_size, order)
        surprise = torch.cat([_late(-model.score(d.symbols), length) for d in corpus.test if len(d.symbols) >= length])
        rows.append({"name": f"{order}-gram", "kind": "n-gram", "bits": BITS * float(surprise.mean())})
    return pd.DataFrame(rows)


def _late(surprise: torch.Tensor, length: int) -> torch.Tensor:
    """The later half of each whole window of a document's surprises, (n,) to (n // T · T / 2,)."""
    return surprise[: len(surprise) // length * length].view(-1, length)[:, length // 2 :].flatten()


def compressors(corpus: Corpus) -> pd.DataFrame:
    """The test documents as one file: its compressed size; and what it adds to that of the training documents.

    Returns:
        Columns name (of the second, with ", after the training text"), kind ("compressor") and bits.
    """
    test, train = _text(corpus, corpus.test), _text(corpus, corpus.train)
    rows = []
    for name, compress in COMPRESSORS.items():
        alone, before = len(compress(test)), len(compress(train))
        added = len(compress(train + test)) - before
        sizes = {name: alone, f"{name}, after the training text": added}
        rows += [{"name": told, "kind": "compressor", "bits": 8 * n / len(test.decode())} for told, n in sizes.items()]
    return pd.DataFrame(rows)


def _text(corpus: Corpus, documents: Sequence[Document]) -> bytes:
    return "".join(corpus.decode(document.symbols) for document in documents).encode()
