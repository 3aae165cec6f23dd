"""How a learned distribution differs from its target, exactly, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from entropylens.tasks.language import entropy


def entropy_from_log(log_p: Tensor) -> Tensor:
    """H(p) = −Σ p log p from log p, (..., S) to (...); NaN for a model that diverged."""
    return -(log_p.exp() * log_p).sum(-1)


def kl_from_log(p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p‖q) = Σ p (log p − log q) from p and log q, (..., S) to (...); p may have zeros."""
    terms = torch.where(p > 0, p * (torch.where(p > 0, p, 1.0).log() - log_q), 0.0)
    return terms.sum(-1)


def bias(log_p: Tensor, target: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """The entropy bias of models and its decomposition; every entry (...), nats.

    H(pθ) − H(p_tgt) = [H(p̂) − H(p_tgt)] + [H(pθ) − H(p̂)]: what the sample alone does, and what the model adds.

    Args:
        log_p: log pθ of every sentence, (..., S).
        target: p_tgt, (..., S).
        seen: what was trained on, (..., S): the empirical distribution p̂ of a finite sample, or p_tgt itself.
    """
    h, h_target, h_seen = entropy_from_log(log_p), entropy(target), entropy(seen)
    return {
        "entropy": h,
        "target_entropy": h_target,
        "bias": h - h_target,
        "lowering": h_target - h,
        "sample_bias": h_seen - h_target,
        "model_bias": h - h_seen,
        "shortfall": (h_target - h).clamp(min=0),
        "kl": kl_from_log(target, log_p),
        "excess_loss": kl_from_log(seen, log_p),
    }
