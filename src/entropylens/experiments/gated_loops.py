"""Do residual updates that are gated by entropy converge faster? And does it help to steer entropy in training?

Set-ups and the choice of learning rates are those of `energy_entropy`. A gate makes steps smaller, so that its rival is
the same model with the mean gate of each place and loop ("mean"), and with gates of other sequences ("shuffled").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.energy_entropy import LOSSES, arm, labels_of_tuned
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.induction import accuracy
from entropylens.measures.settling import Path, follow, halted, summary
from entropylens.models.gates import Gate
from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import Batch, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, rebuild
from entropylens.training.steering import Steering

GATES: tuple[Gate, ...] = ("sharp", "diffuse", "exponential")
"""Without parameters, so that a trained model can be given one afterwards."""
CONSTANTS = (0.25, 0.5)
LENGTHS = {16: 512, 64: 512, 256: 128}
"""Tokens at which accuracy is measured, and by how many sequences."""
LOOPS, SEQUENCES, TOKENS = 200, 64, 64
"""How far paths are followed, and on what."""
SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 20, 25, 32, 50, 75, 100, 150, 200)
"""Loops after which a path is told."""
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)
"""Of relative entropy, at which a sequence halts."""
STEERED = {
    "feedback": Steering("entropy", 0.9, 0.3),
    "feedback, sharper": Steering("entropy", 0.6, 0.1),
    "feedback, level": Steering("entropy", 0.5, 0.5),
    "line": Steering("factor", 0.5, 2.0),
    "line, sharper": Steering("factor", 1.0, 4.0),
    "line, level": Steering("factor", 2.0, 2.0),
}
"""From the first to the last step; the first of each kind is what the rule is about."""


def gated(design: str, setup: str, seeds: int, **shape: object) -> TunedSpec:
    """Cross-entropy alone, with an update of some shape."""
    return arm(design, setup, LOSSES["plain"], seeds, shape=shape)


def steered(name: str, seeds: int) -> TunedSpec:
    """Plain updates, four loops; attention's temperature is steered."""
    return arm("main", "short", LOSSES["plain"], seeds, training={"steering": STEERED[name]})


def full() -> list[TunedSpec]:
    """The whole experiment."""
    return [*_gates(), *(steered(name, 10 if "," not in name else 5) for name in STEERED)]


def _gates() -> Iterator[TunedSpec]:
    for setup in ("hint", "short"):
        yield gated("main", setup, 10)
        for whose in ("own", "mean", "shuffled"):
            yield gated("main", setup, 10, update="gated", gate="learned", gate_of=whose)
        for gate in GATES:
            yield gated("main", setup, 5, update="gated", gate=gate)
        for c in CONSTANTS:
            yield gated("main", setup, 5, step_size=c)
    for gate in GATES:
        for whose in ("mean", "shuffled"):
            yield gated("main", "short", 5, update="gated", gate=gate, gate_of=whose)


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps."""

    def less(spec: TunedSpec) -> TunedSpec:
        t = spec.training
        t = replace(t, members=t.members[:2], lengths=(8, 16), steps=40, batch_size=8)
        return replace(spec, training=t, seeds=spec.seeds[:1], trial_steps=10)

    return [less(spec) for spec in full()]


# ---- what is measured ------------------------------------------------------------------------------------------------


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of `paths`, of their three kinds and one more, all of which say which model it is.

    "afterwards", of plain models: `settling.summary` if they are given a gate after training, `given`; and if all
    tokens are given its mean, `constant`.
    """
    labels, parameters = labels_of_gated(spec, float(trained["lr"])), trained["parameters"][-1]
    rows = [labels[number] | row for number, row in paths(spec, trained)]
    if spec.config.update == "plain" and spec.config.step_size == 1 and not spec.training.steering:
        for here, theta in zip(labels, parameters, strict=True):
            given = _afterwards(spec.config, theta, _batch(spec))
            rows += [here | {"kind": "afterwards", "final": False} | row for row in given]
    return pd.DataFrame(rows)


