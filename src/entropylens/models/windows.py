"""Where a model's positions lie when a text is too long to be enumerated: windows side by side, or one step at a time.

`WindowLayout` has a position for each symbol of given windows, as `layouts.SentenceLayout` has; but each member of a
population may have windows of its own, and attention is PyTorch's fused one, which keeps no weights. `StepLayout` has
the last symbol's position only and remembers the keys and values of those before it, to sample with.

Shapes: * any leading (members of a population), B windows, T symbols, N = B·T positions, H heads, D = d_model / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from entropylens.tasks.language import Language


@dataclass(frozen=True)
class Windows(Language):
    """V symbols and windows of T of them: a language whose V**T sentences nobody is going to enumerate.

    What a model's shape needs to know of it; asking for its trie is asking for trouble.

    Raises:
        ValueError: if either is below 1.
    """

    def __post_init__(self) -> None:
        if self.vocab_size < 1 or self.length < 1:
            raise ValueError(f"vocab_size and length must be at least 1, got {self.vocab_size} and {self.length}")


def inputs(windows: Tensor, vocab_size: int) -> Tensor:
    """What a model sees when it predicts windows (*, B, T): BOS, symbol V, and all symbols but the last."""
    return F.pad(windows[..., :-1], (1, 0), value=vocab_size)


class WindowLayout:
    """Windows (*, B, T) of symbols below V; rows and positions are (B, T), flattened to R = N.

    Args:
        windows: the same for all members, (B, T), or their own, (M, B, T).
        vocab_size: V.
    """

    def __init__(self, windows: Tensor, vocab_size: int) -> None:
        self.length = windows.shape[-1]
        self.tokens = inputs(windows, vocab_size).flatten(-2)
        self.positions = torch.arange(self.length, device=windows.device).repeat(windows.shape[-2])

    def expand(self, x: Tensor) -> Tensor:
        """Rows are positions already."""
        return x

    def attend(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Causal attention within each window, (*, N, 3, H, D) to (*, N, H, D); it keeps no weights: (0,)."""
        q, k, v = (x.unflatten(-3, (-1, self.length)).transpose(-3, -2) for x in qkv.unbind(-3))  # (*, B, H, T, D)
        lead = q.shape[:-2]
        q, k, v = (x.flatten(0, -4) if x.ndim > 4 else x for x in (q, k, v))  # fused: one leading dimension
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True).view(*lead, *q.shape[-2:])
        return out.transpose(-3, -2).flatten(-4, -3), qkv.new_empty(0)

    def average(self, x: Tensor) -> Tensor:
        """The mean over a position and those before it in its window, (*, N, d)."""
        running: Tensor = x.unflatten(-2, (-1, self.length)).cumsum(-2)
        return (running / (torch.arange(self.length, device=x.device)[:, None] + 1)).flatten(-3, -2)


class StepLayout:
    """One position in each of B texts, the next one at each `advance`; earlier keys and values are remembered.

    Args:
        first: the first inputs, (*, B): BOS.
        n_layers: how often a pass attends.
    """

    def __init__(self, first: Tensor, n_layers: int) -> None:
        self.tokens, self.positions = first, torch.zeros(first.shape[-1], dtype=torch.long, device=first.device)
        self._seen: list[Tensor] = [torch.empty(0)] * n_layers
        self._layer, self._step = 0, 0

    def advance(self, symbols: Tensor) -> None:
        """The next position, whose inputs are these, (*, B)."""
        self.tokens, self.positions, self._step = symbols, self.positions + 1, self._step + 1

    def expand(self, x: Tensor) -> Tensor:
        """Rows are positions already."""
        return x

    def attend(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """To itself and those before, (*, B, 3, H, D) to (*, B, H, D); weights (*, B, H, t), oldest first."""
        q, kv = qkv[..., 0, :, :], qkv[..., 1:, :, :].unsqueeze(-5)  # (*, B, H, D), (*, 1, B, 2, H, D)
        kv = kv if self._step == 0 else torch.cat([self._seen[self._layer], kv], dim=-5)
        self._seen[self._layer] = kv
        self._layer = (self._layer + 1) % len(self._seen)
        k, v = (x.movedim(-4, -2) for x in kv.unbind(-3))  # (*, B, H, t, D)
        weights = torch.softmax((k @ q[..., None] * q.shape[-1] ** -0.5)[..., 0], dim=-1)
        return (weights[..., None, :] @ v)[..., 0, :], weights

    def average(self, x: Tensor) -> Tensor:  # noqa: ARG002 - as of a layout
        """Not remembered: a model that averages is not sampled from here.

        Raises:
            ValueError: always.
        """
        raise ValueError("a model without attention (variant ffn_only) cannot be sampled step by step")
