"""Where a model goes by the Hamiltonian form of its loop, trained by it or not (`measures.hamiltonian` for its energy).

Shapes: B sequences, n tokens, d width, T loops.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from entropylens.measures.hamiltonian import Path, Potential, corners, energy_at, record, seen
from entropylens.models.looped import LoopBlock, LoopedTransformer
from entropylens.tasks.induction import Batch


def with_update(
    model: LoopedTransformer, update: Literal["plain", "hamiltonian"], **constants: float
) -> LoopedTransformer:
    """A model with the same parameters, not copied, that loops by another rule than it was trained with.

    No constants make Hamiltonian loops plain: for Z + F, −αZ is in the way. Only the first, from Z = 0, is plain with
    α = 1 and β = 0. And they rest where F − Z = (β/α)∇E, whatever μ is, where plain ones rest where F = 0.

    Args:
        model: of one head if Hamiltonian loops are wanted.
        update: the rule.
        constants: `damping`, `pull`, `slope` and `temperature`, μ, α, β and τ; those of its configuration, if not said.
    """
    return model.altered(update=update, residual=True, step_size=1.0, **constants)


def potential_of(model: LoopedTransformer, x: Tensor) -> Potential:
    """The energy that a model's Hamiltonian loops know, of embeddings (B, n, d).

    Raises:
        ValueError: for a model of several blocks, whose energy changes from loop to loop, or without Hamiltonian loops.
    """
    if model.config.n_blocks > 1 or model.config.update != "hamiltonian":
        raise ValueError(
            f"needs one block with a hamiltonian update, got {model.config.n_blocks} with a {model.config.update} one"
        )
    block = model.blocks[0]
    assert isinstance(block, LoopBlock)
    return Potential(block, x.detach(), model.config.temperature)


@torch.no_grad()
def follow(model: LoopedTransformer, x: Tensor, steps: int) -> Path:
    """Where a model's Hamiltonian loops go from Z_0 and V = 0, with embeddings X, (B, n, d); E is without a spring.

    From Z_0 = 0 and with a pull states stay bounded if F is, as it is with a norm: ‖z_i‖ ≤ `gain` · (α max ‖F_i‖ +
    β R_i), for any number of loops. From X there is a part more, which dies out. Without a pull they go away, as e has
    no least (`hamiltonian.falling`).

    Raises:
        ValueError: without a slope β > 0, as then there is no H; or see `potential_of`.
    """
    if not model.config.slope > 0:
        raise ValueError(f"H needs a slope above 0, got {model.config.slope}")
    potential, (z, velocity) = potential_of(model, x), model.begin(x)
    states, velocities = [z], [velocity]
    for loop in range(steps):
        z, velocity = model.step(z, x, velocity, loop)
        states.append(z)
        velocities.append(velocity / model.config.slope**0.5)
    return record(potential, states, velocities)


def gain(damping: float, pull: float) -> float:
    """By how much the loop Z' = Z + V', V' = μV − αZ + W can exceed a steady drive: ‖Z_t‖ ≤ gain · max ‖W_t‖ from rest.

    That is Σ_k |g_k| with Z_t = Σ_k g_k W_{t−1−k}, and no smaller factor will do: 1/α if no g_k is below 0, which is so
    for √α ≤ 1 − √μ, without an overshoot; more with one; infinite unless |μ| < 1 and 0 < α < 2 (1 + μ).
    """
    if not (abs(damping) < 1 and 0 < pull < 2 * (1 + damping)):
        return float("inf")
    z = v = total = 0.0
    drive = 1.0
    while drive or abs(z) + abs(v) > 1e-12 * total:
        v = damping * v - pull * z + drive
        z, drive = z + v, 0.0
        total += abs(z)
    return total


class Budget(NamedTuple):
    """What changes H in each loop, (T, B, n) each; their sum is H_{t+1} − H_t, exactly."""

    friction: Tensor
    """−(1 − μ) ⟨v̄, v⟩ with v̄ = (v + v') / 2."""
    pull: Tensor
    """What α(F − Z) does to it: ⟨v̄, α(F − Z) / h⟩."""
    step: Tensor
    """e(z') − e(z) − h ⟨v̄, ∇e(z)⟩: what a loop of finite length loses or gains of its own."""


def budget(model: LoopedTransformer, x: Tensor, path: Path) -> Budget:
    """Where the energy of a path that a model was followed on came from, and went.

    Without a pull and with 0 ≤ μ ≤ 1, H falls by at least ½(1 − μ²) ‖v‖² + ½β ‖∇e‖² in each loop, however large β is.
    *Proof.* e is concave: e(z') ≤ e(z) + ⟨g, h v'⟩ with g = ∇e(z). And v' + h g = μ v, so that ⟨g, h v'⟩ + ½‖v'‖² =
    ½‖v' + h g‖² − ½‖h g‖² = ½μ² ‖v‖² − ½β ‖g‖². ∎
    """
    c, h, potential = model.config, model.config.slope**0.5, potential_of(model, x)
    v, after = path.velocities[:-1], path.velocities[1:]
    middle, force = (v + after) / 2, torch.stack([-potential.gradient(z) for z in path.states[:-1]])
    kick = after - c.damping * v - h * force
    friction, pull, work = ((middle * change).sum(-1) for change in (-(1 - c.damping) * v, kick, h * force))
    return Budget(friction, pull, path.energy.diff(dim=0) + work)


@torch.no_grad()
def by_loop(model: LoopedTransformer, batch: Batch, loops: int, settled: float = 1e-3) -> pd.DataFrame:
    """How a model, whatever its update, fares on its last token after 0, …, `loops` loops; (B, n) sequences.

    Returns:
        Columns `loops`; `accuracy`; `size`, the mean ‖z‖; `moved`, the mean length of the last step over ‖z‖, and
        `stuck`, the share of sequences that are wrong and for which it is at most `settled`; both NaN at first.
    """
    x, answers, rows = model.embed(batch.tokens), batch.answers[:, -1], []
    z, velocity = model.begin(x)
    for loop in range(loops + 1):
        before = z
        if loop:
            z, velocity = model.step(z, x, velocity, loop - 1)
        size = z[:, -1].norm(dim=-1)
        moved = (z - before)[:, -1].norm(dim=-1) / size if loop else torch.full_like(size, torch.nan)
        right = model.read(z[:, -1:])[:, 0].argmax(-1) == answers
        stuck = (~right & (moved <= settled)).double() if loop else moved
        told = {"accuracy": right.double(), "size": size, "moved": moved, "stuck": stuck}
        rows.append({"loops": loop} | {name: float(value.mean()) for name, value in told.items()})
    return pd.DataFrame(rows)


# ---- one token's plane -----------------------------------------------------------------------------------------------


class Plane(NamedTuple):
    """A plane through a token's trajectory."""

    centre: Tensor
    """(d,) the mean of its states."""
    axes: Tensor
    """(2, d) unit vectors."""
    path: Tensor
    """(T + 1, 2) coordinates of the states' projections."""
    at: Tensor
    """(K,) coordinates of the grid, the same along both axes."""
    energy: Tensor
    """(K, K) on the grid; the second axis comes first, as rows of a picture do."""
    share: float
    """Of the states' variance that is in the plane."""
    gap: float
    """The largest difference between the energy of a state and that of its projection."""

    @property
    def grid(self) -> Tensor:
        """(K, K, d) the states of the grid, in the order of `energy`."""
        return self.centre + self.at[:, None, None] * self.axes[1] + self.at[None, :, None] * self.axes[0]


@torch.no_grad()
def plane(potential: Potential, states: Tensor, sequence: int = 0, token: int = -1, points: int = 61) -> Plane:
    """The two principal axes of a token's states, (T + 1, B, n, d), and the token's own energy around.

    What is orthogonal to the plane is held at the mean of the states, so that of all planes it is the closest to them.
    Other tokens need not be held: a token's energy does not depend on their states.

    Raises:
        ValueError: for fewer than three states, or such as are not finite.
    """
    own = states[:, sequence, token]
    if len(own) < 3 or not own.isfinite().all():
        raise ValueError(
            f"needs three states or more, all finite, got {len(own)}, {own.isfinite().all(-1).sum()} finite"
        )
    centre = own.mean(0)
    _, sizes, axes = torch.linalg.svd(own - centre, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()  # SVD leaves the sign open
    path = (own - centre) @ axes.mT
    at = torch.linspace(-1, 1, points).to(own) * 1.2 * path.abs().max()
    on, off = (_energy_of(potential, z, sequence, token) for z in (centre + path @ axes, own))
    share = sizes[:2].square().sum() / sizes.square().sum()
    found = Plane(centre, axes, path, at, on, float(share), float((off - on).abs().max()))
    return found._replace(energy=_energy_of(potential, found.grid, sequence, token))


def _energy_of(potential: Potential, z: Tensor, sequence: int, token: int) -> Tensor:
    """Of one token, at states (*, d): (*)."""
    x = potential.x[sequence]
    visible = seen(potential.block, x)[token]
    spring = potential.spring / 2 * z.square().sum(-1)
    return energy_at(z, corners(potential.block, x), visible, potential.temperature) + spring
