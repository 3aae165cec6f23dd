"""The source against all of its sequences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from entropylens.tasks.ngram import NGram
from entropylens.tasks.source import MarkovSource, stationary
from tests._reference import all_sentences, random_distribution


def random_streams(vocab_size: int, lengths: list[int], seed: int) -> list[Tensor]:
    """Documents in which some symbols are far more frequent than others, so that counts of counts are not even."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(vocab_size, 0.5))
    return [torch.from_numpy(rng.choice(vocab_size, size=n, p=p)) for n in lengths]


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


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("log_prob", lambda found: found * (1 + 1e-9)), ("conditional_entropies", lambda found: [*found[1:], found[-1]])],
)
def test_a_planted_fault_is_found(name: str, wrong: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(MarkovSource, name)
    monkeypatch.setattr(MarkovSource, name, lambda *given: wrong(right(*given)))
    with pytest.raises(AssertionError):
        test_the_source_against_all_sequences(3, 5, 0.0)
