"""The gated step's derivative against torch's, its bounds against exact norms, and what is said of rest and growth."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.contraction import Head, data_bound
from entropylens.measures.gating import (
    GatedStep,
    entropy_slope,
    gated_bound,
    largest_step,
    largest_update,
    signs,
)
from entropylens.measures.loops import branch_of, head_of
from entropylens.measures.operators import derivative, operator_norm
from entropylens.models.entropies import largest_tsallis, tsallis
from entropylens.models.gates import Gate
from entropylens.models.loop_kernel import ORDER
from entropylens.models.looped import LoopBlock, LoopedConfig, LoopTrace

GATES: tuple[Gate, ...] = ("open", "sharp", "diffuse", "exponential", "learned")
SLACK = 1 + 1e-9


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(n: int, d: int, seed: int, gate: Gate, size: float, with_branch: bool) -> tuple[GatedStep, Tensor]:
    w_q, w_k, w_v = normal(3, d, d, seed=seed)
    head, w = Head(size * w_q, w_k, w_v, causal=bool(seed % 2)), normal(d, d, seed=seed + 1)
    learned = normal(1, 2, seed=seed) if gate == "learned" else None
    branch = (lambda y: torch.tanh(head(y) @ w) + y @ w) if with_branch else None
    x, z = normal(2, n, d, seed=seed + 2)
    return GatedStep(head, x, gate, learned, branch), z


steps = st.builds(
    drawn,
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.sampled_from(GATES),
    st.sampled_from([0.1, 1.0, 10.0]),
    st.booleans(),
)


# ---- the derivative --------------------------------------------------------------------------------------------------


@given(steps)
@settings(deadline=None)
def test_the_derivative_is_torch_s(one: tuple[GatedStep, Tensor]) -> None:
    step, z = one
    h, k = normal(2, *z.shape, seed=7)
    value, pushed = torch.func.jvp(step, (z,), (h,))
    pulled = torch.func.vjp(step, z)[1](k)[0]
    d, close = step.derivative(z), {"rtol": 1e-8, "atol": 1e-8 * (1 + float(step.head.m.norm()))}
    torch.testing.assert_close(d.value, value, **close)
    torch.testing.assert_close(d.push(h), pushed, **close)
    torch.testing.assert_close(d.pull(k), pulled, **close)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("norm", ["none", "post"])
def test_it_is_the_step_of_a_model(gate: Gate, norm: Any) -> None:
    config = LoopedConfig(5, n_loops=3, norm=norm, update="gated", gate=gate)
    model = config.build(torch.Generator().manual_seed(0)).double()
    if model.gate is not None:
        model.gate.data += torch.tensor([[0.3, -2.0]])
    tokens, trace = torch.tensor([[0, 1, 2, 1, 0, 3]]), LoopTrace()
    with torch.no_grad():
        model(tokens, trace)
        x = model.embed(tokens)[0]
        branch = branch_of(model, torch.zeros_like(x))
        step = GatedStep(head_of(model), x, gate, model.gate, branch)
        for before, after, gates in zip(trace.states, trace.states[1:], trace.gates, strict=False):
            torch.testing.assert_close(step(before[0]), after[0], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(step.gates(before[0] + x), gates[0], rtol=1e-9, atol=1e-9)


# ---- bounds ----------------------------------------------------------------------------------------------------------


@given(steps)
@settings(deadline=None)
def test_bounds_hold_and_the_one_by_entropy_is_the_looser(one: tuple[GatedStep, Tensor]) -> None:
    step, z = one
    y, identity = z + step.x, torch.eye(z.numel(), dtype=z.dtype)
    of_f = operator_norm(step.branch or step.head, y)
    whole = step.derivative(z).matrix()
    tight, loose = gated_bound(step, z, of_f), gated_bound(step, z, of_f, by_entropy=True)
    block = step.gates(y).repeat_interleave(z.shape[1])[:, None] * derivative(step.branch or step.head, y).matrix()
    assert torch.linalg.matrix_norm(block, ord=2) <= tight.block * SLACK
    assert torch.linalg.matrix_norm(whole - identity - block, ord=2) <= tight.gate * SLACK + 1e-9
    assert tight.gate <= loose.gate * SLACK + 1e-9
    assert 1 <= tight.total <= loose.total * SLACK + 1e-9
    assert torch.linalg.matrix_norm(whole, ord=2) <= tight.total * SLACK


def test_no_bound_by_the_norm_of_df_is_below_one() -> None:
    """A head whose derivative is a multiple of the identity attains it: each token sees itself alone."""
    y, eye = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double(), torch.eye(2).double()
    for c, sign in ((1.0, 1), (0.25, 1), (0.25, -1)):
        step = GatedStep(Head(1000 * eye, eye, sign * c * eye), torch.zeros_like(y), "open")
        assert float(gated_bound(step, y, operator_norm(step.head, y)).total) == pytest.approx(1 + c)
        assert operator_norm(step, y) == pytest.approx(1 + sign * c), "which the bound cannot tell apart"


def test_the_head_s_own_bound_will_do() -> None:
    step, z = drawn(4, 3, 2, "sharp", 1.0, with_branch=False)
    total = gated_bound(step, z, data_bound(step.head, z + step.x).total).total
    assert operator_norm(step, z) <= total


@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(0, 20))
@settings(deadline=None)
def test_the_slope_of_entropy_is_bounded_by_entropy(n: int, seed: int, size: float) -> None:
    logits = (size * normal(n, seed=seed)).requires_grad_()
    entropy = tsallis(logits.softmax(-1), ORDER)
    (slope,) = torch.autograd.grad(entropy, logits)
    assert slope.norm() <= entropy_slope(entropy.detach()) * SLACK + 1e-7


def test_the_slope_of_entropy_is_zero_at_both_ends_and_its_bound_at_one() -> None:
    step, _ = drawn(4, 3, 2, "sharp", 0.0, with_branch=False)
    _, w = step.slopes(normal(4, 3, seed=0))
    assert float(w.abs().max()) < 1e-15  # flat rows
    assert float(entropy_slope(torch.zeros(1, dtype=torch.float64))) == 0
    assert float(entropy_slope(largest_tsallis(4, ORDER))) == pytest.approx(3 * 0.5 * math.sqrt(1 - 0.5 ** (2 / 3)))


# ---- at rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_at_rest_a_gate_is_a_constant_for_each_token(gate: Gate) -> None:
    step, z = drawn(5, 3, 4, gate, 1.0, with_branch=False)
    shift = step.head(z + step.x)
    step = GatedStep(step.head, step.x, gate, step.learned, lambda y: step.head(y) - shift)  # F = 0 at z
    torch.testing.assert_close(step(z), z)
    g = step.gates(z + step.x).repeat_interleave(3)[:, None]
    assert gate == "open" or float(g.max() - g.min()) > 1e-3
    alone = torch.eye(15).double() + g * derivative(step.head, z + step.x).matrix()
    torch.testing.assert_close(step.derivative(z).matrix(), alone, rtol=1e-9, atol=1e-9)


def test_a_shut_gate_stops_where_nothing_has_converged_and_nothing_comes_back() -> None:
    step, z = drawn(4, 3, 2, "sharp", 0.0, with_branch=True)  # all logits are 0: every row is flat
    assert float(derivative(step.branch, z + step.x).value.norm(dim=-1).min()) > 0.1  # type: ignore[arg-type]
    torch.testing.assert_close(step(z), z)
    torch.testing.assert_close(step.derivative(z).matrix(), torch.eye(12).double())
    causal = GatedStep(Head(*normal(3, 3, 3, seed=1), causal=True), normal(4, 3, seed=2), "diffuse")
    torch.testing.assert_close(causal(z)[0], z[0], msg="a first token sees itself alone")
    assert float((causal(z)[1:] - z[1:]).norm(dim=-1).min()) > 1e-3


@given(st.lists(st.complex_numbers(min_magnitude=0.01, max_magnitude=10), min_size=1, max_size=5))
def test_the_largest_step_is_where_the_largest_eigenvalue_reaches_one(values: list[complex]) -> None:
    eigenvalues = torch.tensor(values, dtype=torch.complex128)
    c = largest_step(eigenvalues)
    if c == 0:
        assert float(eigenvalues.real.max()) >= -1e-11
        assert all(float((1 + x * eigenvalues).abs().max()) >= 1 - 1e-10 for x in (1e-3, 0.1, 1.0))
    else:
        assert float((1 + c * eigenvalues).abs().max()) == pytest.approx(1, abs=1e-9)
        if float(eigenvalues.real.max()) < -1e-3:  # else too close to 1 to be told from it
            assert float((1 + c * (1 + 1e-3) * eigenvalues).abs().max()) > 1
            assert float((1 + c * 0.5 * eigenvalues).abs().max()) < 1


def test_a_smaller_step_brings_an_oscillation_to_rest_and_not_a_growth() -> None:
    assert largest_step(torch.tensor([-3.0, -0.5])) == pytest.approx(2 / 3)
    assert largest_step(torch.tensor([0.1, -0.5])) == 0
    assert largest_step(torch.tensor([0.0, -0.5])) == 0
    assert largest_step(torch.tensor([-1e-17, -0.5], dtype=torch.float64)) == 0
    assert largest_step(torch.tensor([1j, -1j])) == 0


def radius(a: list[list[float]], *gates: float) -> float:
    df = torch.tensor(a, dtype=torch.float64)
    g = torch.tensor(gates, dtype=torch.float64)[:, None]
    return float(torch.linalg.eigvals(torch.eye(2).double() + g * df).abs().max())


def test_gates_settle_what_no_constant_can_and_a_constant_what_gates_cannot() -> None:
    """Two tokens of width one, mean gate ½; |eigenvalue|² is the determinant, as the pairs are complex."""
    no_constant = [[2.0, 3.0], [-1.0, -1.0]]  # λ = (1 ± i√3) / 2
    assert largest_step(torch.linalg.eigvals(torch.tensor(no_constant))) == 0
    assert radius(no_constant, 0.25, 0.75) ** 2 == pytest.approx(15 / 16)
    assert radius(no_constant, 0.5, 0.5) ** 2 == pytest.approx(7 / 4)
    constant = [[1.0, 3.0], [-1.0, -2.0]]  # λ = (−1 ± i√3) / 2
    assert largest_step(torch.linalg.eigvals(torch.tensor(constant))) == pytest.approx(1)
    assert radius(constant, 0.5, 0.5) ** 2 == pytest.approx(3 / 4)
    assert radius(constant, 0.75, 0.25) ** 2 == pytest.approx(23 / 16)


def test_signs_are_those_of_growth_and_rounded_zeros_have_none() -> None:
    assert signs(torch.tensor([2.0, -2.0, 0.0, -1e-10, 1e-8])).tolist() == [1, -1, 0, 0, 1]
    rotation = torch.tensor([1e-12 + 1j, -0.1 - 1j, 1e-8 + 0j], dtype=torch.complex128)
    assert signs(rotation).tolist() == [0, -1, 1]
    assert signs(torch.zeros(2)).tolist() == [0, 0]


# ---- far from rest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(("d_ff", "heads"), [(0, 1), (None, 1), (None, 2)])
def test_a_normed_block_adds_no_more_than_so_much(norm: Any, d_ff: int | None, heads: int) -> None:
    config = LoopedConfig(5, d_model=4, n_heads=heads, norm=norm, d_ff=d_ff)
    model = config.build(torch.Generator().manual_seed(0)).double()
    block = model.blocks[0]
    assert isinstance(block, LoopBlock)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * normal(*parameter.shape, seed=3))
        added = block(100 * normal(200, 6, 4, seed=1)).norm(dim=-1)
    assert 0.1 * largest_update(block) < added.max() < largest_update(block)


def test_without_a_norm_nothing_bounds_it() -> None:
    block = LoopedConfig(5, norm="none").build().blocks[0]
    assert isinstance(block, LoopBlock)
    with pytest.raises(ValueError, match="without a norm"):
        largest_update(block)


@pytest.mark.parametrize("c", [1.0, 0.25])
def test_steps_relative_to_the_state_fall_like_one_over_t_whatever_the_constant(c: float) -> None:
    model = LoopedConfig(5, step_size=c).build(torch.Generator().manual_seed(1)).double()
    trace = LoopTrace(keep="last")
    with torch.no_grad():
        model.run(model.embed(torch.tensor([[0, 1, 2, 1, 0, 3]])), trace, n_loops=2000)
    step, state = (trace.states[-1] - trace.states[-2]).norm(), trace.states[-1].norm()
    assert float(step / state * 2000) == pytest.approx(1, abs=0.05)
