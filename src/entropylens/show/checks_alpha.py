"""The checks of chapter 5's exercises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from entropylens.measures.explanations import divergence
from entropylens.measures.regularised import Array, escort
from entropylens.show.checks import TryAgainError, ask, compare, exercise

_TARGET = np.array([0.4, 0.3, 0.2, 0.1, 0.0])


@exercise
def check_escort(answer: Callable[[Array, float], Array]) -> str:
    """Exercise: the escort p^(1+α) / Z of a distribution (S,), with zeros that stay zeros."""
    p = _TARGET[:4]
    right = {alpha: torch.as_tensor(escort(p, alpha)) for alpha in (0.5, -0.5)}
    mistakes = {
        "It does not sum to 1: divide by the sum of p^(1+α).": torch.as_tensor(p**1.5),
        "You raised p to the power α. The exponent is 1 + α, so that α = 0 leaves p as it is.":
            torch.as_tensor(p**0.5 / (p**0.5).sum()),
        "That is the escort for −α: a positive α makes likely sentences likelier.": right[-0.5],
        "That is p itself. Where does α come in?": torch.as_tensor(p),
    }  # fmt: skip
    compare(ask(answer, p, 0.5), right[0.5], mistakes, f"For p = {p.tolist()} and α = 0.5 it is {right[0.5].tolist()}.")
    compare(ask(answer, p, -0.5), right[-0.5], {}, "Right for α = 0.5, but not for α = −0.5.")
    if float(ask(answer, _TARGET, -1.0)[4]) != 0:
        raise TryAgainError("An impossible sentence must stay impossible, also at α = −1: 0⁰ is 1 for a computer.")
    return "Right: the ranking stays, and α > 0 sharpens it."


@exercise
def check_share(answer: Callable[[Array, Array, Array], float]) -> str:
    """Exercise: what of KL(p_tgt‖pθ) a family member p_φ explains, from pθ, p_tgt and p_φ, each (S,), as a share."""
    q, target, member = np.array([0.6, 0.3, 0.1]), np.array([0.4, 0.4, 0.2]), np.array([0.55, 0.33, 0.12])
    left, whole = (divergence(np.log(q), target, p) for p in (member, target))
    mistakes: dict[str, Tensor | float] = {
        "That is the share that is left. The share explained is 1 minus that.": left / whole,
        "You measured from the target to the member. Measure to the model, pθ: what is left of the deviation?":
            1 - divergence(np.log(member), target, target) / whole,
        "The divergences run the other way: KL(p_φ‖pθ), with the weights of p_φ.":
            1 - divergence(np.log(member), q, q) / divergence(np.log(target), q, q),
        "That is a difference of divergences, in nats. Divide by KL(p_tgt‖pθ).": whole - left,
    }  # fmt: skip
    compare(ask(answer, q, target, member), torch.tensor(1 - left / whole).double(), mistakes,
            f"Here it is {1 - left / whole:.3f}.")  # fmt: skip
    return "Right: 0 for the target itself, and 1 for a member that is the model."


@exercise
def check_unseen(answer: Callable[[Array, Array, Array], float]) -> str:
    """Exercise: β of a model that is (1−β)·p_tgt + β·p̂, from pθ, p_tgt and which sentences were seen, each (S,)."""
    target, sample = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.5, 0.5, 0.0, 0.0])
    seen, beta = sample > 0, 0.4
    q = (1 - beta) * target + beta * sample
    mistakes: dict[str, Tensor | float] = {
        "That is 1 − β: what is left on sentences that were never seen.": 1 - beta,
        "That is the mass that the model gives to unseen sentences. Compare it with what the target gives them.":
            float(q[~seen].sum()),
        "You looked at the seen sentences, which get some of their mass from the sample. Look at the others.":
            1 - float(q[seen].sum() / target[seen].sum()),
        "That is the mass that is missing on unseen sentences. As a share of what the target gives them it is β.":
            float((target - q)[~seen].sum()),
    }  # fmt: skip
    compare(ask(answer, q, target, seen), torch.tensor(beta).double(), mistakes, f"Here β is {beta}.")
    return "Right: one number, read off from what was never seen."
