"""The minimiser of CE + α·H against direct minimisation, and its first order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax, xlogy

from entropylens.measures.regularised import _minus_w, escort, largest_alpha, regularised
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet

Array = NDArray[np.float64]
DENSE = autoregressive_dirichlet(Language(4, 4), seed=3, concentration=1.0).numpy()


def objective(p: Array, target: Array, alpha: float) -> float:
    return float(-(target * np.log(p)).sum() - alpha * xlogy(p, p).sum())


def minimised(target: Array, alpha: float) -> Array:
    """By a trust-region Newton method on logits, with derivatives by hand, from the target itself."""

    def value(z: Array) -> float:
        log_p = log_softmax(z)
        return float(-(target * log_p).sum() - alpha * (np.exp(log_p) * log_p).sum())

    def gradient(z: Array) -> Array:
        log_p = log_softmax(z)
        p = np.exp(log_p)
        return p - target - alpha * p * (log_p - (p * log_p).sum())

    def hessian(z: Array) -> Array:
        log_p = log_softmax(z)
        p = np.exp(log_p)
        a = log_p - (p * log_p).sum()  # −(surprise − H)
        softmax_part = np.diag(p) - np.outer(p, p)
        return softmax_part - alpha * (np.diag(p * a) - np.outer(p * a, p) - np.outer(p, p * a) + softmax_part)

    found = minimize(value, np.log(target), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-13})
    return np.asarray(softmax(found.x))


@pytest.mark.parametrize("alpha", [-2.0, -0.3, -0.01, 0.01, 0.1, 0.25])
@pytest.mark.parametrize("seed", range(3))
def test_the_formula_is_what_minimising_gives(alpha: float, seed: int) -> None:
    target = np.random.default_rng(seed).dirichlet(np.full(7, 2.0))
    alpha = min(alpha, 0.9 * largest_alpha(target))
    np.testing.assert_allclose(regularised(target, alpha), minimised(target, alpha), rtol=0, atol=1e-8)


@given(st.integers(0, 10_000), st.floats(-3.0, 0.999), st.integers(2, 40))
def test_it_is_stationary_normalised_and_no_worse_than_its_neighbours(seed: int, share: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.dirichlet(np.full(n, 1.0)).clip(1e-9)
    target /= target.sum()
    alpha = share * largest_alpha(target) if share > 0 else share
    p = regularised(target, alpha)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    multiplier = target / p + alpha * (1 + np.log(p))  # −p_tgt/p − α(1 + log p) + λ = 0: the same λ everywhere
    np.testing.assert_allclose(multiplier, multiplier[0], rtol=1e-7)
    for _ in range(5):
        q = p * np.exp(1e-3 * rng.normal(size=n))
        assert objective(q / q.sum(), target, alpha) >= objective(p, target, alpha) - 1e-12


def test_the_branch_ends_where_the_curvature_of_the_likeliest_sentence_does() -> None:
    target = np.array([0.5, 0.3, 0.2])
    most = largest_alpha(target)
    p = regularised(target, most)
    assert target[0] / p[0] ** 2 - most / p[0] == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="has no minimiser on one branch; this target allows α ≤ 0"):
        regularised(target, most + 1e-6)
    assert largest_alpha(np.full(4, 0.25)) == pytest.approx(1)
    np.testing.assert_allclose(regularised(np.full(4, 0.25), 0.5), 0.25)


@given(st.floats(1.0, 5000.0) | st.floats(0, 1e-3).map(lambda x: 1 + x))
def test_lambert_s_lower_branch_to_all_digits(y: float) -> None:
    (u,) = _minus_w(np.array([y]))
    assert u >= 1
    assert u - np.log(u) == pytest.approx(y, rel=1e-14)


def test_what_is_impossible_stays_so_only_for_a_positive_alpha() -> None:
    target = np.array([0.7, 0.3, 0.0])
    assert regularised(target, 0.1)[2] == 0
    leaking = regularised(target, -0.5)
    assert leaking[2] > 0
    c = 1 / -0.5 + float(xlogy(leaking, leaking).sum())  # 1/α − H(p), from Σ p · stationarity
    assert leaking[2] == pytest.approx(np.exp(c), rel=1e-9)


def test_to_first_order_it_is_the_escort() -> None:
    target = DENSE
    alphas = np.array([0.003, 0.01, 0.03]) * largest_alpha(target)
    for sign in (1, -1):
        errors = [np.abs(regularised(target, sign * a) - escort(target, sign * a)).sum() for a in alphas]
        slope = np.polyfit(np.log(alphas), np.log(errors), 1)[0]
        assert slope == pytest.approx(2, abs=0.1)
    first_order = target * (np.log(target) - xlogy(target, target).sum())  # δ_i = α p_i (log p_i + H)
    np.testing.assert_allclose((escort(target, 1e-6) - target) / 1e-6, first_order, atol=1e-6)


def test_for_a_positive_alpha_the_minimum_is_local_only() -> None:
    """Near a uniform target a distribution that favours one sentence can lie lower: the page must not say "global"."""
    uniform = np.full(5, 0.2)
    favours_one = np.array([0.562, *[0.1095] * 4])
    assert largest_alpha(uniform) == pytest.approx(1)
    assert objective(favours_one, uniform, 0.9) < objective(regularised(uniform, 0.9), uniform, 0.9) - 0.005


def test_on_the_book_s_targets_no_lower_minimum_is_found_from_elsewhere() -> None:
    rng, alpha = np.random.default_rng(0), 0.8 * largest_alpha(DENSE)

    def value(z: Array) -> tuple[float, Array]:
        log_p = log_softmax(z)
        p = np.exp(log_p)
        h = -(p * log_p).sum()
        return float(-(DENSE * log_p).sum() + alpha * h), p - DENSE - alpha * p * (log_p + h)

    best = min(minimize(value, rng.normal(size=len(DENSE)) * 3, jac=True, method="L-BFGS-B").fun for _ in range(20))
    assert best >= objective(regularised(DENSE, alpha), DENSE, alpha) - 1e-6
