"""Induction: after a token that was seen before, say what followed it then. Three tasks, and what is known of each.

Each distribution is *uniform on a set of sequences* x_0 … x_{L−1} over the tokens 0 … V−1, which depends on `kind`:

repeat   all sequences; if `solvable`, those whose last token occurs before;
unique   those whose last token occurs exactly once before;
trigger  those whose last token is 0, which occurs exactly once before.

Without `immediate`, only those in which no token directly follows itself. Nothing is rejected: the last token a is
drawn first, then where it was, then the tokens before and after that place, each with its exact probability.

The answer at position i is x_{j+1}, where x_j is the earlier occurrence of x_i that counts, j < i: the latest or the
first. With j = i − 1, x_i follows itself and is its own answer. Scored is the last position, or every position with an
earlier occurrence. A last token that is scored and never occurred before (`repeat`, not `solvable`, scored "last") is
labelled with a token drawn uniformly from all V, independent of the sequence.

With `hops` = k the answer is looked for k times (k-hop induction, arXiv 2402.09268). A hop leads from i to where its
answer stands, find(i) = j + 1; the answer after k of them is the token at find(find(… find(i))). Only positions where
all k lead somewhere have one, and for k > 1 no others are scored, not even the last. The sequences are those above,
whatever k: `solvable` promises the first hop of the last token, no more. Where x_i follows itself, find(i) = i, so that
all hops stay there. From anywhere else all of them go back: the token that a hop leads to is not the one before it.

Accuracies are those of all scored positions together: the expected number of right answers over that of scored ones.

Glossary of shapes
------------------
B, L, V  sequences, their length, vocabulary
N        V − 1, the tokens other than the last one
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Kind = Literal["repeat", "unique", "trigger"]
Occurrence = Literal["latest", "first"]
Scored = Literal["last", "all"]

NO_ANSWER = -100
"""Stands where there is no answer, or none is asked for; `torch.nn.functional.cross_entropy` passes over it."""


@dataclass(frozen=True)
class InductionTask:
    """Which sequences, which earlier occurrence counts, and which positions are scored; see the module.

    Attributes:
        vocabulary: V; at least 2 for `repeat` with `immediate`, otherwise 3 (fewer leave no choice of an answer).
        kind: `repeat`, `unique` or `trigger`.
        occurrence: the earlier occurrence that counts, the `latest` or the `first`.
        scored: the `last` position, or `all` that have an answer.
        immediate: whether a token may directly follow itself.
        solvable: whether the last token certainly has an earlier occurrence; `unique` and `trigger` always are.
        hops: how many times the answer is looked for; more than 1 only for `repeat` and `latest`.

    Raises:
        ValueError: for an unknown word, a vocabulary that is too small, `unique` or `trigger` not `solvable`, or hops
            that are none or that the task does not have.
    """

    vocabulary: int
    kind: Kind
    occurrence: Occurrence = "latest"
    scored: Scored = "last"
    immediate: bool = True
    solvable: bool = True
    hops: int = 1

    def __post_init__(self) -> None:
        for name, words in (("kind", Kind), ("occurrence", Occurrence), ("scored", Scored)):
            _check_word(name, getattr(self, name), get_args(words))
        if not isinstance(self.vocabulary, int) or self.vocabulary < self._smallest_vocabulary:
            raise ValueError(
                f"kind {self.kind!r} with immediate={self.immediate} needs a whole number of at least "
                f"{self._smallest_vocabulary} tokens, got {self.vocabulary}"
            )
        if self.kind != "repeat" and not self.solvable:
            raise ValueError(f"kind {self.kind!r} is always solvable; only 'repeat' can be without")
        _check_hops(self.hops)
        if self.hops > 1 and (self.kind, self.occurrence) != ("repeat", "latest"):
            raise ValueError(
                f"hops={self.hops} needs kind 'repeat' and occurrence 'latest', "
                f"got {self.kind!r} and {self.occurrence!r}"
            )

    @property
    def _smallest_vocabulary(self) -> int:
        return 2 if self.kind == "repeat" and self.immediate else 3

    @property
    def nearest(self) -> int:
        """The shortest distance between two occurrences of a token."""
        return 1 if self.immediate else 2

    @property
    def shortest(self) -> int:
        """The fewest tokens with room for an answer: two that are the same or, not `immediate`, k + 2 in turns."""
        return 2 if self.immediate else 2 + self.hops

    def check_length(self, length: int) -> None:
        """Raise ValueError unless sequences of this length exist and have room for an answer."""
        if length < self.shortest:
            raise ValueError(
                f"a task with immediate={self.immediate} and hops={self.hops} needs a length of at least "
                f"{self.shortest}, got {length}"
            )


@dataclass(frozen=True)
class Batch:
    """What a model reads and what it should say."""

    tokens: Tensor
    """(B, L) int64."""
    answers: Tensor
    """(B, L) int64: a token where `scored`, elsewhere NO_ANSWER (`solve` has the answers of all positions)."""
    scored: Tensor
    """(B, L) bool; "all" without `solvable`, and more than one hop, may leave a sequence without any."""


# ---- sequences ---------------------------------------------------------------------------------------------------


def sample(task: InductionTask, batch: int, length: int, random: torch.Generator) -> Batch:
    """Draw `batch` independent sequences on the generator's device, in time and memory of order B·L (and a sort).

    What is drawn does not depend on the hops.

    Raises:
        ValueError: if the batch is empty or the length too short for the task.
    """
    if batch < 1:
        raise ValueError(f"a batch has at least one sequence, got {batch}")
    tokens = _tokens(task, batch, length, random)
    answers, has = solve(tokens, task.occurrence, task.hops)
    scored = has.clone() if task.scored == "all" else torch.zeros_like(has)
    if task.scored == "last":
        scored[:, -1] = has[:, -1] if task.hops > 1 else True
        noise = torch.randint(task.vocabulary, (batch,), generator=random, device=tokens.device)
        answers[:, -1] = torch.where(has[:, -1], answers[:, -1], noise)
    return Batch(tokens, answers.masked_fill(~scored, NO_ANSWER), scored)


def _tokens(task: InductionTask, batch: int, length: int, random: torch.Generator) -> Tensor:
    """(B, L): a at the end and at its place, tokens other than a after it, and before it others, too, or any.

    Tokens are a walk modulo V, or modulo N for those other than a: its steps are uniform, but not 0 without
    `immediate`. The walk among the others starts anew at the place of a: what comes before and after is independent.
    """
    v, device = task.vocabulary, random.device
    place = _place(task, batch, length, random)
    last = torch.zeros_like(place)
    if task.kind != "trigger":
        last = torch.randint(v, place.shape, generator=random, device=device)

    def steps(modulus: int, smallest: int) -> Tensor:
        return torch.randint(smallest, modulus, (batch, length), generator=random, device=device)

    smallest = task.nearest - 1
    at = torch.arange(length, device=device)
    walk = torch.where((at == 0) | (at == place), steps(v - 1, 0), steps(v - 1, smallest)).cumsum(-1)
    tokens = (last + 1 + walk % (v - 1)) % v
    if task.kind == "repeat":
        walk = steps(v, smallest).cumsum(-1)
        back = walk - walk.gather(-1, place.clamp_min(0))  # 0 at the place of a, from where it goes backwards
        tokens = torch.where(at < place, (last + back) % v, tokens)
    return torch.where((at == place) | (at == length - 1), last, tokens)


def _place(task: InductionTask, batch: int, length: int, random: torch.Generator) -> Tensor:
    """(B, 1): where the last token was, for `repeat` the latest time; −1 for nowhere.

    For `repeat` the distance back is `nearest` or more, geometric with the rate at which a token comes up. For `unique`
    and `trigger` it is counting: all places have as many sequences, but without `immediate` place 0 has (N − 1) / N of
    those of the others, as one run of the other tokens, not two, chooses its first token freely, and the last but one
    place has none.
    """
    task.check_length(length)
    if task.kind == "repeat":
        uniform = torch.rand(batch, 1, generator=random, device=random.device, dtype=torch.float64)
        mass = occurs_before(task, length) if task.solvable else 1.0
        extra = (torch.log1p(-uniform * mass) / math.log1p(-_rate(task))).floor()
        farthest = length - 1 if task.solvable else length
        return length - 1 - (task.nearest + extra).clamp_max(farthest).long()
    if task.immediate:
        return torch.randint(length - 1, (batch, 1), generator=random, device=random.device)
    n = task.vocabulary - 1
    return torch.randint(1, n * (length - 2), (batch, 1), generator=random, device=random.device) // n


def _rate(task: InductionTask) -> float:
    """Probability that a token is a given one, which the token after it is not, or (with `immediate`) may be."""
    return 1 / (task.vocabulary + 1 - task.nearest)


# ---- answers -----------------------------------------------------------------------------------------------------


def solve(tokens: Tensor, occurrence: Occurrence = "latest", hops: int = 1) -> tuple[Tensor, Tensor]:
    """The answer at every position, and whether there is one: (..., L) int64 with NO_ANSWER for none, (..., L) bool.

    A stable sort puts the occurrences of each token side by side, in their order: L log L, and nothing of size L². That
    says where the first hop leads from every position; each further one looks up where the one before has led.

    Raises:
        ValueError: for an unknown occurrence, or less than one hop.
    """
    _check_word("occurrence", occurrence, get_args(Occurrence))
    _check_hops(hops)
    ordered, order = tokens.sort(dim=-1, stable=True)
    rank = torch.arange(tokens.shape[-1], device=tokens.device).expand_as(tokens)
    again = torch.zeros_like(tokens, dtype=torch.bool)
    again[..., 1:] = ordered[..., 1:] == ordered[..., :-1]
    first = torch.where(again, 0, rank).cummax(-1).values
    counted = first if occurrence == "first" else (rank - 1).clamp_min(0)
    after = (order.gather(-1, counted) + 1).clamp_max(tokens.shape[-1] - 1)
    find, found = torch.empty_like(order).scatter(-1, order, after), again.scatter(-1, order, again)
    at, has = find, found
    for _ in range(hops - 1):
        at, has = find.gather(-1, at), has & found.gather(-1, at)
    return tokens.gather(-1, at).masked_fill(~has, NO_ANSWER), has


def _check_hops(hops: int) -> None:
    if not isinstance(hops, int) or hops < 1:
        raise ValueError(f"hops are a whole number of at least 1, got {hops}")


def _check_word(name: str, word: str, choices: tuple[str, ...]) -> None:
    if word not in choices:
        raise ValueError(f"unknown {name} {word!r}; choose from {', '.join(choices)}")


# ---- accuracies --------------------------------------------------------------------------------------------------


def occurs_before(task: InductionTask, length: int) -> float:
    """Probability that the last token of a `repeat` sequence occurs before, were it not made to.

    1 − (1 − 1/V)^(L−1) with `immediate`; without it the token before the last is another one for certain, and the rest,
    looking backwards, hit with probability 1/N each: 1 − (1 − 1/N)^(L−2).
    """
    task.check_length(length)
    return -math.expm1((length - task.nearest) * math.log1p(-_rate(task)))


def bayes(task: InductionTask, length: int) -> float:
    """Accuracy of the best predictor that sees the sequence: 1, unless what is scored may have no answer to see."""
    task.check_length(length)
    if task.solvable or task.scored == "all" or task.hops > 1:
        return 1.0
    return occurs_before(task, length) + (1 - occurs_before(task, length)) / task.vocabulary


def chance(task: InductionTask, length: int) -> float:
    """Accuracy of the best constant guess, which sees nothing of the sequence.

    For `repeat`, with any hops, and `unique` all tokens play the same part: 1/V. For `trigger`, the tokens other than 0
    do. A guess that sees the token at its position may do better: "itself" and "another" in `shortcuts`.
    """
    task.check_length(length)
    if task.kind != "trigger":
        return 1 / task.vocabulary
    zero = _share_of_zero(task, length)
    return max(zero, (1 - zero) / (task.vocabulary - 1))


def _share_of_zero(task: InductionTask, length: int) -> float:
    """How many of the answers of `trigger` are 0.

    With `immediate` the 0 lies in one of L − 1 gaps of the other tokens, whatever these are: an answer is 0 with
    probability 1/(L−1). Without it the other tokens, n = L − 2, are two walks, before and after the 0 at place s.
    Looking back from a token, m steps of its own walk avoid it with probability avoid(m) = (1 − 1/(N−1))^(m−1) (1 for
    m = 0); the last token of the other walk, at s − 1, is the same with probability 1/N. If it is the latest, the
    answer is 0. That it is the first has another probability, with the same sum over all tokens and places.
    """
    if task.immediate or task.scored == "last":
        return 1 / (length - 1) if task.immediate else 0.0
    n, others = length - 2, task.vocabulary - 1
    s = np.arange(1, n)
    avoid = (1 - 1 / (others - 1)) ** np.maximum(np.arange(n) - 1.0, 0)
    sums = np.concatenate([[0.0], avoid.cumsum()])  # of avoid(m) over m < its index
    new = sums[s] + sums[n - s] * (1 - 1 / others) * (1 - 1 / (others - 1)) ** (s - 1)  # tokens not seen before
    zeros = sums[n - s] / others
    weights = others * n - 1  # place 0 has N − 1 of them, each other place N
    scored = 1 + n - ((others - 1) * sums[n] + others * new.sum()) / weights
    return float(others * zeros.sum() / weights / scored)


def shortcuts(task: InductionTask, length: int, random: torch.Generator, n: int = 4096) -> dict[str, float]:
    """Accuracies of guesses that need no induction, estimated from n sequences.

    With the last position scored, the standard error is at most 0.5 / √(sequences in which it is); with nothing scored,
    accuracies are NaN. At each scored position a guess is

    itself      the token there: right if it follows itself, or if more than one hop come back to it;
    another     a uniform token other than it;
    previous    the token before it: right, above all, if it came back after two steps;
    drawn       a uniform position so far, this one included;
    frequent    the most frequent token so far, drawn uniformly among several;
    elsewhere   the answer by the other occurrence, the first instead of the latest or the reverse, at every hop; wrong
                where there is none.
    """
    batch = sample(task, n, length, random)
    tokens, answers, scored = batch.tokens, batch.answers.clamp_min(0), batch.scored
    other, _ = solve(tokens, "first" if task.occurrence == "latest" else "latest", task.hops)
    drawn, frequent = _by_counting(tokens, answers, task.vocabulary)
    itself = (tokens == answers).double()
    right = {
        "itself": itself,
        "another": (1 - itself) / (task.vocabulary - 1),
        "previous": (tokens.roll(1, -1) == answers).double(),
        "drawn": drawn,
        "frequent": frequent,
        "elsewhere": (other == answers).double(),
    }
    return {name: float(hits[scored].mean()) for name, hits in right.items()}


def _by_counting(tokens: Tensor, answers: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """(B, L) each: how likely a token so far, drawn or most frequent, is the answer; a table (B, V) of counts walks."""
    counts = torch.zeros(len(tokens), vocabulary, dtype=torch.float64, device=tokens.device)
    drawn, frequent = [], []
    for i in range(tokens.shape[1]):
        counts.scatter_add_(1, tokens[:, i, None], torch.ones_like(counts[:, :1]))
        highest = counts == counts.amax(-1, keepdim=True)
        answer = answers[:, i, None]
        drawn.append(counts.gather(1, answer) / (i + 1))
        frequent.append(highest.gather(1, answer) / highest.sum(-1, keepdim=True))
    return torch.cat(drawn, dim=-1), torch.cat(frequent, dim=-1)
