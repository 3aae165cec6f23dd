"""Paired contrasts with 95 % intervals, equivalence, success rates, and contrasts that only explore.

How often these intervals cover, and how often a verdict on them is wrong, is simulated in `results/validation.py`.
Sources: Student's t and the BCa bootstrap (Efron 1987) from SciPy; two one-sided tests (Schuirmann 1987); the exact
binomial interval (Clopper & Pearson 1934); Holm (1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
Where = Mapping[str, object]
"""Columns and the values that they must have."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its Student t interval, and a bootstrap interval beside it."""

    mean: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    n: int
    """Number of seeds (pairs)."""


@dataclass(frozen=True)
class Rate:
    """A share of successes with its exact interval; all between 0 and 1."""

    rate: float
    low: float
    high: float
    n: int
    """Number of attempts (seeds)."""


def t_bounds(values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of Student's 95 % interval of the mean over the last axis, (…, n) → (…)."""
    t = stats.ttest_1samp(np.asarray(values, dtype=float), 0.0, axis=-1).confidence_interval(CONFIDENCE)
    return t.low, t.high


def mean_interval(values: ArrayLike) -> Interval:
    """The mean of independent values, (n,), with a t interval and a BCa bootstrap (9999 resamples, seeded).

    BCa covers less than it says at n = 10 (0.89, see design), so that the t interval is the one that decides.

    Raises:
        ValueError: for fewer than two values, or one that is not finite.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"an interval needs two or more finite values, got {x.tolist()}")
    if np.ptp(x) == 0:
        return Interval(x[0], x[0], x[0], x[0], x[0], len(x))
    low, high = t_bounds(x)
    b = stats.bootstrap((x,), np.mean, confidence_level=CONFIDENCE, rng=np.random.default_rng(0)).confidence_interval
    return Interval(float(x.mean()), float(low), float(high), float(b.low), float(b.high), len(x))


def equivalence(values: ArrayLike, smallest: float) -> float:
    """The p-value of "the mean lies within ±smallest": two one-sided t tests (TOST), the larger p of both.

    Below 0.05 (the 90 % interval lies inside) the absence of an effect has been shown, and not only missed.

    Raises:
        ValueError: for fewer than two values, one that is not finite, or a `smallest` that is not positive.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2 or not np.isfinite(x).all() or not smallest > 0:
        raise ValueError(f"equivalence needs two or more finite values and ±smallest > 0, got {x.tolist()}, {smallest}")
    if np.ptp(x) == 0:
        return 0.0 if abs(x[0]) < smallest else 1.0
    above = stats.ttest_1samp(x, -smallest, alternative="greater").pvalue
    below = stats.ttest_1samp(x, smallest, alternative="less").pvalue
    return float(max(above, below))


def success_rate(outcomes: ArrayLike) -> Rate:
    """The share of successes with Clopper and Pearson's 95 % interval, which covers at least that often.

    Raises:
        ValueError: for no outcome at all, or one that is neither 0 nor 1 (False nor True).
    """
    x = np.asarray(outcomes, dtype=float)
    if not len(x) or not np.isin(x, (0.0, 1.0)).all():
        raise ValueError(f"a success rate needs outcomes that are 0 or 1, got {x.tolist()}")
    test = stats.binomtest(int(x.sum()), len(x))
    ci = test.proportion_ci(CONFIDENCE, method="exact")
    return Rate(float(test.statistic), float(ci.low), float(ci.high), len(x))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted for their number by Holm's step-down method, in the given order, (k,)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def explore(rows: pd.DataFrame, metric: str, contrasts: Mapping[str, tuple[Where, Where | None]]) -> pd.DataFrame:
    """Contrasts that no rule named beforehand: they never decide, and p-values are Holm-adjusted for all of them.

    Args:
        rows: one row a seed and condition.
        metric: the column, in whatever unit it has.
        contrasts: for each label the arm and what it is compared with, seed by seed (None: with zero).

    Returns:
        One row a contrast: label, effect, low and high (its own 95 % interval), n, p, and p_holm.
    """
    table = []
    for label, (arm, versus) in contrasts.items():
        x = paired_values(rows, metric, arm, versus)
        interval = mean_interval(x)
        p = float(stats.ttest_1samp(x, 0.0).pvalue) if np.ptp(x) > 0 else float(interval.mean == 0)
        table.append((label, interval.mean, interval.low, interval.high, interval.n, p))
    frame = pd.DataFrame(table, columns=["contrast", "effect", "low", "high", "n", "p"])
    return frame.assign(p_holm=holm(frame["p"]))


def at_equal_loss(
    rows: pd.DataFrame, contrasts: Mapping[str, tuple[Where, Where]], levels: Sequence[float]
) -> pd.DataFrame:
    """How the bias of two arms differs when their excess loss first passes a level, nats: exploratory.

    Args:
        rows: one row a seed, condition and `step`, with `bias` and `excess_loss`.
        contrasts: for each label the arm and what it is compared with, seed by seed.
        levels: of excess loss.

    Returns:
        One row a contrast and level that two seeds or more reach in both arms: the mean `difference` over those `n`
        seeds, and its 95 % Student interval, `low` to `high`.
    """
    found = []
    for label, pair in contrasts.items():
        for level in levels:
            arm, versus = (select(rows, where).groupby("seed").apply(_bias_at, level) for where in pair)
            gaps = (arm - versus).dropna().to_numpy()
            if len(gaps) > 1:
                low, high = t_bounds(gaps)
                found.append((label, level, gaps.mean(), float(low), float(high), len(gaps)))
    return pd.DataFrame(found, columns=["contrast", "excess loss", "difference", "low", "high", "n"])


def _bias_at(path: pd.DataFrame, level: float) -> float:
    """The bias where the excess loss first falls below a level, between snapshots; NaN if it never does."""
    path = path.sort_values("step")
    loss, bias = path["excess_loss"].to_numpy(), path["bias"].to_numpy()
    below = np.flatnonzero(loss < level)
    if len(below) == 0 or below[0] == 0:
        return float("nan")
    i = int(below[0])
    share = (loss[i - 1] - level) / (loss[i - 1] - loss[i])
    return float(bias[i - 1] + share * (bias[i] - bias[i - 1]))


def rank_correlations(x: pd.Series, y: pd.Series, by: str | Sequence[str] = "seed") -> pd.Series:
    """Spearman's ρ of two measures over the cells of a design, for each seed by itself.

    Args:
        x: one measure; its index has the level (or levels) `by`, and others that name the cell.
        y: the other measure, of the same cells.
        by: what is independent.

    Returns:
        ρ by `by`: ready for `mean_interval`, as seeds are independent and the cells of one seed are not. Its interval
        is for these cells; others may correlate otherwise.

    Raises:
        ValueError: if the measures have different cells or a cell twice, if one is not a number, or if within a seed
            there are fewer than three cells or a measure does not vary.
    """
    if not (x.index.is_unique and y.index.is_unique) or set(x.index) != set(y.index):
        raise ValueError("the measures need the same cells, each once")
    pairs = pd.DataFrame({"x": x, "y": y.reindex(x.index)})
    levels = [by] if isinstance(by, str) else list(by)
    if pairs.isna().any(axis=None) or (pairs.groupby(level=levels).nunique() < 2).any(axis=None):
        raise ValueError("a rank correlation needs numbers that vary within each seed")
    if (pairs.groupby(level=levels).size() < 3).any():
        raise ValueError("a rank correlation needs three cells or more")
    return pairs.groupby(level=levels).apply(lambda cells: float(stats.spearmanr(cells["x"], cells["y"]).statistic))


def permutation_p(x: pd.Series, y: pd.Series, runs: int = 9999, seed: int = 0) -> float:
    """How often the mean of `rank_correlations` is as far from 0 when y's cells are dealt anew, alike for all seeds.

    Alike, since what a cell does (its width, its depth) it does to all seeds: dealt for each seed by itself, ten seeds
    would count as ten proofs of one thing.

    Args:
        x: one measure, by seed and cell; each seed has the same cells.
        y: the other measure.
        runs: shuffles; what was observed counts as one more.
        seed: of the shuffles.

    Returns:
        A two-sided p-value.

    Raises:
        ValueError: as `rank_correlations`, or if seeds have different cells.
    """
    observed = float(rank_correlations(x, y).mean())
    cells = [name for name in x.index.names if name != "seed"]
    ranks = (values.groupby(level="seed").rank() for values in (x, y.reindex(x.index)))
    tables = [values.unstack(cells) for values in ranks]  # noqa: PD010 - an index is turned, and no column named
    if any(table.isna().any(axis=None) for table in tables):
        raise ValueError("all seeds need the same cells")
    a, b = (stats.zscore(table.to_numpy(), axis=1) for table in tables)  # (seeds, cells)
    rng = np.random.default_rng(seed)
    null = np.array([(a * b[:, rng.permutation(b.shape[1])]).mean() for _ in range(runs)])
    return float((1 + (np.abs(null) >= abs(observed) - 1e-12).sum()) / (runs + 1))


def select(rows: pd.DataFrame, where: Where) -> pd.DataFrame:
    """The rows that have all the given values.

    Raises:
        ValueError: naming the condition that no row meets.
    """
    kept = np.ones(len(rows), dtype=bool)
    for column, value in where.items():
        if column not in rows:
            raise ValueError(f"no column {column!r}; there are {', '.join(map(str, rows.columns))}")
        before, kept = kept, kept & (rows[column] == value).to_numpy()
        if not kept.any():
            there = sorted(rows[column][before].unique().tolist(), key=str)
            raise ValueError(f"no row has {column} = {value!r}; there are {there}")
    return rows[kept]


def paired_contrast(rows: pd.DataFrame, metric: str, arm: Where, versus: Where | None = None) -> Interval:
    """The mean of `paired_values`, with its interval."""
    return mean_interval(paired_values(rows, metric, arm, versus))


def paired_values(rows: pd.DataFrame, metric: str, arm: Where, versus: Where | None = None) -> pd.Series:
    """metric(arm) − metric(versus) for each seed; without `versus`, metric(arm) itself.

    Raises:
        ValueError: if a seed has more than one row in an arm, or the arms do not have the same seeds.
    """
    x = _by_seed(rows, metric, arm)
    if versus is None:
        return x
    y = _by_seed(rows, metric, versus)
    if set(x.index) != set(y.index):
        raise ValueError(f"the arms have different seeds: {sorted(x.index)} and {sorted(y.index)}")
    return x - y


def _by_seed(rows: pd.DataFrame, metric: str, where: Where) -> pd.Series:
    chosen = select(rows, where)
    for column in ("seed", metric):
        if column not in chosen:
            raise ValueError(f"no column {column!r}; there are {', '.join(map(str, rows.columns))}")
    try:
        values = chosen.set_index("seed")[metric].astype(float)
    except (ValueError, TypeError):
        raise ValueError(f"column {metric!r} holds something else than numbers") from None
    if not values.index.is_unique:
        raise ValueError(f"more than one row a seed with {dict(where)}: add conditions")
    return values
