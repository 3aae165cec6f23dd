"""The checks of chapter 10's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.measures.contraction import Head
from entropylens.measures.operators import Map
from entropylens.models.entropies import tsallis
from entropylens.show.checks import TryAgainError, ask, compare, exercise


@exercise
def check_tsallis(answer: Callable[[Tensor, float], Tensor]) -> str:
    """Exercise: S_q of each row, (n, m) to (n), for an order q that may be 1."""
    rows = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64)
    for q in (1.5, 2.0):
        right, powers = tsallis(rows, q), rows.pow(q)
        mistakes: dict[str, Tensor | float] = {
            "The sign is reversed: 1 minus the sum, over q minus 1.": -right,
            "You forgot to divide by q − 1.": right * (q - 1),
            "You summed over all rows at once. Sum over the last dimension; each row has an entropy.":
                (1 - powers.sum()) / (q - 1),
            "That is Rényi's entropy, with a logarithm. This one is 1 − Σ p^q over q − 1.":
                powers.sum(-1).log() / (1 - q),
            "That is ‖r‖_q, the norm; it has the entropy in it, and is not it.": powers.sum(-1).pow(1 / q),
        }  # fmt: skip
        compare(ask(answer, rows, q), right, mistakes, f"For q = {q:g} it is {right.tolist()}.")
    got = ask(answer, rows, 1.0)
    if not bool(got.isfinite().all()):
        raise TryAgainError(
            "At q = 1 that is 0/0, or 0 · log 0. The limit is −Σ p log p, in which a zero counts nothing."
        )
    compare(got, tsallis(rows, 1.0), {}, f"At q = 1 the limit is Shannon's entropy, {tsallis(rows, 1.0).tolist()}.")
    return "Right, and at q = 1 it is Shannon's, in nats."


@exercise
def check_power(answer: Callable[[Map, Map, Tensor, int], Tensor]) -> str:
    """Exercise: the operator norm by power iteration, from products with a map and its adjoint, as a scalar."""
    random = torch.Generator().manual_seed(3)
    y = torch.randn(5, 3, generator=random).double()
    w_q, w_k, w_v = (torch.randn(3, 3, generator=random).double() for _ in range(3))
    head = Head(w_q, w_k, w_v)
    d, start = head.derivative(y), torch.randn(5, 3, generator=random).double()
    matrix = head.jacobian(y)
    right = torch.linalg.matrix_norm(matrix, ord=2)
    mistakes: dict[str, Tensor | float] = {
        "That is the square: DF*DF stretches by the norm squared. Take the root, or the norm of one push.": right**2,
        "That is the largest |eigenvalue|: you applied the map again and again, without its adjoint.":
            torch.linalg.eigvals(matrix).abs().max(),
        "That is the Frobenius norm of the Jacobian, which adds up all directions.": matrix.norm(),
    }  # fmt: skip
    got = ask(answer, d.push, d.pull, start, 500)
    if got.shape == () and not math.isfinite(float(got)):
        raise TryAgainError("The vector grew beyond all bounds. Divide it by its norm after each product.")
    if got.shape == () and float(got) < float(right) * (1 - 1e-6) and float(got) > 0.5 * float(right):
        compare(got, right, mistakes, "Too small: after 500 steps it should have settled. Do you use all of them?")
    compare(got, right, mistakes, f"It should be {float(right):.6f}.")
    return "Right: two products a step, and no matrix."


@exercise
def check_residual(answer: Callable[[], Tensor]) -> str:
    """Exercise: a W_V, (2, 2), with ‖W_V‖_F ≤ ½, for which F contracts and the loop Z + F(X + Z) runs away."""
    w_v = ask(answer)
    if w_v.shape != (2, 2):
        raise TryAgainError(f"W_V has shape {tuple(w_v.shape)}; with a width of two it is (2, 2).")
    if float(w_v.norm()) > 0.5 + 1e-9:
        raise TryAgainError(f"‖W_V‖_F = {float(w_v.norm()):.3f}, and the theorem asks for ½ at most.")
    zero = torch.zeros(2, 2, dtype=torch.float64)
    jacobian = Head(zero, zero, w_v).jacobian(zero)  # logits are 0: attention is uniform
    largest = float(torch.linalg.eigvals(torch.eye(4) + jacobian).abs().max())
    if largest <= 1 + 1e-9:
        raise TryAgainError(
            "Z + F(X + Z) does not run away: no eigenvalue of I + DF is above 1. Those of DF are W_V's own, and zeros. "
            "Which sign does one need?"
        )
    by = float(torch.linalg.matrix_norm(jacobian, ord=2))
    return f"Right: F contracts by {by:.2f}, and the loop grows by {largest:.2f}."
