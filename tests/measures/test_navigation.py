"""A model under Hamiltonian loops goes where its own step sends it, and what is said of it on the way is true."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.hamiltonian import Potential, energy, falling, form_defect, integrate, jacobian
from entropylens.measures.induction import accuracy
from entropylens.measures.navigation import budget, by_loop, follow, gain, plane, potential_of, with_update
from entropylens.models.looped import LoopBlock, LoopedConfig, LoopedTransformer, LoopTrace
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, rebuild

TOKENS = torch.tensor([[0, 1, 2, 1, 0, 3], [4, 4, 0, 2, 3, 2]])


def model_of(seed: int = 0, **changes: object) -> LoopedTransformer:
    asked = {"n_loops": 5, "norm": "pre", "hint": True} | changes
    return LoopedConfig(5, **asked).build(torch.Generator().manual_seed(seed)).double()  # type: ignore[arg-type]


def embedded(model: LoopedTransformer) -> Tensor:
    return model.embed(TOKENS).detach()


def test_a_model_that_changes_its_update_is_the_model_of_that_update() -> None:
    constants = {"damping": 0.7, "pull": 0.4, "slope": 0.3, "temperature": 0.8}
    plain, other = model_of(), model_of(update="hamiltonian", **constants)
    before = plain(TOKENS)
    torch.testing.assert_close(with_update(plain, "hamiltonian", **constants)(TOKENS), other(TOKENS))
    torch.testing.assert_close(with_update(other, "plain")(TOKENS), before)
    torch.testing.assert_close(plain(TOKENS), before)
    small = with_update(model_of(step_size=0.1), "hamiltonian", **constants)
    torch.testing.assert_close(small(TOKENS), other(TOKENS))
    with pytest.raises(ValueError, match="one head"):
        with_update(model_of(n_heads=2), "hamiltonian")


def test_the_first_loop_is_plain_with_a_pull_of_one_and_no_slope_and_the_second_is_not() -> None:
    plain = model_of()
    other = with_update(plain, "hamiltonian", pull=1.0, slope=0.0)
    torch.testing.assert_close(*(m(TOKENS, n_loops=1) for m in (plain, other)))
    assert not torch.allclose(*(m(TOKENS, n_loops=2) for m in (plain, other)), rtol=1e-2)


@pytest.mark.parametrize("norm", ["none", "pre", "post"])
def test_a_path_is_the_model_s_own(norm: str) -> None:
    model, trace = model_of(norm=norm, update="hamiltonian", slope=0.25, temperature=0.6), LoopTrace()
    model(TOKENS, trace)
    x = embedded(model)
    path = follow(model, x, 5)
    torch.testing.assert_close(path.states, torch.stack(trace.states).detach())
    torch.testing.assert_close(0.5 * path.velocities[1:], path.states.diff(dim=0))  # h = ½
    block = model.blocks[0]
    assert isinstance(block, LoopBlock)
    torch.testing.assert_close(path.energy[3], energy(block, path.states[3], x, 0.6))
    torch.testing.assert_close(path.total, path.energy + path.velocities.square().sum(-1) / 2)


def test_without_pull_and_friction_it_is_symplectic_euler_in_e() -> None:
    model = with_update(model_of(), "hamiltonian", damping=1.0, pull=0.0, slope=0.04)
    x = embedded(model)
    path, rest = follow(model, x, 20), torch.zeros_like(x)
    expected = integrate(potential_of(model, x), rest, rest, 0.2, 20, "symplectic Euler")
    for name in ("states", "velocities", "energy"):
        torch.testing.assert_close(getattr(path, name), getattr(expected, name))


def test_a_pull_towards_nothing_is_a_spring_of_its_ratio_to_the_slope() -> None:
    """F = 0 if values and the MLP's read-out are."""
    model = with_update(model_of(norm="none"), "hamiltonian", damping=1.0, pull=0.1, slope=0.04)
    block = model.blocks[0]
    assert isinstance(block, LoopBlock)
    assert block.mlp is not None
    with torch.no_grad():
        block.qkv[:, 16:] = 0
        block.mlp.values.weight.zero_()
        block.mlp.values.bias.zero_()
    x = embedded(model)
    potential, rest = Potential(block, x, 1.0, 0.1 / 0.04), torch.zeros_like(x)
    expected = integrate(potential, rest, rest, 0.2, 30, "symplectic Euler")
    torch.testing.assert_close(follow(model, x, 30).states, expected.states)


