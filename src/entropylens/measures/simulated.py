"""Trainings that never happened: traces with events of known order, to try detectors and order test together.

Events have the heights and the rises of real ones, drawn from those that were found. A loss grows exponentially, so
that the first steps of its rise are hidden in noise, and comes back; neurons die in about equal numbers from step to
step, and half of them revive. Whatever an onset's definition does to the order shows where the true one is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from entropylens.measures.event_rows import jump_rule, spike_rule
from entropylens.measures.events import Floats, Steps, events, onsets
from entropylens.measures.injection import inject, jump_shape, spike_shape
from entropylens.measures.lead_lag import planted

NOISE = 1e-3
"""Of a loss, nats; full-batch trainings have hardly any."""


def detected(
    rng: np.random.Generator, lead: int | None, like: pd.DataFrame, n_neurons: int, runs: int = 10, steps: int = 1500
) -> tuple[list[Steps], list[Steps]]:
    """Onsets of spikes and of jumps as the detectors see them, one array a run, where the truth is `planted`.

    Args:
        rng: draws them.
        lead: steps by which the planted jumps are earlier; None: no relation.
        like: rows of real events to draw from: `event` ("spike" or "jump"), `onset`, `peak`, steps, and `height`.
        n_neurons: of the model that the jumps are from: it sets the detector's threshold.
        runs: how many trainings.
        steps: of each.

    Raises:
        ValueError: if there is no spike, or no jump, to draw from.
    """
    kinds = {name: like[like["event"] == name] for name in ("spike", "jump")}
    if any(rows.empty for rows in kinds.values()):
        raise ValueError("needs real spikes and real jumps to draw heights and rises from")
    found: tuple[list[Steps], list[Steps]] = [], []
    for spikes, jumps in zip(*planted(rng, lead, runs=runs, steps=steps), strict=True):
        losses, dead = _quiet(rng, steps)
        for at, event in zip(spikes, kinds["spike"].sample(len(spikes), replace=True, random_state=rng).itertuples()):
            losses = inject(losses, spike_shape(event.height, rise=max(1, event.peak - event.onset)), at)
        for at, event in zip(jumps, kinds["jump"].sample(len(jumps), replace=True, random_state=rng).itertuples()):
            dead = inject(dead, _deaths(event.height, 1 + event.peak - event.onset), max(0, at))
        found[0].append(onsets([e for e in events(losses, spike_rule()) if e.recovered]))
        found[1].append(onsets(events(np.round(dead), jump_rule(n_neurons))))
    return found


def _quiet(rng: np.random.Generator, steps: int) -> tuple[Floats, Floats]:
    """A loss that comes down, nats, and a number of dead neurons that does so, too; (steps) each."""
    t = np.arange(steps)
    losses = 5 + 3 * np.exp(-t / 100) + NOISE * rng.standard_normal(steps)
    return losses, 10 + 30 * np.exp(-t / 30) + rng.binomial(2, 0.5, steps)


def _deaths(neurons: float, rise: int) -> Floats:
    """So many neurons die one after the other in `rise` steps, and half of them revive in about twenty."""
    whole = 0.5 * (jump_shape(round(neurons)) + jump_shape(round(neurons), fall=20))
    return np.concatenate([neurons * np.arange(1, rise + 1) / rise, whole])
