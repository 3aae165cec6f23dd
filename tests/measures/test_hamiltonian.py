"""The energy is its definition, and motion in it keeps what the mathematics says, and no more."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.hamiltonian import (
    INTEGRATORS,
    Potential,
    drift,
    energy,
    errors,
    explicit,
    falling,
    floor,
    form_defect,
    integrate,
    jacobian,
    leapfrog,
    orders,
    symplectic,
)
from entropylens.models.looped import LoopBlock, LoopedConfig, energy_gradient


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block_of(seed: int = 0, d: int = 8, *, causal: bool = True) -> LoopBlock:
    block = LoopedConfig(5, d, causal=causal, norm="pre").build(torch.Generator().manual_seed(seed)).double().blocks[0]
    assert isinstance(block, LoopBlock)
    return block


def potential_of(seed: int = 0, spring: float = 0.0, temperature: float = 1.0, n: int = 6, d: int = 8) -> Potential:
    return Potential(block_of(seed, d), normal(2, n, d, seed=seed + 50), temperature, spring)


def by_definition(block: LoopBlock, z: Tensor, x: Tensor, temperature: float) -> Tensor:
    """e_i of one sequence, (n,), token by token."""
    w_q, w_k, _ = block.qkv.detach().chunk(3, dim=1)
    found = []
    for i in range(len(z)):
        others = x[: i + 1] if block.config.causal else x
        terms = [math.exp(float((z[i] @ w_q) @ (o @ w_k)) / (temperature * math.sqrt(z.shape[1]))) for o in others]
        found.append(-temperature * math.log(sum(terms)))
    return torch.tensor(found, dtype=torch.float64)


# ---- the energy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_energy_is_its_definition_and_its_gradient_the_models(causal: bool, temperature: float) -> None:
    block, (z, x) = block_of(causal=causal), normal(2, 3, 7, 8)
    z.requires_grad_()
    ours = energy(block, z, x, temperature)
    for b in range(3):
        torch.testing.assert_close(ours[b].detach(), by_definition(block, z[b].detach(), x[b], temperature))
    (gradient,) = torch.autograd.grad(ours.sum(), z)
    torch.testing.assert_close(gradient, energy_gradient(block, z, x, temperature).detach(), rtol=1e-12, atol=1e-12)


def test_a_potential_is_the_energy_with_a_spring_and_its_gradient() -> None:
    potential, z = potential_of(spring=0.7, temperature=0.5), normal(2, 6, 8, seed=9).requires_grad_()
    value = potential(z)
    plain = energy(potential.block, z, potential.x, 0.5)
    torch.testing.assert_close(value, plain + 0.35 * (z**2).sum(-1))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(potential.gradient(z), gradient)


def test_a_token_s_energy_does_not_depend_on_other_states_nor_on_the_order_of_what_it_sees() -> None:
    block, z, x = block_of(), normal(1, 6, 8), normal(1, 6, 8, seed=1)
    other = normal(1, 6, 8, seed=2)
    other[:, 3] = z[:, 3]
    assert float(energy(block, z, x)[0, 3]) == pytest.approx(float(energy(block, other, x)[0, 3]))
    turned = x[:, [5, 3, 0, 1, 2, 4]]
    assert float(energy(block, z, x)[0, 5]) == pytest.approx(float(energy(block, z, turned)[0, 5]))
    assert float(energy(block, z, x)[0, 3]) != pytest.approx(float(energy(block, z, turned)[0, 3]))


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0.1, 3), st.floats(0.1, 30))
def test_it_is_concave(seed: int, share: float, temperature: float, size: float) -> None:
    potential, (a, b) = potential_of(seed, temperature=temperature), size * normal(2, 2, 6, 8, seed=seed)
    between = potential(share * a + (1 - share) * b)
    assert bool((between >= share * potential(a) + (1 - share) * potential(b) - 1e-9 * size).all())


@pytest.mark.parametrize("causal", [True, False])
def test_it_falls_without_end_along_the_longest_corner_and_no_faster_anywhere(causal: bool) -> None:
    block, x, tau = block_of(causal=causal), normal(2, 6, 8, seed=1), 0.7
    fall = falling(block, x)
    torch.testing.assert_close(fall.direction.norm(dim=-1), torch.ones(2, 6).double())
    seen = torch.arange(1.0, 7.0).double() if causal else torch.full((6,), 6.0).double()
    for s in (0.0, 1.0, 10.0, 1e3, 1e6):
        here = energy(block, s * fall.direction, x, tau)
        assert bool((here <= -s * fall.slope + 1e-9 * (1 + s)).all())
        assert bool((here >= -s * fall.slope - tau * seen.log() - 1e-9 * (1 + s)).all())
        anywhere = torch.nn.functional.normalize(normal(2, 6, 8, seed=int(s)), dim=-1)
        assert bool((energy(block, s * anywhere, x, tau) >= -s * fall.slope - tau * seen.log() - 1e-9 * (1 + s)).all())
    steep = energy(block, 1e6 * fall.direction, x, tau) - energy(block, 1e5 * fall.direction, x, tau)
    torch.testing.assert_close(steep / 9e5, -fall.slope, rtol=1e-4, atol=0)


def test_without_corners_it_is_flat_and_nothing_falls() -> None:
    block, x = block_of(), torch.zeros(1, 4, 8).double()
    fall = falling(block, x)
    assert not fall.slope.any()
    assert not fall.direction.any()
    torch.testing.assert_close(energy(block, normal(1, 4, 8), x, 2.0), -2 * torch.arange(1.0, 5.0).double().log()[None])


@pytest.mark.parametrize("spring", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_with_a_spring_its_least_is_between_the_bounds(spring: float, temperature: float) -> None:
    """Found by z ← Σ_j p_j c_j / κ, which rests where the gradient is 0, from the longest corner over κ."""
    potential = potential_of(3, spring, temperature)
    low, high = floor(potential.block, potential.x, temperature, spring)
    fall = falling(potential.block, potential.x)
    z = fall.slope[..., None] * fall.direction / spring
    for _ in range(3000):
        z = z - potential.gradient(z) / spring
    least = potential(z)
    assert bool((least <= high + 1e-9).all())
    assert bool((least >= low - 1e-9).all())
    assert float(least[0, 0]) == pytest.approx(float(low[0, 0]))  # one corner: both bounds are the least
    assert float(potential.gradient(z).norm()) < 1e-6 * float(fall.slope.max())
    for seed in range(20):
        assert bool((potential(10 * normal(2, 6, 8, seed=seed)) >= low - 1e-9).all())
    with pytest.raises(ValueError, match="only a spring above 0"):
        floor(potential.block, potential.x, temperature, 0.0)


# ---- motion in it ----------------------------------------------------------------------------------------------------

START = (normal(2, 6, 8, seed=20), normal(2, 6, 8, seed=21))


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_path_has_the_energies_of_its_states(integrator: str) -> None:
    potential = potential_of(spring=0.5)
    path = integrate(potential, *START, 0.1, 4, integrator)
    assert path.states.shape == path.velocities.shape == (5, 2, 6, 8)
    z, v = START
    for t in range(5):
        torch.testing.assert_close(path.total[t], potential(z) + 0.5 * (v**2).sum(-1))
        z, v = INTEGRATORS[integrator](potential.gradient, z, v, 0.1)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_orders_with_a_spring(temperature: float) -> None:
    found = drift(errors(potential_of(1, 1.0, temperature), *START, 4.0, [0.02, 0.01, 0.005]))
    assert len(found) == 3 * 3 * 2
    order = orders(found)
    assert order["symplectic Euler"] == pytest.approx(1, abs=0.05)
    assert order["explicit Euler"] == pytest.approx(1, abs=0.1)
    assert order["leapfrog"] == pytest.approx(2, abs=0.05)


def test_with_a_spring_the_loop_s_error_oscillates_and_explicit_euler_s_grows() -> None:
    potential = potential_of(1, 1.0)
    short, long = (drift(errors(potential, *START, time, [0.05])) for time in (10.0, 80.0))
    grown = (long.groupby("integrator")["drift"].max() / short.groupby("integrator")["drift"].max()).to_dict()
    assert grown["symplectic Euler"] < 1.1
    assert grown["leapfrog"] < 1.5
    assert grown["explicit Euler"] > 20
    along = errors(potential, *START, 80.0, [0.05])
    signs = along[along["integrator"] == "symplectic Euler"].groupby("sequence")["error"]
    assert bool((signs.min() < 0).all())
    assert bool((signs.max() > 0).all())


def test_without_a_spring_the_loop_s_error_grows_with_time_as_explicit_euler_s() -> None:
    """Tokens fall: the textbook's promise is about motion that stays in a bounded region."""
    along, still = errors(potential_of(1), START[0], 0 * START[1], 80.0, [0.05]), []
    for integrator, sign in (("symplectic Euler", -1), ("explicit Euler", 1)):
        here = along[(along["integrator"] == integrator) & (along["sequence"] == 0)].set_index("time")["error"]
        early, late = (here.loc[[t for t in here.index if abs(t - time) < 1e-6]].iloc[0] for time in (40.0, 80.0))
        assert late / early == pytest.approx(2, abs=0.1)
        still.append(sign * late)
    assert still[0] == pytest.approx(still[1], rel=0.1)
    assert min(still) > 0


