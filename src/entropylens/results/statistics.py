"""Paired contrasts and their 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95


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


def mean_interval(values: np.ndarray | pd.Series) -> Interval:
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
    t = stats.ttest_1samp(x, 0.0).confidence_interval(CONFIDENCE)
    b = stats.bootstrap((x,), np.mean, confidence_level=CONFIDENCE, rng=np.random.default_rng(0)).confidence_interval
    return Interval(float(x.mean()), float(t.low), float(t.high), float(b.low), float(b.high), len(x))


def select(rows: pd.DataFrame, where: Mapping[str, object]) -> pd.DataFrame:
    """The rows that have all the given values.

    Raises:
        ValueError: naming the condition that no row meets.
    """
    for column, value in where.items():
        if column not in rows:
            raise ValueError(f"no column {column!r}; there are {', '.join(map(str, rows.columns))}")
        kept = rows[rows[column] == value]
        if kept.empty:
            raise ValueError(f"no row has {column} = {value!r}; there are {sorted(rows[column].unique().tolist())}")
        rows = kept
    return rows


def paired_contrast(
    rows: pd.DataFrame, metric: str, arm: Mapping[str, object], versus: Mapping[str, object] | None = None
) -> Interval:
    """The mean of metric(arm) − metric(versus), paired on the seed; without `versus`, of metric(arm) itself.

    Raises:
        ValueError: if a seed has more than one row in an arm, or the arms do not have the same seeds.
    """
    x = _by_seed(rows, metric, arm)
    if versus is None:
        return mean_interval(x)
    y = _by_seed(rows, metric, versus)
    if set(x.index) != set(y.index):
        raise ValueError(f"the arms have different seeds: {sorted(x.index)} and {sorted(y.index)}")
    return mean_interval(x - y)


def _by_seed(rows: pd.DataFrame, metric: str, where: Mapping[str, object]) -> pd.Series:
    chosen = select(rows, where).set_index("seed")[metric]
    if not chosen.index.is_unique:
        raise ValueError(f"more than one row a seed with {dict(where)}: add conditions")
    return chosen
