"""The contraction bound taken apart: its proof inequality by inequality, and its two parts on one head.

Each step of the proof is left over right side, at most 1 if it holds, and 1 where it cannot be improved. They are tried
on random instances, and on those that a climb from random ones finds.

Shapes: B instances, n tokens, d width. float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from entropylens.measures.contraction import Head, corrected, data_bound, entropy_root, printed, softmax_derivative
from entropylens.measures.contraction_search import ascend, in_ball
from entropylens.measures.operators import Derivative, operator_norm
from entropylens.models.entropies import normalised_tsallis


@dataclass(frozen=True)
class Change:
    """Instances, each with a direction of change."""

    head: Head
    y: Tensor
    """States in the ball ‖Y‖_F ≤ 2, (B, n, d)."""
    h: Tensor
    """Directions with ‖H‖_F = 1, (B, n, d)."""

    @property
    def s(self) -> Tensor:
        """The attention rows, (B, n, n)."""
        return self.head.rows(self.y)

    @property
    def u(self) -> Tensor:
        """The change of the logits, H M Yᵀ + Y M Hᵀ, (B, n, n)."""
        return self.h @ self.head.m @ self.y.mT + self.y @ self.head.m @ self.h.mT

    @property
    def score(self) -> Tensor:
        """The score part, DS[H] Y W_V, (B, n, d)."""
        return softmax_derivative(self.s, self.u) @ (self.y @ self.head.w_v)


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = x.norm(dim=(-2, -1))
    return norm


def _most(x: Tensor) -> Tensor:
    """The spectral norm."""
    norm: Tensor = torch.linalg.matrix_norm(x, ord=2)
    return norm


STEPS: dict[str, Callable[[Change], Tensor]] = {
    "(a) value part ≤ root · ‖W_V‖_F": lambda c: (
        _norm(c.s @ c.h @ c.head.w_v) / (entropy_root(c.s, 2.0) * _norm(c.head.w_v))
    ),
    "(b) ‖DS[H]‖ ≤ ½ ‖U‖": lambda c: 2 * _norm(softmax_derivative(c.s, c.u)) / _norm(c.u),
    "(c) ‖U‖ ≤ 2 ‖M‖ ‖Y‖": lambda c: _norm(c.u) / (2 * _most(c.head.m) * _most(c.y)),
    "(d) ‖Y W_V‖ ≤ 2 ‖W_V‖": lambda c: _most(c.y @ c.head.w_v) / (2 * _most(c.head.w_v)),
    "score part ≤ 4 ‖W_Q‖ ‖W_K‖ ‖W_V‖_F": lambda c: (
        _norm(c.score) / (4 * _most(c.head.w_q) * _most(c.head.w_k) * _norm(c.head.w_v))
    ),
    "all ≤ (4 ‖W_Q‖ ‖W_K‖ + root) ‖W_V‖_F": lambda c: (
        _norm(c.score + c.s @ c.h @ c.head.w_v)
        / ((4 * _most(c.head.w_q) * _most(c.head.w_k) + entropy_root(c.s, 2.0)) * _norm(c.head.w_v))
    ),
}
"""Left over right side of each inequality, for q = 2 and spectral norms where no other is named; (B)."""


def tightness(
    n: int = 2, d: int = 2, draws: int = 20_000, starts: int = 64, steps: int = 300, seed: int = 0
) -> pd.DataFrame:
    """How close each of `STEPS` comes to 1: the largest of many random instances, and what climbing finds.

    Args:
        n: tokens.
        d: width.
        draws: random instances.
        starts: of the climb.
        steps: of each start.
        seed: of both.

    Returns:
        A row a step, `at random` and `climbing`.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(count: int) -> list[Tensor]:
        return [torch.randn(count, *shape, generator=random).double() for shape in [(n, d), (n, d), *[(d, d)] * 3]]

    drawn, begin = _changes(draw(draws)), draw(starts)
    table = {}
    for name, step in STEPS.items():
        climbed = ascend(_of_parameters(step), begin, steps)
        table[name] = {"at random": float(step(drawn).max()), "climbing": float(climbed.values.max())}  # noqa: PD011
    return pd.DataFrame(table).T


def _of_parameters(step: Callable[[Change], Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
    return lambda p: step(_changes(p))


def _changes(p: Sequence[Tensor]) -> Change:
    y, h, w_q, w_k, w_v = p
    return Change(Head(w_q, w_k, w_v), in_ball(y), h / _norm(h)[:, None, None])


# ---- one head --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScorePart:
    """A head whose values do not change: its derivative is DS[H] Y W_V alone."""

    head: Head

    def __call__(self, y: Tensor) -> Tensor:
        """F(Y)."""
        return self.head(y)

    def derivative(self, y: Tensor) -> Derivative:
        """The head's, less the value part S H W_V."""
        whole, s, w_v = self.head.derivative(y), self.head.rows(y), self.head.w_v
        return Derivative(
            lambda h: whole.push(h) - s @ (h @ w_v), lambda g: whole.pull(g) - s.mT @ (g @ w_v.mT), y, whole.value
        )


def sizes(head: Head, y: Tensor, q: float = 2.0) -> dict[str, float]:
    """Exact sizes of the derivative and of its parts at one state, (n, d), and the bounds on them.

    Returns:
        `entropy`, the rows' Shannon entropy over its largest value, on average; `exact`, ‖DF(Y)‖; `value` and `score`,
        the norms of its parts; `printed` and `corrected`, for spectral norms, the second NaN where ‖Y‖_F > 2;
        and `ours`, `data_bound`.
    """
    places = torch.arange(1, len(y) + 1, device=y.device) if head.causal else None
    s, inside = head.rows(y), bool(y.norm() <= 2 * (1 + 1e-9))
    value = torch.linalg.matrix_norm(s, ord=2) * torch.linalg.matrix_norm(head.w_v, ord=2)
    return {
        "entropy": float(normalised_tsallis(s, 1.0, places).mean()),
        "exact": operator_norm(head, y),
        "value": float(value),
        "score": operator_norm(ScorePart(head), y),
        "printed": float(printed(head, y, q, "spectral").total),
        "corrected": float(corrected(head, y, q, "spectral").total) if inside else float("nan"),
        "ours": float(data_bound(head, y).total),
    }


def heated(head: Head, y: Tensor, factors: Sequence[float], q: float = 2.0) -> pd.DataFrame:
    """`sizes` of a head with its logits multiplied by each factor, a row each: the larger, the lower the entropy."""
    return pd.DataFrame(
        [{"factor": x} | sizes(Head(x * head.w_q, head.w_k, head.w_v, head.scale, head.causal), y, q) for x in factors]
    )