def test_a_token_that_sees_itself_alone_falls_freely() -> None:
    """One corner c: e = −⟨z, c⟩, and from rest H is off by ∓(h/2) t ‖c‖² at time t; leapfrog makes no error."""
    potential, h, count = potential_of(2, n=1), 0.1, 50
    c = falling(potential.block, potential.x).slope[..., 0]
    rest = torch.zeros(2, 1, 8).double()
    for integrator, sign in (("symplectic Euler", -1), ("explicit Euler", 1), ("leapfrog", 0)):
        total = integrate(potential, rest, rest, h, count, integrator).total[..., 0]
        torch.testing.assert_close(total[-1] - total[0], sign * h / 2 * h * count * c**2, rtol=1e-9, atol=1e-10)


def test_errors_to_first_order() -> None:
    """From rest: (h/2) dE/dt, and h ∫ ‖∇E‖² dt more for explicit Euler."""
    potential, h, rest = potential_of(1, 0.5), 1e-3, torch.zeros_like(START[0])
    loop, plain = (integrate(potential, rest, rest, h, 2000, name) for name in ("symplectic Euler", "explicit Euler"))
    for path, extra in ((loop, 0.0), (plain, 1.0)):
        slopes = torch.stack([potential.gradient(z) for z in path.states])
        fall = (slopes[-1] * path.velocities[-1]).sum(-1)
        expected = h / 2 * fall + extra * h * h * slopes[:-1].square().sum((0, -1))
        torch.testing.assert_close(path.total[-1] - path.total[0], expected, rtol=0.02, atol=2e-5)


