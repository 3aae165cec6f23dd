"""The checks of chapter 13's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.measures.hamiltonian import Path, Potential, integrate
from entropylens.measures.navigation import gain
from entropylens.models.looped import LoopBlock, LoopedConfig
from entropylens.show.checks import TryAgainError, ask, compare, exercise

TIME, STEP = 4.0, 0.1
CONSTANTS = ((0.5, 0.5), (0.25, 0.25), (0.9, 0.1))
"""μ and α: with an overshoot, just without one, and with many."""


@exercise
def check_later(answer: Callable[[Potential, Path, float], Tensor]) -> str:
    """Exercise: each token's H at the loop's own states, but with velocities half a kick later, (T + 1, B, n)."""
    model = LoopedConfig(5, norm="pre", hint=True).build(torch.Generator().manual_seed(2)).double()
    block, rest = model.blocks[0], torch.zeros(1, 6, 8).double()
    assert isinstance(block, LoopBlock)
    potential = Potential(block, model.embed(torch.tensor([[0, 3, 1, 0, 3, 2]])).detach(), spring=1.0)
    errors = []
    for h in (STEP, STEP / 2):
        path = integrate(potential, rest, rest, h, round(TIME / h), "symplectic Euler")
        kick = h * torch.stack([potential.gradient(z) for z in path.states])
        v, later = path.velocities, (path.velocities - kick / 2).square().sum(-1) / 2
        mistakes: dict[str, Tensor | float] = {
            "That is H(z, v): its error only falls by 2 if h is halved. Take v − (h/2)∇E for v.":
                path.total,
            "The sign of the kick is wrong: the force is −∇E.": path.energy + (v + kick / 2).square().sum(-1) / 2,
            "That is a whole kick. Half of one leads from the middle of a step to its end.":
                path.energy + (v - kick).square().sum(-1) / 2,
            "That is the kinetic part. Add the energy of the states, path.energy.": later,
            "½ is missing: the kinetic energy is ½‖v‖².": path.energy + 2 * later,
        }  # fmt: skip
        right = path.energy + later
        told = "It should be E(z) + ½‖v − (h/2)∇E(z)‖² for each time, sequence and token."
        compare(ask(answer, potential, path, h), right, mistakes, told)
        errors.append(float((right - right[0]).abs().max()))
    return f"Right. Half the step, and the largest error falls by {errors[0] / errors[1]:.2f}: second order."


@exercise
def check_floor(answer: Callable[[float, float, float, int], Tensor]) -> str:
    """Exercise: what −τ log Σ_j exp(⟨z, c_j⟩/τ) + ½κ‖z‖² cannot fall below, from R = max ‖c_j‖, κ, τ and n."""
    for longest, kappa, tau, n in ((2.0, 0.5, 1.0, 8), (3.0, 2.0, 0.5, 20)):
        deepest, logs = longest**2 / (2 * kappa), math.log(n)
        mistakes: dict[str, Tensor | float] = {
            "Some state lies lower: the sum has n terms, each at most exp(R‖z‖/τ), which costs τ log n more.": -deepest,
            "The sign is wrong: −R‖z‖ + ½κ‖z‖² is least at ‖z‖ = R/κ, and negative there.": deepest - tau * logs,
            "The log n has the wrong sign: more terms make the energy lower.": tau * logs - deepest,
            "τ is missing: −τ log (n e^{R‖z‖/τ}) = −R‖z‖ − τ log n.": -deepest - logs,
            "At ‖z‖ = R/κ the two parts are −R²/κ and +R²/2κ. You have the first only.": -2 * deepest - tau * logs,
        }
        told = "Bound the sum by n e^{R‖z‖/τ}, then take the least over ‖z‖ of −R‖z‖ − τ log n + ½κ‖z‖²."
        compare(ask(answer, longest, kappa, tau, n), torch.tensor(-deepest - tau * logs).double(), mistakes, told)
    return "Right. A spring grows like the square, and the energy falls like the first power: any spring will do."


@exercise
def check_gain(answer: Callable[[float, float], Tensor]) -> str:
    """Exercise: Σ_k |g_k| of the loop V' = μV − αZ + W, Z' = Z + V', with g_k its states after a single W = 1."""
    for mu, alpha in CONSTANTS:
        responses = _responses(mu, alpha)
        mistakes: dict[str, Tensor | float] = {
            "You have summed g_k, not |g_k|: that is 1/α for all. Where the state overshoots, parts cancel.": 1 / alpha,
            "That is the largest |g_k|. A steady drive adds all of them up.": responses.abs().max(),
            "That is the sum of squares. Take the absolute values.": responses.square().sum(),
            "The first is missing: right after the kick Z = V = 1.": responses[1:].abs().sum(),
            "Those are the velocities. The state is what is bounded.":
                responses.diff(prepend=torch.zeros(1)).abs().sum(),
        }  # fmt: skip
        right = gain(mu, alpha)
        got = ask(answer, mu, alpha)
        if got.shape == () and not math.isfinite(float(got)):
            raise TryAgainError("It grew beyond all bounds, where it should not: V' has to be made before Z' = Z + V'.")
        told = f"For μ = {mu:g} and α = {alpha:g} it is {right:.4f}; do you sum until nothing is left of it?"
        compare(got, torch.tensor(right).double(), mistakes, told)
    return "Right. It is 1/α exactly where nothing overshoots, √α ≤ 1 − √μ."


def _responses(mu: float, alpha: float) -> Tensor:
    """g_0, g_1, … until they have died out."""
    z, v = 1.0, 1.0
    found = [z]
    for _ in range(2000):
        v = mu * v - alpha * z
        z += v
        found.append(z)
    return torch.tensor(found).double()
