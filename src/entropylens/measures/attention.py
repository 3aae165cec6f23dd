"""How certain a looped model's last token is of where it looks.

Shapes: M models, P parameters, T loops, B sequences, n tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from entropylens.models.entropies import normalised_tsallis
from entropylens.models.looped import LoopTrace
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation


class Certainty(NamedTuple):
    """Of the last token's row, averaged over loops and sequences, (M) each."""

    most: Tensor
    """Its largest weight."""
    open: Tensor
    """Its Tsallis entropy (q = 1.5) over the largest possible one, from 0, certain, to 1, uniform."""
    answer: Tensor
    """The weight of the token that is the answer, in the loop where it is largest."""


@torch.no_grad()
def certainty(
    population: LoopedPopulation, parameters: Tensor, task: InductionTask, length: int, sequences: int
) -> Certainty:
    """Of sequences of a length, the same for all models.

    Args:
        population: of these models.
        parameters: (M, P).
        task: what is asked; it must be that of the latest occurrence, whose answer is the token after it.
        length: n.
        sequences: B.

    Raises:
        ValueError: for a task of more than one hop, whose answer is elsewhere.
    """
    if task.hops > 1:
        raise ValueError(f"looks at the token that is the answer after one hop, got a task with hops={task.hops}")
    batch, trace = sample(task, sequences, length, generator(length, "certainty")), LoopTrace("last")
    population.logits(parameters, batch.tokens.expand(len(parameters), -1, -1), trace)
    rows = torch.stack(trace.rows)[..., 0, :]  # (T, M, B, n)
    same = batch.tokens[:, :-1] == batch.tokens[:, -1:]
    at = length - 1 - same.flip(-1).int().argmax(-1)  # the token after the latest that is the same as the last one
    answer = rows[..., torch.arange(sequences), at]
    return Certainty(rows.amax(-1).mean((0, 2)), normalised_tsallis(rows, 1.5).mean((0, 2)), answer.mean(-1).amax(0))
