"""The statistics on data whose truth is known: 10,000 runs each, a second or two for all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from entropylens.results import validation
from entropylens.results.statistics import mean_interval, t_bounds
from entropylens.results.validation import NOISES, coverage, false_support, power, verdict_rates


def test_the_simulated_interval_is_the_one_that_decides() -> None:
    draws = np.random.default_rng(0).normal(size=(3, 5))
    low, high = t_bounds(draws)
    for row, a, b in zip(draws, low, high, strict=True):
        got = mean_interval(row)
        assert (got.low, got.high) == pytest.approx((a, b), rel=1e-12)


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_mean_zero_and_deviation_one(name: str) -> None:
    x = NOISES[name](np.random.default_rng(1), (400, 5000))
    assert x.mean() == pytest.approx(0, abs=0.005)
    assert x.std() == pytest.approx(1, abs=0.02)


def test_intervals_cover_normal_data_and_undercover_skewed_data_as_the_appendix_says() -> None:
    table = coverage()
    assert list(table.columns) == [5, 10, 30]
    assert (table.loc["normal"] >= 0.94).all()
    stated = {"exponential": (0.88, 0.90, 0.92), "lognormal": (0.82, 0.84, 0.88)}  # to two digits
    for name, shares in stated.items():
        np.testing.assert_allclose(table.loc[name], shares, atol=0.01)


def test_a_false_claim_is_rarely_supported_on_normal_data() -> None:
    """At the smallest effect of interest, the hardest null; and at zero."""
    table = false_support()
    assert (table.loc["normal"] <= 0.055).all()
    for n in (5, 10, 30):
        assert verdict_rates(0.0, n=n).get("supported", 0.0) <= 0.025
    assert table.loc["exponential, tail up"].max() <= 0.055
    assert table.loc["lognormal, tail down"].max() > 0.10, "the appendix warns of this: if it is gone, mend the words"


@pytest.mark.parametrize("truth", [(0.5, 0.5), (0.0, 0.5), (0.5, 0.0), (0.0, 0.0)])
def test_two_conditions_do_not_make_false_support_likelier(truth: tuple[float, float]) -> None:
    for n in (5, 10):
        rates = verdict_rates(truth[0], n=n, second=truth[1])
        assert rates.get("supported", 0.0) + rates.get("depends", 0.0) <= 0.055


def test_planted_effects_and_nulls_get_their_verdict() -> None:
    assert verdict_rates(2.0, smallest=0.1)["supported"] > 0.99
    assert verdict_rates(0.0, smallest=2.0)["refuted"] > 0.99
    assert verdict_rates(-2.0, smallest=0.1)["refuted"] > 0.99
    assert verdict_rates(2.0, smallest=0.1, second=-2.0)["depends"] > 0.99
    for effect in (0.0, 5.0):
        assert verdict_rates(effect, n=4) == {"inconclusive": 1.0}


def test_power_is_a_table_of_shares() -> None:
    table = power((-1.0, 0.5, 3.0), runs=500)
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    assert table["supported"].is_monotonic_increasing
    assert validation.RUNS == 10_000


def test_intervals_that_are_too_short_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A normal quantile in the place of Student's: at five seeds intervals cover 0.88 instead of 0.95."""

    def short(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, error = x.mean(-1), x.std(-1, ddof=1) / x.shape[-1] ** 0.5
        return mean - 1.96 * error, mean + 1.96 * error

    monkeypatch.setattr(validation, "t_bounds", short)
    with pytest.raises(AssertionError):
        test_intervals_cover_normal_data_and_undercover_skewed_data_as_the_appendix_says()
    with pytest.raises(AssertionError):
        test_a_false_claim_is_rarely_supported_on_normal_data()
