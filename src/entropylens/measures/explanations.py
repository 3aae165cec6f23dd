"""One-parameter stories of how a learned distribution differs from its target, and how much of it each explains.

If training minimised CE(p_tgt, p) + α·H(p) over distributions p, its result would be a member of a family with one
parameter (`measures.regularised`): `exact`, which ends at the largest α of its branch, or `escort`, its first order,
which does not end and so is the more generous reading. Rivals: the sample, or a uniform distribution, mixed into the
target; the sample's own escort.

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
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp, xlogy

from entropylens.measures.regularised import Array, escort, largest_alpha, regularised

# ---- families, and projections on them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Distributions p_φ with one parameter φ in [low, high]; φ = 0 is the target (for `sample escort`, the sample)."""

    member: Callable[[float], Array]
    low: float
    high: float


def families(target: Array, sample: Array | None) -> dict[str, Family]:
    """The explanations, by name; those that need a sample are left out where there is none.

    Args:
        target: p_tgt, (S,).
        sample: p̂, (S,).
    """
    uniform = (target > 0) / (target > 0).sum()
    found = {
        "exact": Family(lambda a: _on_support(target, a), -0.95, largest_alpha(target)),
        "escort": Family(lambda a: escort(target, a), -0.95, 3.0),
        "uniform": _mixture(target, uniform),
    }
    if sample is not None:
        found["sample"] = _mixture(target, sample)
        found["sample escort"] = Family(lambda g: escort(sample, g), -0.95, 3.0)
    return found


def _on_support(target: Array, alpha: float) -> Array:
    """The minimiser of CE + α·H among distributions that give nothing to what the target rules out."""
    result = np.zeros_like(target)
    result[target > 0] = regularised(target[target > 0], alpha)
    return result


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


def divergence(log_p: Array, target: Array, p: Array, *, from_model: bool = False) -> float:
    """KL(p‖pθ), or KL(pθ‖p), nats, with the model (log pθ, (S,)) conditioned on the target's support.

    The second is infinite where p rules out what the target does not.
    """
    support = target > 0
    log_q = log_p[support] - logsumexp(log_p[support])
    p = np.maximum(p[support], 0.0)  # a mixture at the end of its range may round below zero
    if not from_model:
        return float((xlogy(p, p) - p * log_q).sum())
    with np.errstate(divide="ignore"):
        return float((np.exp(log_q) * (log_q - np.log(p))).sum())


def project(log_p: Array, target: Array, family: Family, *, from_model: bool = False) -> Projection:
    """The member of a family that is nearest to a model, in KL(p_φ‖pθ), on the target's support.

    Args:
        log_p: log pθ, (S,); it is conditioned on the support.
        target: p_tgt, (S,).
        family: one of `families(target, …)`.
        from_model: use KL(pθ‖p_φ) instead, and KL(pθ‖p_tgt) for the share.

    Returns:
        NaN in all fields for a model that diverged. The parameter is sought within the family's range, and may lie at
        its end.
    """
    whole = divergence(log_p, target, target, from_model=from_model)
    if not np.isfinite(whole):
        return Projection(np.nan, np.nan, np.nan)

    def at(phi: float) -> float:
        return divergence(log_p, target, family.member(phi), from_model=from_model)

    # Coarse first: a divergence from an escort need not be convex in its parameter.
    grid = np.linspace(family.low, family.high, 25)
    values = [at(phi) for phi in grid]
    i = int(np.argmin(values))
    bounds = (grid[max(0, i - 1)], grid[min(len(grid) - 1, i + 1)])
    best = minimize_scalar(at, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    phi, residual = (best.x, best.fun) if best.fun < values[i] else (grid[i], values[i])
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
    known = {name: family for name, family in families(target, sample).items() if name in PLANTED}
    counts = {name: dict.fromkeys(known, 0) for name in known}
    for name, family in known.items():
        member = 0.999 * family.member(PLANTED[name]) + 0.001 * target
        for _ in range(runs):
            log_p = _noisy(member, residual, rng)
            found = {each: project(log_p, target, rival).share for each, rival in known.items()}
            counts[name][max(found, key=lambda each: found[each])] += 1
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
