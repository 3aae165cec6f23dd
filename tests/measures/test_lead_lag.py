"""The order of events: the right sign, with power, for both directions; and no more than 5 % alarms for none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from entropylens.measures.lead_lag import lags, lead_lag, planted

STEPS = 1500


@pytest.mark.parametrize("null", ["shift", "runs", "flip"])
@pytest.mark.parametrize("lead", [5, -5])
def test_a_known_order_is_found(null: str, lead: int) -> None:
    rng = np.random.default_rng(1)
    results = [lead_lag(*planted(rng, lead), STEPS, null=null, draws=199, seed=i) for i in range(40)]
    assert all(np.sign(r.order) == np.sign(lead) for r in results)
    assert np.mean([r.p_order <= 0.05 for r in results]) > 0.9
    assert np.median([r.lag for r in results]) == pytest.approx(lead, abs=1)
    if null != "flip":  # which keeps the pairs
        assert np.mean([r.p_pairs <= 0.05 for r in results]) > 0.9
        assert all(r.pairs > r.null_pairs[0] for r in results)


@pytest.mark.parametrize("null", ["shift", "runs", "flip"])
@pytest.mark.parametrize("lead", [None, 0])
def test_without_an_order_none_is_found(null: str, lead: int | None) -> None:
    """Neither where events share a trend and nothing else, nor where they come together in either order."""
    rng = np.random.default_rng(2)
    results = [lead_lag(*planted(rng, lead), STEPS, null=null, draws=199, seed=i) for i in range(200)]
    rejected = sum(r.p_order <= 0.05 for r in results)
    assert rejected <= stats.binom.ppf(0.99, 200, 0.05)
    orders = np.array([r.order for r in results])
    assert abs(orders.mean()) < 3 * orders.std() / np.sqrt(200)


def test_pairs_by_chance_are_no_relation() -> None:
    """Runs are dealt: their common phase of many events is no sign of a relation."""
    rng = np.random.default_rng(3)
    results = [lead_lag(*planted(rng, None), STEPS, null="runs", draws=199, seed=i) for i in range(200)]
    assert sum(r.p_pairs <= 0.05 for r in results) <= stats.binom.ppf(0.99, 200, 0.05)


lists = st.lists(st.lists(st.integers(0, 60), max_size=8), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(lists, lists, st.integers(0, 30))
def test_lags_are_those_of_a_loop(spikes: list[list[int]], jumps: list[list[int]], within: int) -> None:
    runs = min(len(spikes), len(jumps))
    found = lags(spikes[:runs], jumps[:runs], within)
    for run in range(runs):
        for spike, lag in zip(sorted(spikes[run]), found[run], strict=True):
            near = sorted((spike - jump for jump in jumps[run] if abs(spike - jump) <= within), key=abs)
            sides = {x for x in near if abs(x) == abs(near[0])}
            expected = np.nan if not near else near[0] if len(sides) == 1 else 0
            assert lag == pytest.approx(expected, nan_ok=True)


def test_order_and_lag_by_hand() -> None:
    """Jump first by 4, spike first by 2, at the same step, alone; and another run must not lend its jumps."""
    r = lead_lag([[104, 200, 300, 500], [500]], [[100, 202, 300], []], 1000, null="shift", draws=19)
    assert (r.order, r.pairs, r.lag, r.spikes, r.jumps) == (0, 3, 0, 5, 3)
    r = lead_lag([[104, 200, 304]], [[100, 202, 300]], 1000, draws=19)
    assert (r.order, r.lag) == (pytest.approx(1 / 3), 4)


def test_swapping_the_roles_turns_the_order_round() -> None:
    spikes = [np.array([200, 500, 900]), np.array([300])]
    jumps = [x - 4 for x in spikes]
    assert lead_lag(spikes, jumps, 1000).order == 1
    assert lead_lag(jumps, spikes, 1000).order == -1


def test_runs_without_events_and_runs_that_end_early() -> None:
    r = lead_lag([[], []], [[], [5]], 100, draws=19)
    assert (r.order, r.p_order, r.pairs, r.p_pairs) == (0, 1, 0, 1)
    assert np.isnan(r.lag)
    short = lead_lag([[60, 120]] * 2, [[58, 122]] * 2, [130, 1000], block=50, start=50, draws=99)
    assert (short.order, short.pairs) == (0, 4)


def test_the_seed_decides() -> None:
    data = planted(np.random.default_rng(4), 5)
    assert lead_lag(*data, STEPS, draws=99, seed=1) == lead_lag(*data, STEPS, draws=99, seed=1)
    assert lead_lag(*data, STEPS, draws=99, seed=1) != lead_lag(*data, STEPS, draws=99, seed=2)


def test_input_without_sense_is_refused() -> None:
    one, two = [[10]], [[10], [20]]
    with pytest.raises(ValueError, match="same runs"):
        lead_lag(one, two, 100)
    with pytest.raises(ValueError, match="same runs"):
        lead_lag([], [], 100)
    with pytest.raises(ValueError, match="whole steps"):
        lead_lag([[0.5]], one, 100)
    with pytest.raises(ValueError, match="whole steps"):
        lead_lag([[np.nan]], one, 100)
    with pytest.raises(ValueError, match="between the start"):
        lead_lag([[100]], one, 100)
    with pytest.raises(ValueError, match="between the start"):
        lead_lag(one, one, 100, start=11)
    for wrong in ({"block": 30}, {"draws": 0}, {"null": "runs"}, {"null": "dice"}):
        with pytest.raises(ValueError, match="needs a draw"):
            lead_lag(one, one, 100, **wrong)
    with pytest.raises(ValueError, match="apart"):
        lags(one, one, -1)
