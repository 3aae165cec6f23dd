"""Chapter 9's explorer packs what a looped model does, loop by loop, and marks where it should look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.handset import by_hand
from entropylens.models.looped import LoopedConfig, LoopedTransformer, LoopTrace
from entropylens.show.explorers.loops import MOST_TOKENS, LoopExplorer, loop_explorer, places_to_look_at
from entropylens.tasks.induction import InductionTask, sample, solve

V, N, S, LOOPS = 5, 7, 3, 4
BATCH = sample(InductionTask(V, "repeat"), S, N, torch.Generator().manual_seed(0))
TOKENS, ANSWERS = BATCH.tokens, BATCH.answers[:, -1]


def model_of(causal: bool = True, update: str = "plain") -> LoopedTransformer:
    config = LoopedConfig(V, n_loops=LOOPS, causal=causal, update=update)  # type: ignore[arg-type]
    return config.build(torch.Generator().manual_seed(1)).double()


def floats(packed: bytes, *shape: int) -> np.ndarray:
    return np.frombuffer(packed, np.float32).reshape(shape)


def row(explorer: LoopExplorer, loop: int, sequence: int, token: int) -> np.ndarray:
    """The bytes of a row, where the JavaScript finds them; loops count from 1."""
    n, packed = len(explorer.sequences[0]), np.frombuffer(explorer.rows, np.uint8)
    whole, start = (n * (n + 1) // 2, token * (token + 1) // 2) if explorer.causal else (n * n, token * n)
    first = ((loop - 1) * len(explorer.sequences) + sequence) * whole + start
    return packed[first : first + (token + 1 if explorer.causal else n)]


@pytest.fixture(scope="module")
def explorer() -> LoopExplorer:
    return loop_explorer(model_of(), TOKENS, ANSWERS, ["one", "two", "three"])


@pytest.mark.parametrize(("causal", "update"), [(True, "plain"), (False, "plain"), (True, "gated")])
@torch.no_grad()
def test_every_row_is_where_the_controls_find_it(causal: bool, update: str) -> None:
    model = model_of(causal, update)
    explorer = loop_explorer(model, TOKENS, ANSWERS)
    for s, tokens in enumerate(TOKENS):
        trace = LoopTrace()
        model(tokens[None], trace)
        for t, rows in enumerate(trace.rows, 1):
            for i, true in enumerate(rows[0]):
                packed = row(explorer, t, s, i)
                np.testing.assert_allclose(packed / 255, true[: len(packed)], atol=0.5 / 255 + 1e-12)
                assert true[len(packed) :].sum() == 0
    assert len(explorer.rows) == LOOPS * S * (N * (N + 1) // 2 if causal else N * N)


@torch.no_grad()
def test_logits_are_those_of_a_model_with_so_many_loops(explorer: LoopExplorer) -> None:
    logits, model = floats(explorer.logits, LOOPS + 1, S, V), model_of()
    for t in range(LOOPS + 1):
        np.testing.assert_allclose(logits[t], model(TOKENS, n_loops=t)[:, -1], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_norms_are_those_of_the_states(explorer: LoopExplorer) -> None:
    norms, model = floats(explorer.norms, LOOPS + 1, S, N), model_of()
    x = model.embed(TOKENS)
    for t in range(LOOPS + 1):
        np.testing.assert_allclose(norms[t], model.run(x, n_loops=t).square().sum(-1).sqrt(), rtol=1e-5)
    assert (norms[0] == 0).all()


def test_words_are_those_of_the_symbols(explorer: LoopExplorer) -> None:
    assert explorer.sequences == ["".join("abcde"[i] for i in tokens) for tokens in TOKENS.tolist()]
    assert explorer.answers == "".join("abcde"[i] for i in ANSWERS.tolist())
    assert explorer.titles == ["one", "two", "three"]
    greek = loop_explorer(model_of(), TOKENS, ANSWERS, letters="αβγδε")
    assert greek.sequences[0] == explorer.sequences[0].translate(str.maketrans("abcde", "αβγδε"))
    assert greek.titles == [""] * S


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12))
def test_the_answer_stands_where_a_token_should_look(symbols: list[int]) -> None:
    tokens = torch.tensor([symbols])
    places = places_to_look_at(tokens)
    wanted = [max((j + 1 for j in range(i) if symbols[j] == s), default=0) for i, s in enumerate(symbols)]
    assert places.tolist() == [wanted]
    answers, has = solve(tokens)
    assert torch.equal(places > 0, has)
    assert torch.equal(tokens.gather(1, places)[has], answers[has])


def test_a_model_that_knows_looks_there_and_is_right() -> None:
    v = 16
    batch = sample(InductionTask(v, "unique"), 6, MOST_TOKENS, torch.Generator().manual_seed(2))
    explorer = loop_explorer(by_hand(v), batch.tokens, batch.answers[:, -1])
    last = floats(explorer.logits, 26, 6, v)[-1].argmax(-1)
    assert "".join(explorer.letters[i] for i in last) == explorer.answers
    for s in range(6):
        assert row(explorer, 25, s, MOST_TOKENS - 1)[explorer.places[s][-1]] > 0.9 * 255
    assert repr(explorer) == "Explorer (needs JavaScript): 6 × 24 tokens, 25 loops, 6 of 6 right"
    size = sum(map(len, (explorer.rows, explorer.logits, explorer.norms))) + len(str(explorer.places))
    assert 4 / 3 * size < 110_000


def test_python_may_choose_and_nonsense_is_refused(explorer: LoopExplorer) -> None:
    start = {"sequence": 1, "loop": 1, "token": N}
    assert explorer.selected == start
    explorer.selected = {"loop": 0, "sequence": S}
    assert explorer.selected == {"sequence": S, "loop": 0, "token": N}
    wrong: list[dict[str, object]] = [
        {"loop": LOOPS + 1}, {"loop": -1}, {"sequence": 0}, {"token": 0}, {"token": N + 1}, {"loop": "1"}, {"seed": 1},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(values))} = "):
            explorer.selected = values  # type: ignore[assignment]
    explorer.selected = start


def test_an_answer_that_stands_nowhere_is_shown_as_given() -> None:
    tokens = torch.tensor([[0, 1, 2]])
    explorer = loop_explorer(model_of(), tokens, torch.tensor([4]))
    assert (explorer.answers, explorer.places) == ("e", [[0, 0, 0]])


def test_what_does_not_fit_is_named() -> None:
    broken = model_of()
    with torch.no_grad():
        broken.token[0, 0] = torch.nan
    long = torch.zeros(1, MOST_TOKENS + 1, dtype=torch.int64)
    wrong: list[tuple[str, tuple[object, ...]]] = [
        (r"got \(1, 25\)", (model_of(), long, torch.zeros(1))),
        (r"got \(7,\)", (model_of(), TOKENS[0], ANSWERS)),
        (r"got \(0, 7\)", (model_of(), TOKENS[:0], ANSWERS[:0])),
        (r"got \(3, 1\)", (model_of(), TOKENS[:, :1], ANSWERS)),
        (r"got \(3, 7\) and 3", (model_of(), TOKENS, BATCH.answers)),
        (r"got \(3,\) and 2", (model_of(), TOKENS, ANSWERS, ["a", "b"])),
        ("tokens are symbols from 0 to 4, got 5 to 5", (model_of(), torch.full_like(TOKENS, V), ANSWERS)),
        ("answers are symbols from 0 to 4, got -100", (model_of(), TOKENS, torch.full_like(ANSWERS, -100))),
        ("sequence 1 is answered by", (model_of(), TOKENS, (ANSWERS + 1) % V)),
        ("5 symbols need as many different letters, got 'abcd'", (model_of(), TOKENS, ANSWERS, None, "abcd")),
        ("5 symbols need as many different letters, got 'abcda'", (model_of(), TOKENS, ANSWERS, None, "abcda")),
        ("not finite", (broken, torch.zeros_like(TOKENS), torch.zeros_like(ANSWERS))),
    ]
    for message, given_ in wrong:
        with pytest.raises(ValueError, match=message):
            loop_explorer(*given_)  # type: ignore[arg-type]


def test_a_wrong_answer_is_told_by_its_sequence() -> None:
    answers: Tensor = ANSWERS.clone()
    answers[2] = (answers[2] + 1) % V
    with pytest.raises(
        ValueError, match=f"sequence 3 is answered by {int(answers[2])}, but .* comes {int(ANSWERS[2])}"
    ):
        loop_explorer(model_of(), TOKENS, answers)