def test_alone_the_energy_cannot_tell_a_token_from_others_that_are_seen() -> None:
    """The last token's path is the same whatever the order of embeddings, its own among them; with a pull it is not."""
    model = with_update(model_of(), "hamiltonian", damping=0.9, pull=0.0, slope=0.5)
    x, turned = embedded(model), embedded(model)[:, [5, 3, 0, 1, 2, 4]]
    torch.testing.assert_close(follow(model, x, 9).states[:, :, -1], follow(model, turned, 9).states[:, :, -1])
    pulled = with_update(model, "hamiltonian", pull=0.1)
    ends = [follow(pulled, e, 9).states[-1, :, -1] for e in (x, turned)]
    assert float((ends[0] - ends[1]).norm()) > 0.1


def form(damping: float, pull: float, slope: float = 0.3) -> tuple[float, float, int]:
    """The defect for a factor μ, the Jacobian's determinant, and the state's size N, of a tiny loop."""
    model = model_of(d_model=2, d_ff=3)
    loop = with_update(model, "hamiltonian", damping=damping, pull=pull, slope=slope)
    x = embedded(loop)[:1, :3]
    random = torch.Generator().manual_seed(3)
    z, v = torch.randn(2, 1, 3, 2, generator=random, dtype=torch.float64)
    j = jacobian(lambda z, v: loop.step(z, x, v, 0), z, v).detach()
    return form_defect(j, damping), float(torch.linalg.det(j)), z.numel()


@pytest.mark.parametrize("damping", [1.0, 0.6])
def test_the_loop_scales_the_symplectic_form_by_its_damping_without_a_pull_only(damping: float) -> None:
    defect, determinant, size = form(damping, 0.0)
    assert defect < 1e-12
    assert determinant == pytest.approx(damping**size)
    defect, determinant, size = form(damping, 0.5)
    assert defect > 1e-2
    assert determinant == pytest.approx(damping**size)  # which does not tell


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100), st.floats(0, 1), st.floats(0.01, 30), st.floats(0.1, 3))
def test_without_a_pull_h_falls_in_each_loop_whatever_the_step(
    seed: int, damping: float, slope: float, tau: float
) -> None:
    loop = with_update(model_of(seed), "hamiltonian", damping=damping, pull=0.0, slope=slope, temperature=tau)
    x = embedded(loop)
    path = follow(loop, x, 12)
    slopes = torch.stack([potential_of(loop, x).gradient(z) for z in path.states[:-1]])
    fall = (1 - damping**2) * path.kinetic[:-1] + slope / 2 * slopes.square().sum(-1)
    assert bool((path.total.diff(dim=0) <= -fall + 1e-9 * path.kinetic[1:].clamp(min=1)).all())


def test_with_a_pull_h_rises_at_times_even_with_friction() -> None:
    loop = with_update(model_of(), "hamiltonian", damping=0.5, pull=0.5, slope=0.1)
    assert float(follow(loop, embedded(loop), 12).total.diff(dim=0).max()) > 0.1


