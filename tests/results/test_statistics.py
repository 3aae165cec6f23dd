"""Intervals: closed forms, refusals, and how often they cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from entropylens.results.statistics import (
    at_equal_loss,
    equivalence,
    explore,
    holm,
    mean_interval,
    paired_contrast,
    permutation_p,
    rank_correlations,
    select,
    success_rate,
)


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


def test_equivalence_is_two_one_sided_tests() -> None:
    """By hand: both t statistics, against the distribution function."""
    x = np.array([0.1, -0.2, 0.05, 0.3, -0.1])
    error = x.std(ddof=1) / np.sqrt(5)
    by_hand = max(stats.t.sf((x.mean() + 0.5) / error, 4), stats.t.cdf((x.mean() - 0.5) / error, 4))
    assert equivalence(x, 0.5) == pytest.approx(by_hand, rel=1e-12)
    assert equivalence(x, 0.5) == equivalence(-x, 0.5)


@pytest.mark.parametrize("smallest", [0.05, 0.1, 0.2, 0.3, 0.5])
def test_equivalence_agrees_with_the_90_percent_interval(smallest: float) -> None:
    x = np.array([0.1, -0.2, 0.05, 0.3, -0.1, 0.12])
    ci = stats.ttest_1samp(x, 0).confidence_interval(0.90)
    assert (equivalence(x, smallest) < 0.05) == (-smallest < ci.low and ci.high < smallest)


def test_equivalence_at_its_edges() -> None:
    assert equivalence([0.1, 0.1], 0.2) == 0.0
    assert equivalence([0.2, 0.2], 0.2) == 1.0
    for values, smallest in (([1.0], 0.1), ([1.0, np.nan], 0.1), ([1.0, 2.0], 0.0), ([1.0, 2.0], np.nan)):
        with pytest.raises(ValueError, match="equivalence needs"):
            equivalence(values, smallest)


def test_equivalence_at_the_bound_is_shown_in_one_case_of_twenty() -> None:
    draws = np.random.default_rng(3).normal(0.5, 0.2, size=(1000, 8))
    shown = np.mean([equivalence(row, 0.5) < 0.05 for row in draws])
    assert shown <= 0.07  # 0.05, and two standard errors of a thousand runs


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (1, 5)])
def test_a_success_rate_has_clopper_and_pearsons_interval(k: int, n: int) -> None:
    """Its ends are quantiles of beta distributions."""
    got = success_rate([True] * k + [False] * (n - k))
    low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    assert (got.rate, got.n) == (k / n, n)
    np.testing.assert_allclose([got.low, got.high], [low, high], rtol=1e-9)


@pytest.mark.parametrize("outcomes", [[], [0.5], [1, 2], [np.nan]])
def test_a_success_rate_of_something_else_is_refused(outcomes: list[float]) -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        success_rate(outcomes)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_exploratory_contrasts_pay_for_their_number() -> None:
    got = explore(table(), "x", {"a": ({"arm": "a"}, None), "a − b": ({"arm": "a"}, {"arm": "b"})})
    assert list(got["contrast"]) == ["a", "a − b"]
    assert got["effect"].tolist() == pytest.approx([2.5, 1.0])
    assert got["p"].iloc[0] == pytest.approx(stats.ttest_1samp([1.0, 2.5, 4.0], 0).pvalue)
    np.testing.assert_allclose(got["p_holm"], holm(got["p"]))
    same = explore(table().assign(x=0.0), "x", {"a": ({"arm": "a"}, None)})
    assert same["p"].tolist() == [1.0]


def test_a_metric_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'y'; there are arm, seed, x"):
        paired_contrast(table(), "y", {"arm": "a"})


def test_bias_at_equal_loss_on_planted_paths() -> None:
    def path(width: int, seed: int, bias: list[float]) -> pd.DataFrame:
        loss = [2.0, 1.0, 0.5, 0.6]  # the last one goes up again: "first passes" is not the last time
        return pd.DataFrame({"d_model": width, "seed": seed, "step": [0, 1, 2, 3], "excess_loss": loss, "bias": bias})

    rows = pd.concat(
        [path(8, s, [1.0, 0.8, 0.4, 9.0]) for s in (0, 1)] + [path(64, s, [1.0, 0.6, 0.2 + s, 9.0]) for s in (0, 1)]
    )
    table = at_equal_loss(rows, {"wide": ({"d_model": 64}, {"d_model": 8})}, levels=(0.75, 0.4))
    assert table["contrast"].tolist() == ["wide"]
    assert table["excess loss"].tolist() == [0.75]  # nobody reached 0.4
    assert table["n"].tolist() == [2]
    assert table["difference"].iloc[0] == pytest.approx(((0.4 - 0.6) + (0.9 - 0.6)) / 2)
    assert table["low"].iloc[0] < table["difference"].iloc[0] < table["high"].iloc[0]


def cells(values: dict[int, list[float]]) -> pd.Series:
    """Seed to the values of its cells."""
    return pd.Series({(seed, cell): v for seed, vs in values.items() for cell, v in enumerate(vs)}).rename_axis(
        ["seed", "cell"]
    )


def test_rank_correlations_are_spearmans_seed_by_seed() -> None:
    x = cells({0: [1.0, 2.0, 3.0, 4.0], 1: [1.0, 2.0, 3.0, 4.0], 2: [4.0, 1.0, 1.0, 2.0]})
    y = cells({0: [1.0, 8.0, 27.0, 64.0], 1: [4.0, 3.0, 2.0, 1.0], 2: [9.0, 5.0, 7.0, 6.0]})
    found = rank_correlations(x, y.sample(frac=1, random_state=0))
    by_hand = np.corrcoef([4, 1.5, 1.5, 3], [4, 1, 3, 2])[0, 1]
    assert found.to_dict() == {0: pytest.approx(1), 1: pytest.approx(-1), 2: pytest.approx(by_hand)}


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        ({0: [1, 2, 3]}, {0: [1, 2, 3, 4]}, "same cells"),
        ({0: [1, 2, 3]}, {1: [1, 2, 3]}, "same cells"),
        ({0: [1, 2, 3], 1: [1, 2]}, {0: [1, 2, 3], 1: [1, 2]}, "three cells"),
        ({0: [1, 2, 3], 1: [1, 2, 3]}, {0: [1, 2, 3], 1: [4, 4, 4]}, "vary within each seed"),
        ({0: [1, 2, 3], 1: [1, 2, np.nan]}, {0: [1, 2, 3], 1: [1, 2, 3]}, "vary within each seed"),
    ],
)
def test_a_rank_correlation_of_other_cells_is_refused(x: dict, y: dict, told: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=told):
        rank_correlations(cells(x), cells(y))


def test_the_permutation_null_finds_what_is_planted_and_keeps_its_level() -> None:
    rng = np.random.default_rng(1)
    x = cells({seed: list(rng.normal(size=6)) for seed in range(5)})
    assert permutation_p(x, x, runs=400) < 0.01
    assert permutation_p(x, -x, runs=400) < 0.01
    ps = [permutation_p(x, cells({s: list(rng.normal(size=6)) for s in range(5)}), runs=100) for _ in range(100)]
    assert 0.2 < np.mean(np.array(ps) < 0.5) < 0.8
    assert np.mean(np.array(ps) < 0.05) < 0.15


def test_what_a_cell_does_to_all_seeds_is_one_thing_and_not_ten() -> None:
    """Two cell effects drawn apart, and seeds that repeat them: by chance they look alike in one case of twenty."""
    rng, ps = np.random.default_rng(2), []
    for _ in range(100):
        x, y = (rng.normal(size=5) for _ in range(2))
        pair = [cells({s: list(effect + 0.01 * rng.normal(size=5)) for s in range(10)}) for effect in (x, y)]
        ps.append(permutation_p(*pair, runs=100))
    assert np.mean(np.array(ps) < 0.05) < 0.12


def test_the_permutation_null_needs_the_same_cells_for_all_seeds() -> None:
    x = pd.concat([cells({0: [1.0, 2.0, 3.0]}), cells({1: [1.0, 2.0, 3.0, 4.0]}).iloc[1:]])
    with pytest.raises(ValueError, match="all seeds need the same cells"):
        permutation_p(x, x)
