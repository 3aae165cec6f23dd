"""Text by counting: an interpolated, modified Kneser–Ney model of any order, and a source whose entropy is known.

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
C        contexts of a source, V**(k−1), in lexicographic order
nodes    different grams of one order in the text, sorted by key = (node of the gram without its last symbol) · V + last
         symbol: no key exceeds the length of the text times V, whatever the order
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropylens.tasks.language import check_distribution, entropy

MAX_ENTRIES = 20_000_000
"""Largest V**k of a source: 160 MB in float64."""

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


def _check_symbols(symbols: Tensor, vocab_size: int) -> None:
    if symbols.numel() == 0:
        raise ValueError("there are no symbols: a document or a window is empty")
    if symbols.is_floating_point() or not 0 <= int(symbols.min()) <= int(symbols.max()) < vocab_size:
        raise ValueError(f"symbols are whole numbers 0 … {vocab_size - 1}, got {symbols.min()} … {symbols.max()}")


def _symbols(symbols: Tensor, vocab_size: int) -> Ints:
    """As an array, after a look at every one."""
    _check_symbols(symbols, vocab_size)
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


@dataclass(frozen=True, eq=False)
class MarkovSource:
    """Sequences in which a symbol depends on the k − 1 before it. All that is stated of them is exact.

    The first k − 1 symbols are drawn from `start`, and each further one from `table`: what comes before a window is
    nobody's to know, and p(x_1), p(x_2 | x_1) are marginals of `start`. Where `start` is the stationary distribution,
    as it is after `fit`, a sequence is a window out of an endless text.

    Attributes:
        vocab_size: V.
        order: k, at least 1.
        table: (C, V) float64, p(v | the last k − 1 symbols).
        start: (C,) float64, p(the first k − 1 symbols).

    Raises:
        ValueError: for an order or vocabulary below 1, wrong shapes, or what is no distribution.
    """

    vocab_size: int
    order: int
    table: Tensor
    start: Tensor

    def __post_init__(self) -> None:
        _check_size(self.vocab_size, self.order)
        shapes = tuple(self.table.shape), tuple(self.start.shape)
        if shapes != ((self.n_contexts, self.vocab_size), (self.n_contexts,)):
            raise ValueError(f"table and start are (C, V) and (C,) with C = {self.n_contexts}, got {shapes}")
        check_distribution(self.table)
        check_distribution(self.start)

    @staticmethod
    def fit(streams: Sequence[Tensor], vocab_size: int, order: int = 3) -> MarkovSource:
        """Take the conditionals of a Kneser–Ney model of documents, (n,) each, and begin where they lead.

        Raises:
            ValueError: if V**k exceeds MAX_ENTRIES, or see `NGram.fit`.
        """
        _check_size(vocab_size, order)
        contexts = np.indices((vocab_size,) * (order - 1)).reshape(order - 1, vocab_size ** (order - 1)).T
        table = NGram.fit(streams, vocab_size, order).conditionals(torch.from_numpy(np.ascontiguousarray(contexts)))
        start = table.new_full((len(table),), 1 / len(table))
        return MarkovSource(vocab_size, order, table, stationary(table, start))

    @property
    def n_contexts(self) -> int:
        """C = V**(k−1)."""
        return int(self.vocab_size ** (self.order - 1))

    def to(self, device: torch.device | str) -> MarkovSource:
        """The same source, with its tables on a device: what it then takes and gives lies there, too."""
        return replace(self, table=self.table.to(device), start=self.start.to(device))

    # ---- drawing -------------------------------------------------------------------------------------------------

    @cached_property
    def _cumulative(self) -> tuple[Tensor, Tensor]:
        """Of the table and of the start, ending in exactly 1, so that a uniform number in [0, 1) always has a place."""
        sums = self.table.cumsum(-1), self.start.cumsum(-1)
        return sums[0] / sums[0][:, -1:], sums[1] / sums[1][-1]

    def sample(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """Draw sequences, (n, length) int64, independently; the generator lies where the tables do.

        Raises:
            ValueError: if n or length is below 1.
        """
        if n < 1 or length < 1:
            raise ValueError(f"a sample has n and length of at least 1, got {n} and {length}")
        table, start = self._cumulative
        shape = max(length - self.order + 1, 0) + 1, n
        uniform = torch.rand(shape, generator=generator, device=table.device, dtype=torch.float64)
        context = torch.searchsorted(start, uniform[0], right=True)
        symbols = [context // self.vocab_size**i % self.vocab_size for i in reversed(range(self.order - 1))]
        for u in uniform[1:]:
            symbol = torch.searchsorted(table[context], u[:, None], right=True)[:, 0]
            context = (context * self.vocab_size + symbol) % self.n_contexts
            symbols.append(symbol)
        return torch.stack(symbols[:length], dim=-1)

    # ---- probabilities -------------------------------------------------------------------------------------------

    def conditionals(self, sequences: Tensor) -> Tensor:
        """p(· | x_<t), (..., T, V) float64, at each position of sequences (..., T); NaN after what never happens.

        Raises:
            ValueError: if there are no symbols, or one lies outside the vocabulary.
        """
        _check_symbols(sequences, self.vocab_size)
        rows = []
        for t in range(min(sequences.shape[-1], self.order - 1)):
            joint = self._beginnings(t + 1).reshape(-1, self.vocab_size)[self._number(sequences[..., :t])]
            rows.append((joint / joint.sum(-1, keepdim=True))[..., None, :])
        return torch.cat([*rows, self.table[self._contexts(sequences)]], dim=-2)

    def log_prob(self, sequences: Tensor) -> Tensor:
        """Log p in nats, (...) float64, of sequences (..., T).

        Raises:
            ValueError: if there are no symbols, or one lies outside the vocabulary.
        """
        _check_symbols(sequences, self.vocab_size)
        n = min(sequences.shape[-1], self.order - 1)
        begun = self._beginnings(n)[self._number(sequences[..., :n])].log()
        return begun + self.table[self._contexts(sequences), sequences[..., self.order - 1 :]].log().sum(-1)

    def _beginnings(self, n: int) -> Tensor:
        """Probabilities of the first n < k symbols, (V**n,)."""
        return self.start.reshape(self.vocab_size**n, -1).sum(-1)

    def _number(self, symbols: Tensor) -> Tensor:
        """Place (...) of each of (..., n) in lexicographic order."""
        place = [self.vocab_size**i for i in reversed(range(symbols.shape[-1]))]
        return (symbols * torch.tensor(place, dtype=torch.long, device=symbols.device)).sum(-1)

    def _contexts(self, sequences: Tensor) -> Tensor:
        """Contexts (..., max(T − k + 1, 0)) of the symbols that have one."""
        if sequences.shape[-1] < self.order:
            return sequences.new_zeros(*sequences.shape[:-1], 0, dtype=torch.long)
        if self.order == 1:
            return torch.zeros_like(sequences)
        return self._number(sequences[..., :-1].unfold(-1, self.order - 1, 1))

    # ---- entropies -----------------------------------------------------------------------------------------------

    def conditional_entropies(self, length: int) -> Tensor:
        """H(x_t | x_<t) in nats, (length,) float64: the distribution of contexts is carried along.

        Raises:
            ValueError: if length is below 1.
        """
        if length < 1:
            raise ValueError(f"a sequence has length of at least 1, got {length}")
        begun = torch.stack([entropy(self._beginnings(n)) for n in range(min(length, self.order - 1) + 1)]).diff()
        rows, contexts, values = entropy(self.table), self.start, []
        for _ in range(length - self.order + 1):
            values.append(contexts @ rows)
            contexts = _step(contexts, self.table)
        return torch.cat([begun, torch.stack(values)]) if values else begun

    def entropy(self, length: int) -> float:
        """H of sequences of that length, in nats."""
        return float(self.conditional_entropies(length).sum())

    def rate(self) -> float:
        """Entropy rate, in nats a symbol: H of the next symbol once the contexts have settled."""
        return float(stationary(self.table, self.start) @ entropy(self.table))


def _check_size(vocab_size: int, order: int) -> None:
    if order < 1 or vocab_size < 1:
        raise ValueError(f"order and vocab_size must be at least 1, got {order} and {vocab_size}")
    if vocab_size**order > MAX_ENTRIES:
        raise ValueError(
            f"a source of order {order} over {vocab_size} symbols has {vocab_size**order:,} conditionals; "
            f"at most {MAX_ENTRIES:,} are held"
        )


def _step(contexts: Tensor, table: Tensor) -> Tensor:
    """The distribution of contexts, (C,), one symbol later: the oldest symbol is summed out."""
    if len(table) == 1:  # the only context: there is no oldest symbol
        return contexts
    v = table.shape[1]
    by_rest = contexts.reshape(v, -1).T[:, None], table.reshape(v, -1, v).transpose(0, 1)  # (C/V, 1, V), (C/V, V, V)
    return (by_rest[0] @ by_rest[1]).reshape(-1)


def stationary(table: Tensor, contexts: Tensor, steps: int = 100_000) -> Tensor:
    """The distribution of contexts, (C,), to which a table (C, V) of conditionals leads from a given one.

    By power iteration, which settles if the table has no zeros, and then in the same place wherever it begins.

    Raises:
        ValueError: if it does not settle, as with a table that goes in circles.
    """
    for _ in range(steps):
        before, contexts = contexts, _step(contexts, table)
        if float((contexts - before).abs().sum()) < 1e-14:
            return contexts / contexts.sum()
    raise ValueError(f"the contexts have not settled after {steps:,} steps")
