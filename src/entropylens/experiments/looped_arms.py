"""Arms of looped models on a task that asks for more than one look, and rows that are measured on all of them.

With a hint, one look at the sequence is enough, and what a loop does is hardly tested. Without it a token has to learn
first what came before each other: two looks. That is learned at a width of 32, in four loops ("two looks"); and two
hops of induction, with a hint, are two looks as well, each of which needs the one before ("two hops").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entropylens.experiments.energy_entropy import LOSSES, arm, labels_of_tuned
from entropylens.experiments.tuning import TunedSpec
from entropylens.measures.induction import accuracy
from entropylens.measures.settling import Path, follow, halted, summary
from entropylens.tasks.induction import Batch, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, LoopedSpec, rebuild

WIDTH, LOOPS = 32, 4
LENGTHS = {16: 512, 32: 512, 64: 256, 256: 64, 1000: 32}
"""Tokens at which accuracy is measured, and by how many sequences."""
FOLLOWED, SEQUENCES = 200, 64
"""How many loops paths are followed, and of how many sequences, as long as the longest of the training."""
SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 20, 25, 32, 50, 75, 100, 150, 200)
"""Loops after which a path is told."""
THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
"""Of relative entropy, at which a sequence halts."""
LEARNED, WINDOW = 0.5, 50
"""A model has learned when its accuracy in training, over so many steps, first is so high."""
Row = dict[str, object]


@dataclass(frozen=True)
class Setup:
    """A task and what goes with it, for models of `WIDTH` with the norm after the block."""

    task: str
    """A key of `looped_induction.SETTINGS` or `HOPS`."""
    lengths: tuple[int, ...]
    steps: int
    trial_steps: int
    rates: tuple[float, ...]


WIDE = {
    "two looks": Setup("plain", (16, 24, 32), 1500, 600, (3e-3, 1e-2, 3e-2)),
    "two hops": Setup("two hops", (8, 12, 16), 2500, 1000, (1.5e-3, 5e-3, 1.5e-2)),
}
"""The rates that are tried; the best of each first trial, on validation seeds, is the one in the middle."""


def wide(
    design: str, setup: str, seeds: int, shape: Mapping[str, object] | None = None, **training: object
) -> TunedSpec:
    """A population with cross-entropy alone, in one of the set-ups `WIDE` or of `energy_entropy.SETUPS`.

    Args:
        design: label of the rows.
        setup: which.
        seeds: how many.
        shape: fields of `LoopedConfig`.
        training: fields of `LoopedSpec`.
    """
    if setup not in WIDE:
        return arm(design, setup, LOSSES["plain"], seeds, shape=shape or {}, training=training)
    asked, usual = WIDE[setup], {"d_model": WIDTH, "n_loops": LOOPS, "norm": "post"}
    spec = arm(design, "short", LOSSES["plain"], seeds, task=asked.task, shape=usual | dict(shape or {}),
               training={"steps": asked.steps, "lengths": asked.lengths} | training)  # fmt: skip
    return replace(spec, rates=asked.rates, trial_steps=asked.trial_steps)


def less(spec: TunedSpec) -> TunedSpec:
    """The same with two seeds and a few short steps."""

    def short(t: LoopedSpec) -> LoopedSpec:
        return replace(t, members=t.members[:2], lengths=(8, 16), steps=40, batch_size=8)

    return replace(
        spec, training=short(spec.training), others=tuple(map(short, spec.others)), seeds=spec.seeds[:1], trial_steps=10
    )


# ---- what is measured ------------------------------------------------------------------------------------------------


def labels_of_arm(spec: TunedSpec, trained: Mapping[str, Tensor]) -> list[Row]:
    """Which models they are; `setup` is a key of `WIDE` or of `energy_entropy.SETUPS`."""
    labels = labels_of_tuned(spec, float(trained["lr"]))
    wide_norm = spec.config.norm == "post"
    found = next((name for name, setup in WIDE.items() if wide_norm and setup.task == labels[0]["task"]), None)
    return [label | ({"setup": found} if found else {}) for label in labels]


def paths(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[tuple[int, Row]]:
    """Rows of trained models, each after the number of its model; of three kinds.

    "model", one a model, `final` true: `accuracy_32` and the like, of the last token of sequences so long;
    `updates_to_learn`, after how many of them training accuracy first is `LEARNED`, all if it never is, and `learned`,
    whether it is (0 or 1); mean training accuracy over the last tenth of the steps, `accuracy_end`, and `loss`, nats a
    scored position; `edge`, whether the rate is the lowest or the highest that was tried; and `settling.summary` of a
    path of `FOLLOWED` loops.

    "path": `accuracy`, the mean `size` of a state and `moved`, the length of the last step over it, `away`, how far
    the answer still is from the last one, the mean gate, `opening`, and the relative entropy of the last token's row,
    `uncertainty`, after `loops`.

    "halting": of sequences that stop at a `threshold`, after the trained loops at the latest, the mean `loops` and
    `accuracy`; `accuracy_fixed` if all take so many, between those at the two nearest whole numbers; and
    `accuracy_random`, if as many stop after each loop, drawn by lot.
    """
    for number, (told, theta) in enumerate(zip(_models(spec, trained), trained["parameters"][-1], strict=True)):
        path = follow(rebuild(spec.config, theta), batch_of(spec), FOLLOWED)
        yield number, {"kind": "model", "final": True, **told, **summary(path, spec.config.n_loops)}
        for row in _path(path):
            yield number, {"kind": "path", "final": False, **row}
        for row in _halting(path, spec.config.n_loops):
            yield number, {"kind": "halting", "final": False, **row}


def _models(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[dict[str, float]]:
    t, parameters = spec.training, trained["parameters"][-1]
    population = LoopedPopulation(t.config, [m.seed for m in spec.members])
    table = {f"accuracy_{n}": accuracy(population, parameters, t.task, n, _few(spec, k)) for n, k in LENGTHS.items()}
    last = max(1, t.steps // 10)
    table["updates_to_learn"] = learning(trained["accuracy"])
    table["learned"] = (table["updates_to_learn"] < t.steps).float()
    table |= {"accuracy_end": trained["accuracy"][-last:].mean(0), "loss": trained["losses"][-last:].mean(0)}
    edge = float(len(spec.rates) > 1 and float(trained["lr"]) in (spec.rates[0], spec.rates[-1]))
    for number in range(len(parameters)):
        yield {name: float(values[number]) for name, values in table.items()} | {"edge": edge}


def learning(accuracies: Tensor) -> Tensor:
    """Updates until the accuracy in training, averaged over `WINDOW` of them, is `LEARNED`; (steps, M) to (M)."""
    window = min(WINDOW, len(accuracies))
    high = accuracies.unfold(0, window, 1).mean(-1) >= LEARNED  # (steps − window + 1, M)
    first = torch.where(high.any(0), high.int().argmax(0) + window, len(accuracies))
    return first.float()


def _path(path: Path) -> Iterator[dict[str, float]]:
    sizes = path.states.norm(dim=(-2, -1)).mean(-1)
    moved = path.states.diff(dim=0).norm(dim=(-2, -1)).mean(-1) / sizes[1:]
    right, away = path.right.double().mean(-1), path.away.mean(-1)
    for loops in SHOWN:
        at = loops - 1
        told = {"accuracy": right[at], "size": sizes[loops], "moved": moved[at], "away": away[at]}
        told |= {"opening": path.gates[at].mean(), "uncertainty": path.open[at].mean()}
        yield {"loops": loops} | {name: float(f"{float(value):.4g}") for name, value in told.items()}


def _halting(path: Path, most: int) -> Iterator[dict[str, float]]:
    fixed = path.right[:most].double().mean(-1)
    for threshold in THRESHOLDS:
        loops, right = halted(path, threshold, most)
        mean = float(loops.double().mean())
        low = min(int(mean), most - 1)
        yield {
            "threshold": threshold,
            "loops": mean,
            "accuracy": float(right.double().mean()),
            "accuracy_fixed": float(torch.lerp(fixed[low - 1], fixed[low], mean - low)),
            "accuracy_random": float(fixed[loops - 1].mean()),
        }


def batch_of(spec: TunedSpec) -> Batch:
    """On which paths are followed: sequences whose last token has an answer."""
    many, tokens = _few(spec, SEQUENCES), max(spec.training.lengths)
    batch = sample(spec.training.task, 4 * many, tokens, generator(tokens, "settling"))
    kept = batch.scored[:, -1].nonzero()[:many, 0]
    return Batch(batch.tokens[kept], batch.answers[kept], batch.scored[kept])


def _few(spec: TunedSpec, sequences: int) -> int:
    """Shorter trainings are measured on fewer sequences."""
    return sequences if spec.training.steps >= 1000 else max(2, sequences // 32)
