"""What a member sees at each step: the full target, a fixed sample, or fresh samples; always as weights on sentences.

Any weighting of sentences is a table of weights on the trie (`Language.edges`), so all three regimes, and full batches
and minibatches, run through the same program and differ in a table only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from entropylens.tasks.language import Language

Regime = Literal["exact", "finite", "fresh"]


@dataclass(frozen=True)
class Data:
    """The regime of one member.

    Attributes:
        regime: `exact` weights all sentences by p_tgt itself; `finite` draws one sample at the start and stays with it;
            `fresh` draws `batch_size` new sentences at each step.
        n_samples: size of the finite sample.
        batch_size: sentences a step; None with `finite` means the full sample. Otherwise each epoch shuffles the sample
            and leaves out what does not fill a batch.

    Raises:
        ValueError: if a number is missing, superfluous or below 1.
    """

    regime: Regime = "exact"
    n_samples: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.regime not in get_args(Regime):
            raise ValueError(f"unknown regime {self.regime!r}; choose from {', '.join(get_args(Regime))}")
        needs = {"exact": set(), "finite": {"n_samples"}, "fresh": {"batch_size"}}[self.regime]
        allows = needs | ({"batch_size"} if self.regime == "finite" else set())
        given = {name for name in ("n_samples", "batch_size") if getattr(self, name) is not None}
        if needs - given or given - allows:
            raise ValueError(
                f"regime {self.regime!r} needs {sorted(needs) or 'no numbers'}, allows {sorted(allows) or 'none'}; "
                f"got {sorted(given) or 'none'}"
            )
        if any(not isinstance(value := getattr(self, name), int) or value < 1 for name in given):
            raise ValueError("n_samples and batch_size must be whole numbers, at least 1")
        if self.batch_size and self.n_samples and self.batch_size > self.n_samples:
            raise ValueError(f"a batch of {self.batch_size} cannot come from a sample of {self.n_samples}")


def generator(seed: int, purpose: str) -> torch.Generator:
    """An independent stream of random numbers for each purpose ("init", "sample", "batches") of a seed."""
    mixed = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


def finite_sample(language: Language, target: Tensor, n_samples: int, seed: int) -> Tensor:
    """The finite sample (n_samples,) that goes with a seed; a larger one does not contain a smaller one."""
    return language.sample(target, n_samples, generator(seed, "sample"))


def batches(language: Language, target: Tensor, data: Data, seed: int) -> Iterator[Tensor]:
    """Weights on sentences, (S,) float64, sum 1, step after step without end."""
    if data.regime == "fresh":
        assert data.batch_size is not None
        yield from _fresh(language, target, data.batch_size, generator(seed, "batches"))
    if data.regime == "exact":
        weights = target.double()
    else:
        assert data.n_samples is not None
        sample = finite_sample(language, target, data.n_samples, seed)
        if data.batch_size is not None:
            yield from _epochs(language, sample, data.batch_size, generator(seed, "batches"))
        weights = language.empirical(sample)
    while True:
        yield weights


def _fresh(language: Language, target: Tensor, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    # Inverting the cumulative distribution is ten times faster than torch.multinomial, which builds it at each call.
    cumulative = target.double().cumsum(0)
    cumulative = cumulative / cumulative[-1]
    last = int(target.nonzero()[-1])
    while True:
        uniform = torch.rand(batch_size, generator=random, dtype=torch.float64)
        drawn = torch.searchsorted(cumulative, uniform, right=True).clamp_(max=last)
        yield language.empirical(drawn)


def _epochs(language: Language, sample: Tensor, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    while True:
        order = torch.randperm(len(sample), generator=random)
        for start in range(0, len(sample) - batch_size + 1, batch_size):
            yield language.empirical(sample[order[start : start + batch_size]])


class Tables:
    """The weights on the trie for a whole population, (M, N, V), renewed at each step where a regime samples."""

    def __init__(self, language: Language, streams: list[Iterator[Tensor]], moving: list[bool], like: Tensor) -> None:
        self.language, self.like = language, like
        self.streams = [(i, s) for i, (s, moves) in enumerate(zip(streams, moving, strict=True)) if moves]
        first = torch.stack([next(s) for s in streams])
        self.table = language.edges(first.to(like))
        self._rows = torch.tensor([i for i, _ in self.streams], dtype=torch.long, device=like.device)

    def advance(self) -> None:
        """Draw the next step's weights."""
        if self.streams:
            weights = torch.stack([next(s) for _, s in self.streams])
            self.table[self._rows] = self.language.edges(weights.to(self.like))
