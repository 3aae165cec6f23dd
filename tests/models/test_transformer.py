"""The model on both layouts against a brute-force transformer on whole sentences, and what its variants promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from entropylens.models import transformer
from entropylens.models.layouts import SentenceLayout, TrieLayout
from entropylens.models.transformer import Trace, Transformer, TransformerConfig
from entropylens.tasks.language import Language, entropy, kl_divergence
from entropylens.tasks.targets import autoregressive_dirichlet, rule_pattern, sparse_support
from tests._reference import Forward, all_sentences, brute_edges, forward, random_model, sentence_log_probs

VARIANTS = ["full", "attention_only", "ffn_only", "no_mixing"]
NORMS = ["pre", "post", "none"]
PAPER, OTHER = Language(5, 5), Language(3, 4)


def tiny(language: Language = OTHER, **fields: Any) -> TransformerConfig:
    return TransformerConfig(language, **{"d_model": 6, "n_layers": 2, "n_heads": 2, **fields})


def parameters_of(model: Transformer) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def brute(model: Transformer) -> Forward:
    """The reference on every sentence."""
    return forward(model.config, parameters_of(model), model.config.language.sentences)


def on_sentences(model: Transformer) -> Tensor:
    """(S, T, V) log-conditionals by the project's model on the sentence layout."""
    language = model.config.language
    out: Tensor = model(SentenceLayout(language.sentences, language.vocab_size))
    return out.unflatten(0, (-1, language.length))


def nodes_in_sentences(language: Language) -> Tensor:
    """(S, T): the trie node that predicts symbol t of sentence s, from the strings alone."""
    node = {language.prefix(n): n for n in range(language.n_nodes)}
    sentences = all_sentences(language.vocab_size, language.length)
    return torch.tensor([[node[s[:i]] for i in range(language.length)] for s in sentences])


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    """Equal to a tolerance, relative to the size of the whole tensor."""
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) < tolerance * max(1.0, float(b.detach().abs().max()))


