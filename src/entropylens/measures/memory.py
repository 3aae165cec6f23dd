"""How much of its sample a model keeps: probability on sentences it has seen against others that were as likely."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 20
"""Sentences are compared within twentieths of the support, ordered by true probability."""


def leaked_mass(log_p: Tensor, target: Tensor) -> Tensor:
    """The probability that models (..., S) give to sentences which the target (..., S) rules out; a share, (...)."""
    return torch.where(target > 0, 0.0, log_p.exp()).sum(-1)


def memorisation(log_p: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """How much more log-probability a sentence gets for having been in the sample, (K), nats.

    The coefficient of `seen` in a linear regression of log pθ on it, on log p_tgt, and on one constant for each
    twentieth of the target's support (ordered by p_tgt): so sentences are compared with others of equal true
    probability. Zero for pθ = p_tgt, and m for pθ ∝ p_tgt · exp(m · seen).

    Args:
        log_p: K models, (K, S).
        target: p_tgt, (S).
        seen: p̂, (S); the sample's sentences are those above 0.

    Returns:
        NaN where all or none of the supported sentences were seen, and for models that diverged.
    """
    support = (target > 0).nonzero()[:, 0]
    x = target[support].log().double()
    was_seen = (seen[support] > 0).double()
    if was_seen.min() == was_seen.max():
        return log_p.new_full(log_p.shape[:-1], torch.nan)
    rank = x.argsort().argsort()
    bins = torch.nn.functional.one_hot(rank * BINS // len(support), BINS).double()
    design = torch.cat([was_seen[:, None], x[:, None], bins], dim=1)
    whole = log_p[:, support].isfinite().all(-1)
    found = log_p.new_full(log_p.shape[:-1], torch.nan)
    solution = torch.linalg.lstsq(design, log_p[whole][:, support].double().T, driver="gelsd").solution
    found[whole] = solution[0].to(log_p.dtype)
    return found
