"""Chapter 9's explorer packs looped models, and its JavaScript, in Node, computes what PyTorch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import traitlets

from entropylens.models.handset import by_hand
from entropylens.models.looped import LoopedConfig, LoopedTransformer
from entropylens.show.explorers.loops import MOST_TOKENS, LoopExplorer, loop_explorer
from entropylens.tasks.induction import InductionTask, sample, solve
from tests._loops_model import MODEL, by_node, by_torch, compare

V, N, S, LOOPS = 5, 7, 3, 4
TOKENS = sample(InductionTask(V, "repeat"), S, N, torch.Generator().manual_seed(0)).tokens
TEXTS = [[0, 1], [3, 3, 3], [4, 2, 0, 1, 3, 2, 2, 4, 0, 4], [i * i % V for i in range(MOST_TOKENS)]]


def model_of(seed: int = 1, **shape: Any) -> LoopedTransformer:
    """One none of whose parameters has a special value."""
    model = LoopedConfig(V, **{"n_loops": LOOPS, **shape}).build(torch.Generator().manual_seed(seed)).double()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=random, dtype=p.dtype), alpha=0.1)
    return model


MODELS = {
    "the chapter's": model_of(hint=True),
    "set by hand": by_hand(V),
    "without a hint, a mask, an MLP, positions": model_of(causal=False, d_ff=0, position_scale=0.0),
    "norm before, odd width": model_of(hint=True, norm="pre", d_model=7, position_scale=1.0),
    "norm before, no MLP": model_of(norm="pre", d_ff=0),
    "no norm": model_of(norm="none", hint=True, d_ff=3),
}


@pytest.fixture(scope="module")
def explorer() -> LoopExplorer:
    return loop_explorer({"one": model_of(), "two": by_hand(V)}, TOKENS, ["first", "second", "third"])


def compare_all(found: Any, texts: list[list[int]], loops: int) -> None:
    for model, passes in zip(MODELS.values(), found, strict=True):
        for text, one in zip(texts, passes, strict=True):
            compare(one, by_torch(model, text, loops))


def test_the_page_computes_what_pytorch_does() -> None:
    compare_all(by_node(loop_explorer(MODELS, TOKENS), TEXTS, 25), TEXTS, 25)


def test_a_model_of_single_precision_is_computed_in_double() -> None:
    model = model_of(hint=True).float()
    ((found,),) = by_node(loop_explorer({"it": model}, TOKENS), TEXTS[2:3], 25)
    compare(found, by_torch(model, TEXTS[2], 25))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("dot(own, other) / Math.sqrt(d)", "dot(own, other)"),
        ("j <= i", "j < i || i === 0"),
        ("z.map((row, i) => plus(row, x[i]))", "z"),
        ("states.push(z.map((row, i) => plus(row, out[i])))", "states.push(out)"),
        ("plus(u, this.linear", "plus(u.map(() => 0), this.linear"),
        ("this.norm(\"blocks.0.norm_mid\", u)", "u"),
        ("symbols[at - 1] : previous.length - 1", "symbols[at - 1] : 0"),
        ("(i - (i % 2)) / d", "i / d"),
        ("NORM_EPS = 1e-5", "NORM_EPS = 1e-6"),
        ("Math.max(0, x)", "x"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(right: str, wrong: str) -> None:
    assert MODEL.count(right) == 1
    found = by_node(loop_explorer(MODELS, TOKENS), TEXTS[2:3], 2, MODEL.replace(right, wrong))
    with pytest.raises(AssertionError, match="off by"):
        compare_all(found, TEXTS[2:3], 2)


def test_the_mark_is_where_the_answer_stands() -> None:
    texts = [*TEXTS, *sample(InductionTask(V, "repeat"), 20, 12, torch.Generator().manual_seed(3)).tokens.tolist()]
    (found,) = by_node(loop_explorer({"it": model_of()}, TOKENS), texts, 0)
    for text, one in zip(texts, found, strict=True):
        tokens, places = torch.tensor([text]), torch.tensor([one["places"]])
        answers, has = solve(tokens)
        assert torch.equal(places > 0, has)
        assert torch.equal(tokens.gather(1, places)[has], answers[has])


def test_weights_and_words_are_packed(explorer: LoopExplorer) -> None:
    packed = np.frombuffer(explorer.parameters, np.float64)
    wanted = torch.cat([torch.nn.utils.parameters_to_vector(m.parameters()) for m in (model_of(), by_hand(V))])
    np.testing.assert_array_equal(packed, wanted.detach())
    assert [(m["name"], m["loops"], m["causal"]) for m in explorer.models] == [("one", 4, True), ("two", 25, True)]
    assert explorer.sequences == ["".join("abcde"[i] for i in tokens) for tokens in TOKENS.tolist()]
    assert explorer.titles == ["first", "second", "third"]
    assert explorer.loops == 25
    greek = loop_explorer({"it": model_of(n_loops=30)}, TOKENS, letters="αβγδε")
    assert greek.sequences[0] == explorer.sequences[0].translate(str.maketrans("abcde", "αβγδε"))
    assert (greek.titles, greek.loops) == ([""] * S, 30)
    assert repr(explorer) == "Explorer (needs JavaScript): 3 sequences to edit, on one (4 loops), two (25 loops)"
    assert len(loop_explorer({"it": by_hand()}, TOKENS).parameters) < 10_000


@pytest.fixture
def start(explorer: LoopExplorer) -> dict[str, Any]:
    start = {"model": "one", "sequence": 1, "text": explorer.sequences[0], "token": N, "loop": 1}
    explorer.selected = start
    return start


def test_it_starts_at_the_last_token_of_the_first_sequence(start: dict[str, Any]) -> None:
    assert loop_explorer({"one": model_of()}, TOKENS).selected == start


@pytest.mark.usefixtures("start")
def test_python_may_choose(explorer: LoopExplorer) -> None:
    explorer.selected = {"loop": 25, "model": "two", "text": "ababab"}
    assert explorer.selected == {"model": "two", "sequence": 1, "text": "ababab", "token": 6, "loop": 25}
    explorer.selected = {"sequence": S}
    assert explorer.selected == {
        "model": "two", "sequence": S, "text": explorer.sequences[-1], "token": 6, "loop": 25,
    }  # fmt: skip


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("text", ["ab", "eeeee", "abcdeabcde", "a" * MOST_TOKENS])
def test_a_chosen_token_is_one_that_is_there(explorer: LoopExplorer, text: str) -> None:
    explorer.selected = {"text": text}
    assert explorer.selected["token"] == min(N, len(text))


@pytest.mark.parametrize(
    "values",
    [
        {"loop": 26}, {"loop": -1}, {"loop": "1"}, {"sequence": 0}, {"sequence": S + 1}, {"token": 0},
        {"token": N + 1}, {"token": 1.0}, {"model": "three"}, {"model": 1}, {"text": "abcdef"}, {"text": "a"},
        {"text": "a" * 25}, {"text": 7}, {"seed": 1},
    ],
)  # fmt: skip
def test_nonsense_is_refused(explorer: LoopExplorer, start: dict[str, Any], values: dict[str, Any]) -> None:
    (key, value), = values.items()  # fmt: skip
    with pytest.raises(traitlets.TraitError, match=f"no {key} = {value}; choose from "):
        explorer.selected = values
    assert explorer.selected == start


def test_what_does_not_fit_is_named() -> None:
    broken = model_of()
    with torch.no_grad():
        broken.token[0, 0] = torch.nan
    models, long = {"it": model_of()}, torch.zeros(1, MOST_TOKENS + 1, dtype=torch.int64)
    wrong: list[tuple[str, tuple[Any, ...]]] = [
        ("needs a model", ({}, TOKENS)),
        (r"got \(1, 25\)", (models, long)),
        (r"got \(7,\)", (models, TOKENS[0])),
        (r"got \(0, 7\)", (models, TOKENS[:0])),
        (r"got \(3, 1\)", (models, TOKENS[:, :1])),
        ("3 sequences have as many names, got 2", (models, TOKENS, ["a", "b"])),
        ("tokens are symbols from 0 to 4, got 5 to 5", (models, torch.full_like(TOKENS, V))),
        ("5 symbols need as many different letters, got 'abcd'", (models, TOKENS, None, "abcd")),
        ("5 symbols need as many different letters, got 'abcda'", (models, TOKENS, None, "abcda")),
        ("5 symbols need as many different letters, got 'abc;:'", (models, TOKENS, None, "abc;:")),
        ("got 'a;b'", ({"a;b": model_of()}, TOKENS)),
        ("other needs 5 symbols .*, has 6", ({**models, "other": LoopedConfig(6).build()}, TOKENS)),
        ("width up to 16, has 5, 17", ({"it": model_of(d_model=17)}, TOKENS)),
        ("it's attention, states or answers are not finite", ({"it": broken}, torch.zeros_like(TOKENS))),
    ]
    for message, arguments in wrong:
        with pytest.raises(ValueError, match=message):
            loop_explorer(*arguments)


@pytest.mark.parametrize(
    "shape",
    [
        {"n_heads": 2}, {"n_blocks": 2}, {"update": "gated"}, {"update": "hamiltonian"}, {"residual": False},
        {"step_size": 0.5}, {"start": "input"},
    ],
)  # fmt: skip
def test_what_the_page_does_not_compute_is_refused(shape: dict[str, Any]) -> None:
    (key, value), = shape.items()  # fmt: skip
    with pytest.raises(ValueError, match=f"it has {key} = {value}, and the page computes .* only"):
        loop_explorer({"it": model_of(**shape)}, TOKENS)
