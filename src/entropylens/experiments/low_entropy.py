"""Claim 1: does a transformer end below the entropy of its target, and does a larger one do so more?

Widths × data regimes × seeds. A seed draws the target, the sample and the initial parameters together; arms are paired
on it. One population holds all regimes and seeds of one width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from entropylens.experiments.experiment import Experiment, run_live
from entropylens.measures.distribution import bias
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language
from entropylens.training.data import Data, finite_sample
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.spec import MemberSpec, PopulationSpec, TargetSpec

N_SAMPLES = 2000
REGIMES = {
    "exact": Data("exact"),
    "fresh": Data("fresh", batch_size=256),
    "finite": Data("finite", n_samples=N_SAMPLES),
}


@dataclass(frozen=True)
class Grid:
    """The cells of the experiment and how each is trained.

    Attributes:
        widths: values of d_model.
        seeds: number of seeds.
        steps: updates of every model.
        n_snapshots: how often, about evenly in log(step), the distributions are measured; the untrained model is one.
        regimes: data regimes by name.
        optimizer: the same for all.
        concentration: of the autoregressive Dirichlet target; smaller is more predictable.
    """

    widths: Sequence[int] = (8, 16, 32, 64)
    seeds: int = 10
    steps: int = 600
    n_snapshots: int = 24
    regimes: Mapping[str, Data] = field(default_factory=lambda: dict(REGIMES))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", lr=3e-3, final_lr=0.02))
    concentration: float = 0.5

    @property
    def snapshots(self) -> list[int]:
        """Step numbers, from 0 to `steps`."""
        points = torch.logspace(0, torch.log10(torch.tensor(float(self.steps))).item(), self.n_snapshots - 1)
        return sorted({0, self.steps, *points.round().int().tolist()} - {self.steps + 1})

    def target(self, seed: int) -> TargetSpec:
        """The target of a seed."""
        return TargetSpec("autoregressive", seed, self.concentration)

    def populations(self) -> list[PopulationSpec]:
        """One a width, with all regimes and seeds."""
        members = tuple(
            MemberSpec(seed, self.target(seed), data, self.optimizer)
            for data in self.regimes.values()
            for seed in range(self.seeds)
        )
        return [
            PopulationSpec(TransformerConfig(d_model=d), members, self.steps, tuple(self.snapshots))
            for d in self.widths
        ]


def run(grid: Grid, device: str = "cpu", jobs: int | None = None) -> pd.DataFrame:
    """Train and measure a grid now, without the store; columns as of `measure`."""
    return run_live(grid.populations(), measure, device, jobs)


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row a member and snapshot: d_model, n_parameters, regime, n_samples, seed, step, final, and `bias`, nats."""
    language, members, steps = spec.config.language, spec.build_members(), trained["snapshot_steps"].tolist()
    target = torch.stack([m.target for m in members])
    measured = bias(
        trained["log_probs"], target, torch.stack([_seen(language, m.seed, m.target, m.data) for m in members])
    )
    k, m = len(steps), len(members)
    return pd.DataFrame(
        {
            "d_model": spec.config.d_model,
            "n_parameters": trained["parameters"].shape[1],
            "regime": [member.data.regime for member in members] * k,
            "n_samples": [member.data.n_samples or 0 for member in members] * k,
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


def at_equal_loss(rows: pd.DataFrame, wide: int, narrow: int, levels: Sequence[float]) -> pd.DataFrame:
    """How the bias of two widths differs when their excess loss first passes a level, nats: exploratory.

    One row a regime and level that two seeds or more reach in both widths: the mean of bias(wide) − bias(narrow) over
    those `n` seeds, and its 95 % Student interval.
    """
    found = []
    for regime, part in rows.groupby("regime", sort=False):
        for level in levels:
            bias_at = part.groupby(["d_model", "seed"]).apply(_first_passing, level)
            gaps = (bias_at.loc[wide] - bias_at.loc[narrow]).dropna().to_numpy()
            if len(gaps) > 1:
                interval = stats.ttest_1samp(gaps, 0.0).confidence_interval(0.95)
                found.append((regime, level, gaps.mean(), interval.low, interval.high, len(gaps)))
    return pd.DataFrame(found, columns=["regime", "excess loss", "difference", "low", "high", "n"])


def _first_passing(path: pd.DataFrame, level: float) -> float:
    """The bias where the excess loss first falls below a level, between snapshots; NaN if it never does."""
    path = path.sort_values("step")
    loss, bias_ = path["excess_loss"].to_numpy(), path["bias"].to_numpy()
    below = np.flatnonzero(loss < level)
    if len(below) == 0 or below[0] == 0:
        return float("nan")
    i = int(below[0])
    share = (loss[i - 1] - level) / (loss[i - 1] - loss[i])
    return float(bias_[i - 1] + share * (bias_[i] - bias_[i - 1]))


EXPERIMENT = Experiment(
    name="low_entropy",
    claims=("LE-1a", "LE-1b"),
    populations={
        "quick": lambda: Grid(widths=(8, 64), seeds=3, steps=50).populations(),
        "full": lambda: Grid().populations(),
    },
    measure=measure,
)
