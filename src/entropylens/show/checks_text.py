"""The checks of chapter 14's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.show.checks import TryAgainError, ask, compare, exercise


def _predictions() -> tuple[Tensor, Tensor]:
    """Log-probabilities of three texts of two symbols out of four, (3, 2, 4), and what was drawn, (3, 2)."""
    log_q = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(14)).double().log_softmax(-1)
    return log_q, torch.tensor([[0, 3], [2, 2], [1, 0]])


@exercise
def check_estimate(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: an estimate of H(pθ), nats a text, from log-probabilities (n, T, V) along texts that were drawn."""
    log_q, drawn = _predictions()
    entropies = -(log_q.exp() * log_q).sum(-1)
    right = entropies.sum(-1).mean()
    surprise = -log_q.gather(-1, drawn[..., None])[..., 0]
    mistakes: dict[str, Tensor | float] = {
        "That is a symbol's entropy; a text's is the sum over its steps.": entropies.mean(),
        "The sum of all texts. An expectation is their mean.": entropies.sum(),
        "The sign: log-probabilities are below zero, an entropy is not.": -right,
        "That is in bits; nats take the natural logarithm.": right / math.log(2),
        "That is the surprise of the likeliest symbols, not its mean over all.": -log_q.amax(-1).sum(-1).mean(),
        "Each symbol counts as likely as any other here. Weigh surprises by probabilities.": -log_q.mean(-1)
        .sum(-1)
        .mean(),
    }
    told = f"For these texts it is {float(right):.4f} nats (by surprises {float(surprise.sum(-1).mean()):.4f})."
    compare(ask(answer, log_q.clone()), right, mistakes, told)
    return "Right. What was drawn matters only through where it led."


@exercise
def check_overconfidence(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Exercise: the cross-entropy's derivative in β at 1, from log-probabilities (n, T, V) and symbols (n, T)."""
    log_q, there = _predictions()
    surprise = -log_q.gather(-1, there[..., None])[..., 0].mean()
    entropy = -(log_q.exp() * log_q).sum(-1).mean()
    mistakes: dict[str, Tensor | float] = {
        "The other way round: above zero is to mean surer than right.": entropy - surprise,
        "That is the cross-entropy. Take off the entropy of the predictions.": surprise,
        "That is the entropy of the predictions. Of what is it to be taken off?": entropy,
        "The sum; all is told for a symbol here, so take the mean.": (surprise - entropy) * there.numel(),
    }
    told = f"Here the cross-entropy is {float(surprise):.4f}, and the mean entropy {float(entropy):.4f}."
    compare(ask(answer, log_q.clone(), there.clone()), surprise - entropy, mistakes, told)
    return "Right: cross-entropy less forced entropy. Training that is at rest has driven it to zero, on its own data."


READINGS = ("above", "unknown")


@exercise
def check_reading(answer: Callable[[float, float], str]) -> str:
    """Exercise: is a model's forced entropy `above` the unknown entropy of its text, or is that `unknown`?"""
    cases = {(1.9, 2.0): "above", (2.0, 2.0): "above", (2.0, 1.7): "unknown"}
    for (cross_entropy, forced), right in cases.items():
        try:
            said = answer(cross_entropy, forced)
        except NotImplementedError:
            ask(answer, cross_entropy, forced)  # which says that it was not attempted
            raise
        if said not in READINGS:
            raise TryAgainError(f"Your function says {said!r}; it is to say one of {', '.join(READINGS)}.")
        if said != right and right == "unknown":
            raise TryAgainError(
                f"Cross-entropy {cross_entropy}, forced {forced}: the text's entropy is at most {cross_entropy}. "
                "It may be 1.9, or 1.5: nobody knows on which side the model is."
            )
        if said != right:
            raise TryAgainError(
                f"Cross-entropy {cross_entropy}, forced {forced}: the text's entropy is at most {cross_entropy}, since "
                "KL is not negative. So the forced entropy cannot be below it."
            )
    return "Right. Text tells in one direction only."
