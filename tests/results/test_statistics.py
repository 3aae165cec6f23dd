"""Intervals: closed forms, refusals, and how often they cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entropylens.results.statistics import mean_interval, paired_contrast, select


def table() -> pd.DataFrame:
    values = {("a", 0): 1.0, ("a", 1): 2.5, ("a", 2): 4.0, ("b", 0): 0.5, ("b", 1): 1.0, ("b", 2): 3.0}
    return pd.DataFrame([{"arm": a, "seed": s, "x": v} for (a, s), v in values.items()])


def test_the_interval_is_students() -> None:
    x = np.array([1.0, 2.0, 4.0, 4.5])
    half = stats.t.ppf(0.975, 3) * x.std(ddof=1) / 2
    got = mean_interval(x)
    assert (got.mean, got.n) == (x.mean(), 4)
    np.testing.assert_allclose([got.low, got.high], [x.mean() - half, x.mean() + half], rtol=1e-12)
    assert got.low < got.bootstrap_low < got.mean < got.bootstrap_high < got.high


def test_equal_values_give_a_point() -> None:
    got = mean_interval([0.0, 0.0, 0.0])
    assert (got.low, got.high, got.bootstrap_low) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [[1.0], [], [1.0, np.nan], [1.0, np.inf]])
def test_too_few_or_diverged_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more finite"):
        mean_interval(values)


def test_a_contrast_is_paired_on_the_seed_in_any_order() -> None:
    rows = table().sample(frac=1, random_state=0)
    got = paired_contrast(rows, "x", {"arm": "a"}, {"arm": "b"})
    assert got == mean_interval([0.5, 1.5, 1.0])
    assert paired_contrast(rows, "x", {"arm": "a"}) == mean_interval([1.0, 2.5, 4.0])


def test_a_contrast_refuses_arms_that_do_not_match() -> None:
    rows = table()
    with pytest.raises(ValueError, match="different seeds"):
        paired_contrast(rows[(rows.arm == "a") | (rows.seed < 2)], "x", {"arm": "a"}, {"arm": "b"})
    with pytest.raises(ValueError, match="more than one row a seed"):
        paired_contrast(rows, "x", {})


def test_select_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"arm = 'c'; there are \['a', 'b'\]"):
        select(table(), {"arm": "c"})
    with pytest.raises(ValueError, match="no column 'width'; there are arm, seed, x"):
        select(table(), {"width": 8})


def test_the_interval_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.3, 2.0, size=(4000, 5))
    t = stats.ttest_1samp(draws, 0.0, axis=1).confidence_interval(0.95)
    for row in range(3):  # ours is this formula …
        got = mean_interval(draws[row])
        np.testing.assert_allclose([got.low, got.high], [t.low[row], t.high[row]])
    covered = ((t.low < 0.3) & (t.high > 0.3)).mean()  # … which covers 95 ± 1 % at n = 5
    assert abs(covered - 0.95) < 0.01
