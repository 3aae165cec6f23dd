"""Is a looped transformer better than a deep one, at as many parameters, or at as much computation?

A looped model has one block that is used several times; a deep one has a block for each time. With as many loops as
blocks, both compute as much, and the looped one has a fraction of the parameters; a deep one of smaller width has as
many parameters, and computes less. Tasks are induction in one step, and in two ("2 hops").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
from torch import Tensor

from entropylens.experiments.energy_entropy import LOSSES, arm, labels_of_tuned
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.gated_loops import paths
from entropylens.experiments.tuning import TunedSpec, train_tuned

DEPTH = 4
"""Loops, or blocks."""
TASKS = {"2 hops, hint": 10, "hint": 10, "plain": 5}
"""Settings, and how many seeds."""


@dataclass(frozen=True)
class Shape:
    """A kind of model."""

    d_model: int
    n_blocks: int
    n_loops: int = DEPTH
    match: tuple[str, ...] = ()
    """What it has as much of as the model that it is compared with."""


SHAPES = {
    "looped": Shape(16, 1, match=("parameters", "compute")),
    "deep": Shape(16, DEPTH, match=("compute",)),
    "deep, narrow": Shape(8, DEPTH, match=("parameters",)),
    "looped longer": Shape(16, 1, n_loops=2 * DEPTH),
    "two blocks, looped": Shape(16, 2),
}


def full() -> list[TunedSpec]:
    """The whole experiment, cross-entropy alone, the norm before the block."""
    return [
        arm("main" if shape.match else "others", "short", LOSSES["plain"], seeds, task=task,
            shape={"d_model": shape.d_model, "n_blocks": shape.n_blocks, "n_loops": shape.n_loops})
        for task, seeds in TASKS.items() for shape in SHAPES.values()
    ]  # fmt: skip


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps."""

    def less(spec: TunedSpec) -> TunedSpec:
        t = replace(spec.training, members=spec.members[:2], lengths=(8, 16), steps=40, batch_size=8)
        return replace(spec, training=t, seeds=spec.seeds[:1], trial_steps=10)

    return [less(spec) for spec in full()]


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of `gated_loops.paths`, with the `kind_of_model`, a key of `SHAPES`, and its number of `parameters`.

    A looped model is compared with two deep ones, and so has each of its rows twice: `match` says what is equal.
    """
    name, shape = shape_of(spec)
    kind = {"shape": name, "looped": shape.n_blocks == 1, "parameters": spec.config.build().n_parameters}
    labels = [here | kind for here in labels_of_tuned(spec, float(trained["lr"]))]
    rows = [labels[number] | row for number, row in paths(spec, trained)]
    return pd.DataFrame([row | {"match": match} for row in rows for match in shape.match or ("none",)])


def shape_of(spec: TunedSpec) -> tuple[str, Shape]:
    """The entry of `SHAPES` that a population is."""
    c = spec.config
    return next(
        (name, shape)
        for name, shape in SHAPES.items()
        if (shape.d_model, shape.n_blocks, shape.n_loops) == (c.d_model, c.n_blocks, c.n_loops)
    )


EXPERIMENT = Experiment(
    name="looped_or_deep",
    claims=("EER-10",),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
