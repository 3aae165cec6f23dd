"""Every explorer of the book, of published rows or of small models: for tests that ask the same of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from anywidget import AnyWidget

from entropylens.experiments.looped_induction import SETTINGS
from entropylens.measures.neurons import context_weights, promoted
from entropylens.models.handset import by_hand
from entropylens.models.layouts import TrieLayout
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.results.reference import published
from entropylens.show.explorers.certainty import certainty_explorer
from entropylens.show.explorers.contraction import contraction_explorer
from entropylens.show.explorers.dial import dial_explorer
from entropylens.show.explorers.entropies import entropy_explorer
from entropylens.show.explorers.families import family_explorer
from entropylens.show.explorers.flow import flow_explorer
from entropylens.show.explorers.gates import gate_explorer
from entropylens.show.explorers.loops import loop_explorer
from entropylens.show.explorers.models import bias_explorer, variant_explorer
from entropylens.show.explorers.motion import motion_explorer
from entropylens.show.explorers.neurons import neuron_explorer
from entropylens.show.explorers.playground import playground
from entropylens.show.explorers.raster import raster_explorer
from entropylens.show.explorers.regularisation import regularisation_explorer
from entropylens.show.explorers.traces import trace_explorer
from entropylens.show.explorers.trie import trie_explorer
from entropylens.tasks.induction import sample
from entropylens.tasks.language import Language
from entropylens.tasks.targets import rule_pattern
from entropylens.training.data import generator
from tests.show.explorers import _planted as planted
from tests.show.explorers.test_raster import NAMES


def every_explorer() -> Iterator[AnyWidget]:
    """One of each kind."""
    yield from (dial_explorer(), contraction_explorer(), certainty_explorer(), gate_explorer(), playground())
    low, parts, spikes = (published(name) for name in ("low_entropy", "ffn_or_attention", "spikes"))
    yield bias_explorer(low.rows, low.tensors()["log_probs"], seeds=1)
    yield variant_explorer(parts.rows, parts.tensors()["log_probs"], seeds=1)
    yield family_explorer(low.rows, low.tensors()["log_probs"], seeds=1)
    yield flow_explorer(published("residual_dominance").rows)
    traces, shown = spikes.tensors(), {"design": "optimizers", "d_model": 16}
    yield trace_explorer(spikes.rows, traces["loss"], traces["dead"], shown)
    yield regularisation_explorer(published("energy_entropy").rows)
    yield entropy_explorer([published(name).rows for name in ("known_source", "real_text")])
    yield raster_explorer(planted.watched(), NAMES)
    yield from _of_models()


def _of_models() -> Iterator[AnyWidget]:
    """Of untrained ones: what an explorer does has nothing to do with whether a model is good."""
    language, trace = Language(), Trace()
    target = rule_pattern(language, "palindromes", seed=0)
    model = TransformerConfig(norm="none").build(torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        log_q = model(TrieLayout(language), trace)
    contexts = context_weights(language.edges(target))
    yield neuron_explorer(language, trace.neurons, promoted(model), contexts)
    yield trie_explorer(language, target, log_q, trace.attention, trace.neurons, promoted(model), at="bda")
    batch = sample(replace(SETTINGS["hint"].task, scored="last"), 4, 12, generator(0, "evaluation"))
    yield loop_explorer({"drawn at random": LoopedConfig(hint=True).build(), "set by hand": by_hand()}, batch.tokens)
    config = LoopedConfig(16, n_loops=4, norm="pre", hint=True, update="hamiltonian", damping=0.5, slope=0.1)
    moving = {
        name: [replace(config, pull=pull).build(torch.Generator().manual_seed(0)).double()]
        for name, pull in (("with F", 0.5), ("energy alone", 0.0))
    }
    yield motion_explorer(moving, batch, loops=20, sequences=4)
