"""The minimiser of cross-entropy plus α times entropy, exactly and to first order.

Over all distributions p, −Σ p_tgt log p + α·H(p) has a minimum that can be written with Lambert's W (`regularised`) and
is, to first order in α, the escort distribution p ∝ p_tgt^(1+α) (`escort`). Derived in chapter 5.

Shapes: S sentences. NumPy float64 throughout, nats.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import lambertw, softmax, wrightomega, xlogy

Array = NDArray[np.float64]


def largest_alpha(target: Array) -> float:
    """The α up to which every sentence of the minimiser of CE + α·H lies on the same branch; between 0 and 1.

    There p_max = p_tgt,max / α: the curvature of the objective in the most probable sentence is zero.
    """
    t = target[target > 0]
    return float((t / _minus_w(1 + np.log(t.max() / t))).sum())  # with u = −W₋₁(…), p = t / αu sums to 1


def regularised(target: Array, alpha: float) -> Array:
    """A minimum of −Σ p_tgt log p + α·H(p) over distributions p, exactly: the one that is p_tgt at α = 0.

    Stationarity is −p_tgt/p − α(1 + log p) + λ = 0 with λ for Σp = 1. With c = λ/α − 1 it reads
    p_tgt/α = p·(c − log p), whose solution is p = exp(c + W(−(p_tgt/α)·e^(−c))): for α > 0 the branch W₋₁, on which the
    curvature p_tgt/p² − α/p is positive; for α < 0, where the objective is convex, W₀, the only real one. What the
    target rules out stays impossible for α > 0, and gets e^c for α < 0. For α < 0 the minimum is global. For α > 0 it
    is strict, and local: where the target is nearly uniform, a distribution with one sentence on the other branch can
    lie lower.

    Args:
        target: p_tgt, (S,).
        alpha: at most `largest_alpha(target)`; α = 0 returns the target.

    Raises:
        ValueError: for a larger α.
    """
    if abs(alpha) < 1e-9:
        return escort(target, alpha)  # they differ by O(α²), less than rounding
    if alpha > 0 and alpha > (most := largest_alpha(target)):
        raise ValueError(f"α = {alpha:g} has no minimiser on one branch; this target allows α ≤ {most:.4f}")
    t = target[target > 0] if alpha > 0 else target

    with np.errstate(divide="ignore"):
        log_ratio = np.log(t / abs(alpha))

    def member(c: float) -> Array:
        # W₀(e^z) is Wright's ω(z), which does not overflow; W₋₁ is found from its logarithm for the same reason. And
        # exp(c + W) = p_tgt / αu with u = ∓W, which does not lose digits where c is large.
        u = _minus_w(np.maximum(c - log_ratio, 1.0)) if alpha > 0 else wrightomega(log_ratio - c)
        return np.where(t > 0, t / abs(alpha) / np.where(t > 0, u, 1.0), np.exp(min(c, 0.0)))

    def excess(c: float) -> float:
        return float(member(c).sum()) - 1

    # Σ p · stationarity gives c = 1/α − H(p), which brackets c: entropies lie between 0 and log S, and, as α > 0 lowers
    # them, mostly below that of the target.
    if alpha > 0:
        first = 1 + np.log(t.max() / alpha)  # where the likeliest sentence meets the end of its branch
        near = 1 / alpha + float(xlogy(t, t).sum())
        low, high = (near if near > first and excess(near) > 0 else first), 1 / alpha
    else:
        low, high = 1 / alpha - np.log(len(t)), 1 / alpha
    found = member(_root(excess, low, high))
    result = np.zeros_like(target)
    result[target > 0 if alpha > 0 else slice(None)] = found / found.sum()
    return result


def _minus_w(y: Array) -> Array:
    """−W₋₁(−e^(−y)) for y ≥ 1: the u ≥ 1 with u − log u = y."""
    s = np.sqrt(2 * np.clip(y - 1, 0.0, 1.0))
    near = 1 + s + s**2 / 3 + s**3 / 36  # SciPy loses half the digits near the branch point
    middle = -lambertw(-np.exp(-np.clip(y, 1 + 1e-6, 100)), k=-1).real
    far = -wrightomega(-y - 1j * np.pi).real  # where e^(−y) would vanish
    return np.asarray(np.where(y < 1 + 1e-6, near, np.where(y < 50, middle, far)))


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """A zero of f between two ends at which its signs differ, or where rounding has moved it just outside."""
    if f(low) * f(high) >= 0:
        return min(low, high, key=lambda c: abs(f(c)))
    return float(brentq(f, low, high, xtol=1e-13))


def escort(p: Array, alpha: float) -> Array:
    """p^(1+α) / Z; what p rules out stays impossible."""
    result = np.zeros_like(p)
    result[p > 0] = softmax((1 + alpha) * np.log(p[p > 0]))
    return result
