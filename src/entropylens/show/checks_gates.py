"""The checks of chapter 12's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.models.entropies import tsallis
from entropylens.models.gates import opened
from entropylens.models.loop_kernel import ORDER
from entropylens.show.checks import TryAgainError, ask, compare, exercise

DRIVEN = torch.tensor([[2.0, 3.0], [-1.0, -1.0]], dtype=torch.float64)
"""F(Y) = A Y of two tokens of width one, which no constant step brings to rest."""


@exercise
def check_gate(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: the gate of who is not sure, h = S / S_max at q = 1.5, of causal attention (n, n) to (n)."""
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(12)).double()
    rows = logits.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    entropy = tsallis(rows, ORDER)
    right, everywhere = opened("diffuse", entropy, causal=True), opened("diffuse", entropy, causal=False)
    mistakes: dict[str, Tensor | float] = {
        "You divided each by the largest entropy of all five places. Token i sees only i of them.": everywhere,
        "That is the other gate: open for who is sure.": 1 - right,
        "That is the entropy itself. Divide by the largest that the row can have.": entropy,
        "That is Shannon's entropy; the gate is of order q = 1.5.": torch.special.entr(rows).sum(-1),
    }
    found = ask(answer, rows.clone())
    if found.shape == right.shape and bool(found.isnan().any()):
        raise TryAgainError("The first token looks at one place: its entropy is 0, and so is the largest. Its h is 0.")
    compare(found, right, mistakes, f"Of these rows it is {[round(x, 4) for x in right.tolist()]}.")
    return "Right: 0 for the first token, which has no choice, and up to 1 for who looks at all that it sees alike."


@exercise
def check_gates(answer: Callable[[], Tensor]) -> str:
    """Exercise: two gates, (2), in (0, 1], of mean ½, with which a loop comes to rest that no constant brings there."""
    g = ask(answer)
    if g.shape != (2,):
        raise TryAgainError(f"The result has shape {tuple(g.shape)}; two tokens have two gates, (2).")
    if not bool(((g > 0) & (g <= 1)).all()):
        raise TryAgainError("Gates are above 0, and 1 at most. At 0 a token stops, which is not coming to rest.")
    if abs(float(g.mean()) - 0.5) > 1e-6:
        raise TryAgainError(f"Their mean is {float(g.mean()):.3f}, and should be ½: the same pace as a constant of ½.")
    largest = float(torch.linalg.eigvals(torch.eye(2) + g.double()[:, None] * DRIVEN).abs().max())
    if abs(float(g[0] - g[1])) < 1e-6:
        raise TryAgainError(f"A constant: the largest |1 + cλ| is {largest:.3f}. Which token should be slower?")
    if float(g[0]) > float(g[1]):
        raise TryAgainError(f"An error grows by {largest:.3f} a loop: the token that drives itself away is the faster.")
    if largest >= 1:
        raise TryAgainError(f"The right way round, and not enough: an error still grows by {largest:.3f} a loop.")
    return f"Right: errors shrink to {largest:.3f} a loop, and with a constant of ½ they grow by {7**0.5 / 2:.3f}."


@exercise
def check_halting(answer: Callable[[Tensor, float], Tensor]) -> str:
    """Exercise: after how many loops each sequence halts, from entropies (T, B) and a threshold: (B), 1 … T."""
    openness = torch.tensor([[0.5, 0.2, 0.8], [0.4, 0.0, 0.7], [0.1, 0.9, 0.6]]).double()
    right = torch.tensor([2.0, 1.0, 3.0]).double()
    mistakes: dict[str, Tensor | float] = {
        "Counted from 0: after the first loop, one is done.": right - 1,
        "A sequence that never is sure takes all T loops, not one.": torch.tensor([2.0, 1.0, 1.0]).double(),
        "That is the last loop in which it is sure. It halts at the first.": torch.tensor([3.0, 2.0, 3.0]).double(),
        "That halts at the threshold, too; it is to be below.": torch.tensor([1.0, 1.0, 3.0]).double(),
    }
    told = f"Of {openness.tolist()}, whose columns are sequences, at 0.5 it is {right.tolist()}."
    compare(ask(answer, openness.clone(), 0.5).double(), right, mistakes, told)
    never = torch.full((3,), 3.0).double()
    compare(ask(answer, openness.clone(), 0.0).double(), never, {}, "At a threshold of 0 nobody halts before T.")
    return "Right. At 0 this is a fixed number of loops; what it saves elsewhere, a fixed number may save as well."
