"""Events in a training's traces: loss spikes, collapses, and jumps in the number of dead neurons.

One detector (`events`) serves both. It looks at a trace's *excess* over a baseline that knows the past only, and
compares it with what the excess has been like in quiet steps before:

* the **baseline** is the least value (for losses) or the median (for counts) of the last `window` steps. A loss that
  falls has its least value one step ago, so that the descent at the start of a training is no event, and a spike on
  the tail of another one is not missed;
* an **alarm** is an excess of at least `typical + max(z · noise, smallest)`; typical is the median of the excess in the
  last `memory` quiet steps, and noise the larger of two: how far it is from that in the median (MAD), and the median
  size of the trace's second differences (a fast descent hides the noise from the excess, and not from these), both
  scaled to a standard deviation. Without minibatches the noise is next to nothing, and `smallest` decides;
* its **onset**, which is the event's time, is the step after the last one at which the excess was within `foot` of that
  threshold: two thresholds, as in a Schmitt trigger. A peak comes steps later, and how many depends on the height;
* it **recovers** when the trace gives back `back` of its height and stays there for `apart` steps; until then, whatever
  it does belongs to the same event. Where it has not come back `within` steps after its last new peak, it is not a
  spike but a *collapse* (and neurons that jumped stay dead).

After an event baselines begin anew, since the level from before it is no guide to what follows.

How well this works is measured in `measures/injection.py`, on real traces with events of known time and size added.

Traces hold one entry a step, that of θ_t before its update. One that ceases to be finite has diverged, and ends there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Steps = NDArray[np.int64]

REACH = 256
"""Steps that are looked at in one go: no more than a detour to spare time, and of no influence."""


@dataclass(frozen=True)
class Event:
    """A rise of a trace above its baseline."""

    onset: int
    """The first step of the rise."""
    peak: int
    """The step of its largest value."""
    height: float
    """Of the peak above the baseline at the onset; nats, or neurons."""
    end: int
    """The first step that is over: at which it has come back, or is no longer waited for."""
    recovered: bool | None
    """Whether it came back: a spike, or neurons that revived. None where the trace ended before that could be told;
    a trace that diverged did not recover."""


@dataclass(frozen=True)
class Rule:
    """What counts as an event. Its numbers are choices, and are to be varied.

    Raises:
        ValueError: for a length of less than one step, or a threshold that makes no sense.
    """

    smallest: float
    """The least excess that counts: nats, or neurons."""
    baseline: Literal["least", "median"] = "least"
    window: int = 50
    """How many steps the baseline looks back."""
    z: float = 6.0
    """The least excess in standard deviations of the noise."""
    memory: int = 200
    """From how many quiet steps the noise is estimated."""
    foot: float = 0.25
    """Up to which share of the threshold a step is not yet part of the rise."""
    back: float = 0.5
    """The share of the height that has to be given back."""
    within: int = 50
    """How long after the last new peak an event may take to come back."""
    hold: int = 50
    """An event without a new peak for so long is over, back or not, and another one may begin; at most `within`."""
    apart: int = 10
    """How long it has to stay back, and until the next alarm."""
    start: int = 50
    """Events that begin before this step are left out: neurons that die in the first steps revive. In the first
    0.4 · `window` steps none is found anyway, without a past to compare with."""
    ceiling: float = np.inf
    """A value above it counts as not finite: the training has diverged."""

    def __post_init__(self) -> None:
        if min(self.window, self.memory, self.hold, self.apart) < 1 or self.start < 0 or self.hold > self.within:
            raise ValueError(
                f"window, memory, hold <= within and apart take a step or more, start none or more: {self}"
            )
        if not (0 < self.smallest < np.inf and 0 <= self.z < np.inf and self.ceiling > 0):
            raise ValueError(f"smallest and ceiling have to be above zero, and z not below: {self}")
        if not (0 <= self.foot < 1 and 0 < self.back <= 1) or self.baseline not in ("least", "median"):
            raise ValueError(f"foot and back are shares, and a baseline is 'least' or 'median': {self}")

    def every(self, k: int) -> Rule:
        """The same times for a trace with one entry every k steps; at least 4 for a baseline, and 20 for the noise."""
        window, memory = max(4, self.window // k), max(20, self.memory // k)
        within, hold, apart, start = (-(-n // k) for n in (self.within, self.hold, self.apart, self.start))
        return replace(self, window=window, memory=memory, within=within, hold=hold, apart=apart, start=start)


SPIKE = Rule(smallest=0.05, ceiling=1000)
"""For losses, nats per sentence. Below 1000 nats some trainings come back; others go on beyond them, finite or not."""
JUMP = Rule(smallest=4, baseline="median", window=20, hold=10)
"""For numbers of dead neurons. Neurons that stay dead are the new level after 10 steps, from which others may jump."""


def events(trace: ArrayLike, rule: Rule) -> list[Event]:
    """All events of one trace, (steps), in their order; those of losses that `recovered` are spikes.

    Args:
        trace: losses, nats, or numbers of dead neurons, summed over layers.
        rule: what counts: `SPIKE`, `JUMP` or one like them.

    Raises:
        ValueError: for a trace that is not one number a step.
    """
    x, diverged = _finite(trace, rule.ceiling)
    found: list[Event] = []
    jitter = _jitter(x, rule)
    quiet, begin, reach = np.zeros(0), 0, REACH
    while begin < len(x):
        stretch = slice(begin, begin + reach)
        excess, typical, least = _compare(x[stretch], jitter[stretch], quiet, rule)
        above = excess - typical
        alarms = np.flatnonzero(above >= least)
        alarms = alarms[alarms >= (rule.apart if begin else 1)]
        if len(alarms):
            within_noise = above[: alarms[0]] <= rule.foot * least[: alarms[0]]
            onset = 1 + int(np.flatnonzero(within_noise).max(initial=0))
            floor = float(x[begin + onset] - above[onset])
            found.append(_follow(x, begin + onset, floor, diverged, rule))
            quiet = np.append(quiet, excess[rule.window // 5 : onset])[-rule.memory :]
            begin, reach = found[-1].end, REACH
        elif begin + reach < len(x):
            reach *= 4
        else:
            break
    return [event for event in found if event.onset >= rule.start]


def onsets(found: Sequence[Event]) -> Steps:
    """When events begin, (n)."""
    return np.array([event.onset for event in found], dtype=np.int64)


def coarse(trace: ArrayLike, every: int, rule: Rule) -> list[Event]:
    """The events of a trace (steps) of which only every k-th entry was logged; their times are steps again.

    Raises:
        ValueError: as `events`, or if not every first, second, … entry is logged.
    """
    if every < 1:
        raise ValueError(f"a log keeps every step, or every second, …, and not every {every}")
    found = events(np.asarray(trace)[::every], rule.every(every))
    return [replace(e, onset=e.onset * every, peak=e.peak * every, end=e.end * every) for e in found]


def _finite(trace: ArrayLike, ceiling: float) -> tuple[Floats, bool]:
    """A trace up to where it ceases to be finite, and whether it does."""
    x = np.asarray(trace, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"events are looked for in one trace, (steps), got the shape {x.shape}")
    finite = np.isfinite(x) & (x <= ceiling)
    return (x, False) if finite.all() else (x[: int(finite.argmin())], True)


def _jitter(x: Floats, rule: Rule) -> Floats:
    """The noise from one step to the next, (steps) like the trace: that of the `memory` steps before each."""
    bends = pd.Series(np.abs(np.diff(x, n=2, prepend=x[:1].repeat(2))))
    # A second difference of white noise has 1 + 4 + 1 times its variance.
    median = bends.rolling(rule.memory, min_periods=1, closed="left").median().fillna(0)
    return np.asarray(median / stats.norm.ppf(0.75) / np.sqrt(6))


def _compare(x: Floats, jitter: Floats, quiet: Floats, rule: Rule) -> tuple[Floats, Floats, Floats]:
    """Of a stretch, (n): the excess over its baseline, what is typical of it, and how much more is an alarm.

    The last two are NaN, and nothing is an alarm, while there are too few quiet steps to know the noise.

    Args:
        x: from the end of the last event on.
        jitter: the noise from one step to the next, (n).
        quiet: the excess in quiet steps before, from which typical and noise are estimated, too.
        rule: says how.
    """
    past = pd.Series(x).rolling(rule.window, min_periods=1, closed="left")
    baseline = past.min() if rule.baseline == "least" else past.median()
    # Below its baseline a trace has no excess. A fast descent would otherwise pass for noise.
    excess = (pd.Series(x) - baseline.fillna(x[0])).clip(lower=0)
    # Over the least of a few steps the excess is smaller than over that of many: it says too little about the noise.
    known = pd.Series(np.append(quiet, excess.where(np.arange(len(x)) >= rule.window // 5)))
    typical = known.rolling(rule.memory, min_periods=max(1, rule.window // 5), closed="left").median()
    spread = (known - typical).abs().rolling(rule.memory, min_periods=1, closed="left").median()
    noise = np.maximum(spread.to_numpy()[len(quiet) :] / stats.norm.ppf(0.75), jitter)
    return excess.to_numpy(), typical.to_numpy()[len(quiet) :], np.maximum(rule.z * noise, rule.smallest)


def _follow(x: Floats, onset: int, floor: float, diverged: bool, rule: Rule) -> Event:
    """What becomes of a rise above `floor`: how high it gets, when it is over, and whether it comes back."""
    rise, steps = x[onset:] - floor, np.arange(len(x) - onset)
    top = np.maximum.accumulate(rise)
    peaks = np.maximum.accumulate(np.where(np.diff(top, prepend=-np.inf) > 0, steps, 0))
    over = _stays(rise <= (1 - rule.back) * top, rule.apart) | (steps - peaks > rule.hold)
    end = int(over.argmax()) if over.any() else len(rise)
    peak, height = int(peaks[end - 1]), float(top[end - 1])
    back = _stays(rise[peak:] <= (1 - rule.back) * height, rule.apart)[: rule.within + 1]
    told = diverged or len(back) > rule.within
    return Event(onset, onset + peak, height, onset + end, True if back.any() else False if told else None)


def _stays(back: Bools, apart: int) -> Bools:
    """Whether an entry and the next ones, `apart` in all, are true; beyond the end of (n) nothing says otherwise."""
    padded = np.append(back, np.ones(apart - 1, dtype=bool))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, apart).all(-1))
