"""Where a model's positions lie: in sentences side by side, or once each in the prefix trie.

A causal model's output at a position depends on the prefix up to it and on nothing else. `TrieLayout` has one position
a prefix (781 in the paper's setting), `SentenceLayout` one a symbol of every sentence (15,625); the same module runs on
both and must give the same numbers. A model asks its layout four things: the input of each *row*, to `attend`, to
`average`, and to `expand` rows to positions. On the trie, the input of a position is its last symbol and its depth, so
that until positions are mixed 1 + (T−1)·V = 21 rows stand for all 781: `expand` ends that.

Shapes: * any leading (members of a population), R rows, N positions, H heads, D = d_model / n_heads.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from entropylens.models.trie_kernel import attend, attend_reference
from entropylens.tasks.language import Language


class Layout(Protocol):
    """What a model needs to know of the place it runs in."""

    tokens: Tensor
    """(R) the input symbol of each row; V is BOS."""
    positions: Tensor
    """(R) how many symbols lie before the one to be predicted."""

    def expand(self, x: Tensor) -> Tensor:
        """Rows (*, R, d) to positions (*, N, d); positions stay as they are."""

    def attend(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Causal attention: (*, R or N, 3, H, D) to values (*, N, H, D) and attention weights."""

    def average(self, x: Tensor) -> Tensor:
        """The mean over a position and those before it: (*, R or N, d) to (*, N, d)."""


class TrieLayout:
    """Every prefix of a language once.

    Args:
        language: the language.
        device: of the index tables, and of whatever runs here.
        differentiable_twice: attend in plain tensor operations, so that second derivatives exist (slower).
    """

    def __init__(
        self, language: Language, device: torch.device | str = "cpu", differentiable_twice: bool = False
    ) -> None:
        v, t, n = language.vocab_size, language.length, language.n_nodes
        self.language = language
        self._attend = attend_reference if differentiable_twice else attend
        node = torch.arange(n)
        depth = torch.repeat_interleave(torch.arange(t), torch.tensor(language.level_sizes))
        last = (node - 1) % v
        self.tokens = torch.cat([torch.tensor([v]), torch.arange(v).repeat(t - 1)]).to(device)
        self.positions = torch.cat([torch.tensor([0]), torch.arange(1, t).repeat_interleave(v)]).to(device)
        row = torch.where(depth > 0, 1 + (depth - 1) * v + last, 0)
        ancestors = [node]
        for _ in range(t - 1):
            ancestors.append(torch.where(ancestors[-1] > 0, (ancestors[-1] - 1) // v, -1))
        path = torch.stack(ancestors, dim=1)
        self.paths = {n: path.to(device), len(self.tokens): torch.where(path >= 0, row[path], -1).to(device)}
        """(N, T) a node and its ancestors, nearest first, -1 beyond the root: as nodes, and as rows."""

    def expand(self, x: Tensor) -> Tensor:
        """Rows (*, R, d) to nodes (*, N, d): one row of each level's V, again and again."""
        if x.shape[-2] == self.language.n_nodes:
            return x
        v, t, lead = self.language.vocab_size, self.language.length, x.shape[:-2]
        root, *levels = x.split([1] + [v] * (t - 1), dim=-2)
        full = [
            level[..., None, :, :].expand(*lead, v**depth, v, x.shape[-1]).reshape(*lead, -1, x.shape[-1])
            for depth, level in enumerate(levels)
        ]
        return torch.cat([root, *full], dim=-2)

    def attend(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Attention over a node and its ancestors; weights (*, N, H, T), nearest first."""
        return self._attend(qkv, self.paths[qkv.shape[-4]])

    def average(self, x: Tensor) -> Tensor:
        """Mean over a node and its ancestors, by a running sum from the root down."""
        x, v = self.expand(x), self.language.vocab_size
        total, means = x.new_zeros(()), []
        for depth, level in enumerate(x.split(self.language.level_sizes, dim=-2)):
            total = level if depth == 0 else level + total.repeat_interleave(v, dim=-2)
            means.append(total / (depth + 1))
        return torch.cat(means, dim=-2)


class SentenceLayout:
    """Given sentences side by side, (B, T) symbols; rows and positions are (B, T), flattened to B·T = R = N."""

    def __init__(self, sentences: Tensor, vocab_size: int) -> None:
        b, self.length = sentences.shape
        bos = sentences.new_full((b, 1), vocab_size)
        self.tokens = torch.cat([bos, sentences[:, :-1]], dim=1).flatten()
        self.positions = torch.arange(self.length, device=sentences.device).repeat(b)
        self._n_seen = self.positions.reshape(b, self.length, 1) + 1

    def expand(self, x: Tensor) -> Tensor:
        """Rows are positions already."""
        return x

    def attend(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Attention with a causal mask; weights (*, B·T, H, T) over positions 0 … T-1."""
        q, k, v = (x.unflatten(-3, (-1, self.length)).transpose(-3, -2) for x in qkv.unbind(-3))  # (*, B, H, T, D)
        hidden = torch.ones(self.length, self.length, dtype=torch.bool, device=q.device).triu(1)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1)
        out, weights = ((x).transpose(-3, -2).flatten(-4, -3) for x in (weights @ v, weights))
        return out, weights

    def average(self, x: Tensor) -> Tensor:
        """Mean over a position and those before it."""
        running: Tensor = x.unflatten(-2, (-1, self.length)).cumsum(-2)
        return (running / self._n_seen).flatten(-3, -2)


def one_hot(ids: Tensor, n: int, like: Tensor) -> Tensor:
    """(R,) ids to (R, n) in the number type of `like`."""
    return F.one_hot(ids, n).to(like.dtype)
