"""A looped model as the maps that the contraction theorem is about, and is not about; and how its gradients fare.

Shapes: n tokens, d width; one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from entropylens.measures.contraction import Head
from entropylens.measures.operators import Map
from entropylens.models.looped import LoopBlock, LoopedConfig, LoopedTransformer
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, scores, stack


def head_of(model: LoopedTransformer, loop: int = 0) -> Head:
    """The head of a loop's block, without its MLP and the norm behind it, in the model's number type.

    Raises:
        ValueError: for a model with several heads, or with a norm before its head: the theorem's F has neither.
    """
    if model.config.norm == "pre" or model.config.n_heads > 1:
        raise ValueError("the theorem is about a single head without a norm before it")
    block = model.blocks[loop % model.config.n_blocks]
    assert isinstance(block, LoopBlock)
    w_q, w_k, w_v = block.qkv.detach().chunk(3, dim=-1)
    return Head(w_q, w_k, w_v, model.config.d_model**-0.5, model.config.causal)


def branch_of(model: LoopedTransformer, x: Tensor, loop: int = 0) -> Map:
    """F(· + X) of one sequence, (n, d) to (n, d), with its MLP and its norms: what a loop adds, but for `step_size`."""
    block = model.blocks[loop % model.config.n_blocks]
    assert isinstance(block, LoopBlock)
    return lambda z: block.reference((z + x)[None])[0]


def first_gradients(
    config: LoopedConfig, task: InductionTask, seeds: Sequence[int], batch: int = 8, length: int = 32
) -> tuple[Tensor, Tensor]:
    """How large an untrained model's gradient is, and how wrong it comes out in single precision, (seeds) each.

    Args:
        config: the shape.
        task: what the loss is of.
        seeds: of models and sequences.
        batch: sequences.
        length: of each.

    Returns:
        The gradient's norm in double precision, and the norm of the error of the one in single precision, relative to
        it.
    """

    def gradient(dtype: torch.dtype) -> Tensor:
        population = LoopedPopulation(config, seeds, dtype=dtype)
        drawn = stack([sample(task, batch, length, generator(seed, "batches")) for seed in seeds])
        theta = population.parameters.requires_grad_()
        loss, _ = scores(population.logits(theta, drawn.tokens), drawn)
        return torch.autograd.grad(loss.sum(), theta)[0].double()

    double, single = gradient(torch.float64), gradient(torch.float32)
    return double.norm(dim=-1), (single - double).norm(dim=-1) / double.norm(dim=-1)
