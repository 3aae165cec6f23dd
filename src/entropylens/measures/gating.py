"""What an entropy gate does to one residual step, G(Z) = Z + g ∘ F(Y), Y = Z + X, and to the bounds on its derivative.

With r_i token i's attention row, a_i its logits, S_i the Tsallis entropy of order q = `ORDER` (it would be in nats at
q = 1) and g_i = γ(S_i),

    DG[H]_i = h_i + g_i DF[H]_i + γ'(S_i) DS_i[H] F_i,    DS_i[H] = ⟨w_i, U_i⟩,    U = H M Yᵀ + Y M Hᵀ,
    w_i = ∂S_i/∂a_i = −q/(q−1) · J_i r_i^(q−1),    J_i = diag(r_i) − r_iᵀ r_i.

*Proof.* ∂S/∂r_k = −q/(q−1) r_k^(q−1), and J_i is the softmax's derivative, which is symmetric; the rest is the chain
rule. ∎ The last term, of rank one a token, is what a constant does not have. (In h = S / S_max: γ'(h) / S_max.)

Rest points are where g_i F_i = 0 for all i. Gates above 0 cannot move them: F = 0, as without. There the last term is 0
and DG = I + diag(g) DF: near rest an entropy gate *is* a constant step for each token. A gate that can shut (`sharp` at
h = 1, `diffuse` at h = 0, as of a first causal token) adds points where F_i ≠ 0: stopped, not converged. S has a slope
of 0 at both ends, so that DG[H]_i = h_i there: what pushes token i a little is not undone.

Shapes: n tokens, d width; one sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entropylens.measures.contraction import Head, softmax_derivative
from entropylens.measures.operators import Derivative, Map, derivative
from entropylens.models.entropies import tsallis
from entropylens.models.gates import Gate, opened
from entropylens.models.loop_kernel import ORDER
from entropylens.models.looped import LoopBlock
from entropylens.models.transformer import Norm1d


@dataclass(frozen=True)
class GatedStep:
    """G: called on Z, (n, d), it returns Z + g ∘ F(Z + X); `operators` knows its derivative."""

    head: Head
    """Whose rows the gates look at."""
    x: Tensor
    """X, (n, d)."""
    gate: Gate
    learned: Tensor | None = None
    """a and b of a learned gate, (1, 2)."""
    branch: Map | None = None
    """F of Y, with whatever comes after the head; None: the head itself."""

    def gates(self, y: Tensor) -> Tensor:
        """The gates at Y, (n, d) to (n)."""
        return self._opened(tsallis(self.head.rows(y), ORDER))

    def __call__(self, z: Tensor) -> Tensor:
        """(n, d) to (n, d)."""
        y = z + self.x
        return z + self.gates(y)[:, None] * (self.branch or self.head)(y)

    def slopes(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """γ'(S_i), (n), and w_i, (n, n): how fast a gate moves with its entropy, and that with the row's logits."""
        s = self.head.rows(y)
        entropy = tsallis(s, ORDER)
        rise: Tensor = torch.func.jvp(self._opened, (entropy,), (torch.ones_like(entropy),))[1]
        return rise, -ORDER / (ORDER - 1) * softmax_derivative(s, s ** (ORDER - 1))

    def derivative(self, z: Tensor) -> Derivative:
        """DG(Z) and its adjoint, beside F's own in O(n² d) a product."""
        y = z + self.x
        of_f, g, (rise, w) = derivative(self.branch or self.head, y), self.gates(y)[:, None], self.slopes(y)
        from_query, from_key, weighted = y @ self.head.m.mT, y @ self.head.m, rise[:, None] * w

        def push(h: Tensor) -> Tensor:
            opening = (weighted * (h @ from_query.mT + from_key @ h.mT)).sum(-1, keepdim=True)
            return h + g * of_f.push(h) + opening * of_f.value

        def pull(k: Tensor) -> Tensor:
            e = (k * of_f.value).sum(-1, keepdim=True) * weighted
            return k + of_f.pull(g * k) + e @ from_query + e.mT @ from_key

        return Derivative(push, pull, z, z + g * of_f.value)

    def _opened(self, entropy: Tensor) -> Tensor:
        return opened(self.gate, entropy[None], self.head.causal, self.learned)[0]  # parameters are those of a batch


# ---- bounds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GateBound:
    """‖DG − I‖ ≤ block + gate, scalars; so ‖DG‖ ≤ total, which is never below 1.

    No bound by ‖DF‖ alone can be: if DF is ‖DF‖ times the identity, ‖I + c DF‖ = 1 + c ‖DF‖. So such a bound does not
    show that a residual loop contracts; a step c < 1 brings it nearer to 1, and not below.
    """

    block: Tensor
    """max g · ‖DF‖."""
    gate: Tensor
    """For the change of the gates."""

    @property
    def total(self) -> Tensor:
        """1 + block + gate."""
        return 1 + self.block + self.gate


def entropy_slope(entropy: Tensor) -> Tensor:
    """What ‖∂S/∂a‖ can be at most where the entropy is S: q/(q−1) · m √(1 − m^(1/q)), m = Σ_j r_j^q = 1 − (q−1) S; (*).

    *Proof.* ‖w‖² = (q/(q−1))² Σ_k r_k² (r_k^(q−1) − m)² ≤ (q/(q−1))² max r · (Σ_k r_k^(2q−1) − m²): a variance under r,
    whose mean is m. With ‖r‖_q = m^(1/q), max r ≤ m^(1/q), and for q ≥ 1 Σ_k r_k^(2q−1) ≤ m^((2q−1)/q). ∎
    It is 0 for a certain row, as the slope is; for a flat row the slope is 0, and this is not.
    """
    m = 1 - (ORDER - 1) * entropy
    return ORDER / (ORDER - 1) * m * (1 - m ** (1 / ORDER)).clamp(min=0).sqrt()


