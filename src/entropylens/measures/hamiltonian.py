"""The Hamiltonian form of a loop (Lam, arXiv 2601.09588): its energy, and what motion in it conserves.

    V' = μV + α(F(Z + X) − Z) − β∇E(Z),    Z' = Z + V',    E(Z) = Σ_i e_i(z_i),
    e_i(z) = −τ log Σ_j exp(⟨z, c_j⟩ / τ),    corners c_j = x_j W_K W_Qᵀ / √d,

over the tokens j that i may see. Embeddings X do not change, so that a token's energy is a function of its own state
alone: without F, tokens move independently of each other. −∇e_i is a mean of corners, at most R_i = max_j ‖c_j‖ long,
and e_i is concave.

A loop is a step of length h = √β in a time of which v = V / h is the velocity. With α = 0 and μ = 1 it is symplectic
Euler, v' = v − h∇E(z), z' = z + h v', for H = E(z) + ½‖v‖². Energies are in units of the attention logits, as τ is.

Shapes: B sequences, n tokens, d width, T steps; * any leading, with one model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from entropylens.models.looped import LoopBlock, energy_gradient

Gradient = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""State and velocity to the next ones."""


# ---- the energy ------------------------------------------------------------------------------------------------------


def corners(block: LoopBlock, x: Tensor) -> Tensor:
    """c_j of embeddings X, (*, n, d) both: ⟨z, c_j⟩ is the logit ⟨z W_Q, x_j W_K⟩ / √d."""
    w_q, w_k, _ = block.qkv.detach().chunk(3, dim=-1)
    result: Tensor = x @ w_k @ w_q.mT * w_q.shape[-1] ** -0.5
    return result


def energy(block: LoopBlock, z: Tensor, x: Tensor, temperature: float = 1.0) -> Tensor:
    """What each token adds to E, e_i(z_i), (*, n); of states and embeddings as they are, without the block's norm.

    It depends on which embeddings a token sees, not on which of them is its own: nor does, without F, its motion.
    """
    return energy_at(z, corners(block, x), seen(block, x), temperature)


def energy_at(z: Tensor, c: Tensor, visible: Tensor, temperature: float) -> Tensor:
    """−τ log Σ_j exp(⟨z, c_j⟩ / τ) over the corners (*, n, d) that are visible, (n) or (m, n); (*, m, d) to (*, m)."""
    logits = (z @ c.mT / temperature).masked_fill(~visible, -torch.inf)
    return -temperature * logits.logsumexp(-1)


def seen(block: LoopBlock, x: Tensor) -> Tensor:
    """(n, n) bool by token and what it may see."""
    everything = torch.ones(x.shape[-2], x.shape[-2], dtype=torch.bool, device=x.device)
    return everything.tril() if block.config.causal else everything


@dataclass(frozen=True)
class Potential:
    """E, with a spring ½κ‖z‖² if wanted, as a function of the state."""

    block: LoopBlock
    x: Tensor
    """(B, n, d)."""
    temperature: float = 1.0
    """τ."""
    spring: float = 0.0
    """κ. The loop's own is α/β, from its pull −αZ."""

    def __call__(self, z: Tensor) -> Tensor:
        """Each token's, (B, n, d) to (B, n)."""
        return energy(self.block, z, self.x, self.temperature) + self.spring / 2 * z.square().sum(-1)

    @torch.no_grad()
    def gradient(self, z: Tensor) -> Tensor:
        """(B, n, d)."""
        return energy_gradient(self.block, z, self.x, self.temperature) + self.spring * z


class Fall(NamedTuple):
    """Where a token's energy falls without end."""

    direction: Tensor
    """(B, n, d) unit vectors."""
    slope: Tensor
    """(B, n) R_i."""


def falling(block: LoopBlock, x: Tensor) -> Fall:
    """The direction u in which each token's energy falls fastest in the end: that of the longest corner it sees.

    −s R_i − τ log n_i ≤ e_i(s u) ≤ −s R_i for s ≥ 0, where n_i corners are seen.
    *Proof.* The largest of the n_i terms alone, and n_i times it; it is s ⟨u, c_j⟩ ≤ s ‖c_j‖ ≤ s R_i. ∎
    Hence e_i is bounded below only if all these corners are 0.
    """
    c = corners(block, x)
    lengths = torch.where(seen(block, x), c.norm(dim=-1)[..., None, :], 0.0)
    slope, at = lengths.max(-1)
    return Fall(F.normalize(c.gather(-2, at[..., None].expand_as(c)), dim=-1), slope)


def floor(block: LoopBlock, x: Tensor, temperature: float, spring: float) -> tuple[Tensor, Tensor]:
    """Between what the least of e_i(z) + ½κ‖z‖² lies, (B, n) both: −R_i²/2κ − τ log n_i and −R_i²/2κ.

    *Proof.* e_i(z) ≥ −R_i ‖z‖ − τ log n_i, and −R r + ½κr² ≥ −R²/2κ; the second is an upper bound at z = c_j / κ for
    the longest c_j. ∎

    Raises:
        ValueError: without a spring, κ > 0, as there is no least.
    """
    if not spring > 0:
        raise ValueError(f"only a spring above 0 bounds the energy below, got {spring}")
    highest = -falling(block, x).slope.square() / (2 * spring)
    return highest - temperature * seen(block, x).sum(-1).log(), highest


