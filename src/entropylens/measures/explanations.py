"""One-parameter stories of how a learned distribution differs from its target, and how much of it each explains.

If training minimised CE(p_tgt, p) + α·H(p) over distributions p, its result would be a member of a family with one
parameter, which can be solved for exactly (`regularised`) and is, to first order in α, the escort distribution
p ∝ p_tgt^(1+α) (`escort`). Rivals: the sample, or a uniform distribution, mixed into the target; the sample's own
escort.

A model is *projected* on a family: the member p_φ with the least KL(p_φ‖pθ) is its best description by that family, and
the share of KL(p_tgt‖pθ) that is gone then is what the family explains. This direction of the divergence is finite for
every family, since a model gives every sentence some probability. Where the target rules sentences out, the model is
conditioned on those that it allows; what leaked is measured elsewhere (`measures.memory.leaked_mass`).

Shapes: S sentences. NumPy float64 throughout, nats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import lambertw, logsumexp, softmax, wrightomega, xlogy

Array = NDArray[np.float64]


# ---- the minimiser of CE + α·H ---------------------------------------------------------------------------------------


def largest_alpha(target: Array) -> float:
    """The α up to which every sentence of the minimiser of CE + α·H lies on the same branch; between 0 and 1.

    There p_max = p_tgt,max / α: the curvature of the objective in the most probable sentence is zero.
    """
    t = target[target > 0]
    return float((t / _minus_w(1 + np.log(t.max() / t))).sum())  # with u = −W₋₁(…), p = t / αu sums to 1


def regularised(target: Array, alpha: float) -> Array:
    """The distribution that minimises −Σ p_tgt log p + α·H(p), exactly: the minimum that is p_tgt at α = 0.

    Stationarity is −p_tgt/p − α(1 + log p) + λ = 0 with λ for Σp = 1. With c = λ/α − 1 it reads
    p_tgt/α = p·(c − log p), whose solution is p = exp(c + W(−(p_tgt/α)·e^(−c))): for α > 0 the branch W₋₁, on which the
    curvature p_tgt/p² − α/p is positive; for α < 0, where the objective is convex, W₀, the only real one. What the
    target rules out stays impossible for α > 0, and gets e^c for α < 0. For α < 0 the minimum is global; for α > 0 it
    is strict, and that it is global is what random restarts suggest, and not proved.

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

    least = 1 + np.log(t.max() / alpha) if alpha > 0 else -np.log(len(t)) - 1 / abs(alpha) - 1
    result = np.zeros_like(target)
    found = member(_root(excess, least, up=alpha > 0))
    result[target > 0 if alpha > 0 else slice(None)] = found / found.sum()
    return result


def _minus_w(y: Array) -> Array:
    """−W₋₁(−e^(−y)) for y ≥ 1: the u ≥ 1 with u − log u = y."""
    s = np.sqrt(2 * np.clip(y - 1, 0.0, 1.0))
    near = 1 + s + s**2 / 3 + s**3 / 36  # SciPy loses half the digits near the branch point
    middle = -lambertw(-np.exp(-np.clip(y, 1 + 1e-6, 100)), k=-1).real
    far = -wrightomega(-y - 1j * np.pi).real  # where e^(−y) would vanish
    return np.asarray(np.where(y < 1 + 1e-6, near, np.where(y < 50, middle, far)))


def _root(f: Callable[[float], float], start: float, up: bool) -> float:
    """A zero of f to the right of `start`, where f falls (`up`, from f ≥ 0) or rises from f ≤ 0."""
    sign = 1 if up else -1
    if sign * f(start) <= 0:
        return start
    step = 1.0
    while sign * f(start + step) > 0:
        step *= 2
    return float(brentq(f, start, start + step, xtol=1e-14, rtol=8.9e-16))


def escort(p: Array, alpha: float) -> Array:
    """p^(1+α) / Z; what p rules out stays impossible."""
    result = np.zeros_like(p)
    result[p > 0] = softmax((1 + alpha) * np.log(p[p > 0]))
    return result


# ---- families, and projections on them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Distributions p_φ with one parameter φ in [low, high]; φ = `neutral` is the target itself, if it is a member."""

    member: Callable[[float], Array]
    low: float
    high: float