def test_the_loop_is_leapfrog_whose_velocity_is_read_half_a_kick_early() -> None:
    potential, h = potential_of(4, 0.3), 0.2
    z, v = START
    loop = integrate(potential, z, v, h, 30, "symplectic Euler")
    kicked = integrate(potential, z, v - h / 2 * potential.gradient(z), h, 30, "leapfrog")
    torch.testing.assert_close(loop.states, kicked.states, rtol=1e-11, atol=1e-11)
    half = torch.stack([potential.gradient(s) for s in loop.states])
    torch.testing.assert_close(loop.velocities - h / 2 * half, kicked.velocities, rtol=1e-10, atol=1e-10)


def test_leapfrog_can_be_turned_back_and_the_others_cannot() -> None:
    potential = potential_of(5, 0.5)
    for integrator, back in (("leapfrog", True), ("symplectic Euler", False), ("explicit Euler", False)):
        there = integrate(potential, *START, 0.2, 40, integrator)
        again = integrate(potential, there.states[-1], -there.velocities[-1], 0.2, 40, integrator)
        miss = float((again.states[-1] - START[0]).abs().max())
        assert miss < 1e-9 if back else miss > 1e-2


@pytest.mark.parametrize("spring", [0.0, 0.8])
def test_which_integrators_are_symplectic(spring: float) -> None:
    potential, h = potential_of(6, spring, n=2, d=3), 0.3
    point = normal(2, 2, 2, 3, seed=7)

    def gradient(z: Tensor) -> Tensor:
        return energy_gradient(potential.block, z, potential.x, 1.0) + spring * z

    found = [jacobian(lambda z, v, f=f: f(gradient, z, v, h), *point) for f in (symplectic, leapfrog, explicit)]  # type: ignore[misc]
    assert found[0].shape == (24, 24)
    assert form_defect(found[0]) < 1e-12
    assert form_defect(found[1]) < 1e-12
    assert form_defect(found[2]) > 1e-3
    assert float(torch.linalg.det(found[0])) == pytest.approx(1)
    assert form_defect(0.5 * torch.eye(4).double(), 0.25) < 1e-12


def test_step_lengths_that_do_not_divide_the_time() -> None:
    for h in (0.3, 2.0):
        with pytest.raises(ValueError, match="divide the time 1, got"):
            errors(potential_of(), *START, 1.0, [h])
