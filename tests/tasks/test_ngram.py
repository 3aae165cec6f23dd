"""Kneser–Ney by hand and by dictionaries."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.tasks import ngram
from entropylens.tasks.ngram import FALLBACK, NGram, discounts
from entropylens.tasks.source import MarkovSource

FEW = settings(max_examples=40, deadline=None)


def random_streams(vocab_size: int, lengths: list[int], seed: int) -> list[Tensor]:
    """Documents in which some symbols are far more frequent than others, so that counts of counts are not even."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(vocab_size, 0.5))
    return [torch.from_numpy(rng.choice(vocab_size, size=n, p=p)) for n in lengths]


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[Tensor], int]:
    vocab_size = draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=4))
    return random_streams(vocab_size, lengths, draw(st.integers(0, 999))), vocab_size


# ---- by hand -------------------------------------------------------------------------------------------------------


def test_by_hand() -> None:
    """The text 0 1 0 1 0 2 and order 2, with the discounts ½, 1, 3/2, as there are not counts of 1, 2, 3 and 4.

    Pairs: 01 twice, 10 twice, 02 once. Each symbol was seen after one other: 0 after 1, 1 after 0, 2 after 0. So
    p_1(w) = (1 − ½)/3 + (3 · ½)/3 · ⅓ = ⅓ below order 2, for each w.
    After 0, seen 3 times: γ = (1 + ½)/3 = ½. After 1, seen twice: γ = 1/2. After 2, which ends the text: γ = 1.
    The first symbol has order 1, of the occurrences 3, 2, 1: γ = (3/2 + 1 + ½)/6 = ½, and p_0 = ⅓.
    """
    model = NGram.fit([torch.tensor([0, 1, 0, 1, 0, 2])], vocab_size=3, order=2)
    third = 1 / 3
    expected = [
        [third / 2, (2 - 1) / 3 + third / 2, (1 - 1 / 2) / 3 + third / 2],
        [(2 - 1) / 2 + third / 2, third / 2, third / 2],
        [third, third, third],
    ]
    first = [(3 - 3 / 2) / 6 + third / 2, (2 - 1) / 6 + third / 2, (1 - 1 / 2) / 6 + third / 2]
    np.testing.assert_allclose(model.conditionals(torch.tensor([[0], [1], [2]])), expected, rtol=1e-14)
    np.testing.assert_allclose(model.conditionals(torch.zeros(0, dtype=torch.long)), first, rtol=1e-14)
    expected_log = [math.log(p) for p in (first[2], third, expected[0][1])]
    np.testing.assert_allclose(model.log_probs(torch.tensor([[2, 0, 1]]))[0], expected_log, rtol=1e-14)


def test_discounts_by_hand() -> None:
    """Symbols that occur 1 1 1 1 2 2 3 4 times, and a ninth that never does.

    Y = 4/(4 + 2·2) = ½; D1 = 1 − 2·½·2/4 = ½; D2 = 2 − 3·½·1/2 = 5/4; D3+ = 3 − 4·½·1/1 = 1. Of 15 symbols,
    γ = (4·½ + 2·5/4 + 1 + 1)/15 = 13/30 goes to all nine.
    """
    occurrences = [1, 1, 1, 1, 2, 2, 3, 4, 0]
    assert discounts(np.array(occurrences)) == (0.5, 1.25, 1.0)
    text = torch.arange(9).repeat_interleave(torch.tensor(occurrences))
    left = [0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 2, 3, 0]
    expected = [x / 15 + 13 / 30 / 9 for x in left]
    np.testing.assert_allclose(NGram.fit([text], 9, 1).conditionals(text[:0]), expected, rtol=1e-14)


@pytest.mark.parametrize("counts", [[1, 1, 2, 3], [2, 3, 4], [], [1, 2, *[3] * 5, 4]])
def test_discounts_that_cannot_be_estimated(counts: list[int]) -> None:
    """A number that is 0, and in the last D2 = 2 − 3·⅓·5 < 0."""
    assert discounts(np.array(counts, dtype=np.int64)) == FALLBACK


