"""Which neurons fire: against counting, on planted neurons, and what their gradient says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from entropylens.measures.neurons import (
    active_share,
    context_weights,
    decided,
    firing_rates,
    promise,
    promoted,
    reached,
    silent,
)  # fmt: skip
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, Transformer, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import sparse_support
from tests._reference import brute_edges, forward, random_distribution, random_model

LANGUAGE = Language(3, 4)
TRIE = TrieLayout(LANGUAGE)
CONFIG = TransformerConfig(LANGUAGE, d_model=6, n_layers=2, d_ff=9)


def activations(model: Transformer) -> list[Tensor]:
    trace = Trace()
    with torch.no_grad():
        model(TRIE, trace)
    return trace.neurons


@pytest.mark.parametrize("zeros", [0.0, 0.7])
def test_shares_and_rates_match_counting_over_sentences(zeros: float) -> None:
    model, target = random_model(CONFIG), random_distribution(81, 3, zeros=zeros)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    by_hand = forward(CONFIG, parameters, LANGUAGE.sentences).neurons  # (S, T, f) a layer
    contexts = context_weights(LANGUAGE.edges(target))
    for layer, found in enumerate(activations(model)):
        rates = torch.zeros(9, dtype=torch.float64)
        for p, sentence in zip(target, by_hand[layer], strict=True):
            for position in sentence:
                rates += float(p) / 4 * (position > 0).double()
        torch.testing.assert_close(firing_rates(found, contexts), rates, rtol=0, atol=1e-12)
        assert float(active_share(found, contexts)) == pytest.approx(float(rates.mean()), abs=1e-12)


def test_contexts_that_count_are_those_that_carry_weight() -> None:
    target = random_distribution(81, 5, zeros=0.8)
    mass = torch.from_numpy(brute_edges(target.tolist(), 3, 4)).sum(1)
    edges = LANGUAGE.edges(target)
    torch.testing.assert_close(context_weights(edges), mass / 4)
    assert torch.equal(reached(edges), mass > 0)
    assert not reached(edges).all()


def test_planted_neurons_are_told_apart() -> None:
    """Neuron 0 never fires, neuron 1 only where the data do not come, neuron 2 at one context, neuron 3 everywhere."""
    edges = LANGUAGE.edges(sparse_support(LANGUAGE, 5, seed=0))
    among = reached(edges)
    planted = torch.zeros(LANGUAGE.n_nodes, 4)
    planted[(~among).nonzero()[0, 0], 1] = 0.5
    planted[among.nonzero()[-1, 0], 2] = 0.5
    planted[:, 3] = 1.0
    assert silent(planted).tolist() == [True, False, False, False]
    assert silent(planted, among).tolist() == [True, True, False, False]
    rates = firing_rates(planted, context_weights(edges))
    assert rates[:2].tolist() == [0, 0]
    assert 0 < float(rates[2]) < 1
    assert float(rates[3]) == pytest.approx(1)
    assert float(active_share(planted, context_weights(edges))) == pytest.approx(float(rates.mean()))


def test_members_of_a_population_keep_to_themselves() -> None:
    found = torch.stack([activations(random_model(CONFIG, seed))[0] for seed in range(3)])  # (M, N, f)
    edges = torch.stack([LANGUAGE.edges(random_distribution(81, seed, zeros=0.7)) for seed in range(3)])
    contexts = context_weights(edges)
    for i in range(3):
        torch.testing.assert_close(active_share(found, contexts)[i], active_share(found[i], contexts[i]))
        torch.testing.assert_close(firing_rates(found, contexts)[i], firing_rates(found[i], contexts[i]))
        assert torch.equal(silent(found, reached(edges))[i], silent(found[i], reached(edges)[i]))


def test_a_neuron_that_the_data_do_not_reach_has_no_gradient_and_others_do() -> None:
    model = random_model(CONFIG)
    edges = LANGUAGE.edges(sparse_support(LANGUAGE, 4, seed=1))
    ffn = model.blocks[1].ffn
    with torch.no_grad():
        ffn.keys.bias[0, 0] = -100.0  # type: ignore[union-attr, index]
    loss = -(edges * model(TRIE)).sum()
    keys, values = torch.autograd.grad(loss, [ffn.keys.weight, ffn.values.weight])  # type: ignore[union-attr, list-item]
    still = (keys == 0).all(0) & (values == 0).all(1)
    assert torch.equal(still, silent(activations(model)[1], reached(edges)))
    assert still[0]
    assert not still.all()


def test_what_a_neuron_promotes_is_what_its_firing_adds_to_the_logits() -> None:
    """Without norms, raising one activation of the last layer by 1 changes the logits by its row, up to a constant."""
    config = TransformerConfig(LANGUAGE, d_model=6, n_layers=2, d_ff=9, norm="none")
    model = random_model(config)
    with torch.no_grad():
        says, before = promoted(model), model(TRIE)
        model.blocks[1].ffn.values.bias += model.blocks[1].ffn.values.weight[4]  # type: ignore[union-attr,index]
        change = model(TRIE) - before
    assert says.shape == (2, 9, 3)
    torch.testing.assert_close(says.sum(-1), torch.zeros(2, 9, dtype=says.dtype), rtol=0, atol=1e-12)
    torch.testing.assert_close(change - change.mean(-1, keepdim=True), says[1, 4].expand_as(change), rtol=0, atol=1e-9)


def test_the_last_gain_is_part_of_what_is_promoted() -> None:
    model = random_model(CONFIG)
    plain = promoted(model)
    with torch.no_grad():
        model.norm.gain *= 2
    torch.testing.assert_close(promoted(model), 2 * plain, rtol=1e-12, atol=0)


def test_a_promise_is_kept_where_a_neuron_promotes_what_follows() -> None:
    """Two contexts, equally frequent. One neuron knows them apart, and says what follows, the opposite, or neither."""
    contexts, following = torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]).double()
    fires = torch.tensor([[True, True, True, True, False], [False, False, False, True, False]])
    says = torch.tensor([[1.0, -1.0, 0], [-1, 1, 0], [1, 1, -2], [1, -1, 0], [1, -1, 0]]).double()
    found = promise(fires, contexts, following, says)
    torch.testing.assert_close(found[:3], torch.tensor([1.0, -1.0, 0.0]).double(), rtol=0, atol=1e-12)
    assert found[3:].isnan().all()  # one always fires, one never


def test_what_a_grouping_decides_is_mutual_information_over_entropy() -> None:
    random = torch.Generator().manual_seed(3)
    contexts = torch.rand(40, generator=random, dtype=torch.float64)
    contexts = contexts / contexts.sum()
    groups = torch.randint(0, 4, (40,), generator=random)
    fires = torch.rand(40, 3, generator=random) < 0.5
    fires[:, 1] = groups == 2
    fires[:, 2] = True
    joint = torch.zeros(4, 2, dtype=torch.float64)
    for weight, group, fire in zip(contexts, groups, fires[:, 0], strict=True):
        joint[group, int(fire)] += weight
    entropies = [-(p[p > 0] * p[p > 0].log()).sum() for p in (joint.sum(0), joint.sum(1), joint.flatten())]
    by_hand = (entropies[0] + entropies[1] - entropies[2]) / entropies[0]
    found = decided(fires, contexts, groups)
    assert float(found[0]) == pytest.approx(float(by_hand), abs=1e-12)
    assert float(found[1]) == pytest.approx(1.0, abs=1e-12)
    assert found[2].isnan()
