"""A looped head of width 8 that does induction without having been trained: its weights are set by hand.

It has the architecture that is trained, with the hint, and shows that this can represent a solution, with any number of
loops. Symbols are points on a sphere, p(x), far from each other. The eight coordinates hold

    0        1, a constant                    for queries to have something to multiply
    1 2 3    p(x) of the token                what is looked for, and what is read
    4 5 7    p(x) of the token before it      what is looked at
    6        nothing but its position         0.15 sin(j / 1000), which grows to the right: the latest match wins

all but the last times `SIZE`, so that the positions that are added everywhere are small beside them. The head's logit
is κ ⟨p(x_i), p(x_{j−1})⟩ + ρ · position of j: the first part is largest where the token before j is the one at i. What
is read there, p(x_j), is written a little at a time, so that what is in the state does not disturb the next loop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entropylens.models.looped import LoopBlock, LoopedConfig, LoopedTransformer

SIZE = 1000.0
TOKEN, BEFORE, CONSTANT, POSITION = [1, 2, 3], [4, 5, 7], 0, 6
STEP = 0.02
"""Of the state in all its loops together, per coordinate: SIZE is large beside it, and layer norm's 1e-5 is small."""
MARGIN = 12.0
"""Nats by which the latest match is to win against one that is `APART` tokens older, if that is the closest."""
APART = 4


@torch.no_grad()
def by_hand(vocabulary: int = 16, n_loops: int = 25) -> LoopedTransformer:
    """A model whose last token, and every other one that repeats, is answered right up to a thousand tokens.

    Not quite all: a match less than `APART` tokens older than the latest is still looked at a little.

    Args:
        vocabulary: 2 or more symbols.
        n_loops: any number of loops.

    Raises:
        ValueError: for fewer than two symbols.
    """
    if vocabulary < 2:
        raise ValueError(f"symbols have to differ: needs 2 or more, got {vocabulary}")
    model = LoopedConfig(vocabulary, d_model=8, n_loops=n_loops, hint=True).build().double()
    points, block = sphere(vocabulary), model.blocks[0]
    assert isinstance(block, LoopBlock)
    assert model.previous is not None
    for p in model.parameters():
        p.zero_()
    model.token[:, CONSTANT] = SIZE
    model.token[:, TOKEN] = SIZE * points
    model.previous[:-1, BEFORE] = SIZE * points  # the first token has none before it
    closest = float((points @ points.mT - 2 * torch.eye(vocabulary)).max())
    per_token = model.config.position_scale * 1e-3 * math.cos(1.0)  # the least that position grows by a token
    recency = MARGIN / (APART * per_token)
    match = (MARGIN + recency * model.config.position_scale) / (SIZE * (1 - closest)) * 1.5
    root = math.sqrt(model.config.d_model)
    w_q, w_k, w_v = block.qkv.chunk(3, dim=-1)
    w_q[TOKEN, [0, 1, 2]] = root * match / SIZE
    w_q[CONSTANT, 3] = root * recency / SIZE
    w_k[BEFORE, [0, 1, 2]] = 1.0
    w_k[POSITION, 3] = 1.0
    w_v[TOKEN, TOKEN] = 1.0
    w_v[TOKEN, BEFORE] = -1.0  # and its opposite: the mean is 0, and layer norm leaves the direction as it is
    block.norm_out.gain.fill_(STEP / n_loops)
    model.norm.gain.fill_(1.0)
    model.unembed.weight[TOKEN] = 10 * points.mT
    model.unembed.weight[BEFORE] = -10 * points.mT
    return model


@torch.no_grad()
def perturbed(
    model: LoopedTransformer, amount: float, generator: torch.Generator, *, zeros: bool = True
) -> LoopedTransformer:
    """A copy with noise on its weights.

    Args:
        model: whatever.
        amount: standard deviation of the noise, relative to the root mean square of each weight's own matrix.
        generator: draws it.
        zeros: whether weights that are 0 get noise, too; if not, each weight's noise is relative to its own size.
    """
    other = model.config.build().to(model.token.dtype)
    for to, p in zip(other.parameters(), model.parameters(), strict=True):
        noise = torch.randn(p.shape, generator=generator).to(p)
        to.copy_(p + amount * noise * (p.square().mean().sqrt() if zeros else p.abs()))
    return other


def sphere(count: int) -> Tensor:
    """Points on a sphere that are far from each other, (count, 3), float64: Fibonacci's spiral."""
    at = torch.arange(count, dtype=torch.float64) + 0.5
    height, angle = 1 - 2 * at / count, math.pi * (1 + math.sqrt(5)) * at
    around = (1 - height**2).sqrt()
    return torch.stack([around * angle.cos(), around * angle.sin(), height], dim=-1)