# ---- by dictionaries -----------------------------------------------------------------------------------------------


class Dictionaries:
    """The formula, word for word."""

    def __init__(self, streams: list[Tensor], vocab_size: int, order: int) -> None:
        documents = [tuple(stream.tolist()) for stream in streams]
        self.vocab_size, self.order = vocab_size, order
        self.occurrences = [
            Counter(d[i : i + n] for d in documents for i in range(len(d) - n + 1)) for n in range(order + 1)
        ]
        self.before = [Counter(gram[1:] for gram in self.occurrences[n + 1]) for n in range(order)]

    def p(self, symbol: int, context: tuple[int, ...], *, top: bool = True) -> float:
        n = len(context) + 1
        counts = (self.occurrences if top else self.before)[n]
        lower = self.p(symbol, context[1:], top=False) if context else 1 / self.vocab_size
        after = [counts[(*context, w)] for w in range(self.vocab_size)]
        if not sum(after):
            return lower
        d = [0.0, *discounts(np.array(list(counts.values())))]
        gamma = sum(d[min(c, 3)] for c in after) / sum(after)
        return (after[symbol] - d[min(after[symbol], 3)]) / sum(after) + gamma * lower

    def log_probs(self, window: list[int]) -> list[float]:
        return [
            math.log(self.p(symbol, tuple(window[max(0, t - self.order + 1) : t]))) for t, symbol in enumerate(window)
        ]


@FEW
@given(texts(), st.integers(1, 4), st.integers(0, 999))
def test_log_probs_are_those_of_the_formula(text: tuple[list[Tensor], int], order: int, seed: int) -> None:
    streams, vocab_size = text
    model, oracle = NGram.fit(streams, vocab_size, order), Dictionaries(streams, vocab_size, order)
    windows = torch.from_numpy(np.random.default_rng(seed).integers(vocab_size, size=(3, 7)))
    found = model.log_probs(windows)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, [oracle.log_probs(w) for w in windows.tolist()], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.score(streams[0]), oracle.log_probs(streams[0].tolist()), rtol=1e-12, atol=1e-12)


def test_the_formula_with_estimated_discounts() -> None:
    """A text long enough that no order falls back, which random short ones mostly do."""
    streams = random_streams(8, [400, 1, 300], seed=2)
    oracle = Dictionaries(streams, 8, 3)
    assert discounts(np.array(list(oracle.occurrences[3].values()))) != FALLBACK
    assert discounts(np.array(list(oracle.before[2].values()))) != FALLBACK
    model = NGram.fit(streams, 8, 3)
    np.testing.assert_allclose(model.score(streams[2]), oracle.log_probs(streams[2].tolist()), rtol=1e-12)


@FEW
@given(texts(), st.integers(1, 8), st.integers(0, 9), st.integers(0, 999))
def test_conditionals_are_distributions_and_agree_with_log_probs(
    text: tuple[list[Tensor], int], order: int, length: int, seed: int
) -> None:
    streams, vocab_size = text
    model = NGram.fit(streams, vocab_size, order)
    contexts = torch.from_numpy(np.random.default_rng(seed).integers(vocab_size, size=(2, 3, length)))
    p = model.conditionals(contexts)
    assert p.shape == (2, 3, vocab_size)
    assert float((p.sum(-1) - 1).abs().max()) < 1e-12
    assert float(p.min()) > 0
    for symbol in range(vocab_size):
        windows = torch.cat([contexts, torch.full((2, 3, 1), symbol)], dim=-1).reshape(6, -1)
        np.testing.assert_allclose(model.log_probs(windows)[:, -1].exp(), p[..., symbol].flatten(), rtol=1e-12)


