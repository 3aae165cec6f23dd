"""Cuts and looks against a recomputation on whole sentences, and planted models at the ends of every scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from entropylens.measures.path_rows import of_model, of_paths
from entropylens.measures.paths import Paths
from entropylens.models.layouts import TrieLayout
from entropylens.models.routed import RoutedConfig
from entropylens.models.transformer import Transformer, TransformerConfig
from entropylens.tasks.language import Language
from tests._reference import Forward, forward, random_distribution, random_model

LANGUAGE = Language(3, 4)
TRIE = TrieLayout(LANGUAGE)
TARGETS = {name: random_distribution(81, 7, zeros=zeros) for name, zeros in (("dense", 0.0), ("sparse", 0.6))}
LAYERS = (0, 1)


def tiny(router: str = "none", **fields: Any) -> TransformerConfig:
    shape = {"d_model": 6, "n_layers": 2, "n_heads": 2, **fields}
    return TransformerConfig(LANGUAGE, **shape) if router == "none" else RoutedConfig(
        LANGUAGE, **shape, router=router, router_start="random"
    )  # fmt: skip


class ByHand:
    """What `Paths` does, on whole sentences; the mean over contexts is one over positions of sentences."""

    def __init__(self, model: Transformer, target: Tensor) -> None:
        self.model, self.target = model, target
        self.clean = self.run()

    def run(
        self, edit: Callable[[str, int, Tensor], Tensor] = lambda _n, _l, x: x, even: tuple[int, ...] = ()
    ) -> Forward:
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        return forward(self.model.config, parameters, LANGUAGE.sentences, edit, even)

    def kl(self, result: Forward) -> float:
        log_q = result.log_conditionals.gather(-1, LANGUAGE.sentences[..., None])[..., 0].sum(-1)
        return sum(float(p) * (math.log(p) - float(q)) for p, q in zip(self.target, log_q, strict=True) if p > 0)

    def mean(self, x: Tensor) -> Tensor:
        """(S, T, …): every position of every sentence, weighted by the sentence."""
        total = torch.zeros_like(x[0, 0])
        for p, sentence in zip(self.target, x, strict=True):
            for position in sentence:
                total = total + float(p) / LANGUAGE.length * position
        return total

    def cut(self, name: str, layer: int, how: str) -> float:
        def edit(part: str, where: int, x: Tensor) -> Tensor:
            if (part, where) != (name, layer):
                return x
            return torch.zeros_like(x) if how == "zero" else self.mean(x).expand_as(x)

        return self.kl(self.run(edit)) - self.kl(self.clean)

    def even(self, layer: int) -> float:
        return self.kl(self.run(even=(layer,))) - self.kl(self.clean)

    def headless(self, layer: int, head: int) -> float:
        width = self.model.config.d_model // self.model.config.n_heads

        def edit(part: str, where: int, x: Tensor) -> Tensor:
            if (part, where) != ("gathered", layer):
                return x
            columns = slice(head * width, (head + 1) * width)
            x = x.clone()
            x[..., columns] = self.mean(x[..., columns])
            return x

        return self.kl(self.run(edit)) - self.kl(self.clean)


PARTS = {"entering": "kept", "mixed": "mixed", "recalled": "recalled"}
"""The project's names and those of the reference."""


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("router", ["none", "static", "token"])
def test_every_cut_matches_a_recomputation(router: str, norm: str, target: Tensor) -> None:
    model = random_model(tiny(router, norm=norm))
    paths, by_hand = Paths(model, TRIE, target), ByHand(model, target)
    for layer in LAYERS:
        for name, part in PARTS.items():
            assert abs(paths.cut(paths.nothing(name, layer)) - by_hand.cut(part, layer, "zero")) < 1e-10
            assert abs(paths.cut(paths.averaged(name, layer)) - by_hand.cut(part, layer, "mean")) < 1e-10
        assert abs(paths.cut(paths.even(layer)) - by_hand.even(layer)) < 1e-10
        for head in range(2):
            assert abs(paths.cut(paths.headless(layer, head)) - by_hand.headless(layer, head)) < 1e-10


