"""Kneser–Ney by hand and by dictionaries, and the source against all of its sequences."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from entropylens.tasks.ngram import FALLBACK, MarkovSource, NGram, discounts, stationary
from tests._reference import all_sentences, random_distribution

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


# ---- the source ----------------------------------------------------------------------------------------------------


def random_source(vocab_size: int, order: int, seed: int, zeros: float = 0.0) -> MarkovSource:
    contexts = vocab_size ** (order - 1)
    table = torch.stack([random_distribution(vocab_size, seed + i, zeros=zeros) for i in range(contexts)])
    return MarkovSource(vocab_size, order, table, random_distribution(contexts, seed + contexts, zeros=zeros))


def brute_sequences(source: MarkovSource, length: int) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """All sequences, and the probability of each, summed over how a longer one would begin."""
    m, v = source.order - 1, source.vocab_size
    total = Counter[tuple[int, ...]]()
    for x in all_sentences(v, max(length, m)):
        p = float(source.start[sum(s * v**i for i, s in enumerate(reversed(x[:m])))])
        for t in range(m, len(x)):
            p *= float(source.table[sum(s * v**i for i, s in enumerate(reversed(x[t - m : t]))), x[t]])
        total[x[:length]] += p
    sequences = all_sentences(v, length)
    return sequences, np.array([total[x] for x in sequences])


def brute_entropies(sequences: list[tuple[int, ...]], p: np.ndarray) -> list[float]:
    """H(x_<1), …: the entropies of the beginnings of each length, from 0."""
    entropies = []
    for t in range(len(sequences[0]) + 1):
        mass = Counter[tuple[int, ...]]()
        for x, q in zip(sequences, p, strict=True):
            mass[x[:t]] += q
        entropies.append(float(stats.entropy(list(mass.values()))))
    return entropies


SOURCES = list(product([1, 2, 3, 4], [1, 2, 5], [0.0, 0.4]))


@pytest.mark.parametrize(("order", "length", "zeros"), SOURCES)
def test_the_source_against_all_sequences(order: int, length: int, zeros: float) -> None:
    source = random_source(3, order, seed=5, zeros=zeros)
    sequences, p = brute_sequences(source, length)
    found = source.log_prob(torch.tensor(sequences))
    np.testing.assert_allclose(found.exp(), p, rtol=0, atol=1e-14)
    assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)
    entropies = brute_entropies(sequences, p)
    expected = [after - before for before, after in pairwise(entropies)]
    np.testing.assert_allclose(source.conditional_entropies(length), expected, rtol=0, atol=1e-12)
    assert source.entropy(length) == pytest.approx(entropies[-1], abs=1e-12)


@pytest.mark.parametrize(("order", "length"), list(product([1, 2, 3, 4], [1, 2, 5])))
def test_the_conditionals_of_a_source_against_all_sequences(order: int, length: int) -> None:
    source = random_source(3, order, seed=7)
    sequences, p = brute_sequences(source, length)
    mass = Counter[tuple[int, ...]]()
    for x, q in zip(sequences, p, strict=True):
        mass.update({x[:t]: q for t in range(length + 1)})
    expected = [[[mass[(*x[:t], v)] / mass[x[:t]] for v in range(3)] for t in range(length)] for x in sequences]
    found = source.conditionals(torch.tensor(sequences).reshape(3, -1, length))
    assert found.shape == (3, len(sequences) // 3, length, 3)
    np.testing.assert_allclose(found.reshape(-1, length, 3), expected, rtol=1e-12)
    logs = found.reshape(-1, length, 3).gather(-1, torch.tensor(sequences)[..., None]).log().sum((-1, -2))
    torch.testing.assert_close(logs, source.log_prob(torch.tensor(sequences)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("order", "length", "zeros"), SOURCES)
def test_a_sample_follows_the_source(order: int, length: int, zeros: float) -> None:
    source = random_source(3, order, seed=11, zeros=zeros)
    sample = source.sample(20_000, length, torch.Generator().manual_seed(0))
    assert sample.shape == (20_000, length)
    place = (sample * torch.tensor([3**i for i in reversed(range(length))])).sum(-1)
    counts = np.bincount(place.numpy(), minlength=3**length)
    p = brute_sequences(source, length)[1]
    assert counts[p == 0].sum() == 0
    rare = (p > 0) & (20_000 * p < 5)
    observed, expected = (np.append(x[(p > 0) & ~rare], x[rare].sum()) for x in (counts, 20_000 * p))
    kept = expected > 0
    if kept.sum() > 1:
        assert stats.chisquare(observed[kept], expected[kept]).pvalue > 1e-3
    assert torch.equal(sample, source.sample(20_000, length, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_fitted_source_is_its_model_and_stationary(order: int) -> None:
    streams = random_streams(4, [200, 100], seed=3)
    source, model = MarkovSource.fit(streams, 4, order), NGram.fit(streams, 4, order)
    contexts = torch.tensor(all_sentences(4, order - 1)).reshape(4 ** (order - 1), order - 1)
    torch.testing.assert_close(source.table, model.conditionals(contexts.long()), rtol=1e-14, atol=0)
    windows = torch.tensor(all_sentences(4, 5))
    p = source.log_prob(windows).exp().reshape((4,) * 5)
    later, earlier = p.sum(0).flatten(), p.sum(-1).flatten()
    torch.testing.assert_close(later, earlier, rtol=0, atol=1e-12)
    entropies = source.conditional_entropies(9)
    np.testing.assert_allclose(entropies[order - 1 :], source.rate(), rtol=0, atol=1e-12)
    assert bool((entropies.diff() < 1e-12).all()), "of a stationary source, more past never makes the next less certain"


def test_rate_by_hand() -> None:
    """Two states, left with probability a and b: π = (b, a)/(a + b), and the rate is Σ π h."""
    a, b = Fraction(1, 10), Fraction(3, 10)
    table = torch.tensor([[1 - a, a], [b, 1 - b]], dtype=torch.float64)
    source = MarkovSource(2, 2, table, torch.tensor([1.0, 0.0]).double())
    expected = float(b / (a + b)) * stats.entropy([0.9, 0.1]) + float(a / (a + b)) * stats.entropy([0.3, 0.7])
    assert source.rate() == pytest.approx(expected, abs=1e-12)
    assert source.conditional_entropies(200)[-1] == pytest.approx(expected, abs=1e-12)


def test_a_table_that_goes_in_circles() -> None:
    """Begun evenly it is where it stays; begun in one state it never settles."""
    table = torch.eye(2).flip(0).double()
    torch.testing.assert_close(stationary(table, torch.full((2,), 0.5).double()), torch.full((2,), 0.5).double())
    with pytest.raises(ValueError, match="after 100 steps"):
        stationary(table, torch.tensor([1.0, 0.0]).double(), steps=100)


def test_what_never_happens_has_no_continuation() -> None:
    source = MarkovSource(2, 2, torch.full((2, 2), 0.5).double(), torch.tensor([1.0, 0.0]).double())
    assert source.log_prob(torch.tensor([1, 0])) == -math.inf
    trigram = MarkovSource(2, 3, torch.full((4, 2), 0.5).double(), torch.tensor([0.5, 0.5, 0, 0]).double())
    assert bool(trigram.conditionals(torch.tensor([1, 0]))[1].isnan().all())


def test_a_moved_source_is_the_same() -> None:
    source = random_source(3, 3, seed=1)
    moved = source.to("cpu")
    assert torch.equal(moved.table, source.table)
    samples = [s.sample(5, 6, torch.Generator().manual_seed(0)) for s in (source, moved)]
    assert torch.equal(*samples)


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
    model, source = NGram.fit([torch.tensor([0, 1, 2])], 3, 3), random_source(3, 3, seed=0)
    for refuse in (model.log_probs, source.log_prob, source.conditionals):
        with pytest.raises(ValueError, match=message):
            refuse(windows)
    if windows.numel():
        with pytest.raises(ValueError, match=message):
            model.conditionals(windows)


def test_what_is_no_source() -> None:
    table, start = torch.full((4, 2), 0.5).double(), torch.full((4,), 0.25).double()
    MarkovSource(2, 3, table, start)
    for bad, message in (
        (lambda: MarkovSource(2, 2, table, start), "C = 2"),
        (lambda: MarkovSource(2, 3, table, start[:2]), "C = 4"),
        (lambda: MarkovSource(2, 3, table / 2, start), "normalise"),
        (lambda: MarkovSource(2, 3, table, start * 2), "normalise"),
        (lambda: MarkovSource(2, 0, table, start), "at least 1"),
        (lambda: MarkovSource.fit([torch.tensor([0])], 100, 4), "100,000,000 conditionals"),
        (lambda: MarkovSource(2, 3, table, start).sample(0, 3, torch.Generator()), "got 0 and 3"),
        (lambda: MarkovSource(2, 3, table, start).sample(3, 0, torch.Generator()), "got 3 and 0"),
        (lambda: MarkovSource(2, 3, table, start).entropy(0), "at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            bad()