def test_what_was_never_seen_backs_off() -> None:
    """2 was never seen, nor anything after 1 1: the shorter context says what follows, but with its lower counts."""
    streams = [torch.tensor([0, 1, 0, 1, 0, 0, 1])]
    model, oracle = NGram.fit(streams, 3, 3), Dictionaries(streams, 3, 3)
    for context in ((1, 1), (2, 1), (2, 2)):
        expected = [oracle.p(w, context[1:], top=False) for w in range(3)]
        np.testing.assert_allclose(model.conditionals(torch.tensor(context)), expected, rtol=1e-13)
    lowest = [oracle.p(w, (), top=False) for w in range(3)]
    np.testing.assert_allclose(model.conditionals(torch.tensor([2, 2])), lowest, rtol=1e-13)


def test_grams_do_not_cross_borders() -> None:
    apart = NGram.fit([torch.tensor([0, 0]), torch.tensor([1, 1])], 2, 2)
    together = NGram.fit([torch.tensor([0, 0, 1, 1])], 2, 2)
    seen, before = torch.tensor([0]), [p.conditionals(torch.tensor([1])) for p in (apart, together)]
    assert float(apart.conditionals(seen)[1]) < float(together.conditionals(seen)[1])
    assert float(before[0][1]) == pytest.approx(0.5 + 0.5 * 0.5)  # 0 and 1 were seen after one symbol each


def test_an_order_that_no_document_has_room_for() -> None:
    streams = [torch.tensor([0, 1]), torch.tensor([1])]
    long, short = NGram.fit(streams, 2, 7), NGram.fit(streams, 2, 2)
    window = torch.tensor([[0, 1, 0]])
    torch.testing.assert_close(long.log_probs(window)[:, :2], short.log_probs(window)[:, :2], rtol=0, atol=0)
    assert float(long.conditionals(window[0]).sum()) == pytest.approx(1, abs=1e-12)


def test_a_high_order_over_many_symbols_does_not_overflow() -> None:
    """1000**8 exceeds int64; a text without repetition is then predicted by its own last symbol."""
    text = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    model = NGram.fit([text], 1000, 8)
    assert float(model.score(text)[8:].max()) == pytest.approx(float(model.score(text)[8:].min()), abs=1e-12)
    oracle = Dictionaries([text], 1000, 8)
    assert float(model.score(text)[9]) == pytest.approx(math.log(oracle.p(int(text[9]), tuple(text[2:9].tolist()))))


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocab_size", "order"), [(3, 0), (0, 2), (3, -1)])
def test_no_order_and_no_vocabulary(vocab_size: int, order: int) -> None:
    for fit in (NGram.fit, MarkovSource.fit):
        with pytest.raises(ValueError, match=f"at least 1, got {order} and {vocab_size}"):
            fit([torch.tensor([0, 1])], vocab_size, order)


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ([], "one or more documents"),
        ([torch.tensor([[0, 1]])], "each a vector"),
        ([torch.tensor([0]), torch.tensor([], dtype=torch.long)], "empty"),
        ([torch.tensor([0, 3])], "0 … 2, got 0 … 3"),
        ([torch.tensor([-1, 2])], "0 … 2, got -1 … 2"),
        ([torch.tensor([0.0, 1.0])], "whole numbers"),
    ],
)
def test_what_is_no_text(streams: list[Tensor], message: str) -> None:
    for fit in (NGram.fit, MarkovSource.fit):
        with pytest.raises(ValueError, match=message):
            fit(streams, 3, 2)


@pytest.mark.parametrize(("bad", "message"), [([[0, 3]], "0 … 2"), ([[-1, 0]], "0 … 2"), ([[]], "no symbols")])
def test_what_is_no_window(bad: list[list[int]], message: str) -> None:
    windows = torch.tensor(bad, dtype=torch.long)
    model, source = NGram.fit([torch.tensor([0, 1, 2])], 3, 3), MarkovSource.fit([torch.tensor([0, 1, 2])], 3, 3)
    for refuse in (model.log_probs, source.log_prob, source.conditionals):
        with pytest.raises(ValueError, match=message):
            refuse(windows)
    if windows.numel():
        with pytest.raises(ValueError, match=message):
            model.conditionals(windows)


def test_a_planted_discount_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "FALLBACK", (0.5, 1.0, 1.5 + 1e-9))
    with pytest.raises(AssertionError):
        test_by_hand()
