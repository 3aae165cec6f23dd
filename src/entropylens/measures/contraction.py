"""How far one attention step stretches, F(Y) = S(Y)·Y·W_V: its derivative in closed form, and bounds on its norm.

S is the row softmax of the logits A = Y M Yᵀ with M = scale · W_Q W_Kᵀ. With U = H M Yᵀ + Y M Hᵀ, the change of the
logits in a direction H,

    DF(Y)[H] = DS[H] Y W_V + S H W_V,    DS[H]_ij = r_ij (U_ij − Σ_k r_ik U_ik),

where r_i is the i-th row of S. Written out row by row, with V = Y W_V, its mean v̄_i = Σ_j r_ij v_j under r_i and the
covariance C_i = Σ_j r_ij y_jᵀ(y_j − ȳ_i) (d × d; y_j are rows),

    DF(Y)[H]_i = h_i M C_i W_V  +  Σ_j r_ij (y_i M h_jᵀ)(v_j − v̄_i)  +  Σ_j r_ij h_j W_V.

Theorem 3.2.1 of Lam (arXiv 2601.09588) bounds the norm of DF for Y = X + Z, scale = 1, ‖W_V‖_F ≤ ½, and ‖X‖_F and ‖Z‖_F
of at most 1, hence ‖Y‖_F ≤ 2. ‖DF‖ is the operator norm for Frobenius norms of states (`measures.operators`).

Shapes: * any leading, weights and states broadcast; n tokens, d width, k width of queries and keys, c of what is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from entropylens.measures.operators import Derivative

Norm = Literal["spectral", "frobenius"]
"""How ‖W_Q‖ and ‖W_K‖ in the theorem are read."""

ORDS: dict[str, int | str] = {"spectral": 2, "frobenius": "fro"}

RADIUS = 2.0
"""What the theorem allows ‖X + Z‖_F to be."""


@dataclass(frozen=True)
class Head:
    """One head without a residual connection: called on Y (*, n, d), it returns F(Y), (*, n, c)."""

    w_q: Tensor
    """(*, d, k)."""
    w_k: Tensor
    """(*, d, k)."""
    w_v: Tensor
    """(*, d, c): values, and an output projection if there is one."""
    scale: float = 1.0
    """Of the logits: 1 in the theorem, 1/√k in a model."""
    causal: bool = False
    """Whether token i sees tokens 1 … i only."""

    @property
    def m(self) -> Tensor:
        """M = scale · W_Q W_Kᵀ, (*, d, d)."""
        return self.scale * self.w_q @ self.w_k.mT

    def rows(self, y: Tensor) -> Tensor:
        """S(Y), the attention rows r_i, (*, n, n)."""
        logits = y @ self.m @ y.mT
        if self.causal:
            future = torch.ones(y.shape[-2], y.shape[-2], dtype=torch.bool, device=y.device).triu(1)
            logits = logits.masked_fill(future, -torch.inf)
        return logits.softmax(-1)

    def __call__(self, y: Tensor) -> Tensor:
        """F(Y) = S(Y) Y W_V."""
        return self.rows(y) @ (y @ self.w_v)

    def derivative(self, y: Tensor) -> Derivative:
        """DF(Y) and its adjoint, each in O(n² d) a product.

        The adjoint: ⟨G, DS[H] V⟩ = ⟨E, U⟩ with E_ij = r_ij (B_ij − Σ_k r_ik B_ik) and B = G Vᵀ, as DS is its own
        adjoint row by row; and ⟨E, H M Yᵀ + Y M Hᵀ⟩ = ⟨E Y Mᵀ + Eᵀ Y M, H⟩.
        """
        s, v = self.rows(y), y @ self.w_v
        from_query, from_key = y @ self.m.mT, y @ self.m  # Y Mᵀ and Y M

        def push(h: Tensor) -> Tensor:
            change = softmax_derivative(s, h @ from_query.mT + from_key @ h.mT)
            return change @ v + s @ (h @ self.w_v)

        def pull(g: Tensor) -> Tensor:
            e = softmax_derivative(s, g @ v.mT)
            return e @ from_query + e.mT @ from_key + s.mT @ (g @ self.w_v.mT)

        return Derivative(push, pull, y, s @ v)

    def jacobian(self, y: Tensor) -> Tensor:
        """DF(Y) as a matrix, (*, n c, n d); differentiable, for batches of small states."""
        s = self.rows(y)
        own, others = _own(self, s, y), _values_from_mean(self, s, y)
        blocks = torch.einsum("...id,...ijc->...icjd", y @ self.m, others) + self.w_v.mT[..., None, :, None, :]
        blocks = s[..., :, None, :, None] * blocks
        blocks = blocks + torch.einsum("...idc,ij->...icjd", own, torch.eye(y.shape[-2]).to(y))
        return blocks.flatten(-4, -3).flatten(-2)


def softmax_derivative(s: Tensor, u: Tensor) -> Tensor:
    """J u for each row: r_j (u_j − Σ_k r_k u_k), where J = diag(r) − r rᵀ is symmetric, and ‖J‖ ≤ ½; (*, n, n)."""
    weighted = s * u
    return weighted - s * weighted.sum(-1, keepdim=True)


def norm_of(head: Head, y: Tensor) -> Tensor:
    """‖DF(Y)‖, (*), from the matrix: exact, for batches of small states (`operators.operator_norm` for large ones)."""
    norm: Tensor = torch.linalg.matrix_norm(head.jacobian(y), ord=2)
    return norm


# ---- bounds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """An upper bound on ‖DF(Y)‖ by its parts, each (*)."""

    score: Tensor
    """For DS[H] Y W_V: where the head looks changes."""
    value: Tensor
    """For S H W_V: what it sees there changes."""

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.score + self.value


def entropy_root(s: Tensor, q: float) -> Tensor:
    """√(Σ_i [1 − (q − 1) S_q(r_i)]^(2/q)) = √(Σ_i ‖r_i‖_q²), (*, n, n) to (*).

    At q = 2 it is ‖S‖_F, and for q < 2 it is larger, hence never below the spectral norm ‖S‖. For q > 2 it bounds
    nothing: uniform rows give n^(1/q − 1/2) < 1, where ‖S‖ = 1.
    """
    root: Tensor = torch.linalg.vector_norm(s, ord=q, dim=-1).norm(dim=-1)
    return root


def printed(head: Head, y: Tensor, q: float, norm: Norm) -> Bound:
    """The theorem as printed: (2 ‖W_Q‖ ‖W_K‖ + root) ‖W_V‖_F; `scale` multiplies the first term.

    Nothing is checked, neither its hypotheses nor q: it is here to be looked at, also where it is no bound. With
    spectral norms it fails (`extremal`). With Frobenius norms it is open: no search of ours finds a violation, and a
    special case can be proved: if S is uniform (no mask, ‖Y‖ ≤ 2), then the score term is at most 2 ‖M‖_* ‖W_V‖, where
    the nuclear norm ‖M‖_* ≤ ‖W_Q‖_F ‖W_K‖_F.
    *Proof.* Let R be spanned by the y_i and D by their differences. Uniform rows mean that y M gᵀ = 0 for y in R and g
    in D. The range of C_i is in D, so that in M C_i only the part K_1 of M between R⊥ and D counts, and in Y M only
    the part K_2 between R and D⊥: by `data_bound`, at most 2 (‖K_1‖ + ‖K_2‖) ‖W_V‖ in all. In suitable bases these two
    are diagonal blocks of M, so that ‖K_1‖ + ‖K_2‖ ≤ ‖M‖_*. ∎
    """
    return _by_entropy(head, y, q, norm, 2.0)


def corrected(head: Head, y: Tensor, q: float, norm: Norm, radius: float = RADIUS) -> Bound:
    """The same with radius² = 4 for 2: what the argument gives.

    ‖DS[H]‖_F ≤ ½ ‖U‖_F, since the softmax has a Jacobian of norm ≤ ½; ‖U‖_F ≤ 2 ‖M‖ ‖Y‖ ‖H‖_F; and ‖Y W_V‖ ≤ ‖Y‖ ‖W_V‖.
    With ‖Y‖ ≤ radius the product is radius² ‖M‖ ‖W_V‖. For spectral norms no constant below 4 will do: `extremal`.

    Raises:
        ValueError: for a state outside of the ball, or q > 2, where `entropy_root` is no bound.
    """
    if not 0 < q <= 2:
        raise ValueError(f"the value term is a bound for 0 < q ≤ 2, got {q}")
    if (largest := float(y.norm(dim=(-2, -1)).max())) > radius * (1 + 1e-9):
        raise ValueError(f"the bound is for ‖Y‖_F ≤ {radius:g}, got {largest:g}")
    return _by_entropy(head, y, q, norm, radius**2)


def _by_entropy(head: Head, y: Tensor, q: float, norm: Norm, constant: float) -> Bound:
    if norm not in ORDS:
        raise ValueError(f"unknown norm {norm!r}; choose from {', '.join(ORDS)}")
    query, key = (torch.linalg.matrix_norm(w, ord=ORDS[norm]) for w in (head.w_q, head.w_k))
    w_v = head.w_v.norm(dim=(-2, -1))
    return Bound(constant * abs(head.scale) * query * key * w_v, entropy_root(head.rows(y), q) * w_v)


def data_bound(head: Head, y: Tensor, *, cheap: bool = False) -> Bound:
    """A bound from what the rows look at: no hypothesis on ‖Y‖, and in the ball never above `corrected`.

    With J_i = diag(r_i) − r_iᵀ r_i and b_i = ‖J_i V‖, the norm of the values' deviations weighted by r_i,

        ‖DF(Y)‖ ≤ max_i ‖M C_i W_V‖ + ‖diag(b) Y M‖ + ‖S‖ ‖W_V‖,    all of them spectral norms.

    *Proof.* The first of the three terms of DF[H]_i acts on h_i alone: a block diagonal map. The second is X_i J_i V,
    where X = Y M Hᵀ and X_i is its i-th row, so that its norm is at most b_i ‖X_i‖; over all rows that makes
    ‖diag(b) X‖_F = ‖(diag(b) Y M) Hᵀ‖_F ≤ ‖diag(b) Y M‖ ‖H‖_F. The third is S H W_V. ∎
    As C_i = Yᵀ J_i Y and ‖J_i‖ ≤ ½, the first two are at most ½ ‖Y‖² ‖M‖ ‖W_V‖ each: 4 ‖M‖ ‖W_V‖ together if ‖Y‖ ≤ 2.

    Takes O(n² d) memory, 64 MB for n = 1000 and d = 8 in float64.

    Args:
        head: any, masked or not.
        y: the state, (*, n, d).
        cheap: take √(largest column sum) for ‖S‖: an upper bound, as ‖S‖² ≤ ‖S‖_1 ‖S‖_∞ and rows sum to 1.
    """
    s = head.rows(y)
    own = torch.linalg.matrix_norm(_own(head, s, y), ord=2).amax(-1)
    weighted = s[..., None] * _values_from_mean(head, s, y)  # J_i V, (*, n, n, c)
    b = torch.linalg.matrix_norm(weighted.mT @ weighted, ord=2).sqrt()  # (*, n)
    others = torch.linalg.matrix_norm(b[..., None] * (y @ head.m), ord=2)
    spread = s.sum(-2).amax(-1).sqrt() if cheap else torch.linalg.matrix_norm(s, ord=2)
    return Bound(own + others, spread * torch.linalg.matrix_norm(head.w_v, ord=2))


def _own(head: Head, s: Tensor, y: Tensor) -> Tensor:
    """M C_i W_V, (*, n, d, c): what a token's own change does to where it looks."""
    off = y[..., None, :, :] - (s @ y)[..., :, None, :]  # y_j − ȳ_i, (*, n, n, d)
    covariance = off.mT @ (s[..., None] * off)
    return head.m[..., None, :, :] @ covariance @ head.w_v[..., None, :, :]


