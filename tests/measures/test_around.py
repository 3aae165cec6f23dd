"""Averages around events and warnings of them: against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from entropylens.measures.around import ahead, aligned, auc, mean_over_runs, run_means
from entropylens.measures.events import Event


def test_windows_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    traces, onsets = [rng.normal(size=n) for n in (40, 25, 30)], [[0, 17, 39], [], [5]]
    windows, runs = aligned(traces, onsets, before=4, after=7)
    assert windows.shape == (4, 12)
    assert runs.tolist() == [0, 0, 0, 2]
    row = 0
    for trace, at in zip(traces, onsets, strict=True):
        for onset in at:
            for k in range(-4, 8):
                inside = 0 <= onset + k < len(trace)
                expected = trace[onset + k] if inside else np.nan
                assert windows[row, k + 4] == pytest.approx(expected, nan_ok=True)
            row += 1
    empty, _ = aligned(traces, [[], [], []], 4, 7)
    assert empty.shape == (0, 12)
    assert run_means(empty, np.zeros(0, dtype=int)).shape == (0, 12)


def test_a_run_counts_once_however_many_events_it_has() -> None:
    windows = np.array([[1.0, 1], [3, 3], [5, np.nan], [6, np.nan], [9, np.inf]])
    runs = np.array([0, 0, 0, 1, 4])
    means = run_means(windows, runs)
    np.testing.assert_array_equal(means, [[3, 2], [6, np.nan], [9, np.nan]])
    mean, low, high = mean_over_runs(means)
    interval = stats.ttest_1samp([3, 6, 9], 0).confidence_interval()
    assert mean.tolist() == [6, 2]
    assert (low[0], high[0]) == pytest.approx((interval.low, interval.high))
    assert np.isnan([low[1], high[1]]).all()


def test_intervals_cover() -> None:
    x = np.random.default_rng(0).normal(size=(10, 2000))
    _, low, high = mean_over_runs(x)
    assert ((low < 0) & (high > 0)).mean() == pytest.approx(0.95, abs=0.015)


def test_steps_before_an_onset_are_warnings_and_steps_in_an_event_do_not_count() -> None:
    found = [Event(3, 4, 1.0, 6, True), Event(9, 9, 1.0, 10, True)]
    label, counts = ahead(found, steps=16, horizon=4, start=1)
    assert np.flatnonzero(label).tolist() == [0, 1, 2, 5, 6, 7, 8]
    assert np.flatnonzero(counts).tolist() == [1, 2, 6, 7, 8, 10, 11]  # from 12 on one might follow unseen
    for t in range(12):
        assert label[t] == any(t < event.onset <= t + 4 for event in found)
    label, counts = ahead([], 10, 3)
    assert not label.any()
    assert counts.sum() == 7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf]), st.booleans(), st.booleans()), min_size=1))
def test_auc_is_a_count_of_pairs(steps: list[tuple[float, bool, bool]]) -> None:
    score, label, counts = (np.array(column) for column in zip(*steps, strict=True))
    use = [(s, y) for s, y, c in steps if c and not np.isnan(s)]
    pairs = [(a > b) + (a == b) / 2 for a, x in use if x for b, y in use if not y]
    expected = np.mean(pairs) if pairs else np.nan
    assert auc(score, label, counts) == pytest.approx(expected, nan_ok=True)


def test_auc_of_a_score_that_knows() -> None:
    found = [Event(100 * k, 100 * k + 3, 1.0, 100 * k + 9, True) for k in range(1, 9)]
    label, counts = ahead(found, 1000, 20)
    assert auc(label.astype(float), label, counts) == 1
    assert auc(-1.0 * label, label, counts) == 0
    assert auc(np.zeros(1000), label, counts) == 0.5
    sparse = np.where(np.arange(1000) % 25 == 5, label, np.nan)
    assert auc(sparse, label, counts) == 1


def test_input_without_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="each trace"):
        aligned([np.zeros(4)], [[1], [2]], 1, 1)
    with pytest.raises(ValueError, match="not negative"):
        aligned([np.zeros(4)], [[1]], -1, 1)
    with pytest.raises(ValueError, match="run 0"):
        aligned([np.zeros(4)], [[4]], 1, 1)
    with pytest.raises(ValueError, match="horizon"):
        ahead([], 10, 0)
    with pytest.raises(ValueError, match="events in 10 steps"):
        ahead([Event(10, 11, 1.0, 12, True)], 10, 2)
    with pytest.raises(ValueError, match="bool label"):
        auc([1.0, 2.0], [0, 1])
    with pytest.raises(ValueError, match="bool label"):
        auc([1.0], [True, False])
