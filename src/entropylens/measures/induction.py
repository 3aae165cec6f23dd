"""What a looped model makes of induction: its accuracy at any length.

Shapes: M models, B sequences, n tokens, P parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation

PAIRS = 2**24
"""Pairs of tokens, of all models, that go through a loop at a time: 64 MB where attention matrices are stored."""
CROWD = 32
"""Sequences that share their gates, where a model has such gates."""


@torch.no_grad()
def accuracy(
    population: LoopedPopulation, parameters: Tensor, task: InductionTask, length: int, sequences: int
) -> Tensor:
    """How many of the last tokens each model answers, as a share of those that are scored, (M); NaN if none is.

    All models get the same sequences, and those of a length are the same whatever the models, and however many. Where
    tokens take gates of other sequences, these are `CROWD` at a time, as in training.

    Args:
        population: of these models.
        parameters: (M, P).
        task: what is asked; the last position is what counts, also where training scores all.
        length: n.
        sequences: how many.

    Raises:
        ValueError: for a length without sequences of the task, or fewer than one sequence.
    """
    batch, right = sample(task, sequences, length, generator(length, "evaluation")), torch.zeros(len(parameters))
    asked = int(batch.scored[:, -1].sum())
    shared = population.config.update == "gated" and population.config.gate_of != "own"
    now = CROWD if shared else max(1, PAIRS // (length**2 * len(parameters)))
    for tokens, answers in zip(batch.tokens.split(now), batch.answers[:, -1].split(now), strict=True):
        logits = population.last(parameters, tokens.expand(len(parameters), -1, -1))
        right += (logits.argmax(-1) == answers).sum(-1)
    return right / asked
