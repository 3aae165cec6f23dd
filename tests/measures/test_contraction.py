"""The derivative against torch's, bounds against exact norms, and two instances against what is said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.contraction import (
    Head,
    Norm,
    corrected,
    data_bound,
    entropy_root,
    extremal,
    leaving,
    norm_of,
    printed,
    softmax_derivative,
)
from entropylens.measures.contraction_search import in_ball
from entropylens.measures.operators import operator_norm
from entropylens.models.entropies import tsallis

NORMS: tuple[Norm, ...] = ("spectral", "frobenius")
SLACK = 1 + 1e-10


def drawn(n: int, d: int, seed: int, *, size: float = 1.0, batch: tuple[int, ...] = ()) -> tuple[Head, Tensor]:
    """A head and a state of the ball; `size` multiplies the logits, so that rows can be anything."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*batch, *shape, generator=random, dtype=torch.float64)

    head = Head(size * normal(d, 3), normal(d, 3), normal(d, d), causal=bool(seed % 2))
    return head, in_ball(3 * normal(n, d) * torch.rand(1, generator=random))


heads = st.builds(
    drawn, st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6), size=st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e3])
)


# ---- the derivative --------------------------------------------------------------------------------------------------


@given(heads, st.floats(0.1, 2.0))
@settings(deadline=None)
def test_the_derivative_is_torch_s(drawn_one: tuple[Head, Tensor], scale: float) -> None:
    head, y = drawn_one
    head = replace(head, scale=scale)
    h, g = torch.randn(2, *y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value, pushed = torch.func.jvp(head, (y,), (h,))
    pulled = torch.func.vjp(head, y)[1](g)[0]
    d = head.derivative(y)
    close = {"rtol": 1e-9, "atol": 1e-10 * (1 + float(head.m.norm()))}
    torch.testing.assert_close(d.value, value, **close)
    torch.testing.assert_close(d.push(h), pushed, **close)
    torch.testing.assert_close(d.pull(g), pulled, **close)
    torch.testing.assert_close((head.jacobian(y) @ h.flatten()).reshape(y.shape), pushed, **close)


def test_masked_rows_see_no_future_and_values_may_be_of_another_width() -> None:
    head, y = drawn(4, 3, seed=1)
    head = replace(head, w_v=torch.randn(3, 5, dtype=torch.float64))
    assert torch.equal(head.rows(y), head.rows(y).tril())
    jacobian = torch.func.jacrev(head)(y)  # (4, 5, 4, 3)
    torch.testing.assert_close(head.jacobian(y), jacobian.reshape(20, 12))
    assert all(not jacobian[i, :, j].any() for i in range(4) for j in range(i + 1, 4))


def test_a_batch_is_its_members_one_by_one() -> None:
    head, y = drawn(3, 2, seed=2, batch=(2, 4))
    whole = [norm_of(head, y), *(b.total for b in (corrected(head, y, 1.5, "spectral"), data_bound(head, y)))]
    for at in [(0, 0), (1, 3)]:
        one = Head(head.w_q[at], head.w_k[at], head.w_v[at])
        each = [norm_of(one, y[at]), corrected(one, y[at], 1.5, "spectral").total, data_bound(one, y[at]).total]
        assert [float(x[at]) for x in whole] == pytest.approx([float(x) for x in each])
    shared = norm_of(Head(head.w_q[0, 0], head.w_k[0, 0], head.w_v[0, 0]), y)  # one head, many states
    assert shared.shape == (2, 4)
    assert float(shared[0, 0]) == pytest.approx(float(whole[0][0, 0]))


# ---- what the proofs use ---------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(0, 10_000), st.floats(0.0, 20.0))
def test_a_softmax_moves_by_half_at_most(n: int, seed: int, size: float) -> None:
    logits = size * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    r = logits.softmax(-1)
    jacobian = softmax_derivative(r, torch.eye(n, dtype=torch.float64))
    torch.testing.assert_close(jacobian, torch.func.jacrev(lambda a: a.softmax(-1))(logits))
    norm = float(torch.linalg.matrix_norm(jacobian, 2))
    assert norm <= 0.5 * SLACK
    assert norm <= float(tsallis(r, 2.0)) * SLACK + 1e-15  # its trace
    assert norm <= float((2 * r * (1 - r)).max()) * SLACK + 1e-15  # Gershgorin's discs


@given(heads, st.floats(0.3, 2.0))
def test_up_to_two_the_root_bounds_the_attention_matrix(drawn_one: tuple[Head, Tensor], q: float) -> None:
    head, y = drawn_one
    s = head.rows(y)
    root = entropy_root(s, q)
    as_printed = (1 - (q - 1) * tsallis(s, q)).pow(2 / q).sum(-1).sqrt()
    torch.testing.assert_close(root, as_printed, rtol=1e-9, atol=0)
    assert torch.linalg.matrix_norm(s, 2) <= root * SLACK
    assert entropy_root(s, 2.0) == pytest.approx(float(s.norm()))


@pytest.mark.parametrize("q", [2.1, 3.0, 10.0])
def test_above_two_it_does_not_and_the_printed_bound_fails(q: float) -> None:
    head, y = drawn(4, 2, seed=0, size=0.0)  # no logits: uniform rows
    head = replace(head, w_v=torch.tensor([[0.5, 0.0], [0.0, 0.0]], dtype=torch.float64))
    s = head.rows(y)
    assert torch.linalg.matrix_norm(s, 2) == pytest.approx(1)
    assert entropy_root(s, q) == pytest.approx(4 ** (1 / q - 1 / 2))
    assert norm_of(head, y) == pytest.approx(0.5)
    assert printed(head, y, q, "frobenius").total < 0.5
    with pytest.raises(ValueError, match="for 0 < q ≤ 2"):
        corrected(head, y, q, "frobenius")


# ---- the bounds ------------------------------------------------------------------------------------------------------


@given(heads, st.floats(1.0, 2.0, exclude_min=True), st.sampled_from(NORMS), st.floats(0.1, 3.0))
@settings(deadline=None, max_examples=200)
def test_what_is_called_a_bound_is_one(drawn_one: tuple[Head, Tensor], q: float, norm: Norm, scale: float) -> None:
    head, y = drawn_one
    head = replace(head, scale=scale)
    exact, ours = norm_of(head, y), data_bound(head, y)
    assert exact <= ours.total * SLACK
    assert ours.score <= corrected(head, y, q, norm).score * SLACK
    assert ours.value <= corrected(head, y, q, norm).value * SLACK
    cheap = data_bound(head, y, cheap=True)
    assert cheap.score == ours.score
    assert cheap.value * SLACK >= ours.value
    assert printed(head, y, q, norm).score == pytest.approx(float(corrected(head, y, q, norm).score) / 2)
    assert printed(head, y, q, norm).value == corrected(head, y, q, norm).value


@given(st.integers(0, 10**6), st.floats(1.0, 100.0))
@settings(deadline=None)
def test_the_data_bound_and_a_larger_ball_hold_for_any_state(seed: int, size: float) -> None:
    head, y = drawn(5, 3, seed)
    y = size * y
    exact = norm_of(head, y)
    assert exact <= data_bound(head, y).total * SLACK
    assert exact <= corrected(head, y, 2.0, "spectral", radius=float(y.norm())).total * SLACK


def test_the_data_bound_is_attained_where_rows_cannot_move() -> None:
    head, y = drawn(4, 3, seed=0, size=0.0)
    assert data_bound(head, y).total == pytest.approx(float(norm_of(head, y)))
    assert data_bound(head, y).score == 0


def test_many_tokens_without_the_jacobian() -> None:
    head, y = drawn(400, 3, seed=1, size=5.0)
    exact = operator_norm(head, y)
    assert exact <= data_bound(head, y).total <= data_bound(head, y, cheap=True).total
    assert exact <= corrected(head, y, 1.5, "spectral").total


def test_states_outside_and_norms_that_are_none() -> None:
    head, y = drawn(2, 2, seed=0)
    with pytest.raises(ValueError, match=r"for ‖Y‖_F ≤ 2, got 4"):
        corrected(head, 4 * y / y.norm(), 2.0, "spectral")
    with pytest.raises(ValueError, match="unknown norm 'nuclear'; choose from spectral, frobenius"):
        printed(head, y, 2.0, "nuclear")  # type: ignore[arg-type]


# ---- the instances ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [0.01, 0.2, 1 / 12**0.5, 0.5, 1.0, 30.0, 1e4])
def test_the_extremal_instance_has_the_norm_that_is_claimed(m: float) -> None:
    i = extremal(m)
    assert [float(a.norm()) for a in (i.x, i.z, i.y, i.head.w_v)] == pytest.approx([1, 1, 2, 0.5], rel=1e-15)
    sizes = [float(torch.linalg.matrix_norm(w, 2)) for w in (i.head.w_q, i.head.w_k)]
    assert sizes == pytest.approx([m**0.5, m**0.5])
    assert torch.equal(i.head.rows(i.y), torch.full((2, 2), 0.5, dtype=torch.float64))
    exact = float(norm_of(i.head, i.y))
    assert exact == pytest.approx(max(2 * m, (m * m + 0.25) ** 0.5), rel=1e-12)
    h = torch.tensor([[0.0, 1.0], [0.0, -1.0]], dtype=torch.float64) / 2**0.5
    assert float(i.head.derivative(i.y).push(h).norm()) == pytest.approx(2 * m, rel=1e-12)
    assert exact <= float(corrected(i.head, i.y, 2.0, "spectral").total)


@pytest.mark.parametrize("norm", NORMS)
def test_no_smaller_constant_will_do(norm: Norm) -> None:
    """‖DF‖ ≤ (c ‖W_Q‖ ‖W_K‖ + root) ‖W_V‖_F for all m needs c ≥ 4 with spectral norms, c ≥ 2 with Frobenius norms."""
    needed = []
    for m in (1.0, 1e2, 1e4):
        i = extremal(m)
        bound = printed(i.head, i.y, 2.0, norm)
        needed.append(float((norm_of(i.head, i.y) - bound.value) / (bound.score / 2)))
    limit = 4 if norm == "spectral" else 2
    assert needed == sorted(needed)
    assert needed[-1] == pytest.approx(limit, rel=1e-3)
    assert needed[-1] < limit


@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 10**6))
@settings(deadline=None)
def test_with_frobenius_norms_uniform_rows_need_no_more_than_two(n: int, rank: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    a, b, m, w_v = (
        torch.randn(*s, generator=random, dtype=torch.float64) for s in [(n, rank), (rank, 4), (4, 4), (4, 4)]
    )
    y = in_ball(9 * a @ b)
    differences = y - y.mean(0)
    m = m - torch.linalg.pinv(y, rtol=1e-9) @ y @ m @ torch.linalg.pinv(differences, rtol=1e-9) @ differences
    u, sizes, v = torch.linalg.svd(m)
    head = Head(u * sizes.sqrt(), v.mT * sizes.sqrt(), w_v)
    torch.testing.assert_close(head.rows(y), torch.full((n, n), 1 / n, dtype=torch.float64))
    assert head.w_q.norm() * head.w_k.norm() == pytest.approx(float(sizes.sum()))
    assert data_bound(head, y).score <= printed(head, y, 2.0, "frobenius").score * SLACK
    assert norm_of(head, y) <= printed(head, y, 2.0, "frobenius").total * SLACK


def test_as_printed_with_spectral_norms_it_is_exceeded_also_where_it_promises_a_contraction() -> None:
    i = extremal(1.5)
    head = replace(i.head, w_v=0.4 * i.head.w_v)  # ‖W_V‖_F = 0.2
    assert printed(head, i.y, 2.0, "spectral").total < 1 < norm_of(head, i.y)


@pytest.mark.parametrize("m", [0.3, 0.35, 0.38])
def test_a_state_leaves_the_ball_where_the_bound_is_below_one_all_over_it(m: float) -> None:
    i = leaving(m)
    assert [float(a.norm()) for a in (i.x, i.z, i.head.w_v)] == pytest.approx([1, 1, 0.5], rel=1e-15)
    assert float(i.head(i.y).norm()) > 1
    axis = torch.linspace(-2, 2, 201, dtype=torch.float64)
    ball = torch.cartesian_prod(axis, axis)[..., None]
    ball = ball[ball.norm(dim=(-2, -1)) <= 2]
    largest = max(float(printed(i.head, ball, 2.0, norm).total.max()) for norm in NORMS)
    by_hand = m + 0.5 * (1 + torch.tanh(torch.tensor((1 + 2**0.5) * m)).item() ** 2) ** 0.5
    assert largest <= by_hand < 1


def test_strengths_that_are_none() -> None:
    with pytest.raises(ValueError, match="a strength above 0, got -1"):
        extremal(-1.0)
    with pytest.raises(ValueError, match=r"a strength above 0.25, got 0.2"):
        leaving(0.2)