@pytest.mark.parametrize(("damping", "pull"), [(1.0, 0.0), (0.7, 0.0), (1.0, 0.3), (0.5, 0.5)])
def test_the_budget_adds_up_and_each_part_is_what_it_says(damping: float, pull: float) -> None:
    loop = with_update(model_of(), "hamiltonian", damping=damping, pull=pull, slope=0.2, temperature=0.9)
    x = embedded(loop)
    path = follow(loop, x, 8)
    parts = budget(loop, x, path)
    torch.testing.assert_close(sum(parts), path.total.diff(dim=0))
    block = loop.blocks[0]
    for t in range(8):
        middle = (path.velocities[t] + path.velocities[t + 1]) / 2
        towards = pull * (block(path.states[t] + x) - path.states[t]).detach() / 0.2**0.5
        torch.testing.assert_close(parts.pull[t], (middle * towards).sum(-1), rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(parts.friction[t], -(1 - damping) * (middle * path.velocities[t]).sum(-1))


@pytest.mark.parametrize(("damping", "pull"), [(0.5, 0.5), (0.0, 1.9), (0.25, 0.25), (0.9, 0.1), (0.5, 2.5)])
def test_the_gain_is_the_most_that_a_drive_can_do(damping: float, pull: float) -> None:
    """Against the sum of the matrix powers' entries; and a drive that pushes when it counts comes as far."""
    a = torch.tensor([[1 - pull, damping], [-pull, damping]], dtype=torch.float64)
    responses = [float((torch.linalg.matrix_power(a, k) @ torch.ones(2).double())[0]) for k in range(2000)]
    assert gain(damping, pull) == pytest.approx(sum(map(abs, responses)), rel=1e-6)
    z = v = 0.0
    for response in responses[::-1]:
        v = damping * v - pull * z + math.copysign(1.0, response)
        z = z + v
    assert z == pytest.approx(gain(damping, pull), rel=1e-6)
    if damping >= 0 and math.sqrt(pull) <= 1 - math.sqrt(damping):
        assert gain(damping, pull) == pytest.approx(1 / pull)


@pytest.mark.parametrize(("damping", "pull"), [(1.0, 0.5), (0.5, 0.0), (0.5, 3.0), (-1.0, 0.1), (0.5, -0.1)])
def test_without_a_bound_the_gain_is_infinite(damping: float, pull: float) -> None:
    a = torch.tensor([[1 - pull, damping], [-pull, damping]], dtype=torch.float64)
    assert float(torch.linalg.eigvals(a).abs().max()) >= 1 - 1e-12
    assert gain(damping, pull) == math.inf


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_with_a_pull_states_stay_within_the_gain_and_without_one_they_do_not(norm: str) -> None:
    loop = with_update(model_of(norm=norm), "hamiltonian", damping=0.6, pull=0.3, slope=0.2)
    x, block = embedded(loop), loop.blocks[0]
    assert isinstance(block, LoopBlock)
    path = follow(loop, x, 300)
    most = torch.stack([block(z + x).detach().norm(dim=-1) for z in path.states]).amax(0)
    allowed = gain(0.6, 0.3) * (0.3 * most + 0.2 * falling(block, x).slope)
    assert bool((path.states.norm(dim=-1).amax(0) <= allowed).all())
    away = follow(with_update(loop, "hamiltonian", pull=0.0), x, 300).states.norm(dim=-1)
    assert float((away[300] / away[150]).min()) == pytest.approx(2, abs=0.2)  # a terminal velocity
    faster = follow(with_update(loop, "hamiltonian", pull=0.0, damping=1.0), x, 300).states.norm(dim=-1)
    assert float((faster[300] / faster[150]).min()) == pytest.approx(4, abs=0.3)  # free fall


def test_energies_that_are_none() -> None:
    model = model_of()
    with pytest.raises(ValueError, match="with a plain one"):
        potential_of(model, embedded(model))
    several = model_of(n_blocks=2, update="hamiltonian")
    with pytest.raises(ValueError, match="needs one block with a hamiltonian update, got 2"):
        follow(several, embedded(several), 3)
    with pytest.raises(ValueError, match="slope above 0, got 0"):
        follow(with_update(model, "hamiltonian", slope=0.0), embedded(model), 3)


def test_accuracy_by_loop_is_that_of_models_with_so_many() -> None:
    task = InductionTask(5, "repeat", scored="all")
    batch = sample(task, 60, 9, generator(9, "evaluation"))
    for config in (
        LoopedConfig(5, n_blocks=2),
        LoopedConfig(5, update="hamiltonian", norm="pre"),
        LoopedConfig(5, update="hamiltonian", norm="pre", start="input"),
    ):
        population = LoopedPopulation(config, [0])
        model = rebuild(config, population.parameters[0])
        found = by_loop(model, batch, 6)
        assert found["loops"].tolist() == list(range(7))
        for loops in (1, 3, 6):
            same = LoopedPopulation(replace(config, n_loops=loops), [0])
            alone = accuracy(same, population.parameters, task, 9, 60)
            assert found["accuracy"][loops] == pytest.approx(float(alone[0]))
        trace = LoopTrace()
        model(batch.tokens, trace, 6)
        states = torch.stack(trace.states)[:, :, -1].detach()
        assert found["size"].tolist() == pytest.approx(states.norm(dim=-1).mean(-1).tolist(), rel=1e-5)
        steps = states.diff(dim=0).norm(dim=-1) / states[1:].norm(dim=-1)
        assert found["moved"].tolist()[1:] == pytest.approx(steps.mean(-1).tolist(), rel=1e-4)
        assert math.isnan(found["moved"][0])
        assert math.isnan(found["stuck"][0])


def test_who_is_stuck_is_wrong_and_still() -> None:
    batch = sample(InductionTask(5, "repeat"), 60, 9, generator(9, "evaluation"))
    model = with_update(model_of(), "hamiltonian", damping=0.0, pull=0.3, slope=0.0)
    found = by_loop(model, batch, 80, settled=math.inf)
    assert (found["stuck"] + found["accuracy"])[1:].tolist() == pytest.approx([1.0] * 80)
    assert by_loop(model, batch, 3, settled=0.0)["stuck"].tolist()[1:] == [0.0] * 3


# ---- one token's plane -----------------------------------------------------------------------------------------------


def test_the_plane_holds_what_it_can_and_its_energy_is_the_token_s() -> None:
    model = model_of(update="hamiltonian", slope=0.3)
    x = embedded(model)
    potential, path = replace(potential_of(model, x), spring=0.4), follow(model, x, 12)
    found = plane(potential, path.states, 1, 4, points=5)
    own = path.states[:, 1, 4]
    torch.testing.assert_close(found.axes @ found.axes.mT, torch.eye(2).double())
    torch.testing.assert_close(found.centre, own.mean(0))
    spread = torch.linalg.eigvalsh((own - own.mean(0)).mT @ (own - own.mean(0)))
    assert found.share == pytest.approx(float(spread[-2:].sum() / spread.sum()))
    assert 0.5 < found.share <= 1
    torch.testing.assert_close(found.path, (own - own.mean(0)) @ found.axes.mT)
    assert float(found.path.abs().max()) < float(found.at[-1])
    for row, column in ((0, 0), (1, 3), (4, 2)):
        z = path.states[7].clone()  # of the others: it does not matter
        z[1, 4] = found.centre + found.at[row] * found.axes[1] + found.at[column] * found.axes[0]
        torch.testing.assert_close(found.grid[row, column], z[1, 4])
        assert float(found.energy[row, column]) == pytest.approx(float(potential(z)[1, 4]))
    projected = path.states.clone()
    projected[:, 1, 4] = found.centre + found.path @ found.axes
    gaps = torch.stack([(potential(a) - potential(b))[1, 4].abs() for a, b in zip(path.states, projected, strict=True)])
    assert found.gap == pytest.approx(float(gaps.max()))


def test_a_path_in_a_plane_has_no_gap() -> None:
    model = model_of(update="hamiltonian")
    x, random = embedded(model), torch.Generator().manual_seed(0)
    flat = torch.randn(9, 2, generator=random, dtype=torch.float64) @ torch.randn(2, 8, generator=random).double() + 1
    found = plane(potential_of(model, x), flat[:, None, None].expand(-1, 2, 6, -1))
    assert found.share == pytest.approx(1)
    assert found.gap < 1e-10
    with pytest.raises(ValueError, match="three states or more, all finite, got 2, 2 finite"):
        plane(potential_of(model, x), flat[:2, None, None].expand(-1, 2, 6, -1))
    flat[4, 1] = math.inf
    with pytest.raises(ValueError, match="got 9, 8 finite"):
        plane(potential_of(model, x), flat[:, None, None].expand(-1, 2, 6, -1))
