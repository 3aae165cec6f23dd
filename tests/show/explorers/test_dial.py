"""Chapter 1's explorer: its dial, and its samples, which are drawn as in the page."""

from __future__ import annotations

import math

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr

from entropylens.show.explorers.dial import FIRST, SAMPLES, SIZES, counted, dial_explorer, turned, uniforms

WEIGHTS = st.lists(st.floats(0, 10).map(lambda w: round(2 * w) / 2), min_size=5, max_size=5).filter(any)


@given(WEIGHTS, st.floats(0, 0.95))
def test_the_dial_raises_to_a_power_and_normalises(weights: list[float], dial: float) -> None:
    raised = [w ** (dial / (1 - dial)) if w else 0 for w in weights]
    assert turned(weights, dial).tolist() == pytest.approx([x / sum(raised) for x in raised])


@given(WEIGHTS)
def test_it_goes_from_even_to_certain_and_what_cannot_happen_stays_so(weights: list[float]) -> None:
    w = np.array(weights)
    assert turned(weights, 0.0).tolist() == pytest.approx((w > 0) / (w > 0).sum())
    assert turned(weights, 0.5).tolist() == pytest.approx(w / w.sum())
    most = w == w.max()
    assert turned(weights, 1.0).tolist() == pytest.approx(most / most.sum())
    entropies = [entr(turned(weights, dial)).sum() for dial in np.linspace(0, 1, 21)]
    assert (np.diff(entropies) <= 1e-12).all()


def test_the_generator_is_the_one_that_is_named() -> None:
    """mulberry32, one number at a time in plain integers."""

    def mulberry32(state: int) -> tuple[int, float]:
        state = (state + 0x6D2B79F5) % 2**32
        z = (state ^ (state >> 15)) * (state | 1) % 2**32
        z ^= (z + (z ^ (z >> 7)) * (z | 61)) % 2**32
        return state, (z ^ (z >> 14)) / 2**32

    for seed in (1, 2, 100):
        state, wanted = seed, []
        for _ in range(50):
            state, u = mulberry32(state)
            wanted.append(u)
        assert uniforms(50, seed).tolist() == wanted


def test_samples_are_fair() -> None:
    """Over all samples of a size: counts as p says, and as much spread as binomials have."""
    p, n = turned(list(FIRST.values()), 0.5), 100
    counts = np.stack([counted(p, n, seed) for seed in range(1, SAMPLES + 1)])
    assert (counts.sum(1) == n).all()
    spread = np.sqrt(n * p * (1 - p))
    assert (np.abs(counts.mean(0) - n * p) < 4 * spread / math.sqrt(SAMPLES)).all()
    np.testing.assert_allclose(counts.std(0) / spread, 1, atol=4 / math.sqrt(2 * SAMPLES))


def test_what_cannot_happen_is_not_drawn() -> None:
    assert counted(np.array([0, 0.5, 0, 0.5, 0]), 1000, 1)[[0, 2, 4]].tolist() == [0, 0, 0]
    assert counted(np.array([0, 0, 1.0]), 7, 1).tolist() == [0, 0, 7]


def test_it_starts_with_surprises_of_whole_bits() -> None:
    p = turned(list(FIRST.values()), dial_explorer().selected["dial"])
    assert (-np.log2(p)).tolist() == pytest.approx([1, 2, 3, 4, 4])


def test_python_may_choose_and_nonsense_is_refused() -> None:
    explorer = dial_explorer(a=0, size=1000)
    assert explorer.selected == {**FIRST, "a": 0, "dial": 0.5, "size": 1000, "sample": 1}
    explorer.selected = {"dial": 1, "sample": SAMPLES}
    assert explorer.selected["dial"] == 1
    wrong: list[dict[str, object]] = [
        {"a": 10.5}, {"b": -1}, {"f": 1}, {"dial": 1.01}, {"dial": math.nan}, {"size": 4}, {"size": 10.0},
        {"sample": 0}, {"sample": SAMPLES + 1}, {"a": "1"}, {"a": True},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(values))} = .*; choose from a 0 to 10, "):
            explorer.selected = values  # type: ignore[assignment]
    with pytest.raises(traitlets.TraitError, match="one symbol at least needs a weight"):
        explorer.selected = dict.fromkeys(FIRST, 0.0)
    assert sorted(set(SIZES)) == SIZES


def test_without_javascript_the_numbers_are_told() -> None:
    told = repr(dial_explorer(dial=0, size=1))
    assert told.startswith("Explorer (needs JavaScript): p = (0.200, 0.200, 0.200, 0.200, 0.200), H(p) = 1.609 nats, ")
    assert "perplexity 5.00; of a sample of 1, H(p̂) = 0.000 nats" in told