def targets(language: Language) -> dict[str, Tensor]:
    return {
        "sparse": sparse_support(language, language.n_sentences // 4, seed=0),
        "autoregressive": autoregressive_dirichlet(language, seed=0),
        "rule": rule_pattern(language, "palindromes", seed=0),
    }


# ---- exactness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("language", [PAPER, OTHER], ids=["5x5", "3x4"])
def test_both_layouts_equal_brute_force(language: Language, variant: str, norm: str) -> None:
    model = random_model(tiny(language, variant=variant, norm=norm), seed=1)
    parameters = list(model.parameters())
    expected = brute(model)
    log_p = sentence_log_probs(expected.log_conditionals, language.sentences)
    trie = model(TrieLayout(language))
    twice = model(TrieLayout(language, differentiable_twice=True))
    side_by_side = on_sentences(model)

    close(trie[nodes_in_sentences(language)], expected.log_conditionals)
    close(twice, trie)
    close(side_by_side, expected.log_conditionals)
    close(language.sentence_log_probs(trie), log_p)
    assert float(language.sentence_log_probs(trie.detach()).logsumexp(-1)) == pytest.approx(0, abs=1e-12)

    q = log_p.detach().exp().numpy()
    learned = language.sentence_log_probs(trie.detach()).exp()
    assert float(entropy(learned)) == pytest.approx(stats.entropy(q), abs=1e-12)
    for target in targets(language).values():
        assert float(kl_divergence(target, learned)) == pytest.approx(stats.entropy(target.numpy(), q), abs=1e-12)
        true_loss = -(target * log_p).sum()
        edges = torch.from_numpy(brute_edges(target.tolist(), language.vocab_size, language.length))
        of_sentences = -(target[:, None] * side_by_side.gather(-1, language.sentences[..., None])[..., 0]).sum()
        gradients = torch.autograd.grad(true_loss, parameters, retain_graph=True)
        for loss in (-(edges * trie).sum(), -(language.edges(target) * twice).sum(), of_sentences):
            assert float(loss.detach()) == pytest.approx(float(true_loss.detach()), abs=1e-12)
            for ours, true in zip(torch.autograd.grad(loss, parameters, retain_graph=True), gradients, strict=True):
                close(ours, true)


@pytest.mark.parametrize(("v", "t"), [(4, 1), (1, 3), (2, 6), (26, 2)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_languages_at_the_edge(v: int, t: int, variant: str) -> None:
    model = random_model(tiny(Language(v, t), variant=variant, n_heads=3, d_ff=5), seed=2)
    expected = brute(model).log_conditionals
    close(model(TrieLayout(Language(v, t)))[nodes_in_sentences(Language(v, t))], expected)
    close(on_sentences(model), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_layouts_agree_in_float32(variant: str, norm: str) -> None:
    language = Language(4, 5)
    model = random_model(tiny(language, variant=variant, norm=norm), seed=3, dtype=torch.float32)
    trie, sentences = model(TrieLayout(language)), on_sentences(model)
    assert trie.dtype == sentences.dtype == torch.float32
    close(trie[nodes_in_sentences(language)], sentences, 1e-5)
    for ours, theirs in zip(
        *(_gradients(model, x) for x in (trie[nodes_in_sentences(language)], sentences)), strict=True
    ):
        close(ours, theirs, 5e-5)  # sums over all positions; how far rounding goes there differs between processors


def _gradients(model: Transformer, out: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out[..., 0].mean(), list(model.parameters()))


def test_second_derivatives_exist_where_asked_for() -> None:
    language = Language(2, 3)
    model = random_model(tiny(language, d_model=2, n_heads=1, n_layers=1, d_ff=2, norm="none"))
    layout = TrieLayout(language, differentiable_twice=True)
    names, values = zip(*((n, p.detach()) for n, p in model.named_parameters()), strict=True)

    def loss(*parameters: Tensor) -> Tensor:
        out = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (layout,))
        return out[:, 0].square().sum()

    inputs = tuple(v.requires_grad_() for v in values)
    assert torch.autograd.gradgradcheck(loss, inputs)


# ---- causality, and what each variant sees -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("changed", range(4))
def test_no_position_sees_later_symbols(variant: str, changed: int) -> None:
    model = random_model(tiny(variant=variant))
    before = torch.tensor([[0, 1, 2, 0]])
    after = before.clone()
    after[:, changed:] = (after[:, changed:] + 1) % 3
    old, new = (model(SentenceLayout(s, 3)).unflatten(0, (-1, 4)) for s in (before, after))
    assert torch.equal(old[:, : changed + 1], new[:, : changed + 1])
    assert all(bool((old[:, i] != new[:, i]).any()) for i in range(changed + 1, 4))


def test_ffn_only_mixes_with_equal_weights() -> None:
    model, trace = random_model(tiny(variant="ffn_only", norm="none")), Trace()
    model(SentenceLayout(torch.tensor([[0, 1, 2, 1]]), 3), trace)
    stream = model.token[[3, 0, 1, 2]] + model.position
    close(trace.mixed[0], torch.stack([stream[: i + 1].mean(0) for i in range(4)]))


def test_ffn_only_cannot_tell_in_which_order_the_past_came() -> None:
    """Positions enter the mean of one layer by their own mean, so only attention can weigh a symbol by its place."""
    pair = torch.tensor([[0, 1, 2, 1, 0], [2, 1, 0, 1, 0]])  # the last symbol read, the fourth, is the same
    differences = {}
    for variant in ("ffn_only", "full"):
        model = random_model(tiny(Language(3, 5), variant=variant, n_layers=1, norm="none"))
        first, second = model(SentenceLayout(pair, 3)).unflatten(0, (2, 5))[:, 4]
        differences[variant] = float((first - second).detach().abs().max())
    assert differences["ffn_only"] < 1e-12
    assert differences["full"] > 1e-3


def test_no_mixing_sees_its_own_symbol_and_position_only() -> None:
    language = Language(3, 4)
    out = random_model(tiny(language, variant="no_mixing"))(TrieLayout(language)).detach()
    prefixes = [language.prefix(n) for n in range(language.n_nodes)]
    seen: dict[tuple[int, ...], Tensor] = {}
    for prefix, row in zip(prefixes, out, strict=True):
        key = (len(prefix), *prefix[-1:])
        assert torch.equal(seen.setdefault(key, row), row)
    rows = torch.stack(list(seen.values()))
    assert len(rows) == 1 + 3 * 3
    assert float((rows[:, None] - rows).abs().amax(-1).fill_diagonal_(1).min()) > 1e-3


def test_a_variant_has_the_parameters_of_its_parts_only() -> None:
    names = {variant: " ".join(parameters_of(Transformer(tiny(variant=variant)))) for variant in VARIANTS}
    assert [("ffn" in names[v], "mix" in names[v]) for v in VARIANTS] == [
        (True, True), (False, True), (True, True), (True, False),
    ]  # fmt: skip
    assert "qkv" not in names["ffn_only"]
    assert "norm" not in " ".join(parameters_of(Transformer(tiny(norm="none"))))
    assert "norm.gain" in parameters_of(Transformer(tiny(norm="pre")))
    assert "norm.gain" not in parameters_of(Transformer(tiny(norm="post")))


@pytest.mark.parametrize(("variant", "per_layer"), [
    ("full", 4 * 64 + 4 * 8 + 2 * 8 * 32 + 32 + 8 + 4 * 8),
    ("attention_only", 4 * 64 + 4 * 8 + 2 * 8),
    ("ffn_only", 2 * 8 * 32 + 32 + 8 + 4 * 8),
    ("no_mixing", 2 * 8 * 32 + 32 + 8 + 2 * 8),
])  # fmt: skip
def test_number_of_parameters(variant: str, per_layer: int) -> None:
    model = Transformer(TransformerConfig(PAPER, d_model=8, n_layers=3, variant=variant))  # type: ignore[arg-type]
    embedding, head = (6 + 5) * 8, 2 * 8 + 8 * 5 + 5
    assert model.n_parameters == embedding + 3 * per_layer + head


def test_every_parameter_matters() -> None:
    for variant in VARIANTS:
        for norm in NORMS:
            model = random_model(tiny(variant=variant, norm=norm))
            loss = (model(TrieLayout(OTHER)) * OTHER.edges(targets(OTHER)["sparse"])).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, (variant, norm, name)
                assert float(parameter.grad.abs().max()) > 1e-6, (variant, norm, name)


# ---- initial parameters --------------------------------------------------------------------------------------------


def test_a_generator_draws_the_initial_parameters_alone() -> None:
    first = [Transformer(tiny(), torch.Generator().manual_seed(s)) for s in (4, 4, 5)]
    torch.manual_seed(9)
    again = Transformer(tiny(), torch.Generator().manual_seed(4))
    vectors = [torch.nn.utils.parameters_to_vector(m.parameters()) for m in [*first, again]]
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[0], vectors[3])
    assert not torch.equal(vectors[0], vectors[2])


def test_scale_of_the_initial_parameters() -> None:
    model = Transformer(TransformerConfig(PAPER, d_model=64), torch.Generator().manual_seed(0))
    ffn = model.blocks[0].ffn
    stds = [(ffn.keys.weight, 64**-0.5), (ffn.values.weight, 256**-0.5), (model.token, 1), (model.position, 1)]
    for weight, std in stds:
        assert float(weight.detach().std()) == pytest.approx(std, rel=4 / (2 * weight.numel()) ** 0.5)
    assert float(ffn.keys.bias.detach().abs().max()) == 0


# ---- the trace -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_trace_tells_what_happened_at_every_position(variant: str, norm: str) -> None:
    config = tiny(variant=variant, norm=norm)
    model, trace, side_trace = random_model(config), Trace(), Trace()
    layout, node = TrieLayout(OTHER), nodes_in_sentences(OTHER)
    close(model(layout, trace), model(layout))
    model(SentenceLayout(OTHER.sentences, 3), side_trace)
    expected = brute(model)
    for name in ("residual", "mixed", "neurons", "recalled"):
        true = getattr(expected, name)
        absent = {"full": [], "attention_only": ["neurons", "recalled"], "no_mixing": ["mixed"]}.get(variant, [])
        assert len(true) == (0 if name in absent else 2)
        for ours, side, theirs in zip(getattr(trace, name), getattr(side_trace, name), true, strict=True):
            assert ours.shape == (OTHER.n_nodes, config.n_neurons if name == "neurons" else config.d_model)
            close(ours[node], theirs)
            close(side.unflatten(0, (-1, 4)), theirs)
    assert len(trace.attention) == (2 if variant in ("full", "attention_only") else 0)
    for ours, side, theirs in zip(trace.attention, side_trace.attention, expected.attention, strict=True):
        assert ours.shape == (OTHER.n_nodes, 2, 4)
        close(ours.sum(-1), torch.ones(OTHER.n_nodes, 2).double())
        close(side.unflatten(0, (-1, 4)), theirs)
        for t in range(4):  # nearest ancestor first on the trie, by position on sentences
            close(ours[node[:, t], :, : t + 1].flip(-1), theirs[:, t, :, : t + 1])
            assert float(ours[node[:, t], :, t + 1 :].abs().sum()) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_before_normalisation_the_stream_is_a_sum(variant: str) -> None:
    model, trace = random_model(tiny(variant=variant, norm="pre")), Trace()
    layout = TrieLayout(OTHER)
    model(layout, trace)
    stream = layout.expand(model.token[layout.tokens] + model.position[layout.positions])
    for layer in range(2):
        for branch in (trace.mixed, trace.recalled):
            stream = stream + branch[layer] if branch else stream
        close(trace.residual[layer], stream)


def test_norms_of_a_trace() -> None:
    entries = [torch.full((2, 3, 4), 1.0), torch.full((2, 3, 4), 2.0)]
    assert torch.equal(Trace.norms(entries), torch.tensor([2.0, 4.0])[:, None, None].expand(2, 2, 3))


def test_a_dead_neuron_is_silent_and_does_not_learn() -> None:
    model, trace = random_model(tiny()), Trace()
    keys, values = model.blocks[1].ffn.keys, model.blocks[1].ffn.values
    with torch.no_grad():
        keys.bias[0, 3] = -1e6
    out = model(TrieLayout(OTHER), trace)
    assert float(trace.neurons[1][:, 3].abs().max()) == 0
    assert all(float(n.detach().min()) == 0 < float(n.detach().max()) for n in trace.neurons)
    out[:, 0].sum().backward()
    assert float(keys.weight.grad[:, 3].abs().max()) == float(keys.bias.grad[0, 3]) == 0
    assert float(values.weight.grad[3].abs().max()) == 0
    assert float(values.weight.grad.abs().max()) > 0


# ---- bad configurations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "message"), [
    ({"d_model": 0}, "d_model must be at least 1, got 0"),
    ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
    ({"n_heads": 0}, "n_heads must be at least 1, got 0"),
    ({"n_heads": 4}, "n_heads = 4 does not divide d_model = 6"),
    ({"d_ff": 0}, "d_ff must be at least 1, got 0.*attention_only"),
    ({"variant": "ffn"}, "unknown variant 'ffn'; choose from full, attention_only, ffn_only, no_mixing"),
    ({"norm": "rms"}, "unknown norm 'rms'; choose from pre, post, none"),
])  # fmt: skip
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(tiny(), **fields)