def test_cuts_at_once_are_not_the_sum_of_cuts() -> None:
    model = random_model(tiny())
    paths, by_hand = Paths(model, TRIE, TARGETS["dense"]), ByHand(model, TARGETS["dense"])
    means = {layer: by_hand.mean(by_hand.clean.mixed[layer]) for layer in LAYERS}
    both = by_hand.run(lambda part, layer, x: means[layer].expand_as(x) if part == "mixed" else x)
    together = paths.cut({**paths.averaged("mixed", 0), **paths.averaged("mixed", 1)})
    assert abs(together - (by_hand.kl(both) - by_hand.kl(by_hand.clean))) < 1e-10
    assert abs(together - sum(paths.cut(paths.averaged("mixed", layer)) for layer in LAYERS)) > 1e-3


def test_no_edit_changes_nothing() -> None:
    paths = Paths(random_model(tiny()), TRIE, TARGETS["dense"])
    assert paths.cut({}) == 0
    assert paths.cut({("mixed", 1): paths.trace.mixed[1]}) == 0


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (("mixed", 2), "layer 2 does not exist; there are 2"),
        (("mixed", -1), "layer -1 does not exist"),
        (("mixd", 0), "'mixd'.* cannot be replaced; choose from entering"),
        (("paths", 0), "'paths'.* cannot be replaced"),
        (("attention", 0), "'attention'.* cannot be replaced"),
    ],
)
def test_what_cannot_be_cut_is_refused(entry: tuple[str, int], told: str) -> None:
    paths = Paths(random_model(tiny()), TRIE, TARGETS["dense"])
    with pytest.raises(ValueError, match=told):
        paths.cut({entry: torch.zeros(())})


@pytest.mark.parametrize("variant", ["ffn_only", "no_mixing"])
def test_a_model_without_attention_has_no_paths(variant: str) -> None:
    with pytest.raises(ValueError, match="variant"):
        Paths(random_model(tiny(variant=variant)), TRIE, TARGETS["dense"])


def test_a_share_of_nothing_is_no_number() -> None:
    """The target is that of a model whose branches write nothing, and so is the model: every cut costs nothing."""
    model = random_model(tiny())
    with torch.no_grad():
        model.unembed.weight.zero_()
    assert math.isnan(float(told(model)[0]["causal_share"]))


