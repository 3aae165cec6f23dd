"""What traces do around events: averages aligned on their onsets, and whether a score warns of them.

Runs are independent and the events of one run are not, so that what is averaged first is a run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from entropylens.measures.events import Bools, Event, Floats, Steps


def aligned(traces: Sequence[ArrayLike], onsets: Sequence[ArrayLike], before: int, after: int) -> tuple[Floats, Steps]:
    """Windows of traces around events: (events, before + 1 + after), and the run of each, (events).

    Args:
        traces: one a run, (steps); runs may differ in length, as one that diverged ends there.
        onsets: of each run, in steps.
        before: steps before the onset. What lies outside the trace is NaN.
        after: steps after it.

    Raises:
        ValueError: if traces and onsets are not of the same runs, an onset lies outside, or a window has no steps.
    """
    if len(traces) != len(onsets) or min(before, after) < 0:
        raise ValueError(f"needs onsets for each trace, and steps that are not negative: {before}, {after}")
    windows, runs = [np.zeros((0, before + 1 + after))], [np.zeros(0, dtype=np.int64)]
    for run, (trace, onset) in enumerate(zip(traces, onsets, strict=True)):
        x, at = np.asarray(trace, dtype=np.float64), np.asarray(onset, dtype=np.int64).reshape(-1)
        if x.ndim != 1 or ((at < 0) | (at >= len(x))).any():
            raise ValueError(f"run {run} needs a trace, (steps), and onsets that lie in it; got {x.shape} and {at}")
        padded = np.pad(x, (before, after), constant_values=np.nan)
        windows.append(padded[at[:, None] + np.arange(before + 1 + after)])
        runs.append(np.full(len(at), run))
    return np.concatenate(windows), np.concatenate(runs)


def run_means(windows: Floats, runs: Steps) -> Floats:
    """The mean over each run's events, (events, n) to (runs with an event, n): these are independent, events are not.

    What is not finite is left out; NaN where a run has nothing there.
    """
    table = pd.DataFrame(windows).replace([np.inf, -np.inf], np.nan)
    return table.groupby(np.asarray(runs)).mean().to_numpy(dtype=np.float64)


def mean_over_runs(values: Floats, confidence: float = 0.95) -> tuple[Floats, Floats, Floats]:
    """Mean over runs with the ends of its Student interval, (R, n) to three of (n).

    Runs that are NaN at a place are left out there; with fewer than two the ends are NaN.
    """
    table = pd.DataFrame(values)
    n = table.notna().sum()
    half = stats.t.ppf((1 + confidence) / 2, (n - 1).clip(lower=1)) * table.std() / np.sqrt(n)
    mean = table.mean()
    return mean.to_numpy(), (mean - half).to_numpy(), (mean + half).to_numpy()


def ahead(found: Sequence[Event], steps: int, horizon: int, start: int = 0) -> tuple[Bools, Bools]:
    """Which steps t have an onset in t + 1, …, t + horizon, and which steps count; both (steps).

    Steps inside of an event, from onset to end, do not count: neither as calm, as their scores are those of an event,
    nor as a warning, for the same reason. Nor do the last steps from which no onset follows: one may have followed.

    Args:
        found: events of one trace.
        steps: its length, or the step at which it diverged.
        horizon: how far ahead, steps.
        start: steps before it do not count: the rule's, as events were not looked for there.

    Raises:
        ValueError: for a horizon of less than one step, or events outside of the trace.
    """
    if horizon < 1 or any(not 0 <= event.onset < steps for event in found):
        raise ValueError(f"needs a horizon of one step or more, and events in {steps} steps; got {horizon}")
    label, counts = np.zeros(steps, dtype=bool), np.ones(steps, dtype=bool)
    for event in found:
        label[max(0, event.onset - horizon) : event.onset] = True
        counts[event.onset : event.end] = False
    counts[max(0, steps - horizon) :] &= label[max(0, steps - horizon) :]
    counts[:start] = False
    return label, counts


def auc(score: ArrayLike, label: ArrayLike, counts: ArrayLike = True) -> float:
    """How often a step before an event has the higher score than one that is not, ties half: 0.5 is chance, 1 perfect.

    Args:
        score: (steps); NaN where it was not measured: such steps are left out.
        label: what is to be predicted, bool (steps).
        counts: which steps count, bool (steps).

    Returns:
        NaN if the steps that count are all of one kind.

    Raises:
        ValueError: for shapes that differ, or labels that are not bool.
    """
    x, y = np.asarray(score, dtype=np.float64), np.asarray(label)
    if x.ndim != 1 or x.shape != y.shape or y.dtype != np.bool_:
        raise ValueError(f"needs a score and a bool label a step, got {x.shape} and {y.shape} {y.dtype}")
    use = np.broadcast_to(np.asarray(counts, dtype=bool), x.shape) & ~np.isnan(x)
    warned, calm = x[use & y], x[use & ~y]
    if not len(warned) or not len(calm):
        return float("nan")
    u = stats.mannwhitneyu(warned, calm, method="asymptotic").statistic
    return float(u / (len(warned) * len(calm)))
