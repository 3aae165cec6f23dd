"""Claim 1: does a transformer end below the entropy of its target, and does a larger one do so more?

Widths × data regimes × seeds, and around this main design one variation at a time. A seed draws the target, the sample
and the initial parameters together; arms are paired on it. One population holds the seeds of one width and regime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment, final_log_probs, run_live
from entropylens.measures.distribution import bias
from entropylens.models.transformer import Norm, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.training.data import Data, finite_sample
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.spec import MemberSpec, PopulationSpec, TargetSpec

N_SAMPLES = (500, 2000, 8000, 32000)
BATCH = 4096
"""Fresh sentences a step. On the trie a batch costs the same whatever its size, and noise is not what claim 1 is about;
the design `batch` has smaller ones."""
REGIMES = {
    "exact": Data("exact"),
    "fresh": Data("fresh", batch_size=BATCH),
    **{f"finite {n}": Data("finite", n_samples=n) for n in N_SAMPLES},
}
TWO_REGIMES = {name: REGIMES[name] for name in ("fresh", "finite 2000")}
"""Those that the rules name: what the variations around the main design are trained on."""


@dataclass(frozen=True)
class Grid:
    """A block of cells, widths × regimes × seeds, and how each is trained.

    Attributes:
        widths: values of d_model.
        seeds: number of seeds.
        steps: updates of every model.
        n_snapshots: how often, about evenly in log(step), the distributions are measured; the untrained model is one.
        regimes: data regimes by name.
        optimizer: the same for all.
        family: of the target, as in `TargetSpec`.
        concentration: of the target's Dirichlet distributions; smaller is more predictable.
        entropy: nats that each target is tilted to; None leaves it as it was drawn.
        norm: of the model, as in `TransformerConfig`.
        design: label of the rows.
    """

    widths: Sequence[int] = (8, 16, 32, 64)
    seeds: int = 10
    steps: int = 1500
    n_snapshots: int = 24
    regimes: Mapping[str, Data] = field(default_factory=lambda: dict(REGIMES))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", lr=3e-3, final_lr=0.02))
    family: str = "autoregressive"
    concentration: float = 0.5
    entropy: float | None = None
    norm: Norm = "pre"
    design: str = "main"

    @property
    def snapshots(self) -> list[int]:
        """Step numbers, from 0 to `steps`."""
        points = torch.logspace(0, torch.log10(torch.tensor(float(self.steps))).item(), self.n_snapshots - 1)
        return sorted({0, self.steps, *points.round().int().tolist()} - {self.steps + 1})

    def target(self, seed: int) -> TargetSpec:
        """The target of a seed."""
        return TargetSpec(self.family, seed, self.concentration, entropy=self.entropy)

    def populations(self) -> list[PopulationSpec]:
        """One a width and regime, with all seeds."""
        return [self._population(width, data) for width in self.widths for data in self.regimes.values()]

    def _population(self, width: int, data: Data) -> PopulationSpec:
        members = tuple(MemberSpec(seed, self.target(seed), data, self.optimizer) for seed in range(self.seeds))
        config = TransformerConfig(d_model=width, norm=self.norm)
        return PopulationSpec(config, members, self.steps, tuple(self.snapshots), design=self.design)


def variations(main: Grid, wide: int, middle: int) -> list[Grid]:
    """One change at a time to the main design, with fresh data and, unless data are what changes, a sample of 2000.

    Args:
        main: the main design.
        wide: the width that the rules are about.
        middle: the width at which the target's entropy is varied, where a model costs a third.
    """
    around = replace(main, n_snapshots=2, regimes=TWO_REGIMES)
    small_batches = {f"fresh {size}": Data("fresh", batch_size=size) for size in (64, 512)}
    return [
        replace(around, design="target", family="sparse"),
        *(replace(around, design="entropy", widths=(middle,), entropy=nats) for nats in (3.0, 4.5, 7.0)),
        replace(around, design="norm", widths=(wide,), norm="none"),
        replace(around, design="batch", widths=(wide,), regimes=small_batches),
        replace(around, design="long", widths=(wide,), regimes={"fresh": REGIMES["fresh"]}, steps=4 * main.steps),
    ]


def populations(main: Grid, wide: int = 64, middle: int = 32) -> list[PopulationSpec]:
    """The whole experiment: the main design and its variations."""
    return [spec for grid in (main, *variations(main, wide, middle)) for spec in grid.populations()]


def run(grid: Grid, device: str = "cpu", jobs: int | None = None) -> pd.DataFrame:
    """Train and measure a grid now, without the store; columns as of `measure`."""
    return run_live(grid.populations(), measure, device, jobs)


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row a member and snapshot: what it was trained on, `step`, `final`, and `bias`, nats.

    The columns `design` and `main` tell the main design, which rules judge, from its variations. `n_samples` and
    `batch_size` are 0 where the regime has none; `tilt` is the entropy that the target was tilted to, NaN for none.
    """
    language, members, steps = spec.config.language, spec.build_members(), trained["snapshot_steps"].tolist()
    target = torch.stack([m.target for m in members])
    seen = torch.stack([_seen(language, m.seed, m.target, m.data) for m in members])
    measured = bias(trained["log_probs"], target, seen)
    k, m = len(steps), len(members)
    targets = [member.target for member in spec.members]
    return pd.DataFrame(
        {
            "design": spec.design,
            "main": spec.design == "main",
            "d_model": spec.config.d_model,
            "n_parameters": trained["parameters"].shape[1],
            "norm": spec.config.norm,
            "family": [t.family for t in targets] * k,
            "tilt": [np.nan if t.entropy is None else t.entropy for t in targets] * k,
            "regime": [member.data.regime for member in members] * k,
            "n_samples": [member.data.n_samples or 0 for member in members] * k,
            "batch_size": [member.data.batch_size or 0 for member in members] * k,
            "seed": [member.seed for member in members] * k,
            "step": [step for step in steps for _ in members],
            "final": [step == steps[-1] for step in steps for _ in members],
            **{name: values.expand(k, m).reshape(-1).numpy() for name, values in measured.items()},
        }
    )


def _seen(language: Language, seed: int, target: Tensor, data: Data) -> Tensor:
    """p̂ of a finite sample, else the target itself (of which fresh samples are unbiased)."""
    if data.n_samples is None:
        return target
    return language.empirical(finite_sample(language, target, data.n_samples, seed))


EXPERIMENT = Experiment(
    name="low_entropy",
    claims=("LE-1a", "LE-1b"),
    populations={
        "quick": lambda: populations(Grid(widths=(8, 64), seeds=2, steps=20), middle=8),
        "full": lambda: populations(Grid()),
    },
    measure=measure,
    publishes=final_log_probs,
)
