"""Estimates on a language that can be enumerated, where all that they estimate is known exactly; all in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import Tensor

from entropylens.measures import estimates
from entropylens.measures.estimates import Sampled, forced, interval, parts_of, reliability, sampled, scale
from entropylens.models.layouts import TrieLayout
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language, cross_entropy, entropy, kl_divergence
from entropylens.training.data import generator
from entropylens.training.text import TextPopulation
from tests._reference import random_distribution

LANGUAGE = Language(5, 5)
SENTENCES = torch.cartesian_prod(*[torch.arange(5)] * 5)
P = random_distribution(3125, 0)
CONFIG = TransformerConfig(LANGUAGE, d_model=8, n_layers=1, n_heads=2)


@dataclass(frozen=True)
class Exact:
    """Models, and what they say of all sentences."""

    population: TextPopulation
    theta: Tensor
    trie: Tensor
    """(M, N, V) log-probabilities."""
    log_q: Tensor
    """(M, S)."""

    @property
    def q(self) -> Tensor:
        return self.log_q.exp() / self.log_q.exp().sum(-1, keepdim=True)


def exact(size: float = 1.0, seeds: tuple[int, ...] = (0, 1, 2), config: TransformerConfig = CONFIG) -> Exact:
    """Untrained models, their parameters in float64 and `size` times as large: the larger, the surer."""
    population = TextPopulation(config, list(seeds))
    theta = size * population.parameters.double()
    trie = population.log_conditionals(theta, TrieLayout(LANGUAGE))
    return Exact(population, theta, trie, LANGUAGE.sentence_log_probs(trie))


def source(windows: Tensor) -> Tensor:
    """Conditionals of P at each place of sentences (W, T), (W, T, V)."""
    nodes, node = [], torch.zeros(len(windows), dtype=torch.long)
    for symbols in windows.unbind(-1):
        nodes.append(node)
        node = 5 * node + 1 + symbols
    return LANGUAGE.conditionals(P)[torch.stack(nodes, dim=-1)]


class Given(TextPopulation):
    """Stands in for models: log-probabilities by a function of windows, (W, T) to (M, W, T, V)."""

    def __init__(self, told: Callable[[Tensor], Tensor]) -> None:
        self.told = told

    def log_probs(self, _parameters: Tensor, windows: Tensor, _trace: object = None) -> Tensor:
        return self.told(windows)


# ---- forced ----------------------------------------------------------------------------------------------------------


def test_of_all_sentences_forced_values_are_exact() -> None:
    models = exact()
    found = forced(models.population, models.theta, SENTENCES)
    told = forced(models.population, models.theta, SENTENCES, source)
    expected = torch.stack([cross_entropy(P, q) for q in models.q])
    torch.testing.assert_close(found.surprise.sum(-1) @ P, expected)
    torch.testing.assert_close(told.expected.sum(-1) @ P, expected)
    assert torch.equal(found.expected, found.surprise)
    torch.testing.assert_close(expected, torch.stack([entropy(P) + kl_divergence(P, q) for q in models.q]))
    reached = LANGUAGE.edges(P).sum(-1)
    torch.testing.assert_close(found.entropy.sum(-1) @ P, entropy(models.trie.exp()) @ reached)


def test_led_by_its_own_text_a_model_has_its_own_entropy() -> None:
    models = exact()
    found = forced(models.population, models.theta, SENTENCES)
    for values in (found.entropy, found.surprise):
        torch.testing.assert_close((values.sum(-1) * models.q).sum(-1), entropy(models.q))


def test_confidence_is_the_largest_probability_and_right_where_its_symbol_is_there() -> None:
    models = exact()
    found = forced(models.population, models.theta, SENTENCES)
    q = models.population.log_probs(models.theta, SENTENCES).exp()
    torch.testing.assert_close(found.confidence, q.amax(-1), rtol=1e-12, atol=0)  # read in parts: rounded otherwise
    assert torch.equal(found.right == 1, q.argmax(-1) == SENTENCES)


def test_parts_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    models = exact()
    windows = SENTENCES[torch.randperm(3125, generator=generator(0, "test"))[:17]]
    own = torch.stack([windows, windows.flip(0), windows])
    whole, whole_own = (
        forced(models.population, models.theta, w, source if w is windows else None) for w in (windows, own)
    )
    best = scale(models.population, models.theta, windows)
    monkeypatch.setattr(estimates, "CHUNK", 19)
    assert [part.shape[-2] for part in parts_of(own, "cpu")] == [3] * 5 + [2]
    for one, other in ((whole, forced(models.population, models.theta, windows, source)),
                       (whole_own, forced(models.population, models.theta, own))):  # fmt: skip
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(whole_own.surprise[1], whole.surprise[1].flip(0), rtol=0.0, atol=1e-12)
    torch.testing.assert_close(scale(models.population, models.theta, windows), best)


# ---- sampled ---------------------------------------------------------------------------------------------------------


def drawn(models: Exact, n: int) -> Sampled:
    return sampled(models.population, models.theta, n, 5, [generator(i, "evaluate") for i in range(len(models.theta))])


def test_texts_are_drawn_from_the_model() -> None:
    n, models = 20_000, exact(1.3)
    texts = drawn(models, n)
    index = LANGUAGE.index(texts.symbols)
    for found, q in zip(index, models.q, strict=True):
        counts, expected = torch.bincount(found, minlength=3125).double(), n * q
        often = expected >= 5
        pairs = [torch.cat([x[often], x[~often].sum()[None]]).numpy() for x in (counts, expected)]
        assert stats.chisquare(*pairs).pvalue > 1e-3
    torch.testing.assert_close(-texts.surprise.sum(-1), models.log_q.gather(-1, index))
    read = forced(models.population, models.theta, texts.symbols)
    torch.testing.assert_close(texts.surprise, read.surprise)
    torch.testing.assert_close(texts.entropy, read.entropy)


def test_shorter_texts_are_beginnings() -> None:
    models = exact()
    short = sampled(models.population, models.theta, 4000, 2, [generator(i, "evaluate") for i in range(3)])
    assert short.symbols.shape == (3, 4000, 2)
    begun = models.q.view(3, 25, 125).sum(-1)
    for symbols, q in zip(short.symbols, begun, strict=True):
        counts = torch.bincount(5 * symbols[:, 0] + symbols[:, 1], minlength=25)
        assert stats.chisquare(counts.numpy(), 4000 * q.numpy()).pvalue > 1e-3


def test_a_model_draws_the_same_whoever_else_does() -> None:
    models = exact()
    together = drawn(models, 50)
    for i in range(3):
        one = TextPopulation(CONFIG, [i])
        alone = sampled(one, models.theta[i, None], 50, 5, [generator(i, "evaluate")])
        assert torch.equal(alone.symbols[0], together.symbols[i])


def test_both_estimates_are_unbiased_and_their_intervals_cover() -> None:
    trials, texts, models = 2000, 200, exact(1.5, (0,))
    truth, random = float(entropy(models.q)), generator(0, "evaluate")
    parts = [sampled(models.population, models.theta, trials * texts // 40, 5, [random]) for _ in range(40)]
    widths = []
    for drawn_values in ([part.entropy for part in parts], [part.surprise for part in parts]):
        found = interval(torch.cat(drawn_values, dim=1)[0].sum(-1).view(trials, texts))
        assert float(found.covers(truth).double().mean()) >= 0.935
        means = found.mean
        assert abs(float(means.mean()) - truth) < 4 * float(means.std()) / trials**0.5
        widths.append(float(found.half.mean()))
    assert widths[0] < widths[1]  # Rao and Blackwell


@pytest.mark.parametrize(
    ("n", "length", "many"), [(0, 5, 3), (4, 0, 3), (4, 6, 3), (4, 5, 2)], ids=["none", "empty", "long", "generators"]
)
def test_what_cannot_be_drawn_is_refused(n: int, length: int, many: int) -> None:
    models = exact()
    with pytest.raises(ValueError, match=f"1 … 5 symbols of it and 3 generators; got {n}, {length} and {many}"):
        sampled(models.population, models.theta, n, length, [generator(0, "evaluate")] * many)


@pytest.mark.parametrize("config", [LoopedConfig(6), replace(CONFIG, variant="ffn_only")], ids=["looped", "ffn"])
def test_who_does_not_remember_writes_nothing(config: LoopedConfig | TransformerConfig) -> None:
    population = TextPopulation(config, [0])
    with pytest.raises(ValueError, match="only models with attention, and not looped"):
        sampled(population, population.parameters, 2, 5, [generator(0, "evaluate")])


# ---- intervals -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_intervals_are_students(values: list[float]) -> None:
    found, n = interval(torch.tensor([values, values])), len(values)
    x = torch.tensor(values).double().numpy()
    half = stats.t.ppf(0.975, n - 1) * stats.sem(x)
    assert found.mean.tolist() == pytest.approx([x.mean()] * 2, abs=1e-9)
    assert found.half.tolist() == pytest.approx([half] * 2, abs=1e-9)
    assert found.covers(found.mean).all()
    assert not found.covers(found.mean + found.half + 1.0).any()


def test_one_window_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two windows or more, got 1"):
        interval(torch.zeros(3, 1))


# ---- scale -----------------------------------------------------------------------------------------------------------


def mistaken(beta: float) -> TextPopulation:
    """P, told with log-probabilities that are right once multiplied by β."""
    return Given(lambda windows: (source(windows).log() / beta).log_softmax(-1)[None])


@pytest.mark.parametrize("beta", [0.7, 0.9, 1.0, 1.3, 2.0, 3.0])
def test_the_best_scale_is_where_the_cross_entropy_is_least(beta: float) -> None:
    windows = SENTENCES[LANGUAGE.sample(P, 3000, generator(0, "test"))]
    z = mistaken(beta).log_probs(P, windows)[0]

    def loss(b: float) -> float:
        return float(-(b * z).log_softmax(-1).gather(-1, windows[..., None]).mean())

    best = optimize.minimize_scalar(loss, bounds=(0.1, 10.0), method="bounded", options={"xatol": 1e-9}).x
    found = scale(mistaken(beta), torch.zeros(1, 1), windows, steps=8)
    assert float(found[0]) == pytest.approx(best, abs=1e-6)
    assert float(found[0]) == pytest.approx(beta, rel=0.05)
    assert float(scale(mistaken(beta), torch.zeros(1, 1), windows)[0]) == pytest.approx(best, rel=2e-3)


def test_scales_stay_within_a_factor_of_ten() -> None:
    windows = SENTENCES[LANGUAGE.sample(P, 300, generator(0, "test"))]
    assert ((found := scale(exact(6.0).population, exact(6.0).theta, windows)) >= 0.1).all()
    assert (found <= 10).all()


def test_overconfidence_is_what_a_scale_would_gain_at_once() -> None:
    models = exact()
    log_q = models.population.log_probs(models.theta, SENTENCES)
    there = SENTENCES[None, ..., None].expand(3, -1, -1, 1)

    def loss(beta: float) -> Tensor:
        """Of P, (M)."""
        return -(beta * log_q).log_softmax(-1).gather(-1, there)[..., 0].sum(-1) @ P

    read = forced(models.population, models.theta, SENTENCES)
    slope = (loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5
    torch.testing.assert_close(slope, (read.surprise - read.entropy).sum(-1) @ P, rtol=1e-7, atol=1e-7)


# ---- reliability -----------------------------------------------------------------------------------------------------


def test_bins_are_counted_one_by_one() -> None:
    random = generator(0, "test")
    confidence = torch.rand(2, 50, generator=random, dtype=torch.float64).clamp(min=0.3)
    right = (torch.rand(2, 50, generator=random) < 0.5).double()
    share, said, true = reliability(confidence, right, 5)
    pairs = list(zip(confidence.flatten().tolist(), right.flatten().tolist(), strict=True))
    for number in range(5):
        inside = [pair for pair in pairs if number / 5 <= pair[0] < (number + 1) / 5]
        assert float(share[number]) == pytest.approx(len(inside) / 100)
        if inside:
            assert float(said[number]) == pytest.approx(sum(c for c, _ in inside) / len(inside))
            assert float(true[number]) == pytest.approx(sum(r for _, r in inside) / len(inside))
        else:
            assert said[number].isnan()
            assert true[number].isnan()


def test_what_a_diverged_model_says_falls_into_no_bin() -> None:
    confidence, right = torch.tensor([0.95, torch.nan, 0.05]), torch.tensor([1.0, 0.0, 0.0])
    share, said, true = reliability(confidence, right)
    assert share.tolist() == [0.5, *[0.0] * 8, 0.5]
    assert (float(said[-1]), float(true[-1])) == (pytest.approx(0.95), 1)
    assert reliability(confidence[1:2], right[1:2])[0].isnan().all()


def test_certainty_falls_into_the_last_bin() -> None:
    share, said, true = reliability(torch.ones(3), torch.tensor([1.0, 1.0, 0.0]))
    assert share.tolist() == [0.0] * 9 + [1.0]
    assert float(said[-1]) == 1
    assert float(true[-1]) == pytest.approx(2 / 3)
