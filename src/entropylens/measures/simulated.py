"""Trainings that never happened: traces with events of known order, to try detectors and order test together.

Events have the heights and the rises of real ones, drawn from those that were found. A loss grows exponentially, so
that the first steps of its rise are hidden in noise, and comes back; neurons die in about equal numbers from step to
step, and half of them revive. Whatever an onset's definition does to the order shows where the true one is known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from entropylens.measures.event_rows import jump_rule, spike_rule
from entropylens.measures.events import Floats, Steps, events, onsets
from entropylens.measures.injection import inject, jump_shape, spike_shape
from entropylens.measures.lead_lag import lead_lag, planted

NOISE = 1e-3
"""Of a loss, nats; full-batch trainings have hardly any."""
STEPS = 1500
"""Of a simulated training."""


def trial(
    seed: int, lead: int | None, like: pd.DataFrame, n_neurons: int, draws: int = 199
) -> dict[str, float | str | bool]:
    """What detectors and order test together make of ten trainings, where the truth is known.

    Args:
        seed: of events and noise.
        lead: steps by which the planted jumps are earlier; None: no relation.
        like: rows of real events, as for `detected`.
        n_neurons: of a model.
        draws: from chance.

    Returns:
        `planted` (the lead, or "no relation"), `order`, `lag` (steps by which jumps are found earlier, the median), and
        of each null, by its name, whether its p-value for the order is 0.05 or less.
    """
    onsets_found = detected(np.random.default_rng(seed), lead, like, n_neurons)
    tests = {
        null: lead_lag(*onsets_found, STEPS, start=100, null=null, draws=draws, seed=seed)
        for null in ("shift", "runs", "flip")
    }
    told = {null: test.p_order <= 0.05 for null, test in tests.items()}
    truth = "no relation" if lead is None else f"{lead:+d}".replace("-", "−") if lead else "0"
    return {"planted": truth, "order": tests["shift"].order, "lag": tests["shift"].lag, **told}


def detected(
    rng: np.random.Generator, lead: int | None, like: pd.DataFrame, n_neurons: int, runs: int = 10
) -> tuple[list[Steps], list[Steps]]:
    """Onsets of spikes and of jumps as the detectors see them, one array a run, where the truth is `planted`.

    Args:
        rng: draws them.
        lead: steps by which the planted jumps are earlier; None: no relation.
        like: rows of real events to draw from: `event` ("spike" or "jump"), `onset`, `peak`, steps, and `height`.
        n_neurons: of the model that the jumps are from: it sets the detector's threshold.
        runs: how many trainings, of `STEPS` steps.

    Raises:
        ValueError: if there is no spike, or no jump, to draw from.
    """
    shapes = like.assign(rise=like["peak"] - like["onset"])[["event", "height", "rise"]]
    real = {name: shapes.loc[shapes["event"] == name, ["height", "rise"]].to_numpy() for name in ("spike", "jump")}
    if not (len(real["spike"]) and len(real["jump"])):
        raise ValueError("needs real spikes and real jumps to draw heights and rises from")
    found: tuple[list[Steps], list[Steps]] = [], []
    for spikes, jumps in zip(*planted(rng, lead, runs=runs, steps=STEPS), strict=True):
        losses, dead = _quiet(rng)
        for at, (height, rise) in zip(spikes, rng.choice(real["spike"], len(spikes)), strict=True):
            losses = inject(losses, spike_shape(height, rise=max(1, int(rise))), at)
        inside = jumps[(jumps >= 0) & (jumps < STEPS)]  # a long lead may take some out of the training
        for at, (height, rise) in zip(inside, rng.choice(real["jump"], len(inside)), strict=True):
            dead = inject(dead, _deaths(round(height), 1 + int(rise)), at)
        found[0].append(onsets([e for e in events(losses, spike_rule()) if e.recovered]))
        found[1].append(onsets(events(np.round(dead), jump_rule(n_neurons))))
    return found


def _quiet(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A loss that comes down, nats, and a number of dead neurons that does so, too; (STEPS) each."""
    t = np.arange(STEPS)
    losses = 5 + 3 * np.exp(-t / 100) + NOISE * rng.standard_normal(STEPS)
    return losses, 10 + 30 * np.exp(-t / 30) + rng.binomial(2, 0.5, STEPS)


def _deaths(neurons: int, rise: int) -> Floats:
    """So many neurons die one after the other in `rise` steps, and half of them revive in about twenty."""
    whole = 0.5 * (jump_shape(neurons) + jump_shape(neurons, fall=20))
    return np.concatenate([neurons * np.arange(1, rise + 1) / rise, whole])