# ---- motion in it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """A trajectory."""

    states: Tensor
    """(T + 1, B, n, d)."""
    velocities: Tensor
    """(T + 1, B, n, d) v."""
    energy: Tensor
    """(T + 1, B, n), each token's, with the spring's if there is one."""

    @property
    def kinetic(self) -> Tensor:
        """½‖v_i‖², (T + 1, B, n)."""
        return self.velocities.square().sum(-1) / 2

    @property
    def total(self) -> Tensor:
        """Each token's part of H, (T + 1, B, n); without F each is conserved, or not, for itself."""
        return self.energy + self.kinetic


def symplectic(gradient: Gradient, z: Tensor, v: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """The loop: v' = v − h∇E(z), z' = z + h v'. With v − (h/2)∇E(z) for v it is leapfrog, at the same states."""
    v = v - h * gradient(z)
    return z + h * v, v


def explicit(gradient: Gradient, z: Tensor, v: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Both from what was there before: v' = v − h∇E(z), z' = z + h v."""
    return z + h * v, v - h * gradient(z)


def leapfrog(gradient: Gradient, z: Tensor, v: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Half a kick, a step, half a kick: of second order, and reversible."""
    v = v - h / 2 * gradient(z)
    z = z + h * v
    return z, v - h / 2 * gradient(z)


INTEGRATORS = {"symplectic Euler": symplectic, "explicit Euler": explicit, "leapfrog": leapfrog}


@torch.no_grad()
def integrate(potential: Potential, z: Tensor, v: Tensor, h: float, count: int, integrator: str) -> Path:
    """So many steps of a length, from (B, n, d) states and velocities, by one of `INTEGRATORS`."""
    step, states, velocities = INTEGRATORS[integrator], [z], [v]
    for _ in range(count):
        z, v = step(potential.gradient, z, v, h)
        states.append(z)
        velocities.append(v)
    return record(potential, states, velocities)


def record(potential: Potential, states: Sequence[Tensor], velocities: Sequence[Tensor]) -> Path:
    """A path with its energies."""
    return Path(torch.stack(list(states)), torch.stack(list(velocities)), torch.stack([potential(z) for z in states]))


def errors(potential: Potential, z: Tensor, v: Tensor, time: float, steps: Sequence[float]) -> pd.DataFrame:
    """H_t − H_0 over a fixed time, by each integrator with each step length.

    To first order in h, from rest, it is (h/2) dE/dt for symplectic Euler, and h ∫ ‖∇E‖² dt more for explicit Euler.
    *Proof.* A step adds ½h² (v ∇²E v ∓ ‖∇E‖²) + O(h³), and d²E/dt² = v ∇²E v − ‖∇E‖². ∎ The first is bounded where the
    motion is, by a spring. In E alone tokens fall ever faster, and it grows in proportion to time.

    Args:
        potential: in which.
        z: the state at first, (B, n, d).
        v: the velocity.
        time: how long.
        steps: lengths, which divide the time.

    Returns:
        Columns `integrator`, `step`, `time`, `sequence` and `error`, the sum over a sequence's tokens.

    Raises:
        ValueError: for a length that does not divide the time.
    """
    tables = []
    for h in steps:
        count = round(time / h)
        if count < 1 or abs(count * h - time) > 1e-9 * time:
            raise ValueError(f"a step has to divide the time {time:g}, got {h:g}")
        for integrator in INTEGRATORS:
            total = integrate(potential, z, v, h, count, integrator).total.sum(-1)
            table = pd.DataFrame((total - total[0]).numpy(), index=h * np.arange(count + 1)).rename_axis("time")
            table = table.melt(var_name="sequence", value_name="error", ignore_index=False).reset_index()
            tables.append(table.assign(integrator=integrator, step=h))
    return pd.concat(tables, ignore_index=True)


def drift(along: pd.DataFrame) -> pd.DataFrame:
    """The largest |H_t − H_0| of each sequence, integrator and step length, as column `drift`; from `errors`."""
    sizes = along.assign(drift=along["error"].abs()).groupby(["integrator", "step", "sequence"], sort=False)["drift"]
    return pd.DataFrame(sizes.max()).reset_index()


def orders(drifts: pd.DataFrame) -> dict[str, float]:
    """Each integrator's order: the least-squares slope of log drift against log step length."""
    return {
        str(name): float(np.polyfit(np.log(here["step"]), np.log(here["drift"]), 1)[0])
        for name, here in drifts.groupby("integrator", sort=False)
    }


def jacobian(step: Step, z: Tensor, v: Tensor) -> Tensor:
    """A step's derivative at one state and velocity, as a matrix (2 N, 2 N) with N their entries."""
    blocks = torch.autograd.functional.jacobian(step, (z, v))
    return torch.cat([torch.cat([b.reshape(z.numel(), -1) for b in row], dim=1) for row in blocks])


def form_defect(j: Tensor, factor: float = 1.0) -> float:
    """The largest entry of |JᵀΩJ − factor · Ω|: 0 for factor 1 if a map with this Jacobian is symplectic.

    For the loop with α = 0 it is 0 for factor μ, whatever β is. With α > 0 the force's derivative, −αI + αDF, is not
    symmetric, and it is not. The determinant does not tell: it is μ^N whatever F does.
    *Proof.* V' = μV + G(Z), Z' = Z + V' are two shears and a factor: dZ ∧ dV goes to dZ' ∧ dV' = dZ ∧ dV' = μ dZ ∧ dV +
    dZ ∧ DG dZ, and the last vanishes exactly if DG is symmetric. ∎
    """
    n = len(j) // 2
    omega = torch.zeros_like(j)
    omega[:n, n:] = torch.eye(n)
    omega[n:, :n] = -torch.eye(n)
    return float((j.mT @ omega @ j - factor * omega).abs().max())
