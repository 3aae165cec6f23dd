"""Which neurons fire and what cuts cost, against traces and cuts on the trie; all in float64."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from entropylens.measures import estimates
from entropylens.measures.parts import Cut, cut_costs, firing
from entropylens.measures.paths import Paths
from entropylens.models.layouts import SentenceLayout, TrieLayout
from entropylens.models.transformer import Norm, Trace, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.training.population import rebuild
from entropylens.training.text import TextPopulation

LANGUAGE = Language(5, 5)
SENTENCES = torch.cartesian_prod(*[torch.arange(5)] * 5)
SAMPLE = torch.randint(3125, (301,), generator=torch.Generator().manual_seed(0))


def models(norm: Norm = "pre", n_layers: int = 3) -> tuple[TextPopulation, Tensor]:
    config = TransformerConfig(LANGUAGE, d_model=8, n_layers=n_layers, n_heads=2, norm=norm)
    population = TextPopulation(config, [0, 1])
    return population, population.parameters.double()


@pytest.fixture(autouse=True, params=[4096, 500], ids=["one pass", "passes"])
def _passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All windows at a time, or some."""
    monkeypatch.setattr(estimates, "CHUNK", request.param)


@pytest.mark.parametrize("norm", get_args(Norm))
def test_cuts_cost_what_they_cost_on_the_trie(norm: Norm) -> None:
    population, theta = models(norm)
    costs = cut_costs(population, theta, SENTENCES[SAMPLE])
    assert set(costs) == {(layer, cut) for layer in range(3) for cut in get_args(Cut)}
    for member in range(2):
        model = rebuild(population.config, theta[member])
        paths = Paths(model, TrieLayout(LANGUAGE), LANGUAGE.empirical(SAMPLE))
        for layer in range(3):
            edits = {
                "even": paths.even(layer),
                "deaf": paths.nothing("heads", layer),
                "ffn": paths.nothing("recalled", layer),
            }
            for cut in get_args(Cut):
                found = float(costs[layer, cut][member])
                assert found == pytest.approx(paths.cut(edits[cut]) / 5, rel=1e-9, abs=1e-12), (layer, cut)
                assert abs(found) > 1e-6


def test_neurons_fire_as_often_as_in_a_trace() -> None:
    population, theta = models()
    found = firing(population, theta, SENTENCES[SAMPLE])
    assert found.shape == (3, 2, 32)
    for member in range(2):
        trace = Trace()
        rebuild(population.config, theta[member])(SentenceLayout(SENTENCES[SAMPLE], 5), trace)
        expected = torch.stack([(neurons > 0).double().mean(0) for neurons in trace.neurons])
        torch.testing.assert_close(found[:, member], expected, rtol=0.0, atol=1e-12)


def test_who_cannot_fire_is_silent() -> None:
    population, theta = models(n_layers=1)
    model = rebuild(population.config, theta[0])
    with torch.no_grad():
        keys = model.blocks[0].ffn.keys
        keys.weight[:, 3] = 0.0
        keys.bias[:, 3] = -1.0
        keys.weight[:, 4] = 0.0
        keys.bias[:, 4] = 1.0
    changed = torch.nn.utils.parameters_to_vector(model.parameters()).detach()[None]
    rates = firing(population, changed, SENTENCES[SAMPLE])[0, 0]
    assert rates[3] == 0
    assert rates[4] == 1