def _values_from_mean(head: Head, s: Tensor, y: Tensor) -> Tensor:
    """v_j − v̄_i, (*, n, n, c) by i, j."""
    v = y @ head.w_v
    return v[..., None, :, :] - (s @ v)[..., :, None, :]


# ---- instances -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instance:
    """A point of the theorem: X and Z, (*, n, d), and a head."""

    x: Tensor
    z: Tensor
    head: Head

    @property
    def y(self) -> Tensor:
        """X + Z."""
        return self.x + self.z


def extremal(m: float) -> Instance:
    """Two tokens, width two, for which 4 cannot be lowered: ‖W_Q‖ ‖W_K‖ = m, ‖W_V‖_F = ½, ‖DF‖ = max(2m, √(m² + ¼)).

    y_1 = √2 e_1 = −y_2, M = m (e_1 e_2ᵀ + e_2 e_1ᵀ), W_V = ½ e_1 e_1ᵀ. All logits are 0, so that S is uniform and its
    derivative as large as can be, and in the direction h_1 = −h_2 = e_2/√2 all parts of the score term add up to 2m.
    The theorem as printed, for q = 2 and spectral norms, allows m + ½. For Frobenius norms ‖W_Q‖ ‖W_K‖ = 2m, and it
    allows 2m + ½: hardly more for a large m, so that even there no constant below 2 will do.
    """
    _check_strength(m, 0)
    one = torch.eye(2, dtype=torch.float64)
    half = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64) / 2**0.5
    w_v = torch.tensor([[0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    return Instance(half, half, Head(m**0.5 * one.flip(0), m**0.5 * one, w_v))


def leaving(m: float = 0.35) -> Instance:
    """Two tokens, width one, ‖X‖_F = ‖Z‖_F = 1 and ‖F(X + Z)‖_F > 1: the unit ball is not invariant.

    M = m, W_V = ½, and y_1 y_2 = 1/(2m), the best to first order in m; all norms are the same here. For m ≤ 0.38 and
    q = 2 the bound as printed is below 1 in the whole ball: row i of S has logits that differ by |y_i m (y_1 − y_2)|
    ≤ 2 (1 + √2) m, so that the sum of its squares is at most ½ (1 + tanh²((1 + √2) m)), and the bound at most
    m + ½ √(1 + tanh²((1 + √2) m)) < 1.
    """
    _check_strength(m, 0.25)
    total, difference = (4 + 1 / m) ** 0.5, (4 - 1 / m) ** 0.5
    half = torch.tensor([[total - difference], [total + difference]], dtype=torch.float64) / 4
    one = torch.ones(1, 1, dtype=torch.float64)
    return Instance(half, half, Head(m * one, one, one / 2))


def _check_strength(m: float, above: float) -> None:
    if not m > above:
        raise ValueError(f"needs logits of a strength above {above:g}, got {m}")
