"""A language small enough to count: every sentence, every prefix, exact entropies in nats.

Glossary of shapes
------------------
V, T     alphabet size and sentence length (5 and 5 in the paper)
S        sentences, V**T = 3125, in lexicographic order
N        prefixes of length 0 … T-1 (the *contexts* of a language model), (V**T - 1) / (V - 1) = 781
edges    (..., N, V): the mass that passes from a prefix to each of its V continuations

Prefixes are numbered breadth first: the empty one is 0, then the V prefixes of length 1, and so on, so that
the parent of node n is (n - 1) // V, and the prefixes of one length form one contiguous *level*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MAX_SENTENCES = 2_000_000
"""Largest V**T that is enumerated: 16 MB a table in float64, a few hundred MB for the tables of one population."""

SYMBOLS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Language:
    """All sentences of `length` symbols over an alphabet of `vocab_size`.

    Raises:
        ValueError: if either is below 1, or the enumeration would not fit (the message states its size).
    """

    vocab_size: int = 5
    length: int = 5

    def __post_init__(self) -> None:
        if not isinstance(self.vocab_size, int) or not isinstance(self.length, int):
            raise TypeError(f"vocab_size and length are whole numbers, got {self.vocab_size} and {self.length}")
        if self.vocab_size == 1 and self.length > MAX_SENTENCES:
            raise ValueError(
                f"one symbol and length {self.length:,} give more prefixes than the {MAX_SENTENCES:,} allowed"
            )
        if self.vocab_size < 1 or self.length < 1:
            raise ValueError(f"vocab_size and length must be at least 1, got {self.vocab_size} and {self.length}")
        digits = self.length * math.log10(self.vocab_size)
        if digits > 15 or self.n_sentences > MAX_SENTENCES:
            size = f"about 10^{digits:.0f}" if digits > 15 else f"{self.n_sentences:,}"
            raise ValueError(
                f"a language of {self.vocab_size} symbols and length {self.length} has {size} sentences; "
                f"at most {MAX_SENTENCES:,} ({MAX_SENTENCES * 8 / 1e6:.0f} MB a table) are enumerated"
            )

    # ---- the trie ------------------------------------------------------------------------------------------------

    @property
    def n_sentences(self) -> int:
        """S = V**T."""
        return int(self.vocab_size**self.length)

    @cached_property
    def level_sizes(self) -> list[int]:
        """Number of prefixes of each length 0 … T-1."""
        return [self.vocab_size**t for t in range(self.length)]

    @cached_property
    def level_starts(self) -> list[int]:
        """Index of the first prefix of each length 0 … T; the last entry is N."""
        return [sum(self.level_sizes[:t]) for t in range(self.length + 1)]

    @property
    def n_nodes(self) -> int:
        """N: the contexts in which a language model predicts the next symbol."""
        return self.level_starts[-1]

    @cached_property
    def sentences(self) -> Tensor:
        """Every sentence as symbol ids, (S, T) int64, lexicographic."""
        index = torch.arange(self.n_sentences)[:, None]
        place = torch.tensor([self.vocab_size**t for t in reversed(range(self.length))])
        return index // place % self.vocab_size

    def prefix(self, node: int) -> tuple[int, ...]:
        """The symbols of prefix `node`, read off by walking to the root."""
        if not 0 <= node < self.n_nodes:
            raise IndexError(f"prefix {node} does not exist; there are {self.n_nodes}")
        symbols = []
        while node > 0:
            node, symbol = divmod(node - 1, self.vocab_size)
            symbols.append(symbol)
        return tuple(reversed(symbols))

    def text(self, symbols: tuple[int, ...] | Tensor) -> str:
        """Symbols as letters: (0, 2) is "ac"; numbers between dots for alphabets of more than 26."""
        ids = [int(s) for s in symbols]
        return "".join(SYMBOLS[i] for i in ids) if self.vocab_size <= len(SYMBOLS) else ".".join(map(str, ids))

    def index(self, sentences: Tensor) -> Tensor:
        """Position (...) of each sentence (..., T) in the lexicographic enumeration.

        Raises:
            ValueError: if the last dimension is not T or a symbol lies outside the alphabet.
        """
        if sentences.shape[-1] != self.length:
            raise ValueError(f"sentences have length {self.length}, got {sentences.shape[-1]}")
        if sentences.numel() and not 0 <= int(sentences.min()) <= int(sentences.max()) < self.vocab_size:
            raise ValueError(f"symbols are 0 … {self.vocab_size - 1}")
        place = [self.vocab_size**t for t in reversed(range(self.length))]
        return (sentences * torch.tensor(place, device=sentences.device)).sum(-1)

    # ---- between sentences and the trie -----------------------------------------------------------------------------

    def edges(self, weights: Tensor) -> Tensor:
        """Fold weights on sentences (..., S) into the mass on every edge of the trie, (..., N, V).

        The weights may be an exact distribution, the relative frequencies of a sample, or a minibatch: the
        cross-entropy of a model is −Σ edges · log p(symbol | prefix) in each case.
        """
        lead = weights.shape[:-1]
        levels = [weights.reshape(*lead, n, self.vocab_size, -1).sum(-1) for n in self.level_sizes]
        return torch.cat(levels, dim=-2)

    def sentence_log_probs(self, conditionals: Tensor) -> Tensor:
        """Chain rule: log p(symbol | prefix), (..., N, V), to log p of every sentence, (..., S), in nats."""
        lead = conditionals.shape[:-2]
        total = conditionals.new_zeros(*lead, 1)
        for level in conditionals.split(self.level_sizes, dim=-2):
            total = (total[..., None] + level).reshape(*lead, -1)
        return total

    def conditionals(self, p: Tensor) -> Tensor:
        """p(symbol | prefix), (..., N, V), of a distribution on sentences (..., S); NaN below prefixes of mass 0."""
        edges = self.edges(p)
        return edges / edges.sum(-1, keepdim=True)

    # ---- sampling ------------------------------------------------------------------------------------------------

    def sample(self, p: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n sentence indices, (n,) int64, independently from p, (S,)."""
        if n < 1:
            raise ValueError(f"a sample has at least one sentence, got n = {n}")
        return torch.multinomial(self.check(p), n, replacement=True, generator=generator)

    def empirical(self, sample: Tensor) -> Tensor:
        """Relative frequencies p̂, (S,) float64, of sentence indices (n,)."""
        if len(sample) == 0:
            raise ValueError("a sample has at least one sentence, got none")
        counts = torch.bincount(sample, minlength=self.n_sentences)
        if len(counts) > self.n_sentences:
            raise ValueError(f"sentence indices are 0 … {self.n_sentences - 1}, got {int(sample.max())}")
        return counts.double() / len(sample)

    def check(self, p: Tensor) -> Tensor:
        """Return p unchanged if it is a distribution on the S sentences; see `check_distribution` for the errors."""
        if p.shape[-1:] != (self.n_sentences,):
            raise ValueError(
                f"a distribution on this language has {self.n_sentences} entries, got {p.shape[-1] if p.dim() else 1}"
            )
        return check_distribution(p)


