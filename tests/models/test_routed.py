"""The routed model against brute force, against the standard one that it starts as, and under other names."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.layouts import SentenceLayout, TrieLayout
from entropylens.models.routed import PathRouter, RoutedConfig, RoutedTransformer, relabel
from entropylens.models.transformer import Trace, Transformer, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.population import Member, Run, train
from tests._reference import forward, random_model

LANGUAGE = Language(3, 4)
TRIE = TrieLayout(LANGUAGE)


def tiny(**fields: Any) -> RoutedConfig:
    return RoutedConfig(LANGUAGE, **{"d_model": 6, "n_layers": 2, "n_heads": 2, **fields})


def trained(config: TransformerConfig, steps: int = 20, **optimizer: Any) -> Run:
    target = autoregressive_dirichlet(LANGUAGE, seed=1)
    settings = OptimizerConfig("adam", **{"lr": 0.01, **optimizer})
    members = [Member(seed, target, optimizer=settings) for seed in (3, 4)]
    return train(config, members, steps=steps, dtype=torch.float64)


def routers(model: Transformer) -> list[PathRouter]:
    return [block.router for block in model.blocks]  # type: ignore[misc, union-attr]


# ---- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("router", ["static", "token"])
@pytest.mark.parametrize("fields", [{}, {"n_heads": 3}, {"n_heads": 1}, {"rescaled": False}, {"router_lr": 3.0}])
def test_both_layouts_agree_with_brute_force(norm: str, router: str, fields: dict[str, Any]) -> None:
    config = tiny(norm=norm, router=router, router_start="random", **fields)
    model, sentences = random_model(config), LANGUAGE.sentences
    by_hand = forward(config, dict(model.named_parameters()), sentences).log_conditionals
    on_sentences = model(SentenceLayout(sentences, 3)).unflatten(0, (-1, 4))
    torch.testing.assert_close(on_sentences, by_hand, rtol=0, atol=1e-12)
    chain = LANGUAGE.sentence_log_probs(model(TRIE))
    spoken = by_hand.gather(-1, sentences[..., None])[..., 0].sum(-1)
    torch.testing.assert_close(chain, spoken, rtol=0, atol=1e-12)


@pytest.mark.parametrize("router", ["static", "token"])
@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_a_uniform_start_is_the_standard_transformer(router: str, n_heads: int) -> None:
    config = tiny(router=router, n_heads=n_heads)
    standard = TransformerConfig(LANGUAGE, d_model=6, n_heads=n_heads)
    a, b = (c.build(generator(5, "init")).double()(TRIE) for c in (config, standard))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_frozen_uniform_weights_train_as_the_standard_transformer_does() -> None:
    routed, standard = trained(tiny(router_lr=0.0)), trained(TransformerConfig(LANGUAGE, d_model=6))
    torch.testing.assert_close(routed.log_probs, standard.log_probs, rtol=0, atol=1e-10)
    torch.testing.assert_close(routed.losses, standard.losses, rtol=0, atol=1e-10)


@pytest.mark.parametrize("router", ["static", "token"])
def test_paths_are_in_the_trace_and_sum_to_one(router: str) -> None:
    model, trace = random_model(tiny(router=router, router_start="random")), Trace()
    model(TRIE, trace)
    assert [w.shape for w in trace.paths] == 2 * [(1 if router == "static" else LANGUAGE.n_nodes, 3)]
    for w in trace.paths:
        torch.testing.assert_close(w.sum(-1), torch.ones(len(w), dtype=w.dtype))


# ---- how its router learns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("router_lr", [0.1, 1.0, 10.0])
def test_the_router_moves_at_its_own_rate(router_lr: float) -> None:
    """Adam's first step has the learning rate as its size, whatever the gradient."""
    model = trained(tiny(router_lr=router_lr), steps=1, lr=0.01).model(0)
    for router in routers(model):
        moved = (router_lr * router.logits).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, router_lr * 0.01), rtol=1e-4, atol=0)


