"""How far may the intervals and the verdicts be trusted? Simulated on data whose truth is known.

Each run draws n seeds, and everything else is what a verdict does: Student's interval and `claims.judge`. Effects are
in units of the noise's standard deviation. `coverage` and `verdict_rates` return tables; appendix and tests show them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entropylens.results.claims import VERDICTS, combine, judge
from entropylens.results.statistics import Interval, t_bounds

RUNS = 10_000
Noise = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]

_LOGNORMAL_MEAN, _LOGNORMAL_SD = math.exp(0.5), math.sqrt((math.e - 1) * math.e)

#: Noise of mean 0 and standard deviation 1, by name. Skewed noise comes with its tail on either side.
NOISES: Mapping[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential, tail up": lambda rng, shape: rng.exponential(size=shape) - 1,
    "exponential, tail down": lambda rng, shape: 1 - rng.exponential(size=shape),
    "lognormal, tail up": lambda rng, shape: (rng.lognormal(size=shape) - _LOGNORMAL_MEAN) / _LOGNORMAL_SD,
    "lognormal, tail down": lambda rng, shape: (_LOGNORMAL_MEAN - rng.lognormal(size=shape)) / _LOGNORMAL_SD,
}


def coverage(sizes: tuple[int, ...] = (5, 10, 30), runs: int = RUNS, seed: int = 0) -> pd.DataFrame:
    """The share of 95 % intervals that contain the true mean, noise × number of seeds.

    A tail on the other side gives the same coverage, so that it is left out.
    """
    rng = np.random.default_rng(seed)
    table = {
        name.removesuffix(", tail up"): {n: _covered(noise(rng, (runs, n))) for n in sizes}
        for name, noise in NOISES.items()
        if not name.endswith("down")
    }
    return pd.DataFrame(table).T


def _covered(noise: NDArray[np.float64]) -> float:
    low, high = t_bounds(noise)
    return float(((low < 0) & (high > 0)).mean())


def verdict_rates(
    effect: float,
    smallest: float = 0.5,
    n: int = 10,
    noise: str = "normal",
    runs: int = RUNS,
    second: float | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """The share of each verdict where the true effect is `effect`, both in standard deviations over seeds.

    Args:
        effect: the truth in the primary condition.
        smallest: the smallest effect of interest.
        n: number of seeds.
        noise: a key of `NOISES`.
        runs: number of simulated experiments.
        second: the truth in a second condition that the rule names; None if it names none.
        seed: of the simulation.
    """
    rng = np.random.default_rng(seed)
    given = _judged(effect + NOISES[noise](rng, (runs, n)), smallest)
    if second is not None:
        given = list(map(combine, given, _judged(second + NOISES[noise](rng, (runs, n)), smallest)))
    return {verdict: given.count(verdict) / runs for verdict in VERDICTS if verdict in given}


def _judged(x: NDArray[np.float64], smallest: float) -> list[str]:
    """The verdict of each row of (runs, n) values; the bootstrap does not decide, and is not drawn here."""
    ends = zip(x.mean(axis=1).tolist(), *(bound.tolist() for bound in t_bounds(x)), strict=True)
    return [judge(Interval(mean, low, high, low, high, x.shape[1]), smallest) for mean, low, high in ends]


def power(effects: tuple[float, ...], n: int = 10, smallest: float = 0.5, runs: int = RUNS) -> pd.DataFrame:
    """The share of each verdict (columns) for true effects (rows), with normal noise."""
    table = {effect: verdict_rates(effect, smallest, n, runs=runs) for effect in effects}
    return pd.DataFrame(table).T.reindex(columns=["supported", "inconclusive", "refuted"]).fillna(0.0)


def false_support(sizes: tuple[int, ...] = (5, 10, 30), runs: int = RUNS, smallest: float = 0.5) -> pd.DataFrame:
    """The share of `supported` where the true effect is exactly the smallest of interest, the hardest null."""
    table = {
        name: {n: verdict_rates(smallest, smallest, n, name, runs).get("supported", 0.0) for n in sizes}
        for name in NOISES
    }
    return pd.DataFrame(table).T
