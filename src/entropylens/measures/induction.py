"""What a looped model makes of induction: accuracy at any length, and the head and the map that it has learned.

Shapes: M models, B sequences, n tokens, d width, T loops.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropylens.measures.contraction import Head
from entropylens.measures.operators import Map
from entropylens.models.looped import LoopBlock, LoopedConfig, LoopedTransformer
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation

TOKENS = 2**17
"""Tokens of all models that go through a loop at a time: some 40 MB at d = 8, also at lengths of a thousand."""


@torch.no_grad()
def accuracy(
    population: LoopedPopulation, parameters: Tensor, task: InductionTask, length: int, sequences: int
) -> Tensor:
    """The share of sequences whose last token each model answers, (M).

    All models get the same sequences, and those of a length are the same whatever the model.

    Args:
        population: of these models.
        parameters: (M, P).
        task: what is asked; the last position is what counts, also where training scores all.
        length: n.
        sequences: how many.
    """
    random, right, left = generator(length, "evaluation"), torch.zeros(len(parameters)), sequences
    while left:
        now = min(left, max(1, TOKENS // (length * len(parameters))))
        batch = sample(task, now, length, random)
        logits = population.last(parameters, batch.tokens.expand(len(parameters), -1, -1))
        right += (logits.argmax(-1) == batch.answers[:, -1]).sum(-1)
        left -= now
    return right / sequences


def head_of(model: LoopedTransformer, loop: int = 0) -> Head:
    """The head of a loop's block, without its norms and its MLP, in the model's number type."""
    block = model.blocks[loop % model.config.n_blocks]
    assert isinstance(block, LoopBlock)
    w_q, w_k, w_v = block.qkv.detach().chunk(3, dim=-1)
    return Head(w_q, w_k, w_v, model.config.d_model**-0.5, model.config.causal)


def branch_of(model: LoopedTransformer, x: Tensor, loop: int = 0) -> Map:
    """F(· + X) of one sequence, (n, d) to (n, d), with its MLP and its norms: what a loop adds."""
    block = model.blocks[loop % model.config.n_blocks]
    assert isinstance(block, LoopBlock)
    return lambda z: block.reference((z + x)[None])[0]


def step_of(model: LoopedTransformer, x: Tensor, loop: int = 0) -> Map:
    """One loop of one sequence, Z to Z + F(Z + X), (n, d) to (n, d)."""
    branch = branch_of(model, x, loop)
    return lambda z: z + branch(z)


def untrained(config: LoopedConfig, seed: int) -> LoopedTransformer:
    """The model that a member of this seed starts from."""
    return config.build(generator(seed, "init"))
