"""The events of one training as rows of a table: what there was, in which order, and what announced it.

What an event is, is told in measures/events.py; order and chance in measures/lead_lag.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from entropylens.measures.around import ahead, aligned, auc, run_means
from entropylens.measures.events import JUMP, SPIKE, Bools, Event, Floats, Rule, Steps, coarse, events, onsets
from entropylens.measures.injection import event_free, jump_shape, places, roc, spike_shape
from entropylens.measures.lead_lag import lags, lead_lag

Row = dict[str, Any]
WITHIN = 15
"""A spike and a jump whose onsets are at most so many steps apart may have to do with each other."""
HORIZON = 20
"""An event is to be announced at most so many steps ahead."""
RECENT = 10
"""Steps over which neurons that have died are counted as an announcement."""
BEFORE, AFTER, EVERY = 60, 100, 2
"""Around an event: steps before it, steps after it, and of these every how many are kept."""
MARGIN = 50
"""Steps around a quiet one."""
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Thresholds are varied by these."""
SHAPES: dict[str, Callable[[float], Floats]] = {"spike": spike_shape, "jump": lambda n: jump_shape(round(n))}
"""What an event of a given height looks like that is injected."""
COARSE = (5, 25, 100)
"""Steps between entries when a log is read as if it had been kept less often."""


def spike_rule(factor: float = 1.0) -> Rule:
    """What counts as a loss spike: a rise of 0.05 nats, times the factor, that comes back; from step 100 on."""
    return replace(SPIKE, smallest=factor * SPIKE.smallest, start=100)


def jump_rule(n_neurons: int, factor: float = 1.0) -> Rule:
    """What counts as a jump in deaths: a hundredth of the model's neurons, times the factor, and at least two."""
    return replace(JUMP, smallest=max(2.0, np.ceil(0.01 * factor * n_neurons)), start=100)


