"""How looped models are trained for the experiments that share them; apart, so that new measures retrain nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from entropylens.experiments.experiment import Trained
from entropylens.training.looped import LoopedRun, LoopedSpec, train_looped
from entropylens.training.parallel import count_steps


def train_models(spec: LoopedSpec, device: str) -> Trained:
    """Train a population.

    Returns:
        `losses` and `accuracy`, (steps, M), of training batches, and their `lengths`, (steps); a regularizer's terms,
        (steps, M), by their names; `parameters`, (K, M, P), and `snapshot_steps`, (K).
    """
    run = train_looped(spec, device, count_steps)
    return tensors(run), run.seconds, run.compiled


def tensors(run: LoopedRun) -> dict[str, Tensor]:
    """What is stored of a run."""
    kept = {"losses": run.losses, "accuracy": run.accuracy, "lengths": run.lengths, "parameters": run.parameters}
    return kept | run.terms | {"snapshot_steps": torch.tensor(run.snapshot_steps)}
