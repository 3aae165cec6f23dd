"""What language models have to beat: the same symbols for all, and sizes that the standard library agrees with."""

from __future__ import annotations

import gzip
import math

import pytest
import torch

from entropylens.measures.yardsticks import compressors, ngrams
from entropylens.tasks.corpus import Corpus, Document, documentation
from entropylens.tasks.ngram import NGram


def tiny() -> Corpus:
    """Two symbols in turn, which any n-gram model learns, and a test document that keeps to it but for its end."""
    turns = torch.arange(64) % 2
    odd = torch.cat([turns, torch.tensor([1, 1, 1, 1])])
    return Corpus(
        "turns", "character", ("a", "b"), (Document("", turns),), (), (Document("", odd), Document("", turns[:4]))
    )


def test_an_ngram_model_is_asked_about_the_later_half_of_whole_windows() -> None:
    corpus = tiny()
    model = NGram.fit([corpus.train[0].symbols], 2, 2)
    surprise = -model.score(corpus.test[0].symbols)
    late = torch.cat([surprise[start + 4 : start + 8] for start in range(0, 64, 8)])
    (row,) = ngrams(corpus, [2], 8).to_dict("records")
    assert row["name"] == "2-gram"
    assert row["bits"] == pytest.approx(float(late.mean()) / math.log(2), abs=1e-12)


def test_compressors_are_those_of_the_library() -> None:
    corpus = tiny()
    rows = compressors(corpus).set_index("name")["bits"]
    test, train = ("".join(corpus.decode(d.symbols) for d in part).encode() for part in (corpus.test, corpus.train))
    assert rows["gzip"] == 8 * len(gzip.compress(test)) / len(test)
    added = len(gzip.compress(train + test)) - len(gzip.compress(train))
    assert rows["gzip, after the training text"] == 8 * added / len(test)


def test_higher_orders_predict_the_documentation_better() -> None:
    found = ngrams(documentation(), [2, 3, 4], 128)["bits"]
    assert found.is_monotonic_decreasing
    assert 2 < found.iloc[-1] < 3
