"""What an experiment is: specifications of what is to be computed, and a function that measures each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from entropylens.training.parallel import count_steps, map_processes
from entropylens.training.population import Run
from entropylens.training.spec import PopulationSpec, train_spec


class Spec(Protocol):
    """What a store needs to know of something that is to be computed, such as a `PopulationSpec`."""

    @property
    def config(self) -> object:
        """Of the models; the code of the module that defines its class is part of the training's key."""

    @property
    def members(self) -> Sized:
        """One a model."""

    @property
    def steps(self) -> int:
        """How many steps of `count_steps` there will be."""

    @property
    def design(self) -> str:
        """The part of an experiment that asks for it: a label, on which training does not depend."""

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same training."""

    def work(self) -> float:
        """Floating-point operations, roughly."""


class Measure(Protocol):
    """Turns what was trained into rows."""

    def __call__(self, spec: Any, trained: Mapping[str, Tensor]) -> pd.DataFrame:
        """Rows of one of the experiment's own specifications; `trained` holds what its training stores."""


Trained = tuple[Mapping[str, Tensor], float, bool]
"""What is stored of a training, the seconds that it took, and whether it was compiled."""


class Train(Protocol):
    """Trains what a specification asks for: where an experiment does other things than `train_population`."""

    def __call__(self, spec: Any, device: str) -> Trained:
        """The training's tensors; it counts its steps by `count_steps`."""


class Publish(Protocol):
    """Picks what later chapters need of a trained population, and what is too large for rows."""

    def __call__(self, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors whose first dimension runs over the members, as the final rows do."""


@dataclass(frozen=True)
class Experiment:
    """A designed grid and what is measured on it.

    Attributes:
        name: of its rows in `results/`.
        claims: the ids that it decides.
        populations: profile to specifications, mostly `PopulationSpec`s.
        measure: a function at the top level of a module; its module's code makes the key of the rows.
        publishes: tensors that are published beside the rows; None if there are none.
        train: a function at the top level of a module, whose code is part of the training's key; None for
            `train_population`.
    """

    name: str
    claims: tuple[str, ...]
    populations: Mapping[str, Callable[[], Sequence[Spec]]]
    measure: Measure
    publishes: Publish | None = None
    train: Train | None = None


def run_live(
    specs: Sequence[PopulationSpec], measure: Measure, device: str = "cpu", jobs: int | None = None
) -> pd.DataFrame:
    """Train and measure populations now and keep nothing: what a notebook does for its reader to see.

    On a CPU they run side by side in processes; on a GPU one after the other.
    """
    items = [(spec, measure, device) for spec in sorted(specs, key=lambda s: -s.work())]
    if device != "cpu":
        frames = [_live(item) for item in items]
    else:
        frames = map_processes(_live, items, steps=sum(s.steps for s in specs), jobs=jobs, label="training")
    return pd.concat(frames, ignore_index=True)


def _live(item: tuple[PopulationSpec, Measure, str]) -> pd.DataFrame:
    spec, measure, device = item
    return measure(spec, artefact(train_alone(spec, device)))


def train_population(spec: PopulationSpec, device: str) -> Trained:
    """What most experiments do: `train_alone`, and keep its `artefact`."""
    run = train_alone(spec, device)
    return artefact(run), run.seconds, run.compiled


def train_alone(spec: PopulationSpec, device: str) -> Run:
    """Train a population as the first one of its process, and count its steps on the progress bar of all.

    What was compiled for others is forgotten: torch.compile refuses a ninth shape of the same function.
    """
    torch.compiler.reset()
    return train_spec(spec, device, count_steps)


def final_log_probs(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Log pθ after the last step, (M, S) float16, nats: rounded by a 2048th of itself at most, 0.004 at −8."""
    return {"log_probs": trained["log_probs"][-1].half()}


def artefact(run: Run) -> dict[str, Tensor]:
    """What is kept of a run: log_probs (K, M, S), losses (steps, M), parameters (M, P), snapshot_steps (K).

    And, where it was logged, the tensors of `training.recording.Log`, by their names; where sharpness was, those of
    `training.sharpness.SharpnessLog`, as sharpness_steps, sharpness_value and sharpness_error.
    """
    kept = {
        "log_probs": run.log_probs,
        "losses": run.losses,
        "parameters": run.parameters,
        "snapshot_steps": torch.tensor(run.snapshot_steps),
    }
    sharp = {} if run.sharpness is None else vars(run.sharpness)
    return kept | (vars(run.log) if run.log else {}) | {f"sharpness_{k}": torch.as_tensor(x) for k, x in sharp.items()}
