"""The checks of chapter 7's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.show.checks import ask, compare, exercise


def _activations() -> tuple[Tensor, Tensor]:
    """Four neurons on five contexts, and the contexts' weights: the last context never occurs."""
    x = torch.tensor([[0.0, 2.0, 0.0, 0.5], [1.0, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0], [4.0, 0.0, 0.0, 0.1],
                      [0.0, 0.0, 7.0, 2.0]], dtype=torch.float64)  # fmt: skip
    return x, torch.tensor([0.5, 0.3, 0.1, 0.1, 0.0], dtype=torch.float64)


@exercise
def check_active(answer: Callable[[Tensor, Tensor], float]) -> str:
    """Exercise: the share of neurons that fire on an input, from activations (N, f) and weights (N)."""
    x, weights = _activations()
    fires = (x > 0).double()
    right = (fires.mean(1) * weights).sum()
    mistakes: dict[str, Tensor | float] = {
        "All contexts count alike there. An input is a context that occurs: weigh each by how often it does.":
            float(fires.mean()),
        "That is the mean activation, not the share that is active: compare with zero first.":
            float((x.mean(1) * weights).sum()),
        "That is how many neurons fire. Divide by how many there are.": float((fires.sum(1) * weights).sum()),
        "That is the share of silent ones.": float(1 - right),
    }  # fmt: skip
    compare(ask(answer, x, weights), right, mistakes, f"Here it is {float(right):.3f}.")
    return "Right: a mean over neurons of a mean over inputs, in either order."


@exercise
def check_unreached(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Exercise: which neurons get no gradient, bool (f), from activations (N, f) and weights (N)."""
    x, weights = _activations()
    right = ~((x > 0) & (weights[:, None] > 0)).any(0)
    mistakes: dict[str, Tensor | float] = {
        "That is dead: silent in every context. A neuron that fires only where there is no data gets no gradient, too.":
            (~(x > 0).any(0)).double(),
        "Those that do get one. Turn it round.": (~right).double(),
        "You ask for neurons that are silent in some context. Ask for those that fire in none of the reached ones.":
            (~((x > 0) | (weights[:, None] == 0)).all(0)).double(),
    }  # fmt: skip
    compare(ask(answer, x, weights), right.double(), mistakes, "The third neuron is the only one here.")
    return "Right. These data give that neuron's own weights no gradient."


@exercise
def check_promoted(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Exercise: what neurons promote, (f, V), from W_2 (f, d) and the unembedding (d, V)."""
    random = torch.Generator().manual_seed(2)
    values, out = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((3, 4), (4, 5)))
    logits = values @ out
    right = logits - logits.mean(1, keepdim=True)
    mistakes: dict[str, Tensor | float] = {
        "Those logits have a common part, which the softmax does not see: take each neuron's mean over symbols away.":
            logits,
        "You took the mean over neurons away. What the softmax does not see is a neuron's mean over symbols.":
            logits - logits.mean(0, keepdim=True),
        "Those are probabilities, of a model that has this neuron and nothing else. Stay with logits.":
            torch.softmax(logits, 1),
    }  # fmt: skip
    compare(ask(answer, values, out), right, mistakes, "Multiply W_2 by the unembedding; centre each row.")
    return "Right: one row a neuron, and each sums to zero."