@pytest.mark.parametrize("router", ["none", "static", "token"])
def test_parts_add_up(router: str) -> None:
    model = random_model(tiny(router))
    paths, clean = Paths(model, TRIE, TARGETS["dense"]), ByHand(model, TARGETS["dense"]).clean
    for layer in LAYERS:
        added = paths.added(layer)
        torch.testing.assert_close(added["head 1"] + added["head 2"], added["attention"], rtol=0, atol=1e-12)
        total = added["residual"] + added["attention"] + added["ffn"]
        torch.testing.assert_close(total, paths.trace.residual[layer], rtol=0, atol=1e-12)
        # the longest contexts are those of the last positions, sentence by sentence
        last = {name: paths.added(layer)[name][-27:] for name in ("residual", "attention", "ffn")}
        for name, part in (("residual", clean.kept), ("attention", clean.mixed), ("ffn", clean.recalled)):
            torch.testing.assert_close(last[name], part[layer][::3, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_where_a_layer_looks_matches_counting_over_sentences(target: Tensor) -> None:
    model = random_model(tiny())
    paths, clean = Paths(model, TRIE, target), ByHand(model, target).clean
    for layer in LAYERS:
        total = dict.fromkeys(("entropy", "entropy_even", "bos", "self"), 0.0)
        for p, weights in zip(target, clean.attention[layer], strict=True):  # (T, H, T)
            for position in range(1, LANGUAGE.length):
                for row in weights[position]:
                    share = float(p) / (LANGUAGE.length - 1) / len(weights[position])
                    total["entropy"] -= share * sum(float(w) * math.log(w) for w in row if w > 0)
                    total["entropy_even"] += share * math.log(position + 1)
                    total["bos"] += share * float(row[0])
                    total["self"] += share * float(row[position])
        assert paths.looks(layer) == pytest.approx(total, abs=1e-10)


# ---- planted models --------------------------------------------------------------------------------------------------


def told(model: Transformer) -> tuple[dict[str, Any], pd.DataFrame]:
    """Of a model whose target is what it says itself, so that no cut can do good."""
    with torch.no_grad():
        target = LANGUAGE.sentence_log_probs(model(TRIE)).exp()
    paths = Paths(model, TRIE, target)
    rows = of_paths(paths)
    return dict(of_model(paths, rows)), pd.DataFrame(rows).set_index(["path", "layer"])


@pytest.mark.parametrize("router", ["none", "static", "token"])
def test_attention_that_writes_nothing_is_bypassed_entirely(router: str) -> None:
    model = random_model(tiny(router))
    with torch.no_grad():
        for block in model.blocks:
            block.mix.out.weight.zero_()  # type: ignore[union-attr]
            block.mix.out.bias.zero_()  # type: ignore[union-attr]
    whole, parts = told(model)
    assert whole["causal_share"] == whole["causal_share_zero"] == whole["norm_share"] == 1
    assert whole["cut_zero"] == whole["cut_mean"] == whole["branch_share"] == 0
    for path in ("attention", "head 1", "head 2"):
        assert (parts.loc[path, ["length", "relative", "cut_mean"]] == 0).all(axis=None)
    assert (parts.loc["attention", ["cut_zero", "cut_even"]] == 0).all(axis=None)
    assert (parts.loc["residual", "cut_mean"] > 0.01).all()


@pytest.mark.parametrize("router", ["static", "token"])
def test_a_residual_of_weight_zero_bypasses_nothing(router: str) -> None:
    model = random_model(tiny(router))
    with torch.no_grad():
        for block in model.blocks:
            block.router.logits[:, 0] = -1e4  # type: ignore[index, union-attr]
    whole, parts = told(model)
    assert whole["bypass"] == whole["weight"] == whole["causal_share"] == whole["norm_share"] == 0
    assert whole["preference"] == -math.inf
    assert (parts.loc["residual", ["weight", "length", "cut_zero", "cut_mean"]] == 0).all(axis=None)
    assert parts.loc["attention", "weight"].to_numpy() == pytest.approx(1, abs=1e-12)
    assert whole["cut_mean"] > 0.01


def test_a_residual_of_weight_one_is_all_there_is() -> None:
    model = random_model(tiny("static"))
    with torch.no_grad():
        for block in model.blocks:
            block.router.logits[:, 0] = 1e4  # type: ignore[index, union-attr]
    whole, _ = told(model)
    for name in ("bypass", "causal_share", "norm_share"):
        assert whole[name] == pytest.approx(1, abs=1e-12)
    assert whole["preference"] == math.inf
    assert whole["cut_zero"] == whole["cut_mean"] == 0


def test_uniform_weights_prefer_nothing() -> None:
    config = RoutedConfig(LANGUAGE, d_model=6, n_heads=2)
    whole, parts = told(config.build(torch.Generator().manual_seed(0)).double())
    assert whole["weight"] == pytest.approx(1 / 3, abs=1e-12)
    assert whole["preference"] == pytest.approx(0, abs=1e-12)
    assert parts.loc["residual", "weight_sd"].max() < 1e-12


def test_even_attention_is_told_as_such() -> None:
    """With q = 0 every score is 0: nothing is lost by looking everywhere alike, and the entropy is the largest."""
    model = random_model(tiny())
    with torch.no_grad():
        for block in model.blocks:
            block.mix.qkv.weight[:, :6] = 0  # type: ignore[index, union-attr]
            block.mix.qkv.bias[:, :6] = 0  # type: ignore[index, union-attr]
    whole, parts = told(model)
    assert parts.loc["attention", "cut_even"].abs().max() < 1e-12
    assert whole["entropy"] == pytest.approx(whole["entropy_even"], abs=1e-12)
    assert whole["bos"] == pytest.approx(whole["self"], abs=1e-12)


def test_a_model_without_an_ffn_has_no_ffn_to_cut() -> None:
    whole, parts = told(random_model(tiny(variant="attention_only")))
    assert "ffn" not in parts.index.get_level_values("path")
    assert whole["ffn_zero"] == whole["ffn_mean"] == 0
    assert whole["branch_share"] == 1


def test_a_planted_cut_by_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Paths, "nothing", Paths.averaged)
    with pytest.raises(AssertionError):
        test_every_cut_matches_a_recomputation("none", "pre", TARGETS["dense"])