def families(target: Array, sample: Array | None) -> dict[str, Family]:
    """The rival explanations, by name; those that need a sample are left out where there is none.

    Args:
        target: p_tgt, (S,).
        sample: p̂, (S,).
    """
    uniform = (target > 0) / (target > 0).sum()
    found = {
        "escort": Family(lambda a: escort(target, a), -0.95, 3.0),
        "uniform": _mixture(target, uniform),
    }
    if sample is not None:
        found["sample"] = _mixture(target, sample)
        found["sample escort"] = Family(lambda g: escort(sample, g), -0.95, 3.0)
    return found


def _mixture(target: Array, other: Array) -> Family:
    """(1−β)·p_tgt + β·other, for all β ≤ 1 that leave no probability negative."""
    above = other > target
    low = -float((target[above] / (other - target)[above]).min()) if above.any() else -1.0
    return Family(lambda b: (1 - b) * target + b * other, low, 1.0)


@dataclass(frozen=True)
class Projection:
    """A model's best description by a family."""

    parameter: float
    residual: float
    """KL(p_φ‖pθ) at the best φ, nats."""
    share: float
    """1 − residual / KL(p_tgt‖pθ): what of the model's divergence from its target the family explains; NaN for none."""


def divergence(log_p: Array, target: Array, p: Array) -> float:
    """KL(p‖pθ), nats, with the model (log pθ, (S,)) conditioned on the target's support."""
    support = target > 0
    q = log_p[support] - logsumexp(log_p[support])
    p = np.maximum(p[support], 0.0)  # a mixture at the end of its range may round below zero
    return float((xlogy(p, p) - p * q).sum())


def project(log_p: Array, target: Array, family: Family) -> Projection:
    """The member of a family that is nearest to a model, in KL(p_φ‖pθ), on the target's support.

    Args:
        log_p: log pθ, (S,); it is conditioned on the support.
        target: p_tgt, (S,).
        family: one of `families(target, …)`.
    """

    def at(phi: float) -> float:
        return divergence(log_p, target, family.member(phi))

    # Coarse first: a divergence from an escort need not be convex in its parameter.
    grid = np.linspace(family.low, family.high, 33)
    values = [at(phi) for phi in grid]
    i = int(np.argmin(values))
    bounds = (grid[max(0, i - 1)], grid[min(len(grid) - 1, i + 1)])
    best = minimize_scalar(at, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    phi, residual = (best.x, best.fun) if best.fun < values[i] else (grid[i], values[i])
    whole = divergence(log_p, target, target)
    return Projection(float(phi), residual, 1 - residual / whole if whole > 0 else float("nan"))


def explain(log_p: Array, target: Array, sample: Array | None) -> Mapping[str, Projection]:
    """The projections of a model on all rival families, by name."""
    return {name: project(log_p, target, family) for name, family in families(target, sample).items()}


# ---- can the families be told apart? ---------------------------------------------------------------------------------

PLANTED: Mapping[str, float] = {"escort": 0.3, "sample": 0.5, "sample escort": 0.3, "uniform": 0.3}
"""What `name_families` plants."""


def name_families(target: Array, sample: Array, residual: float, runs: int = 100, seed: int = 0) -> pd.DataFrame:
    """How often noise makes one family look like another: counts, planted family × family with the largest share.

    Models are members of a family (`PLANTED`), with 0.1 % of the target mixed in so that nothing possible gets
    probability 0, times independent lognormal noise whose KL divergence from the bare member is `residual`.

    Args:
        target: p_tgt, (S,).
        sample: p̂, (S,).
        residual: nats; what the best family leaves of a trained model, for example.
        runs: models of each family.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    known = families(target, sample)
    counts = {name: dict.fromkeys(known, 0) for name in known}
    for name, family in known.items():
        member = 0.999 * family.member(PLANTED[name]) + 0.001 * target
        for _ in range(runs):
            found = explain(_noisy(member, residual, rng), target, sample)
            counts[name][max(found, key=lambda each: found[each].share)] += 1
    return pd.DataFrame(counts).T


def _noisy(p: Array, nats: float, rng: np.random.Generator) -> Array:
    """Log of p times lognormal noise, normalised, such that KL(p‖noisy p) = `nats`."""
    z = rng.normal(size=len(p))
    possible = p > 0

    def excess(sigma: float) -> float:
        return float(logsumexp(sigma * z[possible], b=p[possible]) - sigma * (p * z).sum() - nats)

    sigma = brentq(excess, 0.0, 10.0)
    log_p = np.where(possible, np.log(np.where(possible, p, 1.0)) + sigma * z, -1e3)
    return np.asarray(log_p - logsumexp(log_p))
