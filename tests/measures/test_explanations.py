"""Projections on rival families, against planted parameters and planted noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from entropylens.measures.explanations import (
    _noisy,
    divergence,
    explain,
    families,
    name_families,
    project,
)
from entropylens.measures.regularised import escort, largest_alpha, regularised
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet, sparse_support
from entropylens.training.data import finite_sample
from tests.conftest import ROOT

Array = NDArray[np.float64]
LANGUAGE = Language(4, 4)
DENSE = autoregressive_dirichlet(LANGUAGE, seed=3, concentration=1.0).numpy()
SPARSE = sparse_support(LANGUAGE, 60, seed=3).numpy()


@pytest.mark.parametrize("target", [DENSE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("planted", [-0.3, -0.1, 0.0, 0.1, 0.3])
def test_a_planted_alpha_is_recovered(target: Array, planted: float) -> None:
    with np.errstate(divide="ignore"):
        log_p = np.maximum(np.log(escort(target, planted)), -60)  # as a model: nothing is impossible
    found = project(log_p, target, families(target, None)["escort"])
    assert found.parameter == pytest.approx(planted, abs=1e-4)
    assert found.residual == pytest.approx(0, abs=1e-10)
    if planted:
        assert found.share == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("target", [DENSE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("planted", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("name", ["sample", "uniform"])
def test_a_planted_beta_is_recovered(target: Array, planted: float, name: str) -> None:
    rng = np.random.default_rng(0)
    sample = rng.multinomial(200, target) / 200
    family = families(target, sample)[name]
    with np.errstate(divide="ignore"):
        log_p = np.maximum(np.log(family.member(planted)), -60)
    assert project(log_p, target, family).parameter == pytest.approx(planted, abs=1e-4)


def test_mixtures_stay_distributions_over_their_whole_range() -> None:
    sample = np.random.default_rng(1).multinomial(200, DENSE) / 200
    for family in families(DENSE, sample).values():
        for phi in np.linspace(family.low, family.high, 7):
            p = family.member(phi)
            assert p.sum() == pytest.approx(1)
            assert p.min() > -1e-15


def test_the_share_is_of_the_divergence_on_the_support() -> None:
    leaky = np.log(0.9 * SPARSE + 0.1 / len(SPARSE))
    found = explain(leaky, SPARSE, None)
    q = np.exp(leaky[SPARSE > 0])
    t = SPARSE[SPARSE > 0]
    whole = float((t * np.log(t / (q / q.sum()))).sum())
    for projection in found.values():
        assert projection.share == pytest.approx(1 - projection.residual / whole)
    assert found["uniform"].residual == pytest.approx(0, abs=1e-9)  # what leaks in evenly is uniform on the support


@pytest.mark.weekly
def test_the_right_family_is_named_through_noise_as_large_as_what_trained_models_leave() -> None:
    rows = pd.read_csv(ROOT / "results" / "implicit_alpha.csv")
    left = rows.loc[rows["source"] == "low_entropy"].filter(like="_residual").min(axis=1).median()
    language = Language()
    target = autoregressive_dirichlet(language, seed=1)
    sample = language.empirical(finite_sample(language, target, 2000, 1)).numpy()
    named = name_families(target.numpy(), sample, float(left), runs=40)
    assert np.diag(named).min() >= 38
    assert (named.sum(axis=1) == 40).all()


@given(st.floats(1e-6, 1.0), st.integers(0, 100))
def test_noise_has_the_divergence_that_was_asked_for(nats: float, seed: int) -> None:
    log_q = _noisy(SPARSE, nats, np.random.default_rng(seed))
    assert np.exp(log_q).sum() == pytest.approx(1)
    assert divergence(log_q, SPARSE, SPARSE) == pytest.approx(nats, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("target", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_the_exact_family_is_told_from_its_first_order_up_to_its_end(target: Array) -> None:
    found = explain(np.log(np.maximum(regularised(target, 0.15), 1e-30)), target, None)
    assert found["exact"].parameter == pytest.approx(0.15, abs=1e-4)
    assert found["exact"].residual < 1e-9 < found["escort"].residual
    beyond = explain(np.log(np.maximum(escort(target, 0.9), 1e-30)), target, None)
    assert 0.95 * largest_alpha(target) < beyond["exact"].parameter <= largest_alpha(target)
    assert beyond["exact"].share < beyond["escort"].share == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("planted", [-0.3, 0.0, 0.2])
def test_the_other_direction_finds_a_planted_alpha_too_and_may_be_infinite(planted: float) -> None:
    log_p = np.log(escort(DENSE, planted))
    found = project(log_p, DENSE, families(DENSE, None)["escort"], from_model=True)
    assert found.parameter == pytest.approx(planted, abs=1e-4)
    sample = np.zeros_like(DENSE)
    sample[:5] = 0.2
    assert divergence(log_p, DENSE, sample, from_model=True) == np.inf
    q = np.exp(log_p)
    assert divergence(log_p, DENSE, DENSE, from_model=True) == pytest.approx(float((q * (log_p - np.log(DENSE))).sum()))


def test_a_diverged_model_is_told_by_nothing() -> None:
    for projection in explain(np.full_like(DENSE, np.nan), DENSE, None).values():
        assert np.isnan([projection.parameter, projection.residual, projection.share]).all()