def test_number_of_neurons() -> None:
    assert tiny().n_neurons == 24
    assert tiny(d_ff=7).n_neurons == 7
    assert parameters_of(Transformer(tiny(d_ff=7)))["blocks.0.ffn.keys.weight"].shape == (6, 7)


def test_the_reference_itself_is_a_distribution() -> None:
    """Were the brute force wrong in the same way as the model, this at least would show."""
    log_p = sentence_log_probs(brute(random_model(tiny())).log_conditionals, OTHER.sentences)
    np.testing.assert_allclose(log_p.exp().sum().item(), 1, atol=1e-12)


_ATTEND, _AVERAGE = TrieLayout.attend, SentenceLayout.average
FAULTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "queries and keys change places": (TrieLayout, "attend", lambda at, x: _ATTEND(at, x[..., [1, 0, 2], :, :])),
    "heads are mixed up": (TrieLayout, "attend", lambda at, x: _ATTEND(at, x + 0.01 * x.roll(1, -2))),
    "a position sees the next one": (SentenceLayout, "average", lambda at, x: _AVERAGE(at, x.roll(-1, -2))),
    "a norm has another epsilon": (
        transformer.Norm1d, "forward", lambda at, x: F.layer_norm(x, x.shape[-1:], eps=1e-6) * at.gain + at.bias,
    ),
    "silent neurons learn": (transformer._Relu, "backward", staticmethod(lambda *given: given[-1])),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, wrong = FAULTS[fault]
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises(AssertionError):
        test_both_layouts_equal_brute_force(OTHER, "ffn_only" if name == "average" else "full", "pre")