# ---- entropy, cross-entropy, KL ------------------------------------------------------------------------------------


def check_distribution(p: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Return p, (..., S), unchanged if it is non-negative, finite and sums to 1 along the last dimension.

    Raises:
        ValueError: naming the first of these that fails.
    """
    if not bool(torch.isfinite(p).all()):
        raise ValueError("not a distribution: it contains NaN or infinite entries")
    if bool((p < 0).any()):
        raise ValueError(f"not a distribution: its smallest entry is {float(p.min()):g}")
    worst = float((p.sum(-1) - 1).abs().max())
    if worst > tolerance:
        raise ValueError(f"not a distribution: its sum is off 1 by {worst:g} (normalise it first)")
    return p


def _log_with_zeros(p: Tensor) -> Tensor:
    """Log p where p > 0 and 0 elsewhere: 0 · log 0 = 0, by continuity, without NaN."""
    return torch.where(p > 0, p, 1.0).log()


def entropy(p: Tensor) -> Tensor:
    """H(p) = −Σ p log p in nats along the last dimension, with 0 · log 0 = 0."""
    check_distribution(p)
    return 0.0 - (p * _log_with_zeros(p)).sum(-1)  # a minus sign alone would make the entropy of a certainty -0


def cross_entropy(p: Tensor, q: Tensor) -> Tensor:
    """H(p, q) = −Σ p log q in nats; infinite where q = 0 < p."""
    check_distribution(p)
    check_distribution(q)
    surprise = torch.where(q > 0, -_log_with_zeros(q), math.inf)
    return torch.where(p > 0, p * surprise, 0.0).sum(-1)


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) = H(p, q) − H(p) ≥ 0 in nats; infinite where q = 0 < p."""
    check_distribution(p)
    check_distribution(q)
    ratio = torch.where(q > 0, _log_with_zeros(p) - _log_with_zeros(q), math.inf)
    return torch.where(p > 0, p * ratio, 0.0).sum(-1)
