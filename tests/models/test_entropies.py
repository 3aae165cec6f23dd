"""Tsallis entropies against arbitrary precision, at q = 1, at certainty and at uniform rows."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.entropies import largest_tsallis, normalised_tsallis, tsallis
from entropylens.tasks.language import entropy

ORDERS = [0.5, 1 - 1e-9, 1.0, 1 + 1e-15, 1 + 1e-9, 1.0001, 1.5, 2.0, 3.0]


def drawn(n: int, seed: int, zeros: int = 0) -> Tensor:
    p = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    p[: min(zeros, n - 1)] = 0
    return p / p.sum()


def in_full(p: Tensor, q: float) -> float:
    """By the definition, with 60 digits; p is brought to sum to 1 in them, too."""
    with localcontext() as context:
        context.prec = 60
        entries = [Decimal(x) for x in p.tolist() if x > 0]
        total = sum(entries, Decimal(0))
        entries = [x / total for x in entries]
        if q == 1:
            return float(-sum((x * x.ln() for x in entries), Decimal(0)))
        powers = sum(((Decimal(q) * x.ln()).exp() for x in entries), Decimal(0))
        return float((1 - powers) / (Decimal(q) - 1))


@given(st.integers(1, 12), st.integers(0, 10_000), st.integers(0, 5), st.sampled_from(ORDERS) | st.floats(0.1, 4.0))
def test_it_is_the_definition_near_one_as_well(n: int, seed: int, zeros: int, q: float) -> None:
    p = drawn(n, seed, zeros)
    assert float(tsallis(p, q)) == pytest.approx(in_full(p, q), rel=1e-10, abs=1e-14)


def test_it_passes_through_shannon_s() -> None:
    p = torch.stack([drawn(1000, 0, 900), drawn(1000, 1), torch.eye(1000, dtype=torch.float64)[3]])
    shannon = tsallis(p, 1.0)
    torch.testing.assert_close(shannon, entropy(p), rtol=1e-14, atol=0)
    for step in (1e-12, 1e-15, 0.0):
        for q in (1 - step, 1 + step):
            torch.testing.assert_close(tsallis(p, q), shannon, rtol=0, atol=1e-10)


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_the_corners_values_and_gradients_are_finite(q: float, dtype: torch.dtype) -> None:
    certain, uniform = torch.eye(5, dtype=dtype)[0], torch.full((5,), 0.2, dtype=dtype)
    p = torch.stack([certain, uniform]).requires_grad_()
    tsallis(p, q).sum().backward()
    value = tsallis(p.detach(), q)
    assert p.grad is not None
    assert value[0] == 0
    assert not value[0].signbit()
    assert value[1] == pytest.approx(float(largest_tsallis(5, q)), rel=1e-5)
    assert p.grad.isfinite().all()
    assert p.grad[1].std() == pytest.approx(0, abs=1e-6)  # nothing to gain along the simplex: it is the maximum
    assert p.grad[0, 1] > p.grad[0, 0]  # away from certainty it rises
    if q >= 1.5:
        torch.testing.assert_close(p.grad[0, 1:], torch.full((4,), 1 / (q - 1), dtype=dtype))


@pytest.mark.parametrize("q", ORDERS)
def test_behind_a_softmax_the_gradient_is_that_of_the_definition(q: float) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, -5.0, -800.0], dtype=torch.float64, requires_grad=True)  # the last gives 0
    p = logits.softmax(-1)
    assert p[-1] == 0
    (found,) = torch.autograd.grad(tsallis(p, q), logits)
    kept = p.detach()
    near_one = abs(q - 1) < 1e-8  # where the definition loses its digits, and Shannon's is as near
    if near_one:
        expected = -kept * (torch.log(kept.clamp(min=1e-300)) + entropy(kept))
    else:
        slope = q / (1 - q) * kept[:-1] ** (q - 1)
        expected = torch.cat([kept[:-1] * (slope - (kept[:-1] * slope).sum()), torch.zeros(1).double()])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 if near_one else 1e-11)


@given(st.integers(2, 20), st.integers(0, 10_000), st.floats(0.2, 3.0))
def test_normalised_it_is_a_share_of_the_uniform_one(n: int, seed: int, q: float) -> None:
    p = torch.stack([drawn(n, seed), torch.full((n,), 1 / n).double(), torch.eye(n, dtype=torch.float64)[0]])
    share = normalised_tsallis(p, q)
    assert 0 < share[0] < 1 + 1e-12
    assert share[1:].tolist() == pytest.approx([1, 0])
    assert float(largest_tsallis(n, 1.0)) == pytest.approx(math.log(n))


def test_under_a_mask_each_row_has_its_own_largest_entropy() -> None:
    rows = torch.ones(4, 4, dtype=torch.float64).tril()
    rows = (rows / rows.sum(-1, keepdim=True)).requires_grad_()
    share = normalised_tsallis(rows, 1.5, places=torch.arange(1, 5))
    assert share.tolist() == pytest.approx([0, 1, 1, 1])  # the first row has no choice
    share.sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize("q", [0.0, -1.0, math.nan, math.inf])
def test_orders_that_are_none(q: float) -> None:
    with pytest.raises(ValueError, match="a number above 0"):
        tsallis(drawn(3, 0), q)


def test_the_definition_as_it_is_written_is_found_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """(1 − Σ p^q) / (q − 1) loses all of its digits near q = 1."""
    monkeypatch.setattr(f"{__name__}.tsallis", lambda p, q: (1 - (p**q).sum(-1)) / max(q - 1, 1e-12, key=abs))
    with pytest.raises(AssertionError):
        test_it_passes_through_shannon_s()
