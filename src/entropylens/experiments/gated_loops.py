"""Do residual updates that are gated by entropy converge faster? And does it help to steer entropy in training?

"Converge" can be read in two ways: a loop comes closer to a resting answer, or a model learns in fewer updates. A
gate makes steps smaller, so that its rival is a gate that is learned, too, and does not know of entropy ("constant").
Other controls: the mean gate of each place and loop over sequences ("mean"), other sequences' gates ("shuffled"), both
in training and with the same weights afterwards; and fixed factors. All are at learning rates of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.looped_arms import Row, batch_of, labels_of_arm, less, paths, wide
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.settling import follow, summary
from entropylens.models.gates import Gate
from entropylens.models.looped import LoopedTransformer
from entropylens.tasks.induction import Batch
from entropylens.training.looped import rebuild
from entropylens.training.steering import Steering, What

GATES: tuple[Gate, ...] = ("sharp", "diffuse", "exponential")
"""Without parameters, so that a trained model can be given one afterwards."""
STEERED: dict[What, tuple[Steering, ...]] = {
    "entropy": (Steering("entropy", 0.9, 0.7), Steering("entropy", 0.8, 0.8), Steering("entropy", 0.7, 0.7)),
    "factor": (Steering("factor", 0.5, 2.0), Steering("factor", 1.0, 4.0), Steering("factor", 2.0, 2.0)),
}
"""As many schedules for feedback as for lines that are drawn beforehand, from which trials choose. Entropies are within
reach: in trials on validation seeds, a factor of 8 did not always bring them below 0.7."""
OTHERS = ("two hops", "short")
"""Set-ups in which the learned gates are tried, too."""
CLOSE = 1e-3
"""Answers that wander less count as if they wandered so far."""
LOOPS_AFTER = 100
"""How far paths are followed with a gate that training did not know."""
POINTS = 30
"""Of a steered quantity's curve."""


def full() -> list[TunedSpec]:
    """The whole experiment."""
    return [*_main(), *_others(), *_steered()]


def _main() -> Iterator[TunedSpec]:
    """What the rule is about, with the controls that are trained."""
    yield wide("main", "two looks", 10)
    for gate in ("learned", "constant"):
        yield wide("main", "two looks", 10, {"update": "gated", "gate": gate})
    for whose in ("mean", "shuffled"):
        yield wide("main", "two looks", 10, {"update": "gated", "gate": "learned", "gate_of": whose})
    yield wide("main", "two looks", 10, {"step_size": 0.5})


def _others() -> Iterator[TunedSpec]:
    """Other gates with the same task; and other tasks, where one look is enough, or two hops are asked for."""
    yield wide("others", "two looks", 5, {"step_size": 0.25})
    for gate in GATES:
        for whose in ("own", "mean"):
            yield wide("others", "two looks", 5, {"update": "gated", "gate": gate, "gate_of": whose})
    for setup in OTHERS:
        yield wide("others", setup, 5)
        for gate in ("learned", "constant"):
            yield wide("others", setup, 5, {"update": "gated", "gate": gate})


def _steered() -> Iterator[TunedSpec]:
    """Plain updates; attention's temperature is steered, by the best of some schedules."""
    for schedules in STEERED.values():
        first, *rest = (wide("main", "two looks", 10, steering=steering) for steering in schedules)
        yield replace(first, others=tuple(other.training for other in rest))


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps."""
    return [less(spec) for spec in full()]


# ---- what is measured ------------------------------------------------------------------------------------------------


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of `looped_arms.paths`, and of these kinds; all say which model it is.

    "model", of learned gates: `gate_a` and `gate_b`, too.

    "speed", two a model of the main design, `final` true: `speed`, minus the logarithm of how far its answers `wander`
    in as many loops again (`reading` is "loops"), or of the number of updates after which it has learned ("updates").

    "contrast", of the main design's plain updates, `final` true: `accuracy_32` of what is steered by feedback, `side`,
    and of its `rival`: a line, or none. The first is there twice, once for each.

    "afterwards", of own gates without a control in training, and of plain models: `settling.summary` of a path of
    `LOOPS_AFTER` loops with the same weights, and another gate: `given` is "own", as it was trained, "sharp" and so on,
    "mean" or "shuffled", of what is own or given, with `held` the gate whose control it is, or "constant", all tokens
    and loops at its mean over the trained loops.

    "steering": relative entropy `open` and `factor`, means around `step`, and the value that was `wanted`; and `miss`,
    the mean distance of what is steered from that.
    """
    spec = spec.chosen(trained)
    labels, rows = labels_of_gated(spec, trained), []
    for number, row in paths(spec, trained):
        rows.append(labels[number] | row | (_gate_of(spec, trained, number) if row["kind"] == "model" else {}))
        if row["kind"] == "model" and spec.design == "main":
            slow = {"loops": max(float(str(row["wander"])), CLOSE), "updates": float(str(row["updates_to_learn"]))}
            rows += [labels[number] | {"kind": "speed", "final": True, "reading": name, "speed": -math.log(value)}
                     for name, value in slow.items()]  # fmt: skip
            rows += [labels[number] | {"kind": "contrast", "final": True, "accuracy_32": row["accuracy_32"]} | contrast
                     for contrast in _contrasts(spec)]  # fmt: skip
    for kind, found in (("afterwards", _afterwards(spec, trained)), ("steering", _followed(spec, trained))):
        rows += [labels[number] | {"kind": kind, "final": False} | row for number, row in found]
    return pd.DataFrame(rows)


