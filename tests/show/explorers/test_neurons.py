"""Chapter 7's explorer packs where each neuron fires, and finds the rule that was planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import traitlets
from torch import Tensor

from entropylens.measures.neurons import context_weights, firing_rates
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.show.explorers.neurons import NeuronExplorer, neuron_explorer, simple_rules
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet

LANGUAGE = Language()
N, V, NEURONS = LANGUAGE.n_nodes, LANGUAGE.vocab_size, 64
PREFIXES = [LANGUAGE.prefix(node) for node in range(N)]
CONTEXTS = context_weights(LANGUAGE.edges(autoregressive_dirichlet(LANGUAGE, seed=0)))
EVEN = context_weights(LANGUAGE.edges(torch.full((LANGUAGE.n_sentences,), 1 / LANGUAGE.n_sentences)))


@pytest.fixture(scope="module")
def model() -> tuple[list[Tensor], Tensor]:
    """Activations and values of an untrained model; in layer 1, the last neuron is dead."""
    trace, transformer = Trace(), TransformerConfig(d_model=16).build(torch.Generator().manual_seed(0))
    with torch.no_grad():
        transformer(TrieLayout(LANGUAGE), trace)
        trace.neurons[0][:, -1] = 0
        values = torch.stack([block.ffn.values.weight for block in transformer.blocks])
        promotes = values @ transformer.unembed.weight
    return trace.neurons, promotes - promotes.mean(-1, keepdim=True)


@pytest.fixture(scope="module")
def explorer(model: tuple[list[Tensor], Tensor]) -> NeuronExplorer:
    return neuron_explorer(LANGUAGE, *model, CONTEXTS)


def told(fires: list[bool], contexts: Tensor = CONTEXTS) -> tuple[str, dict[str, float]]:
    """The rule and the facts of one neuron that fires in the given contexts."""
    activations = torch.tensor(fires, dtype=torch.float32)[:, None]
    explorer = neuron_explorer(LANGUAGE, [activations], torch.ones(1, 1, V), contexts)
    return explorer.rules[explorer.facts[0][0]["rule"]], explorer.facts[0][0]


def test_bytes_hold_the_activations_and_zero_is_silence(
    explorer: NeuronExplorer, model: tuple[list[Tensor], Tensor]
) -> None:
    packed = np.frombuffer(explorer.activations, np.uint8).reshape(2, NEURONS, N)
    for layer, activations in enumerate(model[0]):
        peaks = np.array([fact["peak"] for fact in explorer.facts[layer]])
        np.testing.assert_array_equal(packed[layer].T > 0, activations > 0)
        np.testing.assert_allclose(packed[layer].T / 255 * peaks, activations, atol=1.01 * peaks.max() / 255)
    np.testing.assert_array_equal(np.frombuffer(explorer.contexts, np.float32), CONTEXTS.float())


def test_facts_are_the_chapter_s_measures(explorer: NeuronExplorer, model: tuple[list[Tensor], Tensor]) -> None:
    for facts, activations, promotes in zip(explorer.facts, *model, strict=True):
        rates = firing_rates(activations, CONTEXTS).numpy()
        mean = activations.double().T @ CONTEXTS
        np.testing.assert_allclose([fact["rate"] for fact in facts], rates, rtol=1e-3)
        assert [fact["fires"] for fact in facts] == (activations > 0).sum(0).tolist()
        matters = (mean[:, None] * promotes).abs().mean(-1)
        np.testing.assert_allclose([fact["matters"] for fact in facts], matters, rtol=1e-3)
        added = np.array([fact["promotes"] for fact in facts]) * rates[:, None]  # on average over all inputs
        np.testing.assert_allclose(added, mean[:, None] * promotes, rtol=2e-3, atol=1e-9)


def test_a_dead_neuron_promotes_nothing(explorer: NeuronExplorer) -> None:
    dead = explorer.facts[0][-1]
    assert dead["fires"] == dead["rate"] == dead["peak"] == dead["matters"] == 0
    assert dead["promotes"] == [0] * V


@pytest.mark.parametrize(
    ("rule", "fires"),
    [
        ("after “c”", [p[-1:] == (2,) for p in PREFIXES]),
        ("after 3 symbols", [len(p) == 3 for p in PREFIXES]),
        ("after 1 symbol", [len(p) == 1 for p in PREFIXES]),
        ("at the start", [len(p) == 0 for p in PREFIXES]),
        ("where “b” is last but one", [p[-2:-1] == (1,) for p in PREFIXES]),
        ("after 4 symbols, the last one “e”", [len(p) == 4 and p[-1] == 4 for p in PREFIXES]),
    ],
)
def test_a_planted_rule_is_found(rule: str, fires: list[bool]) -> None:
    words, fact = told(fires)
    assert (words, fact["precision"], fact["recall"]) == (rule, 1, 1)


def test_precision_and_recall_count_inputs() -> None:
    words, fact = told([p[-1:] == (2,) and len(p) < 4 for p in PREFIXES], EVEN)  # silent at the longest contexts
    assert (words, fact["precision"], fact["recall"]) == ("after “c”", pytest.approx(3 / 4), 1)
    words, fact = told([p[-1:] == (2,) or len(p) == 0 for p in PREFIXES], EVEN)
    assert (words, fact["precision"]) == ("at the start", 1)  # as many inputs as of any other length
    assert fact["recall"] == pytest.approx(5 / 9, abs=1e-4)


def test_what_no_input_reaches_is_told_apart_from_the_dead() -> None:
    contexts = torch.where(torch.arange(N) == N - 1, 0.0, CONTEXTS)
    _, fact = told([node == N - 1 for node in range(N)], contexts / contexts.sum())
    assert fact["fires"] == 1
    assert fact["rate"] == fact["recall"] == fact["matters"] == 0
    assert fact["promotes"] == [1] * V


def test_rules_go_from_the_simplest_to_pairs() -> None:
    rules = simple_rules(LANGUAGE)
    assert next(iter(rules)) == "everywhere"
    assert len(rules) == 1 + 5 + V + V + 4 * V
    assert sum(rules[f"after {d} symbols"].sum() for d in (2, 3, 4)) == N - 1 - V
    small = simple_rules(Language(2, 1))
    assert small["at the start"].tolist() == [True]


def test_it_starts_with_what_matters_most_and_python_may_choose(explorer: NeuronExplorer) -> None:
    matters = [fact["matters"] for fact in explorer.facts[0]]
    start = {"layer": "1", "order": "matters most", "widths": "equal", "neuron": str(1 + int(np.argmax(matters)))}
    assert explorer.selected == start
    explorer.selected = {"neuron": 7, "layer": 2}
    assert explorer.selected == {**start, "neuron": "7", "layer": "2"}
    with pytest.raises(traitlets.TraitError, match="no neuron = 65"):
        explorer.selected = {"neuron": 65}
    explorer.selected = start


def test_it_stays_small(explorer: NeuronExplorer) -> None:
    assert 4 / 3 * (len(explorer.activations) + len(explorer.contexts)) + len(str(explorer.facts)) < 180_000


def test_shapes_that_do_not_fit_are_refused(model: tuple[list[Tensor], Tensor]) -> None:
    activations, promotes = model
    for wrong in (
        (activations, promotes[:1], CONTEXTS),
        (activations, promotes, CONTEXTS[1:]),
        ([], promotes, CONTEXTS),
    ):
        with pytest.raises(ValueError, match="expected"):
            neuron_explorer(LANGUAGE, *wrong)
