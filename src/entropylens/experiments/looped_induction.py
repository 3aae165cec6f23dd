"""Does cross-entropy alone train a looped transformer with one head on induction? Where it does not: why not?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.looping import train_models
from entropylens.measures.induction import accuracy
from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import InductionTask
from entropylens.training.looped import LoopedMember, LoopedPopulation, LoopedSpec
from entropylens.training.optimizers import OptimizerConfig

VOCABULARY = 16
LENGTHS = {10: 512, 16: 512, 32: 512, 64: 512, 128: 512, 256: 256, 512: 128, 1000: 100}
"""Tokens at which accuracy is measured, and by how many sequences."""
WIDER = {16: 1e-2, 32: 5e-3, 64: 3e-3}
"""Learning rates of wider models; 0.01 was the best of three for d = 8 and 16, in trials on other seeds."""
WINDOW = 50
"""Steps that a point of a training curve is the mean of."""
SNAPSHOTS = (0, 100, 300, 1000)
"""Updates after which parameters are kept, besides the last."""


@dataclass(frozen=True)
class Setting:
    """A task, and whether embeddings hint at the token before."""

    task: InductionTask
    hint: bool = False


SETTINGS = {
    "plain": Setting(InductionTask(VOCABULARY, "repeat", scored="all")),
    "hint": Setting(InductionTask(VOCABULARY, "repeat", scored="all"), hint=True),
    "plain, last": Setting(InductionTask(VOCABULARY, "repeat")),
    "hint, last": Setting(InductionTask(VOCABULARY, "repeat"), hint=True),
    "unique": Setting(InductionTask(VOCABULARY, "unique")),
    "unique, hint": Setting(InductionTask(VOCABULARY, "unique"), hint=True),
    "trigger": Setting(InductionTask(VOCABULARY, "trigger")),
}
"""Tasks by name: in "last", "unique" and "trigger" only the last token is scored; else every one that repeats."""
HOPS = {"two hops": Setting(InductionTask(8, "repeat", scored="all", immediate=False, hops=2), hint=True)}
"""The same question, asked again of its answer; no token follows itself, as it would be its own answer for ever. With
`VOCABULARY` symbols it is not learned in some thousand updates."""


@dataclass(frozen=True)
class Arm:
    """Models that differ in their seed alone.

    Attributes:
        design: label of the rows.
        setting: a key of `SETTINGS` or `HOPS`.
        seeds: how many.
        shape: fields of `LoopedConfig`.
        optimizer: fields of `OptimizerConfig` that differ from AdamW at a rate of 0.01 without weight decay.
        training: fields of `LoopedSpec` that differ from its defaults.
    """

    design: str
    setting: str
    seeds: int = 5
    shape: Mapping[str, object] = field(default_factory=dict)
    optimizer: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)

    def population(self, steps: int) -> LoopedSpec:
        """Its specification; `steps` unless the arm's own."""
        setting, optimizer = (SETTINGS | HOPS)[self.setting], {"name": "adamw", "lr": 1e-2} | dict(self.optimizer)
        config = LoopedConfig(setting.task.vocabulary, hint=setting.hint, **self.shape)  # type: ignore[arg-type]
        members = tuple(LoopedMember(s, OptimizerConfig(**optimizer)) for s in range(self.seeds))  # type: ignore[arg-type]
        training: dict[str, Any] = {"steps": steps} | dict(self.training)
        training["snapshots"] = tuple(s for s in SNAPSHOTS if s < training["steps"])
        return LoopedSpec(config, setting.task, members, design=self.design, **training)


