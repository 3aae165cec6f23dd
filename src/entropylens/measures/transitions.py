"""When a curve changes: its change point, one split with the least squares, and how much of the curve that explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Change:
    """The two levels that describe a curve best."""

    step: Tensor
    """(*) points before the change, 1 … S − 1."""
    before: Tensor
    """(*) the mean of them."""
    after: Tensor
    """(*) the mean of the others."""
    explained: Tensor
    """(*) the share of the curve's variance that is between the two levels: 1 for a step, 3/4 for a straight ramp."""


def change(curve: Tensor) -> Change:
    """The two levels, one before and one after some step, with the least squares between them and a curve, (S, *).

    Every curve has such a step, also where nothing jumps: `explained` tells. A curve that is flat has 0 there.

    Raises:
        ValueError: for fewer than two points.
    """
    s = len(curve)
    if s < 2:
        raise ValueError(f"a change needs two points or more, got {s}")
    x = curve.double()
    sums, count = x.cumsum(0)[:-1], torch.arange(1, s, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    before, after = sums / count, (x.sum(0) - sums) / (s - count)
    between = count * (s - count) / s * (before - after).square()  # of the sum of squares
    at = between.argmax(0, keepdim=True)
    whole = (x - x.mean(0)).square().sum(0)
    explained = torch.where(whole > 0, between.gather(0, at)[0] / torch.where(whole > 0, whole, 1.0), 0.0)
    return Change(at[0] + 1, before.gather(0, at)[0], after.gather(0, at)[0], explained)
