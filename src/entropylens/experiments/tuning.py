"""Looped models, each arm at a learning rate of its own: it tries the same few rates as all others, and takes one.

A rate that suits one loss need not suit another, so that arms at one rate cannot be compared. The trials are part of an
arm's training: they are as many for all arms, on validation seeds that no result uses.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entropylens.experiments.experiment import Trained
from entropylens.experiments.looping import tensors
from entropylens.models.looped import LoopedConfig
from entropylens.training.looped import LoopedMember, LoopedSpec, train_looped
from entropylens.training.parallel import count_steps


@dataclass(frozen=True)
class TunedSpec:
    """A population whose learning rate is chosen by trials.

    Attributes:
        training: what is trained in the end; its members' rates are replaced by the one that is chosen.
        rates: learning rates that are tried, in ascending order; a single one is taken without a trial.
        seeds: of the trials.
        trial_steps: of each; the last fifth of them is what counts.
    """

    training: LoopedSpec
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seeds: tuple[int, ...] = (1000, 1001)
    trial_steps: int = 1000

    def __post_init__(self) -> None:
        if not self.rates or not self.seeds or self.trial_steps < 5 or tuple(sorted(self.rates)) != self.rates:
            raise ValueError(
                f"needs ascending rates, seeds and 5 steps or more, got {self.rates}, {self.seeds}, {self.trial_steps}"
            )
        if taken := set(self.seeds) & {m.seed for m in self.training.members}:
            raise ValueError(f"seeds of trials are none of the training's, got {sorted(taken)} as both")

    @property
    def config(self) -> LoopedConfig:
        """Of the models."""
        return self.training.config

    @property
    def members(self) -> tuple[LoopedMember, ...]:
        """Those that are kept."""
        return self.training.members

    @property
    def steps(self) -> int:
        """Of the trials, which are one population, and of the training."""
        return self.training.steps + (self.trial_steps if len(self.rates) > 1 else 0)

    @property
    def design(self) -> str:
        """The training's."""
        return self.training.design

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same training."""
        asked = {"rates": self.rates, "seeds": self.seeds, "trial_steps": self.trial_steps}
        return json.dumps({"training": json.loads(self.training.canonical()), **asked}, sort_keys=True)

    def work(self) -> float:
        """Floating-point operations, roughly."""
        return self.training.work() + (self.trials().work() if len(self.rates) > 1 else 0.0)

    def trials(self) -> LoopedSpec:
        """Every rate with every validation seed, rates outside."""
        optimizer = self.training.members[0].optimizer
        members = [LoopedMember(seed, replace(optimizer, lr=lr)) for lr in self.rates for seed in self.seeds]
        return replace(self.training, members=tuple(members), steps=self.trial_steps, snapshots=())

    def at(self, lr: float) -> LoopedSpec:
        """The training with a learning rate."""
        members = [replace(m, optimizer=replace(m.optimizer, lr=lr)) for m in self.training.members]
        return replace(self.training, members=tuple(members))


def train_tuned(spec: TunedSpec, device: str) -> Trained:
    """Try the rates, then train at the best.

    Returns:
        What `looping.train_models` keeps of the training, and `trials`, (rates, seeds), the accuracy of each trial, NaN
        where there was none or it diverged, and `lr`, the rate that was taken, a number.
    """
    started = time.perf_counter()
    table = torch.full((len(spec.rates), len(spec.seeds)), torch.nan)
    if len(spec.rates) > 1:
        trials, last = train_looped(spec.trials(), device, count_steps), spec.trial_steps // 5
        broken = ~trials.losses[-last:].isfinite().all(0)
        table = trials.accuracy[-last:].mean(0).masked_fill(broken, torch.nan).reshape(table.shape)
    lr = spec.rates[best(table)]
    run = train_looped(spec.at(lr), device, count_steps)
    kept = tensors(run) | {"trials": table, "lr": torch.tensor(lr, dtype=torch.float64)}
    return kept, time.perf_counter() - started, run.compiled


def best(trials: Tensor) -> int:
    """The row with the highest mean accuracy, (rates, seeds); of several, the first: the smallest rate."""
    return int(trials.nan_to_num(0.0).mean(-1).argmax())
