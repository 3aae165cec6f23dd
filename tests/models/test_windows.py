"""Windows side by side and one step at a time, against the layouts that enumerate; all in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.models.layouts import Layout, SentenceLayout, TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.models.windows import StepLayout, WindowLayout, Windows, inputs
from entropylens.tasks.language import Language
from entropylens.training.population import Population

LANGUAGE = Language(5, 5)
SENTENCES = torch.cartesian_prod(*[torch.arange(5)] * 5)
CONFIG = TransformerConfig(LANGUAGE, d_model=12, n_layers=3, n_heads=3)
SHAPES: list[dict[str, Any]] = [
    {}, {"norm": "post"}, {"norm": "none", "variant": "attention_only"}, {"n_heads": 1, "n_layers": 1},
]  # fmt: skip
EXACT = {"rtol": 0.0, "atol": 1e-12}


def population(**changed: Any) -> Population:
    return Population(replace(CONFIG, **changed), [0, 1], dtype=torch.float64)


def read(models: Population, layout: Layout, n: int) -> Tensor:
    """(M, B, T, V) of B windows."""
    return models.log_conditionals(models.parameters, layout).unflatten(-2, (n, -1))


def own_windows(n: int = 7) -> Tensor:
    return torch.randint(5, (2, n, 5), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("changed", [*SHAPES, {"variant": "ffn_only"}, {"variant": "no_mixing"}])
def test_windows_are_sentences(changed: dict[str, Any]) -> None:
    models = population(**changed)
    found = read(models, WindowLayout(SENTENCES, 5), 3125)
    torch.testing.assert_close(found, read(models, SentenceLayout(SENTENCES, 5), 3125), **EXACT)
    there = found.gather(-1, SENTENCES[None, ..., None].expand(2, -1, -1, 1))[..., 0].sum(-1)
    trie = models.log_conditionals(models.parameters, TrieLayout(LANGUAGE))
    torch.testing.assert_close(there, LANGUAGE.sentence_log_probs(trie), **EXACT)


@pytest.mark.parametrize("variant", ["full", "ffn_only"])
def test_windows_of_its_own_are_read_as_alone(variant: str) -> None:
    models, windows = population(variant=variant), own_windows()
    together = read(models, WindowLayout(windows, 5), 7)
    for member, mine in enumerate(windows):
        alone = models.log_conditionals(models.parameters[member, None], WindowLayout(mine, 5))
        torch.testing.assert_close(together[member].flatten(0, 1), alone[0], **EXACT)


def test_a_plain_module_reads_windows() -> None:
    model = CONFIG.build(torch.Generator().manual_seed(0)).double()
    at = own_windows()[0]
    torch.testing.assert_close(model(WindowLayout(at, 5)), model(SentenceLayout(at, 5)), **EXACT)


def test_gradients_are_those_of_sentences() -> None:
    models, windows = population(), own_windows()[0]
    theta = models.parameters.requires_grad_()
    grads = [
        torch.autograd.grad(models.log_conditionals(theta, layout).square().sum(), theta)[0]
        for layout in (WindowLayout(windows, 5), SentenceLayout(windows, 5))
    ]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("changed", SHAPES)
def test_step_by_step_is_all_at_once(changed: dict[str, Any]) -> None:
    models, windows = population(**changed), own_windows()
    layout = StepLayout(torch.full((2, 7), 5), models.config.n_layers)
    steps = []
    for symbols in windows.unbind(-1):
        steps.append(models.log_conditionals(models.parameters, layout))
        layout.advance(symbols)
    torch.testing.assert_close(torch.stack(steps, dim=-2), read(models, WindowLayout(windows, 5), 7), **EXACT)


def test_weights_of_a_step_are_those_of_sentences() -> None:
    models, windows = population(), own_windows()[0]
    layout, every = StepLayout(torch.full((2, 7), 5), 3), Trace()
    models.log_conditionals(models.parameters, SentenceLayout(windows, 5), every)
    for t, symbols in enumerate(windows.unbind(-1)):
        trace = Trace()
        models.log_conditionals(models.parameters, layout, trace)
        layout.advance(symbols.expand(2, -1))
        for now, whole in zip(trace.attention, every.attention, strict=True):
            torch.testing.assert_close(now, whole.unflatten(1, (7, 5))[:, :, t, :, : t + 1], **EXACT)


def test_models_see_all_but_the_last_symbol_after_bos() -> None:
    assert inputs(torch.tensor([[1, 2, 3], [0, 0, 4]]), 5).tolist() == [[5, 1, 2], [5, 0, 0]]
    assert inputs(own_windows(), 5).shape == (2, 7, 5)


def test_what_does_not_attend_is_not_read_step_by_step() -> None:
    models = population(variant="ffn_only")
    with pytest.raises(ValueError, match=r"without attention .* cannot be sampled step by step"):
        models.log_conditionals(models.parameters, StepLayout(torch.full((2, 7), 5), 3))


def test_windows_may_be_too_many_to_enumerate() -> None:
    assert TransformerConfig(Windows(97, 512)).language.length == 512
    with pytest.raises(ValueError, match="at least 1, got 0 and 64"):
        Windows(0, 64)
    with pytest.raises(ValueError, match="at least 1, got 5 and 0"):
        Windows(5, 0)


def test_a_position_that_stands_still_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepLayout, "advance", lambda at, symbols: vars(at).update(tokens=symbols, _step=at._step + 1))
    with pytest.raises(AssertionError):
        test_step_by_step_is_all_at_once({})
