"""What comes first, spikes or deaths: the order of two kinds of events, against chance.

The order is that of each spike and the jump nearest to it. All events crowd into the same phases of a training, and so
some pairs come about by chance; what chance does is seen by destroying the relation and keeping the phases:

* `shift`: within blocks of the training all jumps of a run are moved round in a circle by the same random distance
  (each block by its own). How many there are in a block, and how far apart, stays. Blocks have to be much longer than
  the lags of interest, and shorter than the phases (interval jitter: Amarasingham et al. 2012);
* `runs`: the spikes of each run are paired with the jumps of a run drawn at random, without replacement. What all runs
  do at the same step stays, exactly; it needs no blocks but several runs;
* `flip`: pairs stay, and their order is turned round in runs drawn at random, all pairs of a run alike. The first two
  ask whether this order comes about without any relation, and have little to say where events that have none hardly
  ever meet; this one asks whether events that do meet have an order. It takes for granted that chance has none, which
  holds while rates change little within a lag, and needs six runs or more to reach 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from entropylens.measures.events import Floats, Steps

Null = Literal["shift", "runs", "flip"]


@dataclass(frozen=True)
class LeadLag:
    """Which of two kinds of events comes first, and what chance would say."""

    order: float
    """Share of pairs in which the jump is first less that in which the spike is, from −1 to 1; 0 without a pair."""
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


def lags(spikes: Sequence[ArrayLike], jumps: Sequence[ArrayLike], within: int) -> list[Floats]:
    """For each spike its onset less that of the nearest jump of the same run; NaN without a pair.

    Above 0 the jump is first. Of two jumps that are equally near, on either side, the order is undecided: 0.

    Args:
        spikes: onsets of each run, in steps.
        jumps: onsets of each run.
        within: at most so far apart is a pair.

    Raises:
        ValueError: for lists that do not fit.
    """
    first, second = _runs(spikes, jumps)
    if within < 0:
        raise ValueError(f"a pair is zero or more steps apart, not {within}")
    pairs = zip(first, second, strict=True)
    return [_nearest(x, np.zeros_like(x), y, np.zeros_like(y), within) for x, y in pairs]


def lead_lag(
    spikes: Sequence[ArrayLike],
    jumps: Sequence[ArrayLike],
    steps: ArrayLike,
    within: int = 15,
    null: Null = "shift",
    block: int = 100,
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
        ValueError: for lists that do not fit, onsets outside the runs, blocks that are too short, or fewer than two
            runs where runs are dealt or flipped.
    """
    first, second = _runs(spikes, jumps)
    ends = np.broadcast_to(np.asarray(steps, dtype=np.int64), (len(first),))
    if any(((x < start) | (x >= end)).any() for each in (first, second) for x, end in zip(each, ends, strict=True)):
        raise ValueError(f"onsets have to lie between the start, {start}, and the end of their run")
    if null not in ("shift", "runs", "flip") or draws < 1 or block <= 2 * within or (null != "shift" and len(ends) < 2):
        raise ValueError(f"{null=} needs a draw or more, block > 2 within, and two runs: {draws=}, {block=}, {within=}")
    chance = _by_chance(first, second, ends, within, null, block, start, draws, np.random.default_rng(seed))
    seen = np.concatenate(lags(first, second, within))
    order, pairs = (np.append(f(seen[None]), f(chance)) for f in (_order, _pairs))
    lag = float(np.nanmedian(seen)) if pairs[0] else float("nan")
    sizes = (sum(map(len, first)), sum(map(len, second)))
    return LeadLag(float(order[0]), _p(order), _summary(order), int(pairs[0]), _p(pairs), _summary(pairs), lag, *sizes)


