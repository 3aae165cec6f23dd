"""How good an event detector is: events of known time and size are added to real traces, where these have none.

What the detector has to find is real noise and real drift with a planted event on top. What it reports elsewhere, in
steps that are free of events, is a false alarm. Which steps are free has to be said from outside, since nobody knows
the truth of a real trace: `event_free` says it by a reference rule, and a rule that is stricter than the reference
raises no alarm of its own there. For a rate that does not lean on a detector, hand in traces of trainings that are
known to be stable, and call all of their steps free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropylens.measures.events import Bools, Floats, Rule, Steps, events, onsets


@dataclass(frozen=True)
class Detection:
    """What a rule makes of traces with injected events."""

    rule: Rule
    injected: int
    """Events that were added."""
    found: float
    """The share of them with an onset within the tolerance."""
    false_alarms: float
    """Events that nobody added, in 10,000 event-free steps."""
    free_steps: int
    """Event-free steps that were searched, over all copies of the traces."""


def spike_shape(amplitude: float, rise: int = 5, fall: float = 10.0, growth: float = 4.0) -> Floats:
    """A loss spike, (rise + 4 · fall): exponential growth to the amplitude, nats, exponential decay, and zero.

    Args:
        amplitude: of the peak, which is the last step of the rise.
        rise: steps from the onset, the first of them, to the peak.
        fall: steps in which it decays by a factor e.
        growth: by how many factors of e it grows on the way up.
    """
    if rise < 1 or not fall > 0 or not growth > 0:
        raise ValueError(f"a spike rises and falls in one step or more, and grows; got {rise}, {fall}, {growth}")
    up = np.expm1(growth * np.arange(1, rise + 1) / rise) / np.expm1(growth)
    down = np.exp(-np.arange(1, int(4 * fall)) / fall)
    return np.asarray(amplitude * np.concatenate([up, down, [0.0]]))


def jump_shape(neurons: int, fall: float | None = None, length: int = 100) -> Floats:
    """A jump of so many neurons in one step, (length); they stay dead, or revive by a factor e in `fall` steps."""
    decay = 1.0 if fall is None else np.exp(-np.arange(length) / fall)
    return np.round(neurons * np.ones(length) * decay)


def event_free(trace: ArrayLike, rule: Rule, margin: int = 25) -> Bools:
    """The steps of a trace, (steps), that are neither in an event nor within `margin` of one, nor before the start.

    Before the start of the rule events are not looked for; from where the trace ceases to be finite there are none.
    """
    x = np.asarray(trace, dtype=np.float64)
    free = np.logical_and.accumulate(np.isfinite(x) & (x <= rule.ceiling)) & (np.arange(len(x)) >= rule.start)
    for event in events(x, rule):
        free[max(0, event.onset - margin) : event.end + margin] = False
    return free


def inject(trace: ArrayLike, shape: ArrayLike, at: ArrayLike) -> Floats:
    """A copy of a trace, (steps), with the shape added from each step of `at` on; what is left at its end stays."""
    x = np.array(trace, dtype=np.float64)
    shape = np.asarray(shape, dtype=np.float64)
    for begin in np.atleast_1d(at):
        x[begin:] += np.pad(shape, (0, max(0, len(x) - begin - len(shape))), mode="edge")[: len(x) - begin]
    return x


def places(free: Bools, length: int, rng: np.random.Generator) -> Steps:
    """Random steps from which on `length` steps are free, and whose stretches do not overlap; sorted."""
    if length > len(free):
        return np.zeros(0, dtype=np.int64)
    possible = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(free, length).all(-1))
    chosen: list[int] = []
    for at in rng.permutation(possible):
        if all(abs(at - other) >= length for other in chosen):
            chosen.append(int(at))
    return np.array(sorted(chosen), dtype=np.int64)


def roc(
    traces: ArrayLike,
    rules: Sequence[Rule],
    shape: ArrayLike,
    free: NDArray[np.bool_],
    tolerance: int = 10,
    copies: int = 1,
    seed: int = 0,
) -> list[Detection]:
    """What each rule finds of events that are injected into traces, and what it finds that is none.

    Args:
        traces: real ones, (R, steps).
        rules: with the thresholds to compare; all get the same injections.
        shape: of the event, (n) steps from its onset on, finite: `spike_shape` or `jump_shape`.
        free: which steps are free of events, (R, steps).
        tolerance: how many steps the onset may be off.
        copies: how often each trace is filled with events anew.
        seed: of the places.

    Raises:
        ValueError: if shapes do not fit, or no trace has room for an event.
    """
    traces, free, shape = np.asarray(traces, dtype=np.float64), np.asarray(free), np.asarray(shape, dtype=np.float64)
    if traces.ndim != 2 or traces.shape != free.shape or free.dtype != np.bool_ or shape.ndim != 1:
        raise ValueError(f"needs traces and free steps (R, steps), got {traces.shape} and {free.shape} {free.dtype}")
    if not np.isfinite(shape).all():
        raise ValueError("a shape needs to be finite")
    if tolerance < 0 or copies < 1:
        raise ValueError(f"a tolerance has no sign, and one copy is the least; got {tolerance} and {copies}")
    rng = np.random.default_rng(seed)
    planted = [(x, f, places(f, len(shape), rng)) for _ in range(copies) for x, f in zip(traces, free, strict=True)]
    total = sum(len(at) for *_, at in planted)
    if not total:
        raise ValueError(f"no trace has {len(shape)} event-free steps in a row")
    steps = copies * int(free.sum())
    results = []
    for rule in rules:
        counts = np.sum([_count(inject(x, shape, at), at, f, rule, tolerance) for x, f, at in planted], axis=0)
        results.append(Detection(rule, total, float(counts[0] / total), float(1e4 * counts[1] / steps), steps))
    return results


def _count(trace: Floats, at: Steps, free: Bools, rule: Rule, tolerance: int) -> tuple[int, int]:
    """How many injections at (n) were found, and how many events began in free steps that none explains."""
    begins = onsets(events(trace, rule))
    near = np.abs(begins[:, None] - at) <= tolerance  # (events, n)
    return int(near.any(0).sum()), int((free[begins] & ~near.any(1)).sum())
