"""Detectors and order test together, on traces in which the order is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entropylens.measures.lead_lag import lead_lag
from entropylens.measures.simulated import STEPS, detected, trial

LIKE = pd.DataFrame(
    {
        "event": ["spike"] * 3 + ["jump"] * 3,
        "onset": [200, 300, 400, 200, 300, 400],
        "peak": [202, 305, 401, 201, 306, 400],
        "height": [0.2, 0.8, 0.3, 20.0, 40.0, 15.0],
    }
)


@pytest.mark.parametrize("lead", [5, -5])
def test_the_planted_order_is_found_in_the_traces(lead: int) -> None:
    trials = pd.DataFrame([trial(seed, lead, LIKE, 512, draws=99) for seed in range(5)])
    assert (np.sign(trials["order"]) == np.sign(lead)).all()
    assert trials["lag"].median() == pytest.approx(lead, abs=1.5)
    assert trials[["shift", "flip"]].to_numpy().mean() >= 0.8


@pytest.mark.weekly
@pytest.mark.parametrize("lead", [None, 0])
def test_traces_without_an_order_raise_few_alarms(lead: int | None) -> None:
    """What the detectors do to onsets must not look like an order: half a step is what they may be off."""
    found = [detected(np.random.default_rng(seed), lead, LIKE, 512) for seed in range(24)]
    tests = [lead_lag(*each, STEPS, null="flip", start=100, draws=199) for each in found]
    assert sum(test.p_order <= 0.05 for test in tests) <= stats.binom.ppf(0.99, 24, 0.05)
    assert abs(np.median([test.lag for test in tests])) <= 0.5


def test_most_planted_events_are_found_and_none_invented() -> None:
    spikes, jumps = detected(np.random.default_rng(0), 5, LIKE, 512)
    assert 50 < sum(map(len, spikes)) < 120 + 1
    assert 50 < sum(map(len, jumps)) < 120 + 1


def test_without_real_events_there_is_nothing_to_draw_from() -> None:
    with pytest.raises(ValueError, match="real jumps"):
        detected(np.random.default_rng(0), 5, LIKE[LIKE["event"] == "spike"], 512)


@pytest.mark.parametrize("lead", [40, -40])
def test_a_long_lead_leaves_out_what_falls_out_of_the_training(lead: int) -> None:
    for seed in range(3):
        _, jumps = detected(np.random.default_rng(seed), lead, LIKE, 512, runs=4)
        assert all(((x >= 0) & (x < STEPS)).all() for x in jumps)
