"""Claim 1: does a transformer end below the entropy of its target, and does a larger one do so more?

Widths × data regimes × seeds. A seed draws the target, the sample and the initial parameters together; arms are paired
on it. One population holds all regimes and seeds of one width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from entropylens.measures.distribution import bias
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet
from entropylens.training.data import Data, finite_sample
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.parallel import count_steps, map_processes
from entropylens.training.population import Member, Run, train

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
    seeds: int = 5
    steps: int = 800
    n_snapshots: int = 24
    regimes: Mapping[str, Data] = field(default_factory=lambda: dict(REGIMES))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", lr=3e-3, final_lr=0.02))
    concentration: float = 0.5

    @property
    def snapshots(self) -> list[int]:
        """Step numbers, from 0 to `steps`."""
        points = torch.logspace(0, torch.log10(torch.tensor(float(self.steps))).item(), self.n_snapshots - 1)
        return sorted({0, self.steps, *points.round().int().tolist()} - {self.steps + 1})

    def target(self, seed: int) -> Tensor:
        """p_tgt of a seed, (S,)."""
        return autoregressive_dirichlet(Language(), concentration=self.concentration, seed=seed)

    def members(self) -> list[Member]:
        """Regimes × seeds, the population of one width."""
        return [
            Member(seed, self.target(seed), data, self.optimizer)
            for data in self.regimes.values()
            for seed in range(self.seeds)
        ]


def run(grid: Grid, device: str = "cpu", jobs: int | None = None) -> pd.DataFrame:
    """Train and measure every cell: one row a width, regime, seed and snapshot; see `rows` for the columns.

    On a CPU the widths run side by side in processes; on a GPU one after the other.
    """
    items = [(grid, width, device) for width in sorted(grid.widths, reverse=True)]
    if device != "cpu":
        return pd.concat([_one_width(item) for item in items], ignore_index=True)
    steps = grid.steps * len(items)
    return pd.concat(map_processes(_one_width, items, steps=steps, jobs=jobs, label="training"), ignore_index=True)


def _one_width(item: tuple[Grid, int, str]) -> pd.DataFrame:
    grid, width, device = item
    config = TransformerConfig(d_model=width)
    trained = train(
        config, grid.members(), steps=grid.steps, snapshots=grid.snapshots, device=device, progress=count_steps
    )
    return rows(trained, list(grid.regimes)).assign(seconds=trained.seconds)


def rows(trained: Run, regimes: Sequence[str]) -> pd.DataFrame:
    """Measure a population: d_model, n_parameters, regime, seed, step, final, and what `bias` measures, nats."""
    language, members = trained.config.language, trained.members
    target = torch.stack([m.target for m in members])
    seen = torch.stack([_seen(language, m) for m in members])
    measured = bias(trained.log_probs, target, seen)
    k, m = len(trained.snapshot_steps), len(members)
    names = [name for name in regimes for _ in range(m // len(regimes))]
    frame = pd.DataFrame(
        {
            "d_model": trained.config.d_model,
            "n_parameters": trained.parameters.shape[1],
            "regime": names * k,
            "seed": [member.seed for member in members] * k,
            "step": [step for step in trained.snapshot_steps for _ in members],
            **{name: values.expand(k, m).reshape(-1).numpy() for name, values in measured.items()},
        }
    )
    return frame.assign(final=frame["step"] == trained.snapshot_steps[-1])


def _seen(language: Language, member: Member) -> Tensor:
    """p̂ of a finite sample, else the target itself (of which fresh samples are unbiased)."""
    if member.data.n_samples is None:
        return member.target
    return language.empirical(finite_sample(language, member.target, member.data.n_samples, member.seed))