@dataclass(frozen=True)
class Logs:
    """What was logged of one training, one entry a step; (steps) each."""

    losses: Floats
    dead: Floats
    """Neurons of all layers that fire in no context."""
    active: Floats
    grad_norm: Floats
    update_norm: Floats
    second: Floats
    sharpness_steps: Steps
    """(K): empty where it was not measured."""
    sharpness: Floats
    """(K)."""
    edge: float
    """The sharpness above which the optimizer is unstable."""
    n_neurons: int
    floor: float
    """The least possible loss, nats."""

    @property
    def last(self) -> int:
        """The steps until the loss ceased to be finite, or left all bounds."""
        bad = ~np.isfinite(self.losses) | (self.losses > SPIKE.ceiling)
        return int(bad.argmax()) if bad.any() else len(self.losses)

    @cached_property
    def rises(self) -> list[Event]:
        """Spikes and collapses."""
        return events(self.losses, spike_rule())

    @property
    def spikes(self) -> list[Event]:
        """Rises of the loss that came back."""
        return [e for e in self.rises if e.recovered]

    @cached_property
    def jumps(self) -> list[Event]:
        """In the number of dead neurons, while the loss is finite."""
        return events(self.dead[: self.last], jump_rule(self.n_neurons))

    @property
    def quiet(self) -> Bools:
        """(last): whether all sharpness that was measured within `MARGIN` steps of a step is below half of the edge.

        Not before events are looked for, nor after the last measurement.
        """
        calm = np.zeros(self.last, dtype=bool)
        calm[spike_rule().start : max(self.sharpness_steps, default=0)] = True
        for step in self.sharpness_steps[~(self.sharpness < self.edge / 2)]:
            calm[max(0, step - MARGIN) : step + MARGIN + 1] = False
        return calm

    @property
    def lag(self) -> Floats:
        """Logarithm of the squared gradient over what the optimizer takes it to be, Σv̂: above 0 it lags behind."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(self.second > 0, np.log(self.grad_norm**2 / self.second), np.nan))


def of_model(logs: Logs) -> Row:
    """One row: how many events, how they meet, and what announces a spike.

    `diverged` (1 if the loss left all bounds), `kl` (median of the last 50 losses above the floor, nats), `spikes`,
    `collapses`, `jumps`, `spikes_1000` and `jumps_1000` (in 1000 steps that were looked at), `height` (median of a
    spike, nats), `spiked` and `jumped` (whether there was one), `shows` (the mean of these two), `dead_wave`,
    `dead_most` and `dead_end` (share of neurons: most in the first 100 steps, most after them, and at the end); what
    `meetings` says; and areas under the curve, `auc_…`, of scores that are to announce a spike within `HORIZON` steps.
    """
    looked = max(1, logs.last - spike_rule().start)
    dead = logs.dead[: max(1, logs.last)] / max(1, logs.n_neurons)
    heights = [e.height for e in logs.spikes]
    return {
        "diverged": float(logs.last < len(logs.losses)),
        "kl": float(np.median(logs.losses[-50:]) - logs.floor),
        "spikes": len(logs.spikes),
        "collapses": len(logs.rises) - len(logs.spikes),
        "jumps": len(logs.jumps),
        "spikes_1000": 1000 * len(logs.spikes) / looked,
        "jumps_1000": 1000 * len(logs.jumps) / looked,
        "spiked": float(bool(logs.spikes)),
        "jumped": float(bool(logs.jumps)),
        "shows": (bool(logs.spikes) + bool(logs.jumps)) / 2,
        "height": float(np.median(heights)) if heights else np.nan,
        "dead_wave": float(dead[:100].max()),
        "dead_most": float(dead[100:].max(initial=0.0)),
        "dead_end": float(dead[-1]),
        **meetings(logs.spikes, logs.jumps, logs.last),
        **announcements(logs),
    }


def meetings(spikes: Sequence[Event], jumps: Sequence[Event], steps: int) -> Row:
    """How spikes and jumps of one training meet: shares of its spikes, or of its jumps; 0 where there are none.

    `near`: of spikes that have a jump within `WITHIN` steps; `coincidence`: the same less what chance gives, jumps
    being moved round within blocks of 100 steps; `led`: of spikes whose nearest jump came before, less those whose
    nearest came after; `follows`: of jumps whose nearest spike came before, less those whose nearest came after.
    """
    a, b = onsets(spikes), onsets(jumps)
    lag, back = lags([a], [b], WITHIN)[0], lags([b], [a], WITHIN)[0]
    near = int(np.isfinite(lag).sum())
    chance = lead_lag([a], [b], max(steps, 1), WITHIN, draws=499).null_pairs[0] if len(a) and len(b) else 0.0
    order = [np.nansum(np.sign(x)) / max(1, len(x)) for x in (lag, back)]
    spread = max(1, len(a))
    return {"near": near / spread, "coincidence": (near - chance) / spread, "led": order[0], "follows": order[1]}


def announcements(logs: Logs) -> Row:
    """Areas under the curve of scores that may announce a spike: at the steps at which sharpness was measured.

    `auc_sharpness` of the (preconditioned) sharpness, `auc_lag` of `Logs.lag`, `auc_deaths` of the neurons that died in
    the last `RECENT` steps, `auc_dead` of how many are dead, `auc_gradient` of the gradient's norm. NaN where sharpness
    was not measured, or there is nothing to be announced.
    """
    names = ("sharpness", "lag", "deaths", "dead", "gradient")
    at = logs.sharpness_steps[logs.sharpness_steps < logs.last]
    if not len(at):
        return {f"auc_{name}": np.nan for name in names}
    label, counts = ahead(logs.spikes, logs.last, HORIZON, start=spike_rule().start)
    died = logs.dead - np.minimum.reduce([np.roll(logs.dead, k) for k in range(RECENT + 1)])
    scores = (logs.sharpness[: len(at)], logs.lag[at], died[at], logs.dead[at], logs.grad_norm[at])
    return {f"auc_{n}": auc(score, label[at], counts[at]) for n, score in zip(names, scores, strict=True)}


def of_events(logs: Logs) -> Iterator[Row]:
    """A row an event: what it was, `onset`, `peak`, `height` (nats, or neurons), and the sharpness before it.

    `sharp` is the last sharpness measured up to the onset, over the edge; `dead_before` and `dead_after` are the
    neurons dead at the onset and `WITHIN` steps later.
    """
    for found, names in ((logs.rises, ("spike", "collapse")), (logs.jumps, ("jump", "jump"))):
        for e in found:
            before = logs.sharpness[: int(np.searchsorted(logs.sharpness_steps, e.onset, side="right"))]
            yield {
                "event": names[0] if e.recovered else names[1],
                "onset": e.onset,
                "peak": e.peak,
                "height": e.height,
                "sharp": before[-1] / logs.edge if len(before) else np.nan,
                "dead_before": logs.dead[e.onset],
                "dead_after": logs.dead[min(e.onset + WITHIN, logs.last - 1)],
            }


def of_thresholds(logs: Logs) -> Iterator[Row]:
    """The same meetings under other thresholds, and for logs that were kept less often."""
    for factor in FACTORS:
        spikes = [e for e in events(logs.losses, spike_rule(factor)) if e.recovered]
        jumps = events(logs.dead[: logs.last], jump_rule(logs.n_neurons, factor))
        yield _counted("factor", factor, spikes, jumps, logs.last)
    for every in COARSE:
        spikes = [e for e in coarse(logs.losses, every, spike_rule()) if e.recovered]
        jumps = coarse(logs.dead[: logs.last], every, jump_rule(logs.n_neurons))
        yield _counted("every", every, spikes, jumps, logs.last)


def _counted(what: str, value: float, spikes: Sequence[Event], jumps: Sequence[Event], steps: int) -> Row:
    found = meetings(spikes, jumps, steps)
    return {"varied": what, "value": value, "spikes": len(spikes), "jumps": len(jumps), **found}


def of_detectors(runs: Sequence[Logs]) -> list[list[Row]]:
    """How good the detectors are on these very traces: of several runs alike but for their seeds, each one's rows.

    For each kind of `event` and each `factor` of the threshold: `found`, the share of `injected` events of the median
    `amplitude` that occurs in these runs that were found, put where the rule sees nothing; NaN where none occurs. And
    `false_alarms` in `quiet` steps, which are free of instabilities for a reason that has nothing to do with the
    detector: sharpness stays below half of the edge around them. There are no such steps where it was not measured.
    """
    kinds = [_kinds(run) for run in runs]
    heights = {name: [e.height for of in kinds for e in of[name][1]] for name in SHAPES}
    shapes = {name: shape(float(np.median(heights[name]))) for name, shape in SHAPES.items() if heights[name]}
    return [
        [row for name in SHAPES for row in _detector(run, name, of[name][0], of[name][2], shapes.get(name))]
        for run, of in zip(runs, kinds, strict=True)
    ]


def _kinds(run: Logs) -> dict[str, tuple[Floats, list[Event], list[Rule]]]:
    """For each kind of events the trace, the events found, and rules with varied thresholds."""
    return {
        "spike": (run.losses[: run.last], run.spikes, [spike_rule(k) for k in FACTORS]),
        "jump": (run.dead[: run.last], run.jumps, [jump_rule(run.n_neurons, k) for k in FACTORS]),
    }


def _detector(run: Logs, name: str, trace: Floats, rules: list[Rule], shape: Floats | None) -> Iterator[Row]:
    quiet, free = run.quiet, event_free(trace, rules[FACTORS.index(1.0)])
    room = shape is not None and len(places(free, len(shape), np.random.default_rng(0))) > 0
    tried = roc(trace[None], rules, shape, free[None]) if shape is not None and room else []
    for i, (factor, rule) in enumerate(zip(FACTORS, rules, strict=True)):
        yield {
            "event": name,
            "factor": factor,
            "amplitude": np.nan if shape is None else shape.max(),
            "injected": tried[i].injected if tried else 0,
            "found": tried[i].found if tried else np.nan,
            "quiet": int(quiet.sum()),
            "false_alarms": int(quiet[onsets(events(trace, rule))].sum()),
        }


def of_surroundings(logs: Logs) -> Iterator[Row]:
    """What the logs do around spikes, and around jumps: the mean over the model's events, at every second `offset`.

    `rise`: loss above that of the step before the onset, nats, and of this the median, since other, larger events may
    be near; `died`: dead neurons more than at that step, as a share of all; `active`; `gradient` and `update`: the
    logarithm of their norm's ratio to that of 20 steps before; `lag` as of `Logs`; `sharp`: the logarithm of sharpness
    over the edge (left out where it is not above zero), held from one measurement to the next.
    """
    steps = np.arange(logs.last)
    held = np.full(logs.last, np.nan)
    if len(logs.sharpness_steps):
        positive = np.where(logs.sharpness > 0, logs.sharpness / logs.edge, np.nan)
        held = np.log(positive)[np.searchsorted(logs.sharpness_steps, steps, side="right") - 1]
    with np.errstate(divide="ignore"):
        gradient, update = np.log(logs.grad_norm[: logs.last]), np.log(logs.update_norm[: logs.last])
    traces = {
        "rise": (logs.losses, 1),
        "died": (logs.dead / max(1, logs.n_neurons), 1),
        "active": (logs.active, None),
        "gradient": (gradient, 20),
        "update": (update, 20),
        "lag": (logs.lag, None),
        "sharp": (held, None),
    }
    for name, found in (("spike", logs.spikes), ("jump", logs.jumps)):
        if found:
            means = {
                c: _around(trace[: logs.last], onsets(found), back, median=c == "rise")
                for c, (trace, back) in traces.items()
            }
            for place, offset in enumerate(range(-BEFORE, AFTER + 1, EVERY)):
                yield {"event": name, "offset": offset} | {column: values[place] for column, values in means.items()}


def _around(trace: Floats, at: Steps, back: int | None, *, median: bool) -> Floats:
    """The mean, or median, of a trace around onsets, less what it was `back` steps before each of them."""
    windows, run = aligned([trace], [at], BEFORE, AFTER)
    values = windows if back is None else windows - windows[:, BEFORE - back, None]
    typical: Floats = pd.DataFrame(values).median().to_numpy() if median else run_means(values, run)[0]
    return typical[::EVERY]
