"""Whether an iteration Z_{t+1} = f(Z_t) settles, how fast, and what becomes of a small error on the way.

Shapes: T steps, * any leading (sequences, models), (n, d) a state; norms of states are Frobenius norms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entropylens.measures.operators import Map


@dataclass(frozen=True)
class Rates:
    """How a trajectory's steps shrink."""

    steps: Tensor
    """(T, *) ‖Z_{t+1} − Z_t‖."""
    ratios: Tensor
    """(T − 1, *) each step over the one before; NaN after a step of zero."""
    rate: Tensor
    """(*) the factor per loop that fits the second half, below 1 where they shrink; NaN if that is not two steps."""
    converged: Tensor
    """(*) bool: whether the last step is within the tolerance."""


def local_rates(states: Tensor, tolerance: float = 1e-9) -> Rates:
    """Step sizes of a trajectory, and the geometric rate that fits the second half of them.

    The rate is exp of the least-squares slope of log ‖Z_{t+1} − Z_t‖ against t. Steps from the first on that is within
    the tolerance are left out of it, as they are rounding, and the half is that of what remains.

    Args:
        states: (T + 1, *, n, d), with T ≥ 1.
        tolerance: relative to the largest ‖Z_t‖ so far; for float32 take 1e-5 or so.

    Raises:
        ValueError: for fewer than two states, or what is none.
    """
    if states.ndim < 3 or len(states) < 2:
        raise ValueError(f"needs two states (T + 1, ..., n, d) or more, got {tuple(states.shape)}")
    sizes = states.norm(dim=(-2, -1))
    steps = (states[1:] - states[:-1]).norm(dim=(-2, -1))
    floor = tolerance * torch.cummax(sizes, 0)[0][1:]
    ratios = steps[1:] / torch.where(steps[:-1] > 0, steps[:-1], torch.nan)
    usable = (steps <= floor).cumsum(0) == 0  # (T, *)
    time = torch.arange(len(steps), device=steps.device).reshape(-1, *[1] * (steps.ndim - 1))
    late = usable & (time >= usable.sum(0) // 2)
    return Rates(steps, ratios, _slope(steps, time, late).exp(), steps[-1] <= floor[-1])


def _slope(steps: Tensor, time: Tensor, use: Tensor) -> Tensor:
    """Least-squares slope of log steps (T, *) against time over those in use; NaN with fewer than two."""
    count = use.sum(0)
    t = torch.where(use, time, 0).to(steps)
    logs = torch.where(use, steps, 1.0).log()
    off = torch.where(use, t - t.sum(0) / count, 0.0)
    return torch.where(count > 1, (off * logs).sum(0) / off.square().sum(0), torch.nan)


def fixed_point_residual(f: Map, z: Tensor) -> Tensor:
    """‖f(Z) − Z‖, (*, n, d) to (*): 0 at a fixed point."""
    residual: Tensor = (f(z) - z).norm(dim=(-2, -1))
    return residual


@torch.no_grad()
def lyapunov(f: Map, z: Tensor, steps: int, *, warm_up: int = 0, seed: int = 0) -> float:
    """The largest Lyapunov exponent of f along the trajectory from Z, in finite time; nats per iteration.

    A random small error is carried along by the derivative and measured and renormalised at each step; the mean of the
    logarithms of its growth is below 0 where errors die out. Near a fixed point it tends to log `operators.local_rate`.

    Args:
        f: a map from states to states.
        z: where the trajectory begins, (n, d).
        steps: over which growth is averaged, 1 or more.
        warm_up: steps before them, in which the error turns to the direction that grows most.
        seed: of the error.

    Returns:
        Minus infinity if the error vanishes.

    Raises:
        ValueError: for fewer than one step, or a warm-up below 0.
    """
    if steps < 1 or warm_up < 0:
        raise ValueError(f"needs one step or more, and a warm-up of 0 or more, got {steps} and {warm_up}")
    error = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(z)
    error, grown = error / error.norm(), 0.0
    for step in range(warm_up + steps):
        z, error = torch.func.jvp(f, (z,), (error,))[:2]
        growth = error.norm()
        if not growth > 0:
            return -torch.inf if growth == 0 else torch.nan
        error = error / growth
        grown += float(growth.log()) if step >= warm_up else 0.0
    return grown / steps
