"""Sharpness against dense Hessians, whose eigenvalues are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.population import Member, Population, train
from entropylens.training.sharpness import Losses, hessian_product, sharpness

LANGUAGE = Language(2, 3)
CONFIG = TransformerConfig(LANGUAGE, d_model=2, n_layers=1, n_heads=1, d_ff=3)


def quadratic(eigenvalues: list[list[float]], seed: int = 0) -> tuple[Losses, Tensor]:
    """½ θᵀ H θ of each model, with these eigenvalues and random eigenvectors."""
    random = torch.Generator().manual_seed(seed)
    rows = []
    for values in eigenvalues:
        n = len(values)
        q, _ = torch.linalg.qr(torch.randn(n, n, generator=random, dtype=torch.float64))
        rows.append(q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T)
    h = torch.stack(rows)
    return (lambda theta: 0.5 * torch.einsum("mi,mij,mj->m", theta, h, theta)), h


def of_models(members: int = 3, norm: str = "pre", steps: int = 40) -> tuple[Losses, Tensor]:
    """The exact losses of briefly trained models, and their parameters."""
    config = replace(CONFIG, norm=norm)  # type: ignore[arg-type]
    target = autoregressive_dirichlet(LANGUAGE, seed=1)
    seeds = range(members)
    run = train(config, [Member(s, target, optimizer=OptimizerConfig("adam", lr=0.01)) for s in seeds], steps=steps, dtype=torch.float64)  # fmt: skip # noqa: E501
    population, layout = Population(config, list(seeds), dtype=torch.float64), TrieLayout(LANGUAGE, "cpu", True)
    table = LANGUAGE.edges(target).expand(members, -1, -1)
    return (lambda theta: population.losses(theta, layout, table)), run.parameters


def dense(losses: Losses, theta: Tensor, divisor: Tensor | None = None) -> Tensor:
    """The Hessian of each model, column by column, (M, P, P), preconditioned from both sides."""
    columns = []
    for i in range(theta.shape[1]):
        unit = torch.zeros_like(theta)
        unit[:, i] = 1
        columns.append(hessian_product(losses, theta, unit))
    h = torch.stack(columns, dim=2)
    scale = torch.ones_like(theta) if divisor is None else divisor.rsqrt()
    return scale[:, :, None] * h * scale[:, None, :]


@pytest.mark.parametrize("norm", ["pre", "none"])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_it_is_the_top_eigenvalue_of_the_dense_hessian(norm: str, preconditioned: bool) -> None:
    losses, theta = of_models(norm=norm)
    random = torch.Generator().manual_seed(2)
    divisor = torch.rand(theta.shape, generator=random, dtype=torch.float64) + 0.01 if preconditioned else None
    top = torch.linalg.eigvalsh(dense(losses, theta, divisor))[:, -1]
    found = sharpness(losses, theta, divisor, iterations=60)
    torch.testing.assert_close(found.value, top, rtol=1e-6, atol=0)
    assert (found.error < 1e-4 * top).all()


def test_products_agree_with_autograd_s_own_hessian() -> None:
    losses, theta = of_models(members=1)
    h = torch.autograd.functional.hessian(lambda row: losses(row[None]).sum(), theta[0])  # type: ignore[no-untyped-call]
    torch.testing.assert_close(dense(losses, theta)[0], h, rtol=0, atol=1e-10)


def test_a_negative_eigenvalue_of_larger_size_does_not_win() -> None:
    losses, _ = quadratic([[-50.0, -3.0, 0.5, 2.0, 7.0], [-9.0, -8.0, -7.0, -6.0, -5.0]])
    found = sharpness(losses, torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(found.value, torch.tensor([7.0, -5.0], dtype=torch.float64), rtol=1e-9, atol=0)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_any_quadratic_s_sharpness_is_its_largest_eigenvalue(eigenvalues: list[float], seed: int) -> None:
    """Also with eigenvalues that repeat, where the iteration has seen the whole space before its end, or all zero."""
    losses, _ = quadratic([eigenvalues, eigenvalues[::-1]], seed)
    found = sharpness(losses, torch.ones(2, len(eigenvalues), dtype=torch.float64), seed=seed)
    size = max(map(abs, eigenvalues))
    assert found.value.tolist() == pytest.approx([max(eigenvalues)] * 2, abs=1e-7 * size + 1e-12)


def test_the_error_says_how_far_it_may_be_off() -> None:
    losses, theta = of_models()
    eigenvalues = torch.linalg.eigvalsh(dense(losses, theta))
    errors = []
    for iterations in (2, 5, 10, 20):
        found = sharpness(losses, theta, iterations=iterations)
        nearest = (eigenvalues - found.value[:, None]).abs().amin(1)
        assert (nearest <= found.error + 1e-9).all()
        errors.append(float(found.error.max()))
    assert errors[-1] < 0.01 * errors[0]


def test_models_do_not_disturb_each_other() -> None:
    losses, theta = of_models(members=3)
    one, _ = of_models(members=1)
    together, alone = sharpness(losses, theta).value, sharpness(one, theta[:1]).value
    torch.testing.assert_close(together[:1], alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"divisor": torch.tensor([[1.0, 0.0]])}])
def test_what_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="positive throughout"):
        sharpness(lambda theta: theta.square().sum(1), torch.zeros(1, 2), **settings)  # type: ignore[arg-type]


def test_a_direction_found_nearby_saves_iterations() -> None:
    losses, theta = of_models()
    far = sharpness(losses, theta, iterations=60)
    _, vectors = torch.linalg.eigh(dense(losses, theta))
    along = (vectors[:, :, -1] * far.direction).sum(1).abs()
    torch.testing.assert_close(along, torch.ones_like(along), rtol=0, atol=1e-6)
    moved = theta + 1e-3 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(1), dtype=theta.dtype)
    exact = torch.linalg.eigvalsh(dense(losses, moved))[:, -1]
    warm, cold = (sharpness(losses, moved, iterations=4, start=s) for s in (far.direction, None))
    assert ((warm.value - exact).abs() < 0.05 * (cold.value - exact).abs()).all()