def planted(
    rng: np.random.Generator, lead: int | None, runs: int = 10, events: int = 12, steps: int = 1500
) -> tuple[list[Steps], list[Steps]]:
    """Onsets of spikes and of jumps whose order is known, to try the test on: one array a run.

    Both thin out in the course of a training, and crowd around step 800: they share a trend.

    Args:
        rng: draws them.
        lead: 60 % of the spikes have a jump so many steps earlier (give or take 3), and there are jumps of their own;
            None: the two have nothing in common but the trend.
        runs: how many trainings.
        events: about as many spikes a run.
        steps: of a run.
    """

    def trend(n: int) -> Steps:
        t = np.where(rng.random(n) < 0.5, 50 + rng.exponential(300, n), rng.normal(800, 80, n))
        return np.unique(t[(t >= 50) & (t < steps - 30)].astype(np.int64))

    spikes = [trend(events) for _ in range(runs)]
    if lead is None:
        return spikes, [trend(events) for _ in range(runs)]
    near = [x[rng.random(len(x)) < 0.6] for x in spikes]
    return spikes, [np.append(x - lead + rng.integers(-3, 4, len(x)), trend(events // 3)) for x in near]


def _runs(spikes: Sequence[ArrayLike], jumps: Sequence[ArrayLike]) -> tuple[list[Steps], list[Steps]]:
    """Both lists as sorted steps, one array a run."""
    both = [[np.sort(np.asarray(x, dtype=np.float64)) for x in each] for each in (spikes, jumps)]
    if len(both[0]) != len(both[1]) or not both[0]:
        raise ValueError(f"spikes and jumps need one list for each of the same runs, got {len(spikes)}, {len(jumps)}")
    if any(x.ndim != 1 or not np.array_equal(x, np.round(x)) for each in both for x in each):
        raise ValueError("onsets are whole steps, one list a run")
    return [x.astype(np.int64) for x in both[0]], [x.astype(np.int64) for x in both[1]]


def _nearest(a: Steps, a_run: Steps, b: Steps, b_run: Steps, within: int) -> Floats:
    """The lag of each a, (…), after the nearest b of the same run; NaN where none is within so many steps.

    Args:
        a: steps, (n).
        a_run: its runs, (n), or those of several draws, (draws, n).
        b: steps, (m) or (draws, m).
        b_run: its runs, (m) or (draws, m).
        within: steps.
    """
    # All runs of all draws in one row, so far apart that nobody's nearest is in another one.
    gap = int(max(a.max(initial=0), b.max(initial=0))) + within + 1
    draw = np.arange(len(b))[:, None] * (1 + int(max(a_run.max(initial=0), b_run.max(initial=0)))) if b.ndim == 2 else 0
    keys = (a_run + draw) * gap + a
    others = np.sort(((b_run + draw) * gap + b).ravel())
    others = np.concatenate([[-gap], others, [int(keys.max(initial=0)) + gap]])
    place = np.searchsorted(others, keys, side="right")
    before, after = keys - others[place - 1], others[place] - keys
    lag = np.where(before < after, before, -after) * (before != after)
    return np.where(np.minimum(before, after) <= within, lag, np.nan)


def _by_chance(
    first: list[Steps],
    second: list[Steps],
    ends: Steps,
    within: int,
    null: Null,
    block: int,
    start: int,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Lags without a relation, (draws, spikes)."""
    spike, jump = np.concatenate(first), np.concatenate(second)
    spike_run, jump_run = (np.repeat(np.arange(len(each)), [len(x) for x in each]) for each in (first, second))
    if null == "flip":
        signs = rng.choice([-1.0, 1.0], size=(draws, len(ends)))
        return signs[:, spike_run] * np.concatenate(lags(first, second, within))
    if null == "runs":
        dealt = rng.permuted(np.tile(np.arange(len(ends)), (draws, 1)), axis=1)
        return _nearest(spike, spike_run, np.broadcast_to(jump, (draws, len(jump))), dealt[:, jump_run], within)
    number = (jump - start) // block
    begin = start + number * block
    length = np.minimum(block, ends[jump_run] - begin)
    turn = rng.random((draws, len(ends), int(number.max(initial=0)) + 1))[:, jump_run, number]
    moved = begin + (jump - begin + (turn * length).astype(np.int64)) % length
    return _nearest(spike, spike_run, moved, np.broadcast_to(jump_run, moved.shape), within)


def _order(lag: Floats) -> Floats:
    """Share of pairs in which the jump is first less that in which the spike is, (…, n) to (…); 0 without a pair."""
    return np.asarray(np.nansum(np.sign(lag), axis=-1) / np.maximum(1, _pairs(lag)))


def _pairs(lag: Floats) -> Floats:
    """How many spikes have a jump nearby, (…, n) to (…)."""
    return np.asarray((~np.isnan(lag)).sum(-1), dtype=np.float64)


def _p(values: Floats) -> float:
    """Two-sided p-value of the first of the values, (1 + draws), against all: it is one of them."""
    return float(min(1.0, 2 * min((values >= values[0] - 1e-12).mean(), (values <= values[0] + 1e-12).mean())))


def _summary(values: Floats) -> tuple[float, float, float]:
    """Mean, 2.5 % and 97.5 % point of all values but the first."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[1:].mean()), float(low), float(high)
