"""The checks of chapter 6's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.show.checks import TryAgainError, ask, compare, exercise


@exercise
def check_join(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str:
    """Exercise: (1 + H)(w₀ x + Σ_h w_h o_h) from x (N, d), the heads' o (N, H, d) and logits (1 + H)."""
    random = torch.Generator().manual_seed(0)
    x, heads = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((3, 4), (3, 2, 4)))
    logits = torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64)

    def joined(w: Tensor, factor: float = 3.0) -> Tensor:
        return factor * (w[0] * x + (w[1:, None] * heads).sum(1))

    w = torch.softmax(logits, 0)
    mistakes = {
        "The factor 1 + H is missing: with all paths alike the sum should be x + Σ o_h.": joined(w, 1.0),
        "The factor is 1 + H, not H: the residual is a path, too.": joined(w, 2.0),
        "Those are logits. Take their softmax first.": joined(logits),
        "The residual has its weight, too: softmax over all 1 + H paths.":
            x + (torch.softmax(logits[1:], 0)[:, None] * heads).sum(1),
    }  # fmt: skip
    compare(ask(answer, x, heads, logits), joined(w), mistakes, "Weigh x by w[0] and head h by w[1 + h], add, times 3.")
    even = torch.zeros(3, dtype=torch.float64)
    compare(ask(answer, x, heads, even), x + heads.sum(1), {}, "With all logits 0 it should be x + Σ o_h.")
    return "Right: with all logits alike it is the standard transformer."


@exercise
def check_cut(answer: Callable[[Tensor, Tensor, Tensor], float]) -> str:
    """Exercise: how much KL(p_tgt‖pθ) grows, from edges and log q before and after a cut, each (N, V)."""
    random = torch.Generator().manual_seed(1)
    edges = torch.rand(4, 3, generator=random, dtype=torch.float64)
    edges = edges / edges.sum()
    before, after = (torch.log_softmax(torch.randn(4, 3, generator=random, dtype=torch.float64), -1) for _ in range(2))
    right = float((edges * (before - after)).sum())
    mistakes: dict[str, Tensor | float] = {
        "The sign: the divergence has −log q in it, and grows where log q falls.": -right,
        "That is the change at an average edge. Each edge counts as often as it is passed: multiply by edges, add up.":
            float((before - after).mean()),
        "That is how far the cut model is from the uncut one. Weigh by the target's edges, not by the model's.":
            float((before.exp() * (before - after)).sum()),
    }  # fmt: skip
    compare(ask(answer, edges, before, after), torch.tensor(right).double(), mistakes, f"Here it is {right:.4f} nats.")
    if float(ask(answer, edges, before, before)) != 0:
        raise TryAgainError("Where nothing was cut, nothing grows: it should be 0.")
    return "Right. Σ p log p is the same before and after, and drops out."


@exercise
def check_rename(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Exercise: the factors (H) of the heads' W_O when a layer's weights (1 + H) go from old to new."""
    old, new = torch.tensor([0.2, 0.5, 0.3]).double(), torch.tensor([0.8, 0.05, 0.15]).double()
    stream = new[0] / old[0]
    right = stream * old[1:] / new[1:]
    mistakes = {
        "The stream is now w₀'/w₀ times as long, and the heads must keep up with it.": old[1:] / new[1:],
        "Upside down: a head whose weight falls has to write by more.": new[1:] / old[1:] / stream,
        "The stream grows by w₀'/w₀, not by w₀/w₀'.": old[1:] / new[1:] / stream,
    }
    compare(ask(answer, old, new), right, mistakes, "What a head adds, w_h W_O^h, must grow as w₀ does: by w₀'/w₀.")
    return "Right: no weight is out of reach, and none means anything by itself."