@pytest.mark.parametrize("router", ["static", "token"])
@pytest.mark.parametrize("router_lr", [0.0, 1.0])
def test_a_frozen_random_router_stays_and_a_free_one_does_not(router: str, router_lr: float) -> None:
    config = tiny(router=router, router_start="random", router_lr=router_lr)
    before, after = config.build(generator(3, "init")).double(), trained(config).model(0)
    for old, new in zip(routers(before), routers(after), strict=True):
        assert float(old.logits.detach().std()) > 0.1
        for name, parameter in old.named_parameters():
            same = torch.allclose(parameter, new.get_parameter(name), atol=1e-7)
            assert same == (router_lr == 0)


def test_random_starts_differ_between_seeds_and_layers_but_not_with_the_learning_rate() -> None:
    def weights(seed: int, router_lr: float) -> Tensor:
        trace = Trace()
        tiny(router_start="random", router_lr=router_lr).build(generator(seed, "init"))(TRIE, trace)
        return torch.cat(trace.paths)

    torch.testing.assert_close(weights(1, 0.0), weights(1, 10.0))
    assert len({round(float(w), 6) for seed in (1, 2) for w in weights(seed, 1.0).detach()[:, 0]}) == 4


# ---- other names for the same thing ----------------------------------------------------------------------------------


@given(
    st.integers(0, 2**31),
    st.lists(st.lists(st.floats(0.02, 1.0), min_size=3, max_size=3), min_size=3, max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_any_weights_can_be_had_without_changing_the_model(seed: int, wanted: list[list[float]]) -> None:
    config = tiny(n_layers=3, router_start="random", router_lr=0.5)
    model = random_model(config, seed)
    assert isinstance(model, RoutedTransformer)
    paths = torch.tensor(wanted, dtype=torch.float64)
    paths = paths / paths.sum(-1, keepdim=True)
    other, trace = relabel(model, paths), Trace()
    torch.testing.assert_close(other(TRIE, trace), model(TRIE), rtol=0, atol=1e-3)
    torch.testing.assert_close(torch.cat(trace.paths), paths, rtol=0, atol=1e-12)
    real = torch.nn.functional.layer_norm
    with pytest.MonkeyPatch.context() as patch:  # exact, but for what layer normalisation adds to a variance
        patch.setattr("torch.nn.functional.layer_norm", lambda x, shape: real(x, shape, eps=1e-30))
        torch.testing.assert_close(other(TRIE), model(TRIE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("fields", [{"norm": "none"}, {"norm": "post"}, {"router": "token"}, {"router_lr": 0.0}])
def test_relabelling_refuses_what_it_cannot_do(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pre-norm and a static router"):
        relabel(tiny(**fields).build(), torch.full((2, 3), 1 / 3))


@pytest.mark.parametrize("paths", [[[0.5, 0.5, 0.0]] * 2, [[0.5, 0.3, 0.3]] * 2, [[0.4, 0.3, 0.3]]])
def test_relabelling_refuses_what_are_no_weights(paths: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="rows sum to 1"):
        relabel(tiny().build(), torch.tensor(paths))


# ---- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"router": "dense"}, "unknown router 'dense'; choose from static, token"),
        ({"router_start": "ones"}, "unknown router_start 'ones'"),
        ({"variant": "ffn_only"}, "lacks"),
        ({"router_lr": -1.0}, "router_lr must be 0 or above"),
        ({"n_heads": 4}, "does not divide"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tiny(**fields)


def test_the_router_is_all_that_is_added() -> None:
    standard = TransformerConfig(LANGUAGE, d_model=6).build().n_parameters
    assert tiny().build().n_parameters == standard + 2 * 3
    assert tiny(router="token").build().n_parameters == standard + 2 * (3 + 6 * 3)
    assert dataclasses.asdict(tiny())["router"] == "static"  # part of what a population's key is made from


def test_weights_of_another_path_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PathRouter.forward
    monkeypatch.setattr(PathRouter, "forward", lambda own, x: right(own, x).roll(1, -1))
    with pytest.raises(AssertionError):
        test_both_layouts_agree_with_brute_force("pre", "static", {})
