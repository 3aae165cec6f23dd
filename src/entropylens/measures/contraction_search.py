"""Looking for the worst case: instances that exceed a bound, and states of the ball that a head sends far away.

Random draws tell little about a bound that is attained in a corner. Here many starts climb at once, by Adam on
differentiable parametrisations that satisfy every hypothesis by construction. What a search does not find may still
exist; what it finds is a fact, since every value is the exact one of an instance that is returned.

Shapes: B starts, n tokens, d width. float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entropylens.measures.contraction import ORDS, RADIUS, Head, Instance, Norm, norm_of, printed

LEARNING_RATE = 0.05
"""The first; it falls to zero along half a cosine."""


@dataclass(frozen=True)
class Search:
    """What climbing from B starts came to."""

    ratios: Tensor
    """(B) the largest ‖DF‖ / bound on the way from each."""
    random: Tensor
    """(B) the largest of as many random draws as there were steps; each start is one of them."""
    best: Instance
    """Where the largest of all was."""
    evaluations: int
    """Instances whose ratio was computed in climbing, and once more at random."""


def search(
    n: int,
    d: int,
    norm: Norm,
    q: float = 2.0,
    *,
    strength: float | None = None,
    starts: int = 64,
    evaluations: int = 20_000,
    seed: int = 0,
) -> Search:
    """The largest ‖DF‖ over the theorem's bound as printed, over Y, W_Q, W_K and W_V that satisfy its hypotheses.

    ‖W_V‖_F = ½: both sides are proportional to it. ‖Y‖_F ≤ 2 is all that ‖X‖_F, ‖Z‖_F ≤ 1 says of Y (X = Z = Y/2).

    Args:
        n: tokens.
        d: width, also of queries and keys.
        norm: how ‖W_Q‖ and ‖W_K‖ are read.
        q: of the entropy, above 0.
        strength: ‖W_Q‖ ‖W_K‖; None: free. Under Frobenius norms a free one runs to 0, where the ratio tends to 1. From
            100 or so on, a fixed one is hard to climb with: rows are one-hot from the start, and do not move.
        starts: B, in parallel.
        evaluations: as many as can be shared out evenly: `starts` for each step.
        seed: of the starts.

    Raises:
        ValueError: for a size below 1, too few evaluations for one step, or a strength that is not above 0.
    """
    if min(n, d, starts) < 1 or evaluations < starts or (strength is not None and not strength > 0):
        raise ValueError(
            f"needs tokens, width and starts of 1 or more, an evaluation of each start and a strength above 0, "
            f"got {n}, {d}, {starts}, {evaluations}, {strength}"
        )
    random = torch.Generator().manual_seed(seed)

    def draw() -> list[Tensor]:
        return [torch.randn(starts, *shape, generator=random).double() for shape in [(n, d), *[(d, d)] * 3, (1, 1)]]

    def instances(p: Sequence[Tensor]) -> Instance:
        y, w_q, w_k, w_v, log_strength = p
        size = log_strength.exp() if strength is None else torch.full_like(log_strength, strength)
        w_q, w_k = (w / _sizes(torch.linalg.matrix_norm(w, ord=ORDS[norm])) * size.sqrt() for w in (w_q, w_k))
        half = in_ball(y) / 2
        return Instance(half, half, Head(w_q, w_k, w_v / _sizes(w_v.norm(dim=(-2, -1))) / 2))

    def ratio(p: Sequence[Tensor]) -> Tensor:
        i = instances(p)
        return norm_of(i.head, i.y) / printed(i.head, i.y, q, norm).total

    steps = evaluations // starts
    climbed = ascend(ratio, draw(), steps)
    top = instances([p[int(climbed.values.argmax())] for p in climbed.parameters])
    drawn = climbed.first
    with torch.no_grad():
        for _ in range(steps - 1):
            drawn = torch.maximum(drawn, ratio(draw()))
    return Search(climbed.values, drawn, top, steps * starts)


@dataclass(frozen=True)
class Climb:
    """What `ascend` found from B starts."""

    values: Tensor
    """(B) the largest on the way."""
    first: Tensor
    """(B) at the start."""
    parameters: list[Tensor]
    """(B, …) each, where the largest was."""


def ascend(objective: Callable[[Sequence[Tensor]], Tensor], starts: Sequence[Tensor], steps: int) -> Climb:
    """Climb from B starts at once, by Adam.

    Args:
        objective: parameters (B, …) each to values (B), each start's its own.
        starts: the parameters to begin with.
        steps: as many evaluations of each.

    Raises:
        FloatingPointError: for a value that is not a number: nothing that is found would mean anything.
    """
    parameters = [p.clone().requires_grad_() for p in starts]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    highest, where = torch.full((len(starts[0]),), -torch.inf).to(starts[0]), [p.clone() for p in starts]
    first = highest
    for step in range(steps):
        values = objective(parameters)
        if values.isnan().any():
            raise FloatingPointError(f"climbing came to a value that is not a number in step {step + 1} of {steps}")
        better = values.detach() > highest
        highest = torch.where(better, values.detach(), highest)
        for kept, now in zip(where, parameters, strict=True):
            kept[better] = now.detach()[better]
        first = highest if step == 0 else first
        optimizer.zero_grad()
        values.sum().neg().backward()
        optimizer.step()
        schedule.step()
    return Climb(highest, first, where)


def over_ball(
    objective: Callable[[Tensor], Tensor], n: int, d: int, *, starts: int = 64, steps: int = 300, seed: int = 0
) -> tuple[float, Tensor]:
    """The largest value found of a function of Y over the ball ‖Y‖_F ≤ 2, and its Y, (n, d).

    Args:
        objective: states (B, n, d) to values (B).
        n: tokens.
        d: width.
        starts: B, at random.
        steps: of each.
        seed: of the starts.
    """
    random = torch.Generator().manual_seed(seed)
    climbed = ascend(lambda p: objective(in_ball(p[0])), [torch.randn(starts, n, d, generator=random).double()], steps)
    top = int(climbed.values.argmax())
    return float(climbed.values[top]), in_ball(climbed.parameters[0][top])


def in_ball(y: Tensor, radius: float = RADIUS) -> Tensor:
    """States (*, n, d), those outside of the ball drawn to its surface."""
    return y * (radius / _sizes(y.norm(dim=(-2, -1)))).clamp(max=1)


def _sizes(norms: Tensor) -> Tensor:
    """(*) to (*, 1, 1); a zero may be divided by."""
    return norms.clamp(min=torch.finfo(norms.dtype).tiny)[..., None, None]
