"""How the panels of `show.tweak` train: one model, on one thread, stopped by what its progress is told to.

An experiment's own specification and measure are used, so that the reader's rows mean what the published ones do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Measure, artefact
from entropylens.experiments.looping import tensors
from entropylens.experiments.tuning import TunedSpec
from entropylens.show.tweak import Progress
from entropylens.training.looped import LoopedSpec, train_looped
from entropylens.training.spec import PopulationSpec, train_spec
from entropylens.training.text import TextSpec, train_text


def measured(spec: Any, measure: Measure, progress: Progress, device: str = "cpu") -> pd.DataFrame:
    """Train the last member of a population, the one of the highest seed, and measure it.

    Args:
        spec: of a population; of a `TunedSpec`, the first rate is taken, without trials.
        measure: the experiment's.
        progress: told of each step.
        device: cpu or cuda.

    Raises:
        ValueError: if the training diverges.
        Stopped: if that is the reader's wish.
    """
    return measure(*train_one(spec, progress, device))


def train_one(spec: Any, progress: Progress, device: str = "cpu") -> tuple[Any, Mapping[str, Tensor]]:
    """The specification of the last member, and what the experiments keep of its training; otherwise as `measured`."""
    spec = alone(spec)
    progress.total += spec.steps
    with one_thread():
        kept = _train(spec, progress, device)
    broken = (~kept["losses"].isfinite().all(-1)).nonzero()
    if len(broken):
        raise ValueError(f"the loss is not finite from step {int(broken[0])} on: try a lower learning rate")
    return spec, kept


def alone(spec: Any) -> Any:
    """The same with its last member alone, and nothing to be tried or compiled, which would take time at first."""
    if isinstance(spec, TunedSpec):
        return replace(spec, training=alone(spec.training), rates=spec.rates[:1], others=())
    compiled = {} if isinstance(spec, LoopedSpec) else {"compiled": False}
    return replace(spec, members=spec.members[-1:], **compiled)


def _train(spec: Any, progress: Progress, device: str) -> Mapping[str, Tensor]:
    if isinstance(spec, PopulationSpec):
        return artefact(train_spec(spec, device, progress))
    if isinstance(spec, TextSpec):
        run = train_text(spec, device, progress)
        return {"losses": run.losses, "parameters": run.parameters, "snapshot_steps": torch.tensor(run.snapshot_steps)}
    if isinstance(spec, TunedSpec):
        lr, none = spec.rates[0], torch.full((1, len(spec.seeds)), torch.nan)
        kept = tensors(train_looped(spec.at(lr), device, progress))
        return kept | {"lr": torch.tensor(lr, dtype=torch.float64), "trials": none}
    return tensors(train_looped(spec, device, progress))


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors here are small: a second thread would only wait for the first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
