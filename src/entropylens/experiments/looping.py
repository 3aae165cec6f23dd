"""How looped models are trained for the experiments that share them; apart, so that new measures retrain nothing."""

from __future__ import annotations

import torch

from entropylens.experiments.experiment import Trained
from entropylens.training.looped import LoopedSpec, train_looped
from entropylens.training.parallel import count_steps


def train_models(spec: LoopedSpec, device: str) -> Trained:
    """Train a population.

    Returns:
        `losses` and `accuracy`, (steps, M), of training batches; the same of a regularizer's terms, by their names;
        `parameters`, (K, M, P), and `snapshot_steps`, (K).
    """
    run = train_looped(spec, device, count_steps)
    kept = {"losses": run.losses, "accuracy": run.accuracy, "parameters": run.parameters}
    return kept | run.terms | {"snapshot_steps": torch.tensor(run.snapshot_steps)}, run.seconds, run.compiled
