"""Target families: what they promise about support, rules and seeds, and the tilt that hits a requested entropy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.tasks.language import Language, entropy
from entropylens.tasks.targets import (
    RULES,
    autoregressive_dirichlet,
    rule_pattern,
    shuffled,
    sparse_support,
    tilt_to_entropy,
)
from entropylens.training.spec import TargetSpec
from tests._reference import all_sentences

LANGUAGE = Language(4, 4)
FAMILIES: dict[str, Callable[[int], Tensor]] = {
    "sparse": lambda seed: sparse_support(LANGUAGE, 40, seed=seed),
    "sparse, peaked": lambda seed: sparse_support(LANGUAGE, 200, concentration=0.05, seed=seed),
    "autoregressive": lambda seed: autoregressive_dirichlet(LANGUAGE, seed=seed),
    "autoregressive, peaked": lambda seed: autoregressive_dirichlet(LANGUAGE, concentration=0.02, seed=seed),
    **{rule: lambda seed, rule=rule: rule_pattern(LANGUAGE, rule, seed=seed) for rule in RULES},
}
ALLOWED: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "no_repeats": lambda s: not any(a == b for a, b in itertools.pairwise(s)),
    "palindromes": lambda s: s == s[::-1],
    "non_decreasing": lambda s: list(s) == sorted(s),
}


# ---- the families ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_is_a_target(family: str) -> None:
    p = FAMILIES[family](3)
    assert p.shape == (256,)
    assert p.dtype == torch.float64
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    assert (p >= 0).all()
    assert torch.equal(p, FAMILIES[family](3))
    assert not torch.equal(p, FAMILIES[family](4))


def test_a_target_does_not_depend_on_global_random_numbers() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = FAMILIES["sparse"](0)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert torch.equal(first, FAMILIES["sparse"](0))


@pytest.mark.parametrize("k", [1, 2, 40, 256])
def test_sparse_support_has_k_sentences(k: int) -> None:
    assert int((sparse_support(LANGUAGE, k, seed=0) > 0).sum()) == k


@pytest.mark.parametrize("k", [0, -1, 257])
def test_sparse_support_refuses_other_k(k: int) -> None:
    with pytest.raises(ValueError, match=f"1 … 256, got {k}"):
        sparse_support(LANGUAGE, k, seed=0)


def test_concentration_steers_the_entropy() -> None:
    means = [
        np.mean([float(entropy(sparse_support(LANGUAGE, 100, concentration=c, seed=s))) for s in range(5)])
        for c in (0.05, 1.0, 100.0)
    ]
    assert means[0] < means[1] < means[2] <= math.log(100)
    assert means[2] == pytest.approx(math.log(100), abs=0.02)


def test_autoregressive_dirichlet_leaves_every_sentence_possible() -> None:
    assert (autoregressive_dirichlet(LANGUAGE, concentration=1.0, seed=0) > 0).all()


def test_autoregressive_conditionals_are_dirichlet() -> None:
    """Each entry of a symmetric Dirichlet(α) on V symbols has mean 1/V and variance (V − 1) / (V² (V α + 1))."""
    language, alpha = Language(4, 6), 0.5
    rows = language.conditionals(autoregressive_dirichlet(language, concentration=alpha, seed=1))
    torch.testing.assert_close(rows.mean(0), torch.full((4,), 0.25).double(), atol=0.04, rtol=0)
    assert float(rows.var()) == pytest.approx(3 / (16 * (4 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("language", [LANGUAGE, Language(3, 1), Language(2, 5)])
def test_a_rule_allows_what_it_says(rule: str, language: Language) -> None:
    p = rule_pattern(language, rule, seed=0)
    allowed = [ALLOWED[rule](s) for s in all_sentences(language.vocab_size, language.length)]
    assert (p > 0).tolist() == allowed


def test_a_rule_of_ones_own() -> None:
    p = rule_pattern(LANGUAGE, lambda s: s[:, 0] == 2, concentration=1e6, seed=0)
    assert int((p > 0).sum()) == 64
    assert float(entropy(p)) == pytest.approx(math.log(64), abs=1e-3)


def test_bad_rules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'palindrome'.*no_repeats, palindromes, non_decreasing"):
        rule_pattern(LANGUAGE, "palindrome", seed=0)
    with pytest.raises(ValueError, match="allows no sentence"):
        rule_pattern(Language(1, 3), "no_repeats", seed=0)


@pytest.mark.parametrize("concentration", [0.0, -1.0, math.nan, math.inf])
def test_bad_concentrations_are_refused(concentration: float) -> None:
    for make in (
        lambda: sparse_support(LANGUAGE, 5, concentration=concentration, seed=0),
        lambda: autoregressive_dirichlet(LANGUAGE, concentration=concentration, seed=0),
        lambda: rule_pattern(LANGUAGE, "no_repeats", concentration=concentration, seed=0),
    ):
        with pytest.raises(ValueError, match="concentration"):
            make()


# ---- the tilt --------------------------------------------------------------------------------------------------------


def reach(p: Tensor) -> tuple[float, float]:
    """The entropies between which a tilt can choose."""
    return math.log(int((p == p.max()).sum())), math.log(int((p > 0).sum()))


def check_tilt(p: Tensor, nats: float) -> Tensor:
    tilted = tilt_to_entropy(p, nats)
    assert float(entropy(tilted)) == pytest.approx(nats, abs=1e-6)
    assert torch.equal(tilted > 0, p > 0), "the support changed"
    order = p.argsort(stable=True)
    assert (tilted[order].diff() >= 0).all(), "the ranking changed"
    return tilted


def near_the_ends() -> st.SearchStrategy[float]:
    """Fractions of the range, with plenty of them close to 0 and to 1."""
    near = st.floats(-7, -0.3).map(lambda e: 10**e)
    return st.one_of(st.floats(0, 1), near, near.map(lambda x: 1 - x))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(FAMILIES)), st.integers(0, 20), near_the_ends())
def test_a_tilt_hits_the_requested_entropy(family: str, seed: int, fraction: float) -> None:
    p = FAMILIES[family](seed)
    low, high = reach(p)
    check_tilt(p, low + fraction * (high - low))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tilt_reaches_both_ends(family: str) -> None:
    p = FAMILIES[family](0)
    for nats in reach(p):
        check_tilt(p, nats)


def test_a_tilt_is_a_temperature() -> None:
    p = FAMILIES["sparse"](0)
    tilted = tilt_to_entropy(p, 2.0)
    support = p > 0
    slope, _ = np.polyfit(p[support].log(), tilted[support].log(), 1)
    expected = p[support] ** slope
    torch.testing.assert_close(tilted[support], expected / expected.sum(), rtol=1e-9, atol=0)
    torch.testing.assert_close(tilt_to_entropy(p, float(entropy(p))), p, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beyond", [-0.01, 0.01])
def test_an_entropy_out_of_reach_is_refused_with_the_range(family: str, beyond: float) -> None:
    p = FAMILIES[family](0)
    low, high = reach(p)
    with pytest.raises(ValueError, match="out of reach") as error:
        tilt_to_entropy(p, high + beyond if beyond > 0 else low + beyond)
    assert f"{low:.6g} … {high:.6g}" in str(error.value)


@pytest.mark.parametrize("nats", [math.nan, math.inf, -math.inf])
def test_an_entropy_that_is_no_number_is_refused(nats: float) -> None:
    with pytest.raises(ValueError, match="out of reach"):
        tilt_to_entropy(FAMILIES["sparse"](0), nats)


def test_ties_at_the_top_bound_the_reach_from_below() -> None:
    p = torch.tensor([0.0, 0.3, 0.3, 0.3, 0.06, 0.04], dtype=torch.float64)
    for nats in (math.log(3), math.log(3) + 1e-5, 1.2, math.log(5) - 1e-5, math.log(5)):
        tilted = check_tilt(p, nats)
        assert tilted[1] == tilted[2] == tilted[3]
    with pytest.raises(ValueError, match=r"1\.09861 … 1\.60944"):
        tilt_to_entropy(p, 1.0)


def test_almost_a_tie_is_no_tie() -> None:
    p = torch.tensor([0.5 + 1e-9, 0.5 - 1e-9], dtype=torch.float64)
    for nats in (0.0, 1e-3, 0.3, 0.69, math.log(2)):
        check_tilt(p, nats)


@pytest.mark.parametrize("size", [1, 2, 50])
def test_a_uniform_target_has_one_entropy_only(size: int) -> None:
    p = torch.zeros(60, dtype=torch.float64)
    p[:size] = 1 / size
    torch.testing.assert_close(check_tilt(p, math.log(size)), p, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="out of reach"):
        tilt_to_entropy(p, math.log(size) + 0.1)


def test_a_point_mass() -> None:
    p = sparse_support(LANGUAGE, 1, seed=0)
    assert torch.equal(check_tilt(p, 0.0), p)


def test_no_distribution_no_tilt() -> None:
    with pytest.raises(ValueError, match="NaN"):
        tilt_to_entropy(torch.tensor([math.nan, 1.0]), 0.1)


def test_a_shuffled_target_keeps_its_probabilities_and_loses_their_places() -> None:
    target = autoregressive_dirichlet(Language(5, 5), seed=3)
    dealt = shuffled(target, 3)
    assert torch.equal(dealt.sort().values, target.sort().values)
    assert torch.equal(dealt, shuffled(target, 3))
    assert not torch.equal(dealt, shuffled(target, 4))
    assert abs(float(torch.corrcoef(torch.stack([dealt, target]).log())[0, 1])) < 0.08  # four standard errors
    spec = TargetSpec("shuffled", 3)
    assert torch.equal(spec.build(Language(5, 5)), dealt)
