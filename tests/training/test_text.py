"""Training on text against plain modules and `torch.optim`; what a batch is; what a specification promises."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from entropylens.models.layouts import TrieLayout
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import TransformerConfig
from entropylens.models.windows import WindowLayout, Windows, inputs
from entropylens.tasks.corpus import documentation, folded
from entropylens.tasks.language import Language
from entropylens.training import text
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.text import (
    TextData,
    TextMember,
    TextPopulation,
    TextSpec,
    batches,
    corpus_of,
    epoch,
    source_of,
    text_of,
    train_text,
)
from tests.training.test_optimizers import torch_optimizer

V, T, B = 31, 16, 4
SOURCE = TextData("source")
MEMBERS = (
    TextMember(0, OptimizerConfig("adamw", lr=1e-2, weight_decay=0.1, eps=1e-3)),
    TextMember(1, OptimizerConfig("sgd", lr=1.0, momentum=0.9)),
)
SHAPE = TransformerConfig(Windows(V, T))
LOOPED = LoopedConfig(V + 1, 16, 2, norm="pre", position_scale=1.0)
GATES: list[dict[str, Any]] = [
    {}, {"update": "gated"}, {"update": "gated", "gate": "constant"}, {"update": "gated", "gate_of": "mean"},
    {"n_blocks": 2},
]  # fmt: skip


def spec(**fields: Any) -> TextSpec:
    asked = {"config": SHAPE, "data": SOURCE, "members": MEMBERS, "steps": 4, "batch_size": B, "length": T}
    return TextSpec(**(asked | fields))


def first(asked: TextSpec, seed: int, n: int) -> list[Tensor]:
    return list(islice(batches(asked, seed), n))


# ---- batches ---------------------------------------------------------------------------------------------------------

KINDS = [SOURCE, TextData("source", 21 * T), TextData("text", 21 * T + 5), TextData("text")]


@pytest.mark.parametrize("data", KINDS, ids=["fresh", "finite source", "finite text", "whole"])
def test_batches_belong_to_a_seed(data: TextData) -> None:
    asked = spec(data=data)
    mine, again, other = first(asked, 3, 12), first(asked, 3, 12), first(asked, 4, 12)
    assert all(map(torch.equal, mine, again))
    assert not any(map(torch.equal, mine, other))
    assert {batch.shape for batch in mine} == {(B, T)}
    assert 0 <= min(int(batch.min()) for batch in mine) <= max(int(batch.max()) for batch in mine) < data.vocab_size


def test_fresh_is_fresh() -> None:
    windows = torch.cat(first(spec(), 0, 100))
    assert len(windows.unique(dim=0)) == 400


def test_a_sample_of_the_source_is_seen_once_an_epoch() -> None:
    sample = source_of("documentation").sample(21, T, generator(5, "sample")).tolist()
    seen = torch.cat(first(spec(data=TextData("source", 21 * T)), 5, 15)).view(3, 20, T).tolist()
    for windows in seen:  # 5 batches of 4: one of the 21 windows is left out
        assert all(window in sample for window in windows)
        assert len({tuple(window) for window in windows}) == 20
    assert seen[0] != seen[1]


@pytest.mark.parametrize("n", [21 * T + 5, 20 * T + T - 1, 21 * T])
def test_a_text_is_cut_elsewhere_in_each_epoch(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(text, "text_of", lambda _data, _seed: torch.arange(n))  # a symbol is its own place
    cuts = set()
    for seed in range(3):
        found = torch.cat(first(spec(data=TextData("text")), seed, 20)).view(4, 20, T)
        assert torch.equal(found, found[..., :1] + torch.arange(T))
        for starts in found[..., 0]:
            assert len(starts.unique()) == 20
            assert len((starts % T).unique()) == 1
            assert int(starts.max()) + T <= n
            cuts.add(int(starts[0] % T))
    assert len(cuts) > 3


@pytest.mark.parametrize("n", [400, 415, 416, 449])
def test_in_an_epoch_nothing_is_seen_twice(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(text, "text_of", lambda _data, _seed: torch.arange(n))
    many = epoch(TextData("text"), B, T)
    assert many * B * T <= n < (many + 2) * B * T
    for seed in range(20):
        seen = torch.cat(first(spec(data=TextData("text")), seed, many)).flatten()
        assert len(seen.unique()) == len(seen)


@pytest.mark.parametrize("n", [5 * T - 1, 3, 0])
def test_a_text_that_fills_no_batch_is_refused(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(text, "text_of", lambda _data, _seed: torch.arange(n))
    with pytest.raises(ValueError, match=f"the text has {n} symbols; {5 * T} are needed"):
        first(spec(data=TextData("text")), 0, 1)


def test_texts_are_the_training_documents_or_a_draw_of_them() -> None:
    whole = text_of(TextData("text"), 0)
    assert torch.equal(whole, text_of(TextData("text"), 1))
    assert torch.equal(whole, torch.cat([d.symbols for d in documentation().train]))
    mine, other = (text_of(TextData("text", 1000), seed) for seed in (0, 1))
    assert len(mine) == len(other) == 1000
    assert not torch.equal(mine, other)


def test_the_source_is_fitted_to_the_folded_training_documents() -> None:
    source, small = source_of("documentation"), folded(documentation())
    assert (source.vocab_size, source.order) == (V, 3)
    seen = torch.cat([d.symbols for d in small.train])
    shares = torch.bincount(seen, minlength=V) / len(seen)
    torch.testing.assert_close(source.start.view(V, V).sum(1).float(), shares, rtol=0.0, atol=5e-3)


# ---- training --------------------------------------------------------------------------------------------------------


def plain_training(asked: TextSpec, member: TextMember) -> tuple[list[float], Tensor]:
    """One module and `torch.optim`: losses before each step, and parameters at the end."""
    model = asked.config.build(generator(member.seed, "init"))
    optimizer, losses = torch_optimizer(member.optimizer, list(model.parameters())), []
    for windows in first(asked, member.seed, asked.steps):
        if isinstance(asked.config, LoopedConfig):
            loss = F.cross_entropy(model(inputs(windows, V))[..., :V].flatten(0, 1), windows.flatten())
        else:
            loss = F.nll_loss(model(WindowLayout(windows, V)), windows.flatten())
        optimizer.zero_grad()
        loss.backward()
        if asked.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), asked.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, torch.nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("config", [SHAPE, LOOPED, replace(LOOPED, update="gated")], ids=["plain", "looped", "gated"])
def test_training_is_that_of_plain_modules(config: TransformerConfig | LoopedConfig, clip: float | None) -> None:
    asked = spec(config=config, clip=clip)
    run = train_text(asked)
    for i, member in enumerate(MEMBERS):
        losses, parameters = plain_training(asked, member)
        assert run.losses[:, i].tolist() == pytest.approx(losses, abs=2e-5)
        torch.testing.assert_close(run.parameters[-1, i], parameters, rtol=0.0, atol=1e-4)


def test_a_run_can_be_repeated_bit_for_bit_and_a_member_is_the_same_alone() -> None:
    asked = spec(snapshots=(0, 2))
    run, again, alone = train_text(asked), train_text(asked), train_text(replace(asked, members=MEMBERS[1:]))
    assert torch.equal(run.losses, again.losses)
    assert torch.equal(run.parameters, again.parameters)
    assert torch.equal(run.parameters[:, 1:], alone.parameters)
    assert run.snapshot_steps == [0, 2, 4]
    assert torch.equal(run.parameters[0], TextPopulation(SHAPE, [0, 1]).parameters)
    assert torch.equal(run.parameters[1], train_text(spec(steps=4, snapshots=(2,))).parameters[0])
    assert not run.compiled


def test_progress_is_told() -> None:
    told: list[int] = []
    train_text(spec(), progress=told.append)
    assert told == [1] * 4


def test_a_vocabulary_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has 31 symbols, its data 97"):
        train_text(spec(data=TextData("text")))
    with pytest.raises(ValueError, match="the model has 30 symbols, its data 31"):
        train_text(spec(config=LoopedConfig(V, 16, 2)))


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", GATES)
def test_looped_models_predict_symbols_from_what_came_before(changed: dict[str, Any]) -> None:
    population = TextPopulation(replace(LOOPED, **changed), [0, 1])
    theta, random = population.parameters.double(), torch.Generator().manual_seed(0)
    windows = torch.randint(V, (2, 5, 12), generator=random)
    found = population.log_probs(theta, windows)
    assert found.shape == (2, 5, 12, V)  # and no BOS
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 5, 12, dtype=torch.float64))
    later = windows.clone()
    later[..., 7:] = (later[..., 7:] + 1) % V
    changed_later = population.log_probs(theta, later)
    assert torch.equal(found[:, :, :8], changed_later[:, :, :8])
    assert not torch.isclose(found[:, :, 8:], changed_later[:, :, 8:]).all()
    assert torch.equal(population.log_probs(theta, windows[1])[1], found[1])


def test_log_probs_are_those_of_windows() -> None:
    population = TextPopulation(SHAPE, [0, 1])
    windows = torch.randint(V, (2, 3, T), generator=torch.Generator().manual_seed(0))
    found = population.log_probs(population.parameters, windows)
    assert found.shape == (2, 3, T, V)
    by_hand = [-found[m, torch.arange(3)[:, None], torch.arange(T), windows[m]].mean() for m in range(2)]
    torch.testing.assert_close(population.losses(population.parameters, windows), torch.stack(by_hand))
    torch.testing.assert_close(population.log_probs(population.parameters, windows[0])[0], found[0])


def test_looped_models_read_no_layouts() -> None:
    population = TextPopulation(LOOPED, [0])
    with pytest.raises(ValueError, match="looped models read windows, not layouts"):
        population.log_conditionals(population.parameters, TrieLayout(Language(2, 2)))


# ---- specifications --------------------------------------------------------------------------------------------------


def test_the_text_is_part_of_a_specification(tmp_path: Path) -> None:
    path, found = tmp_path / "own.txt", []
    for word in ("word", "ward"):
        path.write_text(
            "\n\n".join(f"The {word} of paragraph {i} is told but once, at this place." for i in range(600))
        )
        corpus_of.cache_clear()
        found.append(spec(data=TextData("text", 1000, str(path))).canonical())
    asked = [json.loads(canonical) for canonical in found]
    digests = {one.pop("digest") for one in asked}
    assert len(digests) == 2
    assert asked[0] == asked[1]
    corpus_of.cache_clear()
    assert json.loads(spec().canonical())["digest"] == documentation().digest


def test_a_label_is_no_part_of_it_but_all_else_is() -> None:
    same = spec(design="other").canonical()
    assert same == spec().canonical()
    others: list[dict[str, Any]] = [
        {"steps": 5}, {"batch_size": 5}, {"clip": None}, {"snapshots": (0,)}, {"members": MEMBERS[:1]},
        {"data": TextData("source", 1000)}, {"data": TextData("text")}, {"config": replace(SHAPE, n_layers=1)},
        {"config": LOOPED}, {"config": TransformerConfig(Windows(V, 8)), "length": 8},
    ]  # fmt: skip
    assert len({same, *(spec(**other).canonical() for other in others)}) == 1 + len(others)


@pytest.mark.parametrize("more", [{"steps": 8}, {"members": (*MEMBERS, *MEMBERS)}, {"batch_size": 8}])
def test_twice_the_training_is_twice_the_work(more: dict[str, Any]) -> None:
    assert spec(**more).work() == pytest.approx(2 * spec().work())
    assert spec(config=LOOPED, **more).work() == pytest.approx(2 * spec(config=LOOPED).work())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"members": ()}, "needs members, a step"),
        ({"steps": 0}, "got 2, 0, 4 and 16"),
        ({"batch_size": 0}, "needs members, a step, a window"),
        ({"config": LOOPED, "length": 1}, "two symbols of it"),
        ({"snapshots": (5,)}, r"after 0 … 4 steps, got \(5,\)"),
        ({"snapshots": (-1,)}, "after 0 … 4 steps"),
        ({"clip": 0.0}, "needs a clip above 0, got 0.0"),
        ({"data": TextData("source", 5 * T - 1)}, "79 symbols has less than the 5 windows of 16"),
        ({"length": 8}, "the model has 16 positions, a window has 8"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_data_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown origin 'wiki'; choose from text, source"):
        TextData("wiki")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one symbol or more, got 0"):
        TextData("text", 0)
    with pytest.raises(ValueError, match=r"allow samples of 1 … .*, got 1000000000"):
        next(batches(spec(data=TextData("text", 10**9)), 0))


def test_batches_in_another_order_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = first
    monkeypatch.setattr(f"{__name__}.first", lambda *given: right(*given)[::-1])
    with pytest.raises(AssertionError):
        test_training_is_that_of_plain_modules(SHAPE, None)
