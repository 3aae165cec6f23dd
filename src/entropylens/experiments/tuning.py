"""Looped models, each arm at a learning rate of its own: it tries the same few rates as all others, and takes one.

A rate that suits one loss need not suit another, so that arms at one rate cannot be compared. The trials are part of an
arm's training: they are as many for all arms, on validation seeds that no result uses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
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
    """A population whose learning rate is chosen by trials, and what else is to be chosen with it.

    Attributes:
        training: what is trained in the end; its members' rates are replaced by the one that is chosen.
        rates: learning rates that are tried, in ascending order; a single one is taken without a trial.
        seeds: of the trials.
        trial_steps: of each; the last fifth of them is what counts.
        others: trainings of the same members that are tried beside `training`, at each rate.
    """

    training: LoopedSpec
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seeds: tuple[int, ...] = (1000, 1001)
    trial_steps: int = 1000
    others: tuple[LoopedSpec, ...] = ()

    def __post_init__(self) -> None:
        if not self.rates or not self.seeds or self.trial_steps < 5 or tuple(sorted(self.rates)) != self.rates:
            raise ValueError(
                f"needs ascending rates, seeds and 5 steps or more, got {self.rates}, {self.seeds}, {self.trial_steps}"
            )
        if taken := set(self.seeds) & {m.seed for m in self.training.members}:
            raise ValueError(f"seeds of trials are none of the training's, got {sorted(taken)} as both")
        if any(other.members != self.members or other.steps != self.training.steps for other in self.others):
            raise ValueError("trainings to choose from have the same members and steps")

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
        return self.training.steps + (self.trial_steps * len(self.choices) if self.is_tried else 0)

    @property
    def choices(self) -> tuple[LoopedSpec, ...]:
        """All that is tried, at each rate."""
        return (self.training, *self.others)

    @property
    def is_tried(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.rates) * len(self.choices) > 1

    @property
    def design(self) -> str:
        """The training's."""
        return self.training.design

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same training."""
        asked: dict[str, object] = {"rates": self.rates, "seeds": self.seeds, "trial_steps": self.trial_steps}
        if self.others:
            asked["others"] = [json.loads(other.canonical()) for other in self.others]
        return json.dumps({"training": json.loads(self.training.canonical()), **asked}, sort_keys=True)

    def work(self) -> float:
        """Floating-point operations, roughly."""
        tried = sum(self.trials(choice).work() for choice in self.choices) if self.is_tried else 0.0
        return self.training.work() + tried

    def chosen(self, trained: Mapping[str, Tensor]) -> TunedSpec:
        """What was trained in the end, with nothing left to choose but the rate."""
        number = int(trained["choice"]) if self.others else 0
        return replace(self, training=self.choices[number], others=())

    def trials(self, choice: LoopedSpec | None = None) -> LoopedSpec:
        """Every rate with every validation seed, rates outside; of the training, or another choice."""
        optimizer = self.training.members[0].optimizer
        members = [LoopedMember(seed, replace(optimizer, lr=lr)) for lr in self.rates for seed in self.seeds]
        return replace(choice or self.training, members=tuple(members), steps=self.trial_steps, snapshots=())

    def at(self, lr: float, choice: LoopedSpec | None = None) -> LoopedSpec:
        """The training, or another choice, with a learning rate."""
        members = [replace(m, optimizer=replace(m.optimizer, lr=lr)) for m in self.members]
        return replace(choice or self.training, members=tuple(members))


def train_tuned(spec: TunedSpec, device: str) -> Trained:
    """Try the rates, then train at the best.

    Returns:
        What `looping.train_models` keeps of the training, and `trials`, (rates, seeds), the accuracy of each trial, NaN
        where there was none or it diverged, and `lr`, the rate that was taken, a number. With other trainings to choose
        from, `trials` is (choices, rates, seeds), and `choice` the number of the one that was taken.
    """
    started, shape = time.perf_counter(), (len(spec.rates), len(spec.seeds))
    tables = [torch.full(shape, torch.nan)] * len(spec.choices)
    if spec.is_tried:
        tables = [_tried(spec.trials(choice), device).reshape(shape) for choice in spec.choices]
    number, rate = divmod(best(torch.cat(tables)), len(spec.rates))
    lr = spec.rates[rate]
    run = train_looped(spec.at(lr, spec.choices[number]), device, count_steps)
    kept = tensors(run) | {"trials": tables[0], "lr": torch.tensor(lr, dtype=torch.float64)}
    if spec.others:
        kept |= {"trials": torch.stack(tables), "choice": torch.tensor(number)}
    return kept, time.perf_counter() - started, run.compiled


def _tried(trials: LoopedSpec, device: str) -> Tensor:
    """The accuracy of each trial in its last fifth, (M); NaN if it diverged."""
    run, last = train_looped(trials, device, count_steps), trials.steps // 5
    broken = ~run.losses[-last:].isfinite().all(0)
    return run.accuracy[-last:].mean(0).masked_fill(broken, torch.nan)


def best(trials: Tensor) -> int:
    """The row with the highest mean accuracy, (rates, seeds); of several, the first: the smallest rate."""
    return int(trials.nan_to_num(0.0).mean(-1).argmax())
