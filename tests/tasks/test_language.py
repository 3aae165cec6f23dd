"""The language and its trie against loops over strings, and the entropies against scipy and closed forms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from entropylens.tasks.language import Language, check_distribution, cross_entropy, entropy, kl_divergence
from tests._reference import all_prefixes, all_sentences, brute_edges, brute_sentence_log_probs, random_distribution

SIZES = [(5, 5), (3, 4), (2, 6), (4, 1), (1, 3)]
FEW = settings(max_examples=25, deadline=None)


@st.composite
def small_languages(draw: st.DrawFn) -> Language:
    v = draw(st.integers(1, 5))
    return Language(v, draw(st.integers(1, {1: 6, 2: 6, 3: 5}.get(v, 3))))


def numbers(language: Language, seed: int = 0) -> np.ndarray:
    """(N, V) of either sign."""
    return np.random.default_rng(seed).normal(size=(language.n_nodes, language.vocab_size))


# ---- the trie ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("v", "t"), SIZES)
def test_enumeration(v: int, t: int) -> None:
    language = Language(v, t)
    assert [tuple(s) for s in language.sentences.tolist()] == all_sentences(v, t)
    assert language.n_sentences == len(all_sentences(v, t))
    assert language.n_nodes == len(all_prefixes(v, t))
    assert [language.prefix(n) for n in range(language.n_nodes)] == all_prefixes(v, t)


def test_paper_sizes() -> None:
    assert (Language().n_sentences, Language().n_nodes) == (3125, 781)


@pytest.mark.parametrize(("v", "t"), SIZES)
def test_levels_hold_the_prefixes_of_one_length(v: int, t: int) -> None:
    language = Language(v, t)
    lengths = [len(p) for p in all_prefixes(v, t)]
    assert language.level_sizes == [lengths.count(n) for n in range(t)]
    assert language.level_starts == [*(lengths.index(n) for n in range(t)), len(lengths)]


@pytest.mark.parametrize("node", [-1, 781])
def test_a_prefix_that_does_not_exist_is_refused(node: int) -> None:
    with pytest.raises(IndexError, match="781"):
        Language().prefix(node)


@FEW
@given(small_languages(), st.integers(0, 99))
def test_index_undoes_the_enumeration(language: Language, seed: int) -> None:
    where = torch.randint(language.n_sentences, (2, 7), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(language.index(language.sentences[where]), where)


@pytest.mark.parametrize("bad", [[[0, 1]], [[0, 1, 3]], [[0, -1, 2]]])
def test_index_refuses_foreign_sentences(bad: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"length 3|0 … 2"):
        Language(3, 3).index(torch.tensor(bad))


def test_text() -> None:
    assert Language(5, 3).text((0, 2, 4)) == "ace"
    assert Language(5, 3).text(torch.tensor([1, 0])) == "ba"
    assert Language(27, 2).text((0, 26)) == "0.26"


# ---- between sentences and the trie --------------------------------------------------------------------------------


def check_edges(language: Language, seed: int) -> None:
    p = random_distribution(language.n_sentences, seed, zeros=0.3)
    expected = brute_edges(p.tolist(), language.vocab_size, language.length)
    np.testing.assert_allclose(language.edges(p), expected, rtol=0, atol=1e-14)
    with np.errstate(invalid="ignore"):
        conditionals = expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(language.conditionals(p), conditionals, rtol=1e-12, atol=0)


def check_chain_rule(language: Language, seed: int) -> None:
    conditionals = numbers(language, seed)
    expected = brute_sentence_log_probs(conditionals, language.vocab_size, language.length)
    np.testing.assert_allclose(
        language.sentence_log_probs(torch.from_numpy(conditionals)), expected, rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(("v", "t"), SIZES)
def test_edges_and_conditionals(v: int, t: int) -> None:
    check_edges(Language(v, t), seed=1)


@pytest.mark.parametrize(("v", "t"), SIZES)
def test_chain_rule(v: int, t: int) -> None:
    check_chain_rule(Language(v, t), seed=2)


@FEW
@given(small_languages(), st.integers(0, 999))
def test_edges_and_chain_rule_in_any_language(language: Language, seed: int) -> None:
    check_edges(language, seed)
    check_chain_rule(language, seed)


@FEW
@given(small_languages(), st.integers(0, 999))
def test_cross_entropy_is_the_same_on_sentences_and_on_edges(language: Language, seed: int) -> None:
    p = random_distribution(language.n_sentences, seed, zeros=0.3)
    log_q = torch.log_softmax(torch.from_numpy(numbers(language, seed)), dim=-1)
    on_sentences = cross_entropy(p, language.sentence_log_probs(log_q).exp())
    assert float(-(language.edges(p) * log_q).sum()) == pytest.approx(float(on_sentences), abs=1e-12)


@FEW
@given(small_languages(), st.integers(0, 999))
def test_conditionals_rebuild_the_distribution(language: Language, seed: int) -> None:
    p = random_distribution(language.n_sentences, seed)
    torch.testing.assert_close(language.sentence_log_probs(language.conditionals(p).log()).exp(), p, rtol=1e-12, atol=0)


def test_leading_dimensions_are_members() -> None:
    language = Language(3, 3)
    p = torch.stack([random_distribution(27, s) for s in range(6)]).reshape(2, 3, 27)
    for i, j in product(range(2), range(3)):
        torch.testing.assert_close(language.edges(p)[i, j], language.edges(p[i, j]), rtol=0, atol=0)
        logs = language.conditionals(p).log()
        torch.testing.assert_close(
            language.sentence_log_probs(logs)[i, j], language.sentence_log_probs(logs[i, j]), rtol=0, atol=0
        )


# ---- what cannot be enumerated -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("v", "t", "size"), [(10, 7, "10,000,000"), (26, 5, "11,881,376"), (2, 21, "2,097,152")])
def test_too_large_a_language_states_its_size(v: int, t: int, size: str) -> None:
    with pytest.raises(ValueError, match=re.escape(size)) as error:
        Language(v, t)
    assert "2,000,000" in str(error.value)


@pytest.mark.parametrize(("v", "t", "size"), [(10, 5000, "10^5000"), (5, 10**9, "10^698970004")])
def test_far_too_large_a_language_too(v: int, t: int, size: str) -> None:
    with pytest.raises(ValueError, match=re.escape(size)):
        Language(v, t)


@pytest.mark.parametrize(("v", "t"), [(0, 5), (5, 0), (-1, 3)])
def test_an_empty_language_is_refused(v: int, t: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Language(v, t)


# ---- entropy, cross-entropy, KL ------------------------------------------------------------------------------------


@FEW
@given(st.integers(1, 40), st.integers(0, 999), st.integers(0, 999), st.sampled_from([0.0, 0.5, 0.9]))
def test_entropies_agree_with_scipy(size: int, seed: int, other: int, zeros: float) -> None:
    p, q = random_distribution(size, seed, zeros=zeros), random_distribution(size, other, zeros=zeros / 4)
    kl = stats.entropy(p.numpy(), q.numpy())
    assert float(entropy(p)) == pytest.approx(stats.entropy(p.numpy()), abs=1e-12)
    assert float(kl_divergence(p, q)) == pytest.approx(kl, abs=1e-12)
    assert float(cross_entropy(p, q)) == pytest.approx(kl + stats.entropy(p.numpy()), abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3125])
def test_uniform_and_one_hot(size: int) -> None:
    uniform, one_hot = torch.full((size,), 1 / size).double(), torch.eye(size, dtype=torch.float64)[size // 2]
    uniform /= uniform.sum()
    assert float(entropy(uniform)) == pytest.approx(math.log(size), abs=1e-12)
    assert float(entropy(one_hot)) == 0
    assert math.copysign(1, float(entropy(one_hot))) == 1, "a reader would see -0"
    assert float(kl_divergence(one_hot, uniform)) == pytest.approx(math.log(size), abs=1e-12)
    assert float(cross_entropy(one_hot, one_hot)) == 0
    assert float(kl_divergence(uniform, uniform)) == 0
    if size > 1:
        assert float(kl_divergence(uniform, one_hot)) == math.inf


def test_disjoint_supports_are_infinitely_far_apart() -> None:
    p, q = torch.tensor([0.5, 0.5, 0, 0]).double(), torch.tensor([0, 0, 0.25, 0.75]).double()
    assert float(kl_divergence(p, q)) == float(cross_entropy(p, q)) == math.inf


def test_entropies_go_along_the_last_dimension() -> None:
    p = torch.stack([random_distribution(9, s, zeros=0.3) for s in range(4)])
    q = torch.stack([random_distribution(9, s + 50) for s in range(4)])
    for function in (kl_divergence, cross_entropy):
        expected = torch.stack([function(a, b) for a, b in zip(p, q, strict=True)])
        torch.testing.assert_close(function(p, q), expected, rtol=0, atol=0)
    torch.testing.assert_close(entropy(p), torch.stack([entropy(a) for a in p]), rtol=0, atol=0)


NOT_DISTRIBUTIONS = {
    "NaN": [0.5, math.nan, 0.5, 0.0],
    "infinite": [0.5, math.inf, 0.5, 0.0],
    "smallest entry": [0.7, -0.2, 0.5, 0.0],
    "normalise": [0.5, 0.5, 0.5, 0.0],
    "off 1 by": [0.5, 0.499, 0.0, 0.0],
}


@pytest.mark.parametrize("message", NOT_DISTRIBUTIONS)
def test_what_is_no_distribution_is_refused_everywhere(message: str) -> None:
    bad, good = torch.tensor(NOT_DISTRIBUTIONS[message]).double(), torch.full((4,), 0.25).double()
    language = Language(2, 2)
    for refuse in (
        lambda: check_distribution(bad),
        lambda: check_distribution(torch.stack([good, bad])),
        lambda: entropy(bad),
        lambda: kl_divergence(bad, good),
        lambda: kl_divergence(good, bad),
        lambda: cross_entropy(bad, good),
        lambda: cross_entropy(good, bad),
        lambda: language.check(bad),
        lambda: language.sample(bad, 3),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"27 entries, got 9"):
        Language(3, 3).check(torch.full((9,), 1 / 9).double())


# ---- samples -------------------------------------------------------------------------------------------------------


def test_a_sample_follows_its_distribution() -> None:
    language = Language(3, 3)
    p = random_distribution(27, 3, zeros=0.4)
    sample = language.sample(p, 20_000, torch.Generator().manual_seed(0))
    counts = np.bincount(sample.numpy(), minlength=27)
    support = p.numpy() > 0
    assert counts[~support].sum() == 0
    assert stats.chisquare(counts[support], 20_000 * p.numpy()[support]).pvalue > 1e-3
    assert torch.equal(sample, language.sample(p, 20_000, torch.Generator().manual_seed(0)))
    np.testing.assert_array_equal(language.empirical(sample), counts / 20_000)


def test_bad_samples_are_refused() -> None:
    language = Language(2, 2)
    with pytest.raises(ValueError, match="n = 0"):
        language.sample(torch.full((4,), 0.25), 0)
    with pytest.raises(ValueError, match="0 … 3, got 4"):
        language.empirical(torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="at least one"):
        language.empirical(torch.tensor([], dtype=torch.long))


def every_sample(p: list[float], n: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """All samples of n, each with its probability."""
    for sample in product(range(len(p)), repeat=n):
        yield math.prod(p[i] for i in sample), sample


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_why_a_samples_entropy_is_too_low(n: int) -> None:
    """H(p) − E[H(p̂)] = E[KL(p̂‖p)] > 0, exactly, by looking at every sample there is."""
    language = Language(2, 2)
    p = [0.1, 0.2, 0.3, 0.4]
    truth = torch.tensor(p, dtype=torch.float64)
    mean_entropy = mean_kl = 0.0
    for probability, sample in every_sample(p, n):
        empirical = language.empirical(torch.tensor(sample))
        mean_entropy += probability * float(entropy(empirical))
        mean_kl += probability * float(kl_divergence(empirical, truth))
    gap = float(entropy(truth)) - mean_entropy
    assert gap == pytest.approx(mean_kl, abs=1e-12)
    assert gap > 0.1


# ---- could these tests fail? ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong", "check"),
    [
        ("edges", lambda found: found.roll(1, -1), check_edges),
        ("edges", lambda found: found * (1 + 1e-12), check_edges),
        ("conditionals", lambda found: found / (1 + 1e-11), check_edges),
        ("sentence_log_probs", lambda found: found.roll(1, -1), check_chain_rule),
    ],
)
def test_a_planted_fault_in_the_trie_is_found(
    name: str,
    wrong: Callable[[torch.Tensor], torch.Tensor],
    check: Callable[[Language, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = getattr(Language, name)
    monkeypatch.setattr(Language, name, lambda *given: wrong(right(*given)))
    with pytest.raises(AssertionError):
        check(Language(3, 4), 1)


def test_entropies_in_another_unit_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    nats = entropy
    monkeypatch.setattr(f"{__name__}.entropy", lambda p: nats(p) / math.log(2))
    with pytest.raises(AssertionError):
        test_uniform_and_one_hot(3125)
