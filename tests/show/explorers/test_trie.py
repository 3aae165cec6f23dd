"""Chapter 2's explorer packs a model's conditionals, its attention and its strongest neurons at every context."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import traitlets

from entropylens.measures.neurons import promoted
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.show.explorers.trie import SHOWN, TrieExplorer, trie_explorer
from entropylens.tasks.language import Language
from entropylens.tasks.targets import rule_pattern

LANGUAGE = Language()
N, V, T, L, H = LANGUAGE.n_nodes, LANGUAGE.vocab_size, LANGUAGE.length, 2, 2
TARGET = rule_pattern(LANGUAGE, "palindromes", seed=0)


@pytest.fixture(scope="module")
def inside() -> tuple[torch.Tensor, Trace, torch.Tensor]:
    """log q, the trace and what neurons promote, of an untrained model."""
    trace, model = Trace(), TransformerConfig(d_model=16, n_heads=H).build(torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(TrieLayout(LANGUAGE), trace), trace, promoted(model)


@pytest.fixture(scope="module")
def explorer(inside: tuple[torch.Tensor, Trace, torch.Tensor]) -> TrieExplorer:
    log_q, trace, promotes = inside
    return trie_explorer(LANGUAGE, TARGET, log_q, trace.attention, trace.neurons, promotes, at="bda")


def test_bytes_hold_conditionals_and_attention(
    explorer: TrieExplorer, inside: tuple[torch.Tensor, Trace, torch.Tensor]
) -> None:
    log_q, trace, _ = inside
    np.testing.assert_array_equal(np.frombuffer(explorer.edges, np.float32), LANGUAGE.edges(TARGET).float().flatten())
    np.testing.assert_array_equal(np.frombuffer(explorer.log_q, np.float32), log_q.float().flatten())
    attention = np.frombuffer(explorer.attention, np.uint16).reshape(L, N, H, T) / 65535
    np.testing.assert_allclose(attention, torch.stack(trace.attention), atol=1e-5)


def test_the_strongest_move_the_logits_at_least_as_much_as_all_others(
    explorer: TrieExplorer, inside: tuple[torch.Tensor, Trace, torch.Tensor]
) -> None:
    _, trace, promotes = inside
    chosen = np.frombuffer(explorer.strongest, np.uint16).reshape(L, N, SHOWN).astype(int)
    values = np.frombuffer(explorer.activations, np.float32).reshape(L, N, SHOWN)
    counts = np.frombuffer(explorer.firing, np.uint16).reshape(L, N)
    for layer, fires in enumerate(trace.neurons):
        moved = (fires[..., None] * promotes[layer]).abs().mean(-1).numpy()
        np.testing.assert_allclose(values[layer], np.take_along_axis(fires.numpy(), chosen[layer], 1))
        best = np.take_along_axis(moved, chosen[layer], 1)
        np.testing.assert_allclose(best, -np.sort(-moved, axis=1)[:, :SHOWN], rtol=1e-5)
        np.testing.assert_array_equal(counts[layer], (fires > 0).sum(1))
    np.testing.assert_allclose(np.array(explorer.promotes), promotes, rtol=1e-3)


def test_where_fewer_fire_the_rest_is_silent(inside: tuple[torch.Tensor, Trace, torch.Tensor]) -> None:
    log_q, trace, promotes = inside
    silent = [torch.zeros_like(trace.neurons[0]) for _ in range(L)]
    silent[1][7, 3] = 2.0
    explorer = trie_explorer(LANGUAGE, TARGET, log_q, trace.attention, silent, promotes)
    values = np.frombuffer(explorer.activations, np.float32).reshape(L, N, SHOWN)
    assert np.argwhere(values).tolist() == [[1, 7, 0]]
    assert np.frombuffer(explorer.strongest, np.uint16).reshape(L, N, SHOWN)[1, 7, 0] == 3


def test_python_may_choose_and_nonsense_is_refused(explorer: TrieExplorer) -> None:
    start = {"at": "bda", "shade": "target", "widths": "equal"}
    assert explorer.selected == start
    explorer.selected = {"at": "", "shade": "KL"}
    assert explorer.selected == {"at": "", "shade": "KL", "widths": "equal"}
    for wrong in ({"at": "abcde"}, {"at": "x"}, {"at": 3}, {"shade": "entropy"}, {"depth": "1"}):
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(wrong))} = .*; choose from"):
            explorer.selected = wrong  # type: ignore[assignment]
    explorer.selected = start
    assert repr(explorer) == "Explorer (needs JavaScript) of one model on the trie, at “bda”"


def test_it_stays_small(explorer: TrieExplorer) -> None:
    packed = ("edges", "log_q", "attention", "firing", "strongest", "activations")
    size = 4 / 3 * sum(len(getattr(explorer, name)) for name in packed) + len(str(explorer.promotes))
    assert size + len(str(explorer._esm)) + len(str(explorer._css)) < 200_000


def test_shapes_that_do_not_fit_are_refused(inside: tuple[torch.Tensor, Trace, torch.Tensor]) -> None:
    log_q, trace, promotes = inside
    for name, wrong in (
        ("target", (TARGET[1:], log_q, trace.attention, trace.neurons, promotes)),
        ("log_q", (TARGET, log_q[1:], trace.attention, trace.neurons, promotes)),
        ("attention", (TARGET, log_q, trace.attention[:1], trace.neurons, promotes)),
        ("activations", (TARGET, log_q, trace.attention, [], promotes)),
        ("attention", (TARGET, log_q, trace.attention, trace.neurons, promotes[:1])),
    ):
        with pytest.raises(ValueError, match=f"^{name} is .* expected"):
            trie_explorer(LANGUAGE, *wrong)
