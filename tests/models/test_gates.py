"""Gates by the entropy of attention: their formulas, their ends, and the controls."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.entropies import normalised_tsallis, tsallis
from entropylens.models.gates import Gate, assigned, opened, relative
from entropylens.models.loop_kernel import ORDER
from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.training.looped import LoopedPopulation

GATES: tuple[Gate, ...] = ("open", "sharp", "diffuse", "exponential")


def rows(n: int, seed: int, causal: bool) -> Tensor:
    logits = 3 * torch.randn(2, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (logits.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf) if causal else logits).softmax(
        -1
    )


@given(st.integers(1, 9), st.integers(0, 99), st.booleans())
def test_relative_entropy_is_that_of_the_rows(n: int, seed: int, causal: bool) -> None:
    p = rows(n, seed, causal)
    places = torch.arange(1, n + 1) if causal else None
    torch.testing.assert_close(
        relative(tsallis(p, ORDER), causal), normalised_tsallis(p, ORDER, places), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("gate", "certain", "uniform"), [("open", 1, 1), ("sharp", 1, 0), ("diffuse", 0, 1)])
def test_gates_at_their_ends(gate: Gate, certain: float, uniform: float) -> None:
    n = 6
    for p, value in ((torch.eye(n).double(), certain), (torch.full((n, n), 1 / n).double(), uniform)):
        torch.testing.assert_close(opened(gate, tsallis(p, ORDER), False), torch.full((n,), float(value)).double())


def test_the_exponential_gate_is_never_shut() -> None:
    even = tsallis(torch.full((1, 4), 0.25).double(), ORDER)
    assert opened("exponential", even, False).item() == pytest.approx(torch.tensor(-2 * (1 - 0.5)).exp().item())
    assert opened("exponential", torch.zeros(3), True).tolist() == [1.0] * 3


@given(st.integers(1, 9), st.integers(0, 99), st.booleans(), st.sampled_from(GATES))
def test_gates_are_shares(n: int, seed: int, causal: bool, gate: Gate) -> None:
    g = opened(gate, tsallis(rows(n, seed, causal), ORDER), causal)
    assert ((g >= -1e-12) & (g <= 1 + 1e-12)).all()


def test_a_learned_gate_is_logistic_in_the_entropy() -> None:
    entropy = tsallis(rows(5, 0, True), ORDER)
    learned = torch.tensor([[0.3, -2.0]]).double()
    expected = 1 / (1 + (-(0.3 - 2.0 * relative(entropy, True))).exp())
    torch.testing.assert_close(opened("learned", entropy, True, learned), expected)
    stacked = opened("learned", entropy[None].expand(3, -1, -1), True, learned[None].expand(3, -1, -1))
    torch.testing.assert_close(stacked[2], expected)


def test_a_constant_gate_does_not_know_of_entropy() -> None:
    entropy = tsallis(rows(5, 0, True), ORDER)[None].expand(3, -1, -1)
    a = torch.tensor([0.0, 1.0, -2.0]).double()
    opening = opened("constant", entropy, True, a[:, None, None])
    torch.testing.assert_close(opening, a.sigmoid()[:, None, None].expand_as(entropy))


@pytest.mark.parametrize(
    ("gate", "learned"),
    [
        ("learned", None), ("learned", torch.zeros(1, 1)), ("constant", torch.zeros(1, 2)), ("constant", None),
        ("sharp", torch.zeros(1, 2)), ("ajar", None),
    ],
)  # fmt: skip
def test_what_is_no_gate_is_refused(gate: Gate, learned: Tensor | None) -> None:
    with pytest.raises(ValueError, match="gate is one of open, sharp"):
        opened(gate, torch.zeros(2), True, learned)


def test_controls_keep_what_they_should() -> None:
    gates = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(assigned(gates, "own"), gates)
    shuffled = assigned(gates, "shuffled")
    assert torch.equal(shuffled.sort(-2).values, gates.sort(-2).values), "each place has the same gates"
    assert (shuffled != gates).all(), "but none its own"
    mean = assigned(gates, "mean")
    torch.testing.assert_close(mean, gates.mean(1, keepdim=True).expand_as(gates))
    for whose in ("shuffled", "mean"):
        torch.testing.assert_close(assigned(gates[:, :1], whose), gates[:, :1])


def test_a_pass_keeps_its_gates_and_populations_have_their_own() -> None:
    config = LoopedConfig(5, n_loops=3, update="gated", gate_of="shuffled")
    population = LoopedPopulation(config, [0, 1])
    tokens = torch.randint(5, (2, 4, 6), generator=torch.Generator().manual_seed(0))
    trace = LoopTrace()
    population.logits(population.parameters, tokens, trace)
    assert [g.shape for g in trace.gates] == [(2, 4, 6)] * 3
    for rows_, gates in zip(trace.rows, trace.gates, strict=True):
        torch.testing.assert_close(gates, torch.full_like(gates, 0.5), msg="as it starts")
        assert rows_.shape == (2, 4, 6, 6)
