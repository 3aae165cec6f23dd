"""Tsallis entropies of distributions, as of attention rows; q = 1 is Shannon's, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tsallis(p: Tensor, q: float) -> Tensor:
    """S_q(p) = (1 − Σ_j p_j^q) / (q − 1), (..., n) to (...); at q = 1 its limit −Σ_j p_j log p_j.

    Computed as −Σ_j p_j · ((p_j^(q−1) − 1) / (q − 1)), which for Σp = 1 is the same and loses no digits near q = 1.
    Autograd sees this form, too; the slopes of the two differ by a constant, so in no direction that keeps Σp. At
    p_j = 0 its slope is 1 / (q − 1) for q > 1, and infinite for q ≤ 1. What it is given here is about the slope at the
    smallest normal number instead, which is finite for every q > 0; a softmax in front multiplies it by p_j = 0.

    Args:
        p: distributions over the last axis; zeros are allowed.
        q: the order, above 0.

    Raises:
        ValueError: for an order that is not above 0.
    """
    return 0.0 - (p * _q_log(p.clamp(min=torch.finfo(p.dtype).tiny), q)).sum(-1)  # not a minus: certainty is 0, not −0


def largest_tsallis(places: int | Tensor, q: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """S_q of the uniform distribution over so many places, (1 − places^(1−q)) / (q − 1): none is larger."""
    return 0.0 - _q_log(1 / torch.as_tensor(places, dtype=dtype), q)


def normalised_tsallis(p: Tensor, q: float, places: Tensor | None = None) -> Tensor:
    """S_q(p) over its largest value, from 0, certain, to 1, uniform; (..., n) to (...).

    Args:
        p: distributions over the last axis.
        q: the order, above 0.
        places: how many entries each may use, (...): i + 1 for row i under a causal mask. n if left out. Where it is 1,
            nothing is open, and the result is 0.
    """
    most = largest_tsallis(p.shape[-1] if places is None else places, q, p.dtype).to(p.device)
    return torch.where(most > 0, tsallis(p, q) / torch.where(most > 0, most, 1.0), 0.0)


def _q_log(x: Tensor, q: float) -> Tensor:
    """(x^(q−1) − 1) / (q − 1), which at q = 1 is log x."""
    if not 0 < q < math.inf:
        raise ValueError(f"the order of a Tsallis entropy is a number above 0, got {q}")
    return x.log() if q == 1 else torch.expm1((q - 1) * x.log()) / (q - 1)
