"""Slices through a loss around a model's parameters, and how rugged they are.

Directions are random and filter-normalised (Li et al., arXiv 1712.09913): each column of a weight matrix, and each row
of an embedding, is as long as the one that it is added to; biases and gains do not move. Slices of several losses go
through the same points in the same directions, on the same sequences.

Shapes: M models, P parameters, D directions, K points on a line.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import Batch
from entropylens.training.looped import LoopedPopulation, scores
from entropylens.training.regularizers import Regularizer

EMBEDDINGS = ("token", "previous")
TOGETHER = 32
"""Models that are evaluated at a time."""


class Losses(NamedTuple):
    """What the same points have."""

    plain: Tensor
    """Cross-entropy, nats a scored position."""
    regularised: Tensor
    """The same, with the regularizer's terms."""


def directions(config: LoopedConfig, parameters: Tensor, count: int, seed: int = 0) -> Tensor:
    """Filter-normalised random directions, (D, M, P); the random numbers are the same for all models.

    Args:
        config: the models' shape.
        parameters: (M, P), where slices will go through.
        count: D.
        seed: of the random numbers.
    """
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 1, parameters.shape[1], generator=random).to(parameters) * torch.ones_like(parameters)
    at = 0
    for name, p in config.build().named_parameters():
        here = slice(at, at := at + p.numel())
        to, where = (x[..., here].unflatten(-1, p.shape) for x in (drawn, parameters))
        if not name.endswith(("bias", "gain", "gate")):
            axis = -1 if name in EMBEDDINGS else -2
            to *= where.norm(dim=axis, keepdim=True) / to.norm(dim=axis, keepdim=True)
        else:
            to.zero_()
    return drawn


@torch.no_grad()
def losses_at(config: LoopedConfig, points: Tensor, batch: Batch, regularizer: Regularizer) -> Losses:
    """Both losses at points (*, P), (*) each; all on the same sequences (B, n).

    Args:
        config: the models' shape.
        points: parameters.
        batch: one for all.
        regularizer: of the second loss; its schedule does not count.
    """
    population, found = LoopedPopulation(config, [0]), []
    for few in points.reshape(-1, points.shape[-1]).split(TOGETHER):
        trace = regularizer.trace()
        same = Batch(*(getattr(batch, name).expand(len(few), -1, -1) for name in ("tokens", "answers", "scored")))
        plain, _ = scores(population.logits(few, same.tokens, trace), same)
        found.append(torch.stack([plain, plain + regularizer.weigh(regularizer.terms(trace.states, trace.rows))]))
    return Losses(*torch.cat(found, dim=1).unflatten(1, points.shape[:-1]))


def lines(parameters: Tensor, along: Tensor, radii: Tensor) -> Tensor:
    """Points on lines through parameters, (M, P), along directions, (D, M, P): (D, M, K, P)."""
    return parameters[None, :, None] + radii[:, None] * along[:, :, None]


def planes(parameters: Tensor, along: Tensor, radii: Tensor) -> Tensor:
    """Points on planes, (M, P) and pairs of directions (2, M, P) to (M, K, K, P); the first one's radii come first."""
    first, second = radii[:, None, None] * along[0][:, None, None], radii[None, :, None] * along[1][:, None, None]
    return parameters[:, None, None] + first + second


def ruggedness(values: Tensor) -> Tensor:
    """The share of a slice's ups and downs that a single funnel would not have, (*, K) to (*), from 0 to 1.

    The total variation Σ |L_{k+1} − L_k|, less what it takes to come down from one end to the lowest point and up to
    the other, relative to itself. It is 0 for whatever falls to one minimum and rises again, and does not change if
    values are multiplied, or a constant is added: losses of different size can be compared. A flat line has 0 (one
    that is flat but for rounding, that of its rounding), and one that is not finite NaN.
    """
    total = values.diff(dim=-1).abs().sum(-1)
    funnel = values[..., 0] + values[..., -1] - 2 * values.amin(-1)
    return torch.where(total == 0, 0.0, (total - funnel).clamp(min=0) / total)


def ruggedness_of_plane(values: Tensor) -> Tensor:
    """The mean `ruggedness` of all lines that a grid has in its two directions, (*, K, K) to (*)."""
    return (ruggedness(values).mean(-1) + ruggedness(values.mT).mean(-1)) / 2


def minima(values: Tensor) -> Tensor:
    """Points of a grid that are lower than all eight beside them, (*, K, K) to (*); points on its edge do not count."""
    inner, lowest = values[..., 1:-1, 1:-1], torch.ones_like(values[..., 1:-1, 1:-1], dtype=torch.bool)
    k = values.shape[-1]
    for i in (0, 1, 2):
        for j in (0, 1, 2):
            if (i, j) != (1, 1):
                lowest &= inner < values[..., i : k - 2 + i, j : k - 2 + j]
    return lowest.sum((-2, -1))
