"""Accuracy of controls that share gates among sequences: the same whoever else is measured."""

from __future__ import annotations

import torch

from entropylens.measures.induction import CROWD, accuracy
from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import InductionTask
from entropylens.training.looped import LoopedPopulation


def test_a_mean_over_sequences_does_not_depend_on_how_many_models_there_are() -> None:
    """A long length leaves room for few sequences at a time, of which a mean would be the gate itself."""
    config = LoopedConfig(5, n_loops=3, update="gated", gate="sharp", gate_of="mean", hint=True)
    task, length = InductionTask(5, "repeat"), 700
    population = LoopedPopulation(config, range(3))
    theta = population.parameters * 3
    together = accuracy(population, theta, task, length, CROWD + 8)
    alone = [accuracy(LoopedPopulation(config, [s]), theta[s : s + 1], task, length, CROWD + 8) for s in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0.026)  # a near tie may round either way
