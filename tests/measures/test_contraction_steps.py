"""Every inequality of the proof holds, and none of them can be improved."""

from __future__ import annotations

import pytest

from entropylens.measures.contraction_steps import STEPS, tightness


@pytest.mark.parametrize(("n", "d"), [(2, 2), (4, 3)])
def test_no_step_of_the_proof_is_ever_violated(n: int, d: int) -> None:
    table = tightness(n, d, draws=5000, starts=32, steps=150)
    assert list(table.index) == list(STEPS)
    assert table.to_numpy().max() <= 1 + 1e-9


def test_with_two_tokens_each_step_is_attained_by_climbing_and_missed_at_random() -> None:
    table = tightness(draws=5000, starts=48, steps=250)
    assert table["climbing"].min() > 0.99
    assert table["at random"].iloc[-2:].max() < 0.7
