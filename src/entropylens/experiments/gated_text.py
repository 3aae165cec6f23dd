"""Does the entropy gate help in a larger transformer, on text? Against a gate that is constant, and deep models.

As in `gated_loops`, the rival of a gate that is learned from the entropy of attention is one that is learned and knows
nothing of it. A deep model has a block for each loop: as much computation, and four times the parameters of its
blocks; one of half the width has about as many parameters as the looped one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.language_models import (
    Row,
    adam,
    labels,
    members,
    population_of,
    rows_of,
    shorter,
    snapshots,
    spread,
    train,
)
from entropylens.experiments.real_text import held_out
from entropylens.measures.estimates import forced
from entropylens.models.gates import Gate, Whose
from entropylens.models.looped import LoopedConfig, Update
from entropylens.training.text import TextData, TextSpec, corpus_of

LENGTH, BATCH, STEPS, LOOPS, WIDTH = 64, 16, 1000, 4, 64


@dataclass(frozen=True)
class Arm:
    """A kind of looped or deep model, and how many seeds it gets."""

    update: Update = "plain"
    gate: Gate = "learned"
    gate_of: Whose = "own"
    n_blocks: int = 1
    d_model: int = WIDTH
    seeds: int = 10


ARMS = {
    "entropy gate": Arm("gated"),
    "constant gate": Arm("gated", "constant"),
    "plain": Arm(),
    "mean gate": Arm("gated", gate_of="mean", seeds=5),
    "deep": Arm(n_blocks=LOOPS, seeds=5),
    "deep, narrow": Arm(n_blocks=LOOPS, d_model=WIDTH // 2, seeds=5),
}


def arm(kind: Arm, design: str = "main") -> TextSpec:
    """A population on the training documents."""
    data = TextData("text")
    config = LoopedConfig(
        data.vocab_size + 1, kind.d_model, LOOPS, norm="pre", position_scale=1.0, n_blocks=kind.n_blocks,
        update=kind.update, gate=kind.gate, gate_of=kind.gate_of,
    )  # fmt: skip
    who = members(kind.seeds, adam(kind.d_model))
    return TextSpec(config, data, who, STEPS, BATCH, LENGTH, snapshots=spread(STEPS), design=design)


def full() -> list[TextSpec]:
    """All arms, and those that the rule compares at a third of the rate."""
    judged = [arm(ARMS[name], "rate") for name in ("entropy gate", "constant gate")]
    slow = [replace(spec, members=members(5, adam(WIDTH, lr=3e-3))) for spec in judged]
    return [*(arm(kind) for kind in ARMS.values()), *slow]


def quick() -> list[TextSpec]:
    """Every arm with two seeds and a few updates."""
    return [shorter(spec, steps=4) for spec in full()]


def measure(spec: TextSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows "model", one a member and snapshot: the `arm`, a key of `ARMS`, and on windows of the test documents
    `cross_entropy`, `forced` and `overconfidence` in nats a symbol, as in `real_text`, and `fit`, −`cross_entropy`.
    """  # noqa: D205 - a list in a sentence
    population, names = population_of(spec), labels(spec, trained)
    rows: list[Row] = []
    for step, theta in snapshots(trained):
        final = step == spec.steps
        here = [name | {"step": step, "final": final, "kind": "model", "arm": arm_of(spec)} for name in names]
        read = forced(population, theta, held_out(spec, corpus_of(spec.data.corpus).test, everything=final))
        ce, entropy = read.surprise.mean((-2, -1)), read.entropy.mean((-2, -1))
        values = {"cross_entropy": ce, "fit": -ce, "forced": entropy, "overconfidence": ce - entropy}
        rows += rows_of(here, values)
    return pd.DataFrame(rows)


def arm_of(spec: TextSpec) -> str:
    """The key of `ARMS` that a population is."""
    c = spec.config
    assert isinstance(c, LoopedConfig)
    for name, kind in ARMS.items():
        gate = kind.update == "plain" or (c.gate, c.gate_of) == (kind.gate, kind.gate_of)
        wide = c.d_model == kind.d_model or (kind.n_blocks == 1 and c.d_model > WIDTH)
        if c.update == kind.update and gate and c.n_blocks == kind.n_blocks and wide:
            return name
    raise ValueError(f"no arm is like {c}")


EXPERIMENT = Experiment(
    name="gated_text",
    claims=("EER-f3",),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train,
)
