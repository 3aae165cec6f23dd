"""Norms and rates without the Jacobian against those with it, for maps with and without a closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from entropylens.measures.contraction import Head
from entropylens.measures.operators import Map, derivative, local_rate, operator_norm


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def opaque(head: Head) -> Map:
    """The same map, without its closed form."""
    return head.__call__


def looped(n: int, d: int) -> tuple[Map, Tensor]:
    """A residual update with all that a trained one has: attention, an MLP, a normalisation, an input."""
    head = Head(normal(d, d, seed=1), normal(d, d, seed=2), normal(d, d, seed=3), scale=d**-0.5, causal=True)
    mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d)).double()
    norm = nn.LayerNorm(d).double()
    mlp.requires_grad_(False)
    norm.requires_grad_(False)
    x = normal(n, d, seed=4)

    def update(z: Tensor) -> Tensor:
        mixed: Tensor = z + head(z + x)
        result: Tensor = norm(mixed + mlp(mixed))
        return result

    return update, normal(n, d, seed=5)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.integers(0, 1000))
def test_of_a_linear_map_it_is_the_spectral_norm(n: int, d: int, c: int, closed: bool, seed: int) -> None:
    left, right = normal(n, n, seed=seed), normal(d, c, seed=seed + 1)
    head = Head(torch.zeros(d, 1).double(), torch.zeros(d, 1).double(), right)  # uniform rows: Y ↦ 11ᵀ/n · Y W

    def plain(y: Tensor) -> Tensor:
        return left @ y @ right

    f, outer = (head, torch.ones(n, n).double() / n) if closed else (plain, left)
    expected = torch.linalg.matrix_norm(outer, 2) * torch.linalg.matrix_norm(right, 2)
    assert operator_norm(f, normal(n, d)) == pytest.approx(float(expected), rel=1e-10)


def test_without_the_matrix_it_is_the_same() -> None:
    f, z = looped(12, 6)
    exact = torch.linalg.svdvals(torch.func.jacrev(f)(z).reshape(72, 72))[0]
    eigenvalues = torch.linalg.eigvals(torch.func.jacrev(f)(z).reshape(72, 72)).abs()
    for dense in (1000, 0):
        assert operator_norm(f, z, dense=dense) == pytest.approx(float(exact), rel=1e-8)
        assert local_rate(f, z, dense=dense) == pytest.approx(float(eigenvalues.max()), rel=1e-8)
    assert local_rate(f, z) <= operator_norm(f, z)


@pytest.mark.parametrize("c", [2, 9])
def test_a_map_to_narrower_or_wider_states(c: int) -> None:
    head = Head(normal(5, 5), normal(5, 5, seed=1), normal(5, c, seed=2))
    y = normal(20, 5, seed=3)
    exact = float(torch.linalg.matrix_norm(head.jacobian(y), 2))
    assert operator_norm(head, y, dense=0) == pytest.approx(exact, rel=1e-8)
    assert operator_norm(opaque(head), y, dense=0) == pytest.approx(exact, rel=1e-8)
    with pytest.raises(ValueError, match=r"from states to states, got \(20, 5\)"):
        local_rate(head, y)


def test_a_thousand_tokens_in_closed_form_and_by_torch() -> None:
    """Neither makes a matrix of 4000 × 4000, and each has products of its own."""
    head = Head(normal(4, 4), normal(4, 4, seed=1), normal(4, 4, seed=2), scale=0.5)
    y = 0.7 * normal(1000, 4, seed=3)
    by_torch = operator_norm(opaque(head), y)
    assert operator_norm(head, y) == pytest.approx(by_torch, rel=1e-8)
    assert operator_norm(head, y, seed=1) == pytest.approx(by_torch, rel=1e-8)


def test_two_copies_that_do_not_see_each_other_have_the_norm_of_one() -> None:
    """Large against small: a block-diagonal map, whose largest singular value is double."""
    f, z = looped(7, 6)
    alone = operator_norm(f, z)

    def both(z: Tensor) -> Tensor:
        return torch.cat([f(z[:7]), f(z[7:])])

    assert operator_norm(both, torch.cat([z, z]), dense=0) == pytest.approx(alone, rel=1e-8)
    assert local_rate(both, torch.cat([z, z]), dense=0) == pytest.approx(local_rate(f, z), rel=1e-8)


def test_single_precision_is_enough_for_six_digits() -> None:
    head = Head(normal(4, 4).float(), normal(4, 4, seed=1).float(), normal(4, 4, seed=2).float())
    y = normal(40, 4, seed=3).float()
    double = Head(head.w_q.double(), head.w_k.double(), head.w_v.double())
    assert operator_norm(head, y, dense=0) == pytest.approx(operator_norm(double, y.double()), rel=1e-5)


@pytest.mark.parametrize("dense", [0, 1000])
def test_where_nothing_moves(dense: int) -> None:
    def constant(z: Tensor) -> Tensor:
        return 0 * z + 1

    assert operator_norm(constant, normal(10, 4), dense=dense) == 0
    assert local_rate(constant, normal(10, 4), dense=dense) == 0


def test_a_map_can_stretch_and_contract_in_the_end() -> None:
    shear = torch.tensor([[0.5, 10.0], [0.0, 0.5]], dtype=torch.float64)
    assert operator_norm(lambda z: shear @ z, normal(2, 1)) > 10
    assert local_rate(lambda z: shear @ z, normal(2, 1)) == pytest.approx(0.5, abs=1e-7)


def test_a_rotation_s_eigenvalues_are_complex() -> None:
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)) * 0.9
    rest = torch.block_diag(turn, 0.5 * torch.eye(30, dtype=torch.float64))
    for dense in (0, 1000):
        assert local_rate(lambda z: rest @ z, normal(32, 3), dense=dense) == pytest.approx(0.9, rel=1e-8)


def test_push_and_pull_are_adjoint_and_what_torch_says() -> None:
    f, z = looped(5, 3)
    d = derivative(f, z)
    h, g = normal(5, 3, seed=8), normal(5, 3, seed=9)
    assert float((g * d.push(h)).sum()) == pytest.approx(float((d.pull(g) * h).sum()), rel=1e-12)
    torch.testing.assert_close(d.matrix(), torch.func.jacfwd(f)(z).reshape(15, 15))
    torch.testing.assert_close(d.value, f(z))