def paths(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[tuple[int, dict[str, object]]]:
    """Rows of trained models, each after the number of its model; of three kinds.

    "model", one a model, `final` true: `accuracy_64` and the like, of the last token of sequences so long, and
    `shortfall_16`, one less that at 16; the mean training accuracy over all steps, `accuracy_all`, which is higher if
    it learns sooner, and over the last tenth, `accuracy_end`; the mean `loss` of that, nats a scored position; and
    `settling.summary` of a path of `LOOPS` loops.

    "path": `accuracy`, the mean `size` of a state and `moved`, the length of the last step over it, after `loops`.

    "halting": of sequences that stop at a `threshold`, after the trained loops at the latest, the mean `loops` and
    `accuracy`; and `accuracy_fixed` if all take so many, between those at the two nearest whole numbers.
    """
    for number, (told, theta) in enumerate(zip(_models(spec, trained), trained["parameters"][-1], strict=True)):
        path = follow(rebuild(spec.config, theta), _batch(spec), LOOPS)
        yield number, {"kind": "model", "final": True, **told, **summary(path, spec.config.n_loops)}
        for row in _path(path):
            yield number, {"kind": "path", "final": False, **row}
        for row in _halting(path, spec.config.n_loops):
            yield number, {"kind": "halting", "final": False, **row}


def labels_of_gated(spec: TunedSpec, lr: float) -> list[dict[str, object]]:
    """Which models they are; `gate` is "none" with a plain update, `steering` "none" without."""
    c, steering = spec.config, spec.training.steering
    gates = {"gate": c.gate, "gate_of": c.gate_of} if c.update == "gated" else {"gate": "none", "gate_of": "own"}
    name = next((name for name, known in STEERED.items() if known == steering), "none" if steering is None else "other")
    return [labels | gates | {"steering": name} for labels in labels_of_tuned(spec, lr)]


def _models(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[dict[str, float]]:
    t, parameters = spec.training, trained["parameters"][-1]
    population = LoopedPopulation(t.config, [m.seed for m in spec.members])
    table = {f"accuracy_{n}": accuracy(population, parameters, t.task, n, _few(spec, k)) for n, k in LENGTHS.items()}
    table["shortfall_16"] = 1 - table["accuracy_16"]
    last = max(1, t.steps // 10)
    table |= {"accuracy_all": trained["accuracy"].mean(0), "accuracy_end": trained["accuracy"][-last:].mean(0)}
    table["loss"] = trained["losses"][-last:].mean(0)
    for number in range(len(parameters)):
        yield {name: float(values[number]) for name, values in table.items()}


def _path(path: Path) -> Iterator[dict[str, float]]:
    sizes = path.states.norm(dim=(-2, -1)).mean(-1)
    moved = (path.states[1:] - path.states[:-1]).norm(dim=(-2, -1)).mean(-1) / sizes[1:]
    right = path.right.double().mean(-1)
    for loops in SHOWN:
        told = {"accuracy": right[loops - 1], "size": sizes[loops], "moved": moved[loops - 1]}
        yield {"loops": loops} | {name: float(f"{float(value):.4g}") for name, value in told.items()}


def _halting(path: Path, most: int) -> Iterator[dict[str, float]]:
    fixed = path.right[:most].double().mean(-1)
    for threshold in THRESHOLDS:
        loops, right = halted(path, threshold, most)
        mean = float(loops.double().mean())
        low = min(int(mean), most - 1)
        same = float(torch.lerp(fixed[low - 1], fixed[low], mean - low))
        yield {
            "threshold": threshold,
            "loops": mean,
            "accuracy": float(right.double().mean()),
            "accuracy_fixed": float(same),
        }


def _afterwards(config: LoopedConfig, parameters: Tensor, batch: Batch) -> Iterator[dict[str, object]]:
    """A gate that training did not know: as it is, and its mean over places, sequences and trained loops."""
    for gate in GATES:
        path = follow(rebuild(replace(config, update="gated", gate=gate), parameters), batch, LOOPS)
        mean = float(path.gates[: config.n_loops].mean())
        yield {"given": gate, "constant": False, **summary(path, config.n_loops)}
        if mean > 0:
            path = follow(rebuild(replace(config, step_size=mean), parameters), batch, LOOPS)
            yield {"given": gate, "constant": True, **summary(path, config.n_loops)}


def _batch(spec: TunedSpec) -> Batch:
    """On which paths are followed: sequences whose last token has an answer."""
    batch = sample(spec.training.task, 2 * _few(spec, SEQUENCES), TOKENS, generator(TOKENS, "settling"))
    kept = batch.scored[:, -1].nonzero()[: _few(spec, SEQUENCES), 0]
    return Batch(batch.tokens[kept], batch.answers[kept], batch.scored[kept])


def _few(spec: TunedSpec, sequences: int) -> int:
    """Shorter trainings are measured on fewer sequences."""
    return sequences if spec.training.steps >= 1000 else max(2, sequences // 32)


EXPERIMENT = Experiment(
    name="gated_loops",
    claims=("EER-8", "EER-f2"),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
