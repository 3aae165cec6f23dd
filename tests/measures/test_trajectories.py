"""Rates and exponents of maps whose rates and exponents are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.contraction import Head
from entropylens.measures.operators import Map, local_rate
from entropylens.measures.trajectories import fixed_point_residual, local_rates, lyapunov


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trajectory(f: Map, z: Tensor, steps: int) -> Tensor:
    states = [z]
    for _ in range(steps):
        states.append(f(states[-1]))
    return torch.stack(states)


@given(st.floats(0.2, 1.5).filter(lambda x: abs(x - 1) > 1e-3), st.integers(4, 60))
@example(rate=1.5, steps=60)
def test_a_geometric_trajectory_has_its_rate(rate: float, steps: int) -> None:
    target = normal(3, 2)
    found = local_rates(trajectory(lambda z: target + rate * (z - target), normal(3, 2, seed=1), steps))
    assert found.steps.shape == (steps,)
    torch.testing.assert_close(found.ratios[:3], torch.full((3,), rate).double(), rtol=1e-6, atol=0)
    assert float(found.rate) == pytest.approx(rate, rel=1e-4)


def test_the_second_half_is_what_counts_and_rounding_does_not() -> None:
    """Steps fall by 0.3 at first and by 0.9 in the end; in another run by 0.1, down to where only rounding is left."""
    slow = torch.diag(torch.tensor([0.3, 0.9], dtype=torch.float64))
    start = torch.tensor([[100.0], [0.1]], dtype=torch.float64)
    settled = trajectory(lambda z: 0.1 * z + 1, start, 60)
    found = local_rates(torch.stack([trajectory(lambda z: slow @ z, start, 60), settled], dim=1))
    assert found.rate.tolist() == pytest.approx([0.9, 0.1], rel=1e-3)
    assert found.converged.tolist() == [False, True]
    assert local_rates(settled).rate == pytest.approx(float(found.rate[1]))


def test_what_stands_still_has_no_rate() -> None:
    found = local_rates(torch.ones(5, 2, 2))
    assert found.converged
    assert found.rate.isnan()
    assert found.ratios.isnan().all()
    diverged = local_rates(torch.stack([torch.full((2, 2), x) for x in (1.0, 2.0, math.inf, math.nan)]))
    assert not diverged.converged
    with pytest.raises(ValueError, match="needs two states"):
        local_rates(torch.ones(1, 2, 2))


def test_attention_with_a_small_value_matrix_settles_at_the_rate_of_its_fixed_point() -> None:
    head = Head(normal(3, 3), normal(3, 3, seed=1), 0.2 * normal(3, 3, seed=2))
    x = normal(5, 3, seed=3)
    states = trajectory(lambda z: head(x + z), torch.zeros(5, 3).double(), 200)
    found = local_rates(states, tolerance=1e-13)
    assert found.converged
    assert float(fixed_point_residual(lambda z: head(x + z), states[-1])) < 1e-12
    rate = local_rate(lambda z: head(x + z), states[-1])
    assert float(found.rate) == pytest.approx(rate, rel=0.05)
    exponent = lyapunov(lambda z: head(x + z), states[-1], 500, warm_up=100)
    assert exponent == pytest.approx(math.log(rate), abs=0.01)


def test_residuals_are_of_each_state() -> None:
    z = normal(4, 3, 2)
    residual = fixed_point_residual(lambda z: 0.5 * z, z)
    torch.testing.assert_close(residual, 0.5 * z.norm(dim=(-2, -1)))


@pytest.mark.parametrize("radius", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("seed", range(3))
def test_of_a_linear_map_the_exponent_is_the_spectral_radius_s_logarithm(radius: float, seed: int) -> None:
    basis = normal(4, 4, seed=seed)
    a = basis @ torch.tensor([radius, -0.5, 0.3, 0.1], dtype=torch.float64).diag() @ torch.linalg.inv(basis)
    exponent = lyapunov(lambda z: a @ z, normal(4, 2, seed=9), 50, warm_up=50)
    assert exponent == pytest.approx(math.log(radius), abs=1e-9)


def test_rotations_keep_and_nilpotent_maps_lose_errors() -> None:
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64))
    assert lyapunov(lambda z: turn @ z, normal(2, 1), 10) == pytest.approx(0, abs=1e-12)
    down = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert lyapunov(lambda z: down @ z, normal(2, 1), 10) == -math.inf
    assert math.isnan(lyapunov(lambda z: z / 0.0, normal(2, 1), 10))


def test_a_chaotic_map_s_exponent_is_the_known_one() -> None:
    """Logistic map x ↦ 4 x (1 − x): log 2."""
    start = torch.tensor([[0.1234]], dtype=torch.float64)
    assert lyapunov(lambda z: 4 * z * (1 - z), start, 2000) == pytest.approx(math.log(2), abs=0.02)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1, "warm_up": -1}])
def test_numbers_of_steps_that_are_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs one step or more"):
        lyapunov(lambda z: z, normal(2, 2), **wrong)
