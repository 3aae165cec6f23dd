"""A source of text whose entropy is known, although nobody could enumerate what it says: a Markov chain of symbols.

Shapes: V symbols, order k, C = V**(k−1) contexts in lexicographic order, T symbols of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from entropylens.tasks.language import check_distribution, entropy
from entropylens.tasks.ngram import NGram, check_symbols

MAX_ENTRIES = 20_000_000
"""Largest V**k of a source: 160 MB in float64."""


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
        check_symbols(sequences, self.vocab_size)
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
        check_symbols(sequences, self.vocab_size)
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