def gated_bound(step: GatedStep, z: Tensor, size: float | Tensor, *, by_entropy: bool = False) -> GateBound:
    """A bound on ‖DG(Z)‖ from one on ‖DF(Y)‖.

    With κ_i = |γ'(S_i)| ‖F_i‖, the part of DG that is due to the gates' change is at most

        max_i κ_i ‖M Yᵀ w_i‖ + ‖diag(κ_i ‖w_i‖) Y M‖ ≤ 2 ‖M‖ ‖Y‖ max_i κ_i ‖w_i‖.

    *Proof.* Row i is ⟨w_i, h_i M Yᵀ⟩ γ' F_i, in which h_i acts on row i alone, and ⟨w_i, y_i M Hᵀ⟩ γ' F_i, at most
    κ_i ‖w_i‖ ‖(Y M Hᵀ)_i‖ long. Over all rows the second makes ‖diag(κ_i ‖w_i‖) Y M Hᵀ‖_F. ∎

    Args:
        step: which.
        z: the state, (n, d).
        size: ‖DF(Y)‖, or an upper bound, as of `contraction.data_bound` for a head alone.
        by_entropy: take the right-hand side, with `entropy_slope` for ‖w_i‖: of a row its entropy alone is known.
    """
    y = z + step.x
    (rise, w), m = step.slopes(y), step.head.m
    kappa = rise.abs() * (step.branch or step.head)(y).norm(dim=-1)
    if by_entropy:
        steep = kappa * entropy_slope(tsallis(step.head.rows(y), ORDER))
        gate = 2 * torch.linalg.matrix_norm(m, ord=2) * torch.linalg.matrix_norm(y, ord=2) * steep.max()
    else:
        steep = kappa * w.norm(dim=-1)
        gate = (kappa * (w @ y @ m.mT).norm(dim=-1)).max() + torch.linalg.matrix_norm(steep[:, None] * (y @ m), ord=2)
    return GateBound(step.gates(y).max() * size, gate)


# ---- at rest ---------------------------------------------------------------------------------------------------------


def signs(eigenvalues: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Signs of the real parts, (k): 1 for an error that grows, −1 for one that small steps shrink, 0 for a rounded 0.

    Args:
        eigenvalues: (k), real or complex.
        tolerance: a real part up to this share of the largest |λ| is a 0, whose sign is that of its rounding error.
    """
    real, size = eigenvalues.real, eigenvalues.abs()
    return torch.where(real.abs() > tolerance * size.max(), real.sign(), 0).int()


def largest_step(eigenvalues: Tensor) -> float:
    """The c below which Z + c F comes back to rest after any small push: min −2 Re λ / |λ|² over DF's λ; 0: none.

    *Proof.* |1 + cλ|² = 1 + c (2 Re λ + c |λ|²), below 1 exactly if c is below that; never if Re λ ≥ 0. ∎
    Errors then die out exponentially. With Re λ = 0, as `signs` has it, they do at no c. If λ = 0, as is common, the
    factor is 1: what becomes of such an error, a derivative cannot tell.

    Args:
        eigenvalues: of DF at a rest point, (k), real or complex.
    """
    real, size = eigenvalues.real.double(), eigenvalues.abs().double()
    if bool((signs(eigenvalues) >= 0).any()):
        return 0.0
    return float((-2 * real / size**2).min())


# ---- far from rest ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def largest_update(block: LoopBlock) -> float:
    """What ‖F_i‖ can be at most of a block with a norm, whatever the state; a scalar.

    So ‖Z_T,i‖ ≤ Σ_t g_t,i ‖F_i‖ ≤ T · (mean gate) · this: linear at most. And if g F tends to some f ≠ 0, Z_t / t does,
    too (a mean of what tends to f), so that a step over the state's size tends to 1/t *whatever the constant*.

    `post`: a normed row is at most √d long, so max|gain| √d + ‖bias‖. `pre`: so long are the rows that the head and the
    MLP see; an average of values is not longer than the longest, ReLU not longer than what it is given.

    Raises:
        ValueError: without a norm, where nothing bounds it.
    """
    c = block.config
    if c.norm == "none":
        raise ValueError("without a norm F grows with the state")

    def seen(norm: Norm1d) -> Tensor:
        longest: Tensor = norm.gain.abs().max() * c.d_model**0.5 + norm.bias.norm()
        return longest

    if c.norm == "post":
        return float(seen(block.norm_out))
    w_v = block.qkv.chunk(3, dim=-1)[2]
    size = c.n_heads**0.5 * torch.linalg.matrix_norm(w_v, ord=2) * seen(block.norm_in)  # heads look at different places
    if block.mlp is not None:
        keys, values = block.mlp.keys, block.mlp.values
        neurons = torch.linalg.matrix_norm(keys.weight, ord=2) * seen(block.norm_mid) + keys.bias.norm()
        size = size + torch.linalg.matrix_norm(values.weight, ord=2) * neurons + values.bias.norm()
    return float(size)
