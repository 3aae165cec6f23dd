"""Text by counting: an interpolated, modified Kneser–Ney model of any order.

A sequence is a *window out of running text*: nothing marks its beginning, and its first symbol is not the first of a
document. A symbol with fewer than order − 1 before it is predicted by the model of the order that it has room for,
fitted to the same text. n-grams do not cross the borders of documents.

The model of order k (Chen & Goodman 1999, section 3), of a symbol w after a context h of k − 1 symbols:

    p_k(w | h) = (c(hw) − D(c(hw))) / c(h·) + γ(h) p_{k−1}(w | h'),    γ(h) = Σ_w D(c(hw)) / c(h·),    p_0 = 1/V,

with h' the context without its oldest symbol, c(h·) = Σ_w c(hw), D(0) = 0, and p_k = p_{k−1} where c(h·) = 0. At the
order that predicts, c counts occurrences. Below it c(g) is the number of different symbols that were seen before the
gram g (Kneser & Ney 1995): what is asked of a lower order is what follows where the context is new.

Glossary of shapes
------------------
V, k     vocabulary and order; symbols are 0 … V−1
W, T     windows, and their length
nodes    different grams of one order in the text, sorted by key = (node of the gram without its last symbol) · V + last
         symbol: no key exceeds the length of the text times V, whatever the order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FALLBACK = (0.5, 1.0, 1.5)
"""D1, D2, D3+ of counts too few or too even to estimate them (KenLM's, Heafield et al. 2013)."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Estimate:
    """One order's part in the sum above. The last entry of both stands for what was not seen, node −1.

    Attributes:
        share: (nodes + 1,), (c(hw) − D(c(hw))) / c(h·).
        backoff: (nodes of the order below + 1,), γ(h).
    """

    share: Floats
    backoff: Floats

    @staticmethod
    def of(counts: Ints, parents: Ints, n_parents: int) -> _Estimate:
        """From the counts of grams, (nodes,), and the node of the context of each."""
        taken = np.array([0.0, *discounts(counts)])[counts.clip(max=3)]
        total = np.bincount(parents, counts, n_parents)
        seen = total.clip(min=1)  # a context with any count has at least one
        share = (counts - taken) / seen[parents]
        backoff = np.where(total > 0, np.bincount(parents, taken, n_parents) / seen, 1.0)
        return _Estimate(np.append(share, 0.0), np.append(backoff, 1.0))

    def mix(self, contexts: Ints, grams: Ints, lower: Floats) -> Floats:
        """p_k from p_{k−1}, at the nodes of contexts and of grams."""
        return self.share[grams] + self.backoff[contexts] * lower


@dataclass(frozen=True, eq=False)
class _Level:
    """The grams of one order: keys, (nodes + 1,), the last larger than any; `top` where this order is the one asked."""

    keys: Ints
    top: _Estimate
    lower: _Estimate

    def find(self, keys: Ints) -> Ints:
        """Nodes of keys of any shape, −1 for grams that were not seen."""
        where = np.searchsorted(self.keys, keys)
        return np.where(self.keys[where] == keys, where, -1)


def discounts(counts: Ints) -> tuple[float, float, float]:
    """D1, D2 and D3+ from how many counts are 1, 2, 3 and 4 (Chen & Goodman 1999, eq. 17).

    FALLBACK stands in for all three if one of the four numbers is 0, or if a discount would not be positive, which
    would leave nothing for what was not seen.
    """
    n1, n2, n3, n4 = (int((counts == i).sum()) for i in range(1, 5))
    if 0 in (n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if min(found) > 0 else FALLBACK


@dataclass(frozen=True, eq=False)
class NGram:
    """A Kneser–Ney model; see the module. `NGram.fit` makes one."""

    vocab_size: int
    order: int
    levels: tuple[_Level, ...]

    @staticmethod
    def fit(streams: Sequence[Tensor], vocab_size: int, order: int) -> NGram:
        """Count the grams of all orders up to `order` in documents, (n,) each.

        Raises:
            ValueError: for an order or vocabulary below 1, no documents, an empty one, or symbols that are none.
        """
        if order < 1 or vocab_size < 1:
            raise ValueError(f"order and vocab_size must be at least 1, got {order} and {vocab_size}")
        documents = [_symbols(stream, vocab_size) for stream in streams]
        if not documents or any(document.ndim != 1 for document in documents):
            raise ValueError("a text is one or more documents, each a vector of symbols")
        keys, counts, continuations = _count(documents, vocab_size, order)
        sizes = [1, *map(len, keys)]
        levels = []
        for j in range(order):
            parents, end = keys[j] // vocab_size, np.iinfo(np.int64).max
            top, lower = (_Estimate.of(c, parents, sizes[j]) for c in (counts[j], continuations[j]))
            levels.append(_Level(np.append(keys[j], end), top, lower))
        return NGram(vocab_size, order, tuple(levels))

    def log_probs(self, symbols: Tensor) -> Tensor:
        """Log p(x_t | x_<t) in nats, (W, T) float64, of windows (W, T).

        Raises:
            ValueError: if there are no symbols, or one lies outside the vocabulary.
        """
        windows = _symbols(symbols, self.vocab_size)
        grams = self._grams(windows)
        p = np.full(windows.shape, 1 / self.vocab_size)
        for j, level in enumerate(self.levels[: windows.shape[1]]):
            contexts, found = grams[j][:, :-1], grams[j + 1]
            # Position j has just j symbols before it: this is its order, and to the others a lower one, or the last.
            p[:, j] = level.top.mix(contexts[:, 0], found[:, 0], p[:, j])
            p[:, j + 1 :] = level.lower.mix(contexts[:, 1:], found[:, 1:], p[:, j + 1 :])
        return torch.from_numpy(np.log(p))

    def score(self, stream: Tensor) -> Tensor:
        """Log p(x_t | x_<t) in nats, (n,) float64, of one document (n,)."""
        return self.log_probs(stream[None])[0]

    def conditionals(self, contexts: Tensor) -> Tensor:
        """p(· | context), (..., V) float64, of contexts (..., n), of which the last k − 1 symbols count, if n is more.

        Raises:
            ValueError: if a symbol lies outside the vocabulary.
        """
        lead, n = contexts.shape[:-1], min(contexts.shape[-1], self.order - 1)
        recent = contexts[..., contexts.shape[-1] - n :].reshape(lead.numel(), n)
        grams = self._grams(_symbols(recent, self.vocab_size) if n else np.zeros((lead.numel(), 0), np.int64))
        p = np.full((lead.numel(), self.vocab_size), 1 / self.vocab_size)
        for j, level in enumerate(self.levels[: n + 1]):
            nodes = grams[j][:, -1:]
            found = level.find(nodes * self.vocab_size + np.arange(self.vocab_size))
            p = (level.top if j == n else level.lower).mix(nodes, found, p)
        return torch.from_numpy(p).reshape(*lead, self.vocab_size)

    def _grams(self, windows: Ints) -> list[Ints]:
        """Nodes of the grams of length j = 0, 1, … in windows (W, T), by their last symbol: (W, T − j + 1) each."""
        grams = [np.zeros((len(windows), windows.shape[1] + 1), np.int64)]
        for j, level in enumerate(self.levels[: windows.shape[1]]):
            grams.append(level.find(grams[j][:, :-1] * self.vocab_size + windows[:, j:]))
        return grams


def check_symbols(symbols: Tensor, vocab_size: int) -> None:
    """Raise ValueError if there are no symbols, or one of them is none."""
    if symbols.numel() == 0:
        raise ValueError("there are no symbols: a document or a window is empty")
    if symbols.is_floating_point() or not 0 <= int(symbols.min()) <= int(symbols.max()) < vocab_size:
        raise ValueError(f"symbols are whole numbers 0 … {vocab_size - 1}, got {symbols.min()} … {symbols.max()}")


def _symbols(symbols: Tensor, vocab_size: int) -> Ints:
    """As an array, after a look at every one."""
    check_symbols(symbols, vocab_size)
    return symbols.cpu().numpy().astype(np.int64)


def _count(documents: list[Ints], vocab_size: int, order: int) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """Keys of the grams of each order, their occurrences, and how many symbols were seen before them, (nodes,) each.

    At the last order, which is never a lower one, the third are the occurrences again.
    """
    text = np.concatenate(documents)
    before = np.concatenate([np.arange(len(document)) for document in documents])
    nodes = np.zeros(len(text) + 1, np.int64)  # of the grams of one length that end at each place; 0 is the empty one
    keys: list[Ints] = []
    counts: list[Ints] = []
    continuations: list[Ints] = []
    for j in range(order):
        ends = np.flatnonzero(before >= j)
        key, node, count = np.unique(nodes[ends - 1] * vocab_size + text[ends], return_inverse=True, return_counts=True)
        if j:  # a gram's first symbol is one more that was seen before the rest, which ends at the same place
            rest = np.empty(len(key), np.int64)
            rest[node] = nodes[ends]
            continuations.append(np.bincount(rest, minlength=len(keys[-1])))
        nodes[ends] = node
        keys.append(key)
        counts.append(count)
    return keys, counts, [*continuations, counts[-1]]