def design() -> list[Arm]:
    """The paper's loop at its width, on two tasks; around it loops, widths and tasks; and one thing changed at a time.

    Variations have 12 loops, at half the cost of 25.
    """
    both, twelve = ("plain", "hint"), {"n_loops": 12}
    others = [name for name in SETTINGS if name not in both]
    return [
        *(Arm("main", s, 10, {"n_loops": 25}) for s in both),
        *(Arm("loops", s, 5, {"n_loops": t}) for t in (1, 2, 4, 12) for s in both),
        *(Arm("width", s, 5, {"n_loops": 4, "d_model": d}, {"lr": lr}) for d, lr in WIDER.items() for s in both),
        *(Arm("width", "hint", 5, twelve | {"d_model": d}, {"lr": WIDER[d]}) for d in (16, 32)),
        *(Arm("task", s, 5, {"n_loops": 4}) for s in others),
        *(Arm("norm", "hint", 5, twelve | {"norm": norm}) for norm in ("pre", "none")),
        *(Arm("norm", s, 10, {"n_loops": 25, "norm": "pre"}) for s in both),
        Arm("precision", "hint", 5, {"n_loops": 25}, training={"dtype": "float64"}),
        Arm("clipping", "hint", 5, {"n_loops": 25}, training={"clip": 1.0}),
        Arm("mask", "hint", 5, twelve | {"causal": False}),
        Arm("positions", "hint", 5, twelve | {"position_scale": 0.0}),
        Arm("rate", "hint", 5, twelve, {"lr": 3e-2}),
        Arm("curriculum", "hint", 5, twelve, training={"warm_up": 0.0}),
        Arm("long", "hint", 5, twelve, training={"steps": 6000}),
        Arm("two blocks", "plain", 5, {"n_loops": 2, "n_blocks": 2}),
    ]


def populations(arms: Sequence[Arm], steps: int = 2000) -> list[LoopedSpec]:
    """The whole experiment."""
    return [arm.population(steps) for arm in arms]


def quick() -> list[LoopedSpec]:
    """A little of everything: two seeds, two loops, short."""
    arms = [Arm("main", s, 2, {"n_loops": 2}, training={"lengths": (8, 16)}) for s in ("plain", "hint")]
    return populations(arms, steps=60)


def measure(spec: LoopedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of two kinds, all of which say which model it is.

    "model", one a trained model, `final` true: `accuracy_64` and the like, of the last token of sequences so long;
    `shortfall`, 1 less that at 64; and the mean `loss` (nats a scored position) of the last `WINDOW` steps. "curve", a
    row for each `WINDOW` steps: the `step` after them, and mean `loss` and training `accuracy` in them; steps that are
    left over at the beginning belong to none.
    """
    population = LoopedPopulation(spec.config, [m.seed for m in spec.members])
    at = {n: accuracy(population, trained["parameters"][-1], spec.task, n, many) for n, many in LENGTHS.items()}
    left = spec.steps % WINDOW
    curves = {name: trained[name][left:].unfold(0, WINDOW, WINDOW).mean(-1) for name in ("losses", "accuracy")}
    rows: list[dict[str, object]] = []
    for number, member in enumerate(spec.members):
        labels = labels_of(spec, member)
        end = {f"accuracy_{n}": float(values[number]) for n, values in at.items()}
        end |= {"shortfall": 1 - end["accuracy_64"], "loss": float(curves["losses"][-1, number])}
        rows.append(labels | {"kind": "model", "final": True} | end)
        for point in range(len(curves["losses"])):
            told = {"step": left + WINDOW * (point + 1), "loss": float(f"{curves['losses'][point, number]:.4g}")}
            told |= {"accuracy": float(f"{curves['accuracy'][point, number]:.4g}")}
            rows.append(labels | {"kind": "curve", "final": False} | told)
    return pd.DataFrame(rows)


def labels_of(spec: LoopedSpec, member: LoopedMember) -> dict[str, object]:
    """Which model it is."""
    c, setting = spec.config, Setting(spec.task, spec.config.hint)
    return {
        "design": spec.design,
        "main": spec.design == "main",
        "task": next(name for name, known in (SETTINGS | HOPS).items() if known == setting),
        **{n: getattr(c, n) for n in ("d_model", "n_loops", "n_blocks", "norm", "causal", "position_scale")},
        "lr": member.optimizer.lr,
        "weight_decay": member.optimizer.weight_decay,
        "warm_up": spec.warm_up,
        "clip": spec.clip or math.inf,
        "dtype": spec.dtype,
        "steps": spec.steps,
        "parameters": c.build().n_parameters,
        "seed": member.seed,
    }


EXPERIMENT = Experiment(
    name="looped_induction",
    claims=("EER-1",),
    populations={"quick": quick, "full": lambda: populations(design())},
    measure=measure,
    train=train_models,
)