def labels_of_gated(spec: TunedSpec, trained: Mapping[str, Tensor]) -> list[Row]:
    """Which models they are; `gate` is "none" with a plain update, `steering` "none", "feedback" or "line"."""
    c, steering = spec.config, spec.training.steering
    gates = {"gate": c.gate, "gate_of": c.gate_of} if c.update == "gated" else {"gate": "none", "gate_of": "own"}
    how = {"steering": "none", "steered_from": float("nan"), "steered_to": float("nan")}
    if steering is not None:
        name = "feedback" if steering.what == "entropy" else "line"
        how = {"steering": name, "steered_from": steering.begin, "steered_to": steering.end}
    return [label | gates | how for label in labels_of_arm(spec, trained)]


def _gate_of(spec: TunedSpec, trained: Mapping[str, Tensor], number: int) -> Row:
    gate = rebuild(spec.config, trained["parameters"][-1, number]).gate
    return {} if gate is None else dict(zip(("gate_a", "gate_b"), gate.flatten().tolist(), strict=False))


def _contrasts(spec: TunedSpec) -> list[Row]:
    steering, c = spec.training.steering, spec.config
    if c.update != "plain" or c.step_size != 1:
        return []
    if steering and steering.what == "entropy":
        return [{"side": "feedback", "rival": rival} for rival in ("line", "none")]
    return [{"side": "rival", "rival": "line" if steering else "none"}]


def _afterwards(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[tuple[int, Row]]:
    c, batch = spec.config, batch_of(spec)
    if c.gate_of != "own" or c.step_size != 1 or spec.training.steering or c.gate == "constant":
        return
    for number, theta in enumerate(trained["parameters"][-1]):
        model = rebuild(c, theta)
        if c.update == "gated":
            yield from ((number, {"held": c.gate} | row) for row in _controls(model, batch))
        else:
            for gate in GATES:
                given = model.altered(update="gated", gate=gate)
                yield from ((number, {"held": gate} | row) for row in _controls(given, batch))


def _controls(model: LoopedTransformer, batch: Batch) -> Iterator[Row]:
    """A gated model as it is, with controls of its gates, and with a constant of the same mean."""
    mean = 1.0
    for whose in ("own", "mean", "shuffled"):
        told = summary(follow(model.altered(gate_of=whose), batch, LOOPS_AFTER), model.config.n_loops)
        mean = told["mean_gate"] if whose == "own" else mean
        yield {"given": whose, **told}
    if mean > 0:
        held = follow(model.altered(update="plain", step_size=mean), batch, LOOPS_AFTER)
        yield {"given": "constant", **summary(held, model.config.n_loops)}


def _followed(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[tuple[int, Row]]:
    steering, steps = spec.training.steering, spec.training.steps
    if steering is None:
        return
    wanted = torch.tensor([steering.wanted(step / steps) for step in range(steps)])
    seen = trained["open" if steering.what == "entropy" else "factor"]  # (steps, M)
    miss = (seen - wanted[:, None]).abs().mean(0)
    width = max(1, steps // POINTS)
    means = {name: trained[name].unfold(0, width, width).mean(-1) for name in ("open", "factor", "accuracy")}
    for point, aim in enumerate(wanted.unfold(0, width, width).mean(-1).tolist()):
        for number in range(len(spec.members)):
            told: Row = {name: float(f"{float(values[point, number]):.4g}") for name, values in means.items()}
            yield (
                number,
                {"step": (point + 1) * width, "wanted": float(f"{aim:.4g}"), "miss": float(miss[number])} | told,
            )


EXPERIMENT = Experiment(
    name="gated_loops",
    claims=("EER-8", "EER-f2"),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
