"""Gates of a looped update: how much of what a loop computes each token takes, by the entropy of its attention.

    Z_{t+1} = Z_t + g_t ∘ F(Z_t + X)        g_t one number a token, from the Tsallis entropy S (q = 1.5) of its row

"Entropy-gated residual updates" are named with Lam (arXiv 2601.09588), and defined nowhere that we can read: these
definitions are ours. h is S over the largest value that it can have, from 0, the token looks at one place, to 1, it
looks at all places that it sees alike.

    open          1              the plain update
    sharp         1 − h          who is sure moves
    diffuse       h              who is not sure moves, and so comes to rest when it is
    exponential   exp(−S)        sharp, and never shut
    learned       σ(a + b h)     two parameters decide; at 0, as they start, all gates are half open
    constant      σ(a)           one parameter decides, and entropy has no say: the learned gate's rival

What a gate does beyond taking smaller steps, controls tell: a token gets the gate of the same place in another sequence
of the batch (`shuffled`), or the mean of that place over the batch (`mean`). So each place and loop has the same gates,
or the same mean gate, as without; within a sequence, a mean over tokens would tell earlier ones of later ones.

Shapes: * any leading, B sequences, n tokens.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from entropylens.models.entropies import largest_tsallis
from entropylens.models.loop_kernel import ORDER

Gate = Literal["open", "sharp", "diffuse", "exponential", "learned", "constant"]
Whose = Literal["own", "shuffled", "mean"]
PARAMETERS: dict[Gate, int] = {"learned": 2, "constant": 1}
"""How many a gate has; others have none."""


def relative(entropy: Tensor, causal: bool) -> Tensor:
    """h: entropies of order `ORDER` over the largest possible, (*, n) to the same, 0 … 1; 0 where one place is seen."""
    n = entropy.shape[-1]
    places = torch.arange(1, n + 1) if causal else torch.full((n,), n)
    most = largest_tsallis(places, ORDER, entropy.dtype).to(entropy.device)
    return torch.where(most > 0, entropy / torch.where(most > 0, most, 1.0), 0.0)


def opened(gate: Gate, entropy: Tensor, causal: bool, learned: Tensor | None = None) -> Tensor:
    """G of each token from the entropy of its row, both (*, n).

    Args:
        gate: which.
        entropy: of order `ORDER`, as `entropies.tsallis` has it.
        causal: whether a token sees those before it only, and so has fewer places to look at.
        learned: a and b of a learned gate, (*, 1, 2), or a of a constant one, (*, 1, 1).

    Raises:
        ValueError: for an unknown gate, or parameters that are not the gate's.
    """
    has = 0 if learned is None else learned.shape[-1]
    if gate not in get_args(Gate) or has != PARAMETERS.get(gate, 0):
        raise ValueError(
            f"gate is one of {', '.join(get_args(Gate))}, the last two with parameters; got {gate!r}, {has}"
        )
    if gate == "open":
        return torch.ones_like(entropy)
    if gate == "exponential":
        return torch.exp(-entropy)
    if gate == "constant" and learned is not None:
        return torch.sigmoid(learned).expand_as(entropy)
    h = relative(entropy, causal)
    if learned is not None:
        a, b = learned[..., None].unbind(-2)
        return torch.sigmoid(a + b * h)
    return h if gate == "diffuse" else 1 - h


def assigned(gates: Tensor, whose: Whose) -> Tensor:
    """Gates (*, B, n) as tokens get them: their own, those of the sequence before, or the mean over sequences.

    Of a single sequence all three are the same.
    """
    if whose == "mean":
        return gates.mean(-2, keepdim=True).expand_as(gates)
    return gates.roll(1, -2) if whose == "shuffled" else gates
