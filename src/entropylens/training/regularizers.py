"""The terms that Lam (arXiv 2601.09588) adds to the cross-entropy of a looped transformer, and when they count.

    L_K = 1/(2T) Σ_t ‖Z_t − Z_{t−1}‖²         kinetic: how far states move
    L_P = 1/T Σ_t min_j (−log p_tj)           potential, nats: the min-entropy of attention
    L_S = |1/T Σ_t S_q(p_t) − η|              Tsallis entropy of attention, off a target

What p_t is cannot be read in the paper: one row of the attention matrix, or an average of rows. See `Row`.

Shapes: T loops, * any leading (a population of models), B sequences, n tokens, d width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from entropylens.models.entropies import tsallis
from entropylens.models.looped import LoopTrace

Row = Literal["last", "each", "mean"]
"""Three readings of p_t: the row of the last token, whose answer is asked for; each row, and terms are averaged over
rows; the mean of all rows, itself a distribution over tokens."""


class Terms(NamedTuple):
    """L_K, L_P and L_S, averaged over sequences, (*) each."""

    kinetic: Tensor
    potential: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Regularizer:
    """λ_K L_K + λ_P L_P + λ_S L_S, and in which part of training they count. Without coefficients: nothing is added.

    Attributes:
        kinetic: λ_K.
        potential: λ_P.
        entropy: λ_S; below 0 it makes attention less certain, if the target is 0.
        q: order of the Tsallis entropy, above 0.
        target: η, its target.
        row: what p_t is.
        start, stop: the share of the steps at which the terms come in, and go.
        ramp: the share of the steps over which they rise, linearly, after `start`.
    """

    kinetic: float = 0.0
    potential: float = 0.0
    entropy: float = 0.0
    q: float = 1.5
    target: float = 0.0
    row: Row = "last"
    start: float = 0.0
    stop: float = 1.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if self.row not in get_args(Row):
            raise ValueError(f"unknown row {self.row!r}; choose from {', '.join(get_args(Row))}")
        wrong = {name: value for name, value in asdict(self).items() if name != "row" and not math.isfinite(value)}
        if wrong or not self.q > 0 or self.target < 0:
            raise ValueError(f"needs finite numbers, an order above 0 and a target of 0 or more, got {self}")
        if not (0 <= self.start <= self.stop <= 1 and self.ramp >= 0):
            raise ValueError(f"needs 0 ≤ start ≤ stop ≤ 1 and a ramp of 0 or more, got {self}")

    def strength(self, share: float) -> float:
        """The factor of all terms, 0 … 1, when this share of the steps is done; 0, too, where nothing is ever added."""
        if not self.start <= share < self.stop or not (self.kinetic or self.potential or self.entropy):
            return 0.0
        return min(1.0, (share - self.start) / self.ramp) if self.ramp else 1.0

    def trace(self, *, differentiable: bool = True) -> LoopTrace:
        """What a pass has to keep."""
        return LoopTrace("last" if self.row == "last" else "all", differentiable)

    def terms(self, states: Sequence[Tensor], rows: Sequence[Tensor]) -> Terms:
        """The three terms of a pass.

        Args:
            states: Z_0 … Z_T, (*, B, n, d) each.
            rows: attention in each loop, (*, B, n, n) each; of (*, B, 1, n) if `row` is "last".
        """
        p = attended(torch.stack(list(rows)), self.row)
        each = kinetic_energy(torch.stack(list(states))), potential(p), entropy_gap(p, self.q, self.target)
        return Terms(*(term.mean(-1) for term in each))

    def weigh(self, terms: Terms) -> Tensor:
        """What is added to the loss, (*)."""
        return self.kinetic * terms.kinetic + self.potential * terms.potential + self.entropy * terms.entropy


PAPER = Regularizer(kinetic=0.001, potential=0.1, entropy=0.02)
"""The paper's coefficients, with q = 1.5 and η = 0."""


def attended(rows: Tensor, row: Row) -> Tensor:
    """What p_t is taken for: attention (..., n, n) to distributions (..., r, n), of which there are r = n, or 1."""
    if row == "each":
        return rows
    return rows[..., -1:, :] if row == "last" else rows.mean(-2, keepdim=True)


def kinetic_energy(states: Tensor) -> Tensor:
    """1/(2T) Σ_t ‖Z_t − Z_{t−1}‖_F², states (T + 1, *, B, n, d) to (*, B); a sum over tokens, which grows with n."""
    moved: Tensor = (states[1:] - states[:-1]).square().sum((-2, -1)).mean(0) / 2
    return moved


def potential(p: Tensor) -> Tensor:
    """1/T Σ_t min_j (−log p_tj), nats, averaged over the rows that count: (T, *, B, r, n) to (*, B).

    It is the min-entropy of attention, Rényi's of order ∞.
    Where several p_tj are the largest, the slope is shared among them, as `torch.amax` does.
    """
    least: Tensor = -p.amax(-1).log().mean((0, -1))
    return least


def entropy_gap(p: Tensor, q: float, target: float) -> Tensor:
    """|1/T Σ_t S_q(p_t) − η|, where S_q is averaged over the rows that count, too: (T, *, B, r, n) to (*, B)."""
    gap: Tensor = (tsallis(p, q).mean((0, -1)) - target).abs()
    return gap
