"""What comes first, spikes or deaths: the order of two kinds of events, averages around them, and prediction.

The order is that of each spike and the jump nearest to it. All events crowd into the same phases of a training, and so
some pairs come about by chance; what chance does is seen by destroying the relation and keeping the phases:

* `shift`: within blocks of the training all jumps of a run are moved round in a circle by the same random distance
  (each block by its own). How many there are in a block, and how far apart, stays. Blocks have to be much longer than
  the lags of interest, and shorter than the phases (interval jitter: Amarasingham et al. 2012);
* `runs`: the spikes of each run are paired with the jumps of a run drawn at random, without replacement. What all runs
  do at the same step stays, exactly; it needs no blocks but several runs.

Runs are independent, events of one run are not: intervals are over runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from entropylens.measures.events import Bools, Event, Floats, Steps


@dataclass(frozen=True)
class LeadLag:
    """Which of two kinds of events comes first, and what chance would say."""

    order: float
    """Share of pairs in which the jump is first less the share in which the spike is; 0 without a pair. From −1 to 1."""
    p_order: float
    """Two-sided."""
    null_order: tuple[float, float, float]
    """Mean, 2.5 % and 97.5 % point of the order by chance."""
    pairs: int
    """Spikes that have a jump nearby."""
    p_pairs: float
    """Two-sided: whether there are more pairs, or fewer, than by chance."""
    null_pairs: tuple[float, float, float]
    """Mean, 2.5 % and 97.5 % point of the pairs by chance."""
    lag: float
    """The median over pairs of the spike's onset less the jump's, steps: above 0, jumps are first. NaN without one."""
    spikes: int
    jumps: int


def lags(spikes: Sequence[ArrayLike], jumps: Sequence[ArrayLike], within: int) -> Floats:
    """For each spike its onset less that of the nearest jump of the same run, all runs in a row; NaN without a pair.

    Of two jumps that are equally near, on either side, the order is undecided: a lag of 0.

    Args:
        spikes: onsets of each run, in steps.
        jumps: onsets of each run.
        within: at most so far apart is a pair.
    """
    first, second = _onsets(spikes, jumps)
    if within < 0:
        raise ValueError(f"a pair is zero or more steps apart, not {within}")
    gap = 2 * max((int(x.max(initial=0)) for x in (*first, *second)), default=0) + 2 * within + 2
    a, b = (np.concatenate([x + run * gap for run, x in enumerate(each)]) for each in (first, second))
    return _nearest(a, np.sort(b), within)


def lead_lag(
    spikes: Sequence[ArrayLike],
    jumps: Sequence[ArrayLike],
    steps: ArrayLike,
    within: int = 25,
    null: Literal["shift", "runs"] = "shift",
    block: int = 250,
    start: int = 0,
    draws: int = 1999,
    seed: int = 0,
) -> LeadLag:
    """Whether spikes follow jumps or jumps follow spikes, in R runs, against chance (see the module).

    Args:
        spikes: onsets of each run, in steps.
        jumps: onsets of each run.
        steps: how long the runs are, one number or (R); one that diverged ends there.
        within: at most so far apart is a pair, steps.
        null: what chance is.
        block: steps; more than twice `within`.
        start: the first step at which events were looked for: there the first block begins.
        draws: from chance.
        seed: of the draws.

    Raises:
        ValueError: for lists that do not fit, onsets outside the runs, blocks that are too short, or (for `runs`)
            fewer than two runs.
    """
    first, second = _onsets(spikes, jumps)
    ends = np.broadcast_to(np.asarray(steps, dtype=np.int64), (len(first),))
    if any(((x < start) | (x >= end)).any() for each in (first, second) for x, end in zip(each, ends, strict=True)):
        raise ValueError(f"onsets have to lie between the start, {start}, and the end of their run")
    if draws < 1 or block <= 2 * within or null not in ("shift", "runs") or (null == "runs" and len(first) < 2):
        raise ValueError(f"needs a draw or more, block > 2 within, two runs for 'runs': {draws}, {block}, {null!r}")
    rng = np.random.default_rng(seed)
    run, time = _flat(second)
    if null == "shift":
        runs, times = np.broadcast_to(run, (draws, len(run))), _shifted(run, time, ends, start, block, draws, rng)
    else:
        dealt = rng.permuted(np.tile(np.arange(len(first)), (draws, 1)), axis=1)
        runs, times = dealt[:, run], np.broadcast_to(time, (draws, len(time)))
    chance = _paired(*_flat(first), runs, times, int(ends.max(initial=0)) + 2 * within + 2, within)
    seen = lags(first, second, within)
    seen = seen[~np.isnan(seen)]
    observed = np.array([_order(np.sign(seen)[None])[0], len(seen)])
    p = _two_sided(observed, chance)
    low, high = np.quantile(chance, [0.025, 0.975], axis=1)
    summary = [(float(m), float(a), float(b)) for m, a, b in zip(chance.mean(1), low, high, strict=True)]
    lag = float(np.median(seen)) if len(seen) else float("nan")
    sizes = (sum(map(len, first)), sum(map(len, second)))
    return LeadLag(float(observed[0]), float(p[0]), summary[0], len(seen), float(p[1]), summary[1], lag, *sizes)
