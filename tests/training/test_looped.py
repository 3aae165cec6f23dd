"""Populations of looped transformers against a plain loop over modules, and what a specification promises."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.tasks.induction import NO_ANSWER, Batch, InductionTask, sample
from entropylens.training import looped
from entropylens.training.data import generator
from entropylens.training.looped import (
    LoopedMember,
    LoopedPopulation,
    LoopedRun,
    LoopedSpec,
    rebuild,
    scores,
    sharpened,
    stack,
    train_looped,
)
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.steering import Steering
from tests.training.test_optimizers import torch_optimizer

TASK = InductionTask(5, "repeat", scored="all")
SMALL = LoopedConfig(5, n_loops=3, hint=True)
MEMBERS = (
    LoopedMember(0, OptimizerConfig("adamw", lr=3e-3, weight_decay=0.1)),
    LoopedMember(1, OptimizerConfig("adamw", lr=1e-2)),
    LoopedMember(0, OptimizerConfig("adam", lr=1e-3, beta1=0.5)),
)


def spec(**fields: Any) -> LoopedSpec:
    asked = {"config": SMALL, "task": TASK, "members": MEMBERS, "steps": 5, "batch_size": 4, "lengths": (6, 9, 12)}
    return LoopedSpec(**(asked | fields))


def lengths(asked: LoopedSpec) -> list[int]:
    return looped.drawn_lengths(asked)


def plain_training(asked: LoopedSpec, member: LoopedMember) -> tuple[list[float], list[float], Tensor]:
    """One module and `torch.optim`, in float64: losses and accuracies of each step, and parameters at the end."""
    model = asked.config.build(generator(member.seed, "init")).double()
    optimizer = torch_optimizer(member.optimizer, list(model.parameters()))
    stream, losses, accuracies = generator(member.seed, "batches"), [], []
    for length in lengths(asked):
        batch = sample(asked.task, asked.batch_size, length, stream)
        logits = model(batch.tokens)
        at = batch.scored.nonzero(as_tuple=True)
        loss = F.cross_entropy(logits[at], batch.answers[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        accuracies.append((logits[at].argmax(-1) == batch.answers[at]).double().mean().item())
    return losses, accuracies, torch.nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"config": LoopedConfig(5, n_loops=4, n_blocks=2, norm="pre"), "task": InductionTask(5, "unique")},
        {"config": LoopedConfig(5, n_loops=4, update="gated"), "task": InductionTask(5, "trigger", scored="all")},
        {"config": LoopedConfig(5, n_loops=4, update="hamiltonian", norm="none")},
        {"task": InductionTask(5, "repeat", scored="all", hops=2)},
    ],
)
def test_population_is_a_loop_over_modules(fields: dict[str, Any]) -> None:
    asked = spec(**fields)
    run = train_looped(replace(asked, dtype="float64"))
    assert run.losses.shape == run.accuracy.shape == (5, 3)
    for m, member in enumerate(MEMBERS):
        losses, accuracies, parameters = plain_training(asked, member)
        assert run.losses[:, m].tolist() == pytest.approx(losses, rel=1e-9)
        assert run.accuracy[:, m].tolist() == pytest.approx(accuracies, abs=1e-6)
        torch.testing.assert_close(run.parameters[-1, m], parameters, rtol=0, atol=1e-7)


def same(a: LoopedRun, b: LoopedRun) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("losses", "accuracy", "parameters"))


def test_two_runs_are_bit_for_bit_equal() -> None:
    assert same(train_looped(spec()), train_looped(spec()))


def test_a_member_does_not_depend_on_its_neighbours() -> None:
    together, alone = train_looped(spec()), train_looped(spec(members=MEMBERS[1:2]))
    torch.testing.assert_close(together.losses[:, 1:2], alone.losses, rtol=1e-5, atol=1e-6)
    turned = train_looped(spec(members=MEMBERS[::-1]))
    torch.testing.assert_close(together.losses.flip(1), turned.losses, rtol=1e-5, atol=1e-6)


def test_a_broken_member_does_not_break_its_neighbours() -> None:
    broken = replace(MEMBERS[0], optimizer=OptimizerConfig("sgd", lr=1e30))
    run, whole = train_looped(spec(members=(broken, *MEMBERS[1:]), steps=8)), train_looped(spec(steps=8))
    assert not run.losses[-1, 0].isfinite()
    torch.testing.assert_close(run.losses[:, 1:], whole.losses[:, 1:], rtol=1e-5, atol=1e-6)


def read(asked: LoopedSpec, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """All batches (M, B, n) of a training."""
    batches: list[Batch] = []

    def spied(members: list[Batch]) -> Batch:
        batches.append(stack(members))
        return batches[-1]

    monkeypatch.setattr(looped, "stack", spied)
    train_looped(asked)
    return batches


def test_a_seed_draws_the_same_sequences_whatever_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(spec(), monkeypatch)
    other = read(spec(config=LoopedConfig(5, d_model=4, n_loops=1), members=MEMBERS[::-1]), monkeypatch)
    for a, b in zip(first, other, strict=True):
        assert torch.equal(a.tokens[0], a.tokens[2])  # the same seed
        assert not torch.equal(a.tokens[0], a.tokens[1])
        assert torch.equal(a.tokens.flip(0), b.tokens)
        assert torch.equal(a.answers.flip(0), b.answers)
    assert [b.tokens.shape[-1] for b in first] == lengths(spec())


def test_lengths_come_in_one_after_the_other() -> None:
    """With a warm-up over half of 600 steps, the second of three comes after 100 of them, the third after 200."""
    drawn = lengths(spec(lengths=(12, 6, 9), steps=600, warm_up=0.5))
    assert len(drawn) == 600
    assert set(drawn[:100]) == {6}
    assert set(drawn[100:200]) == {6, 9}
    assert all(drawn[200:].count(x) / 400 == pytest.approx(1 / 3, abs=0.1) for x in (6, 9, 12))
    assert drawn == lengths(spec(lengths=(6, 9, 12), steps=600, warm_up=0.5, members=MEMBERS[:1]))


def test_without_warm_up_all_lengths_are_there_at_once() -> None:
    assert set(lengths(spec(steps=30, warm_up=0.0))[1:]) == {6, 9, 12}


def test_snapshots() -> None:
    """Also the untrained model's; asking for them changes nothing."""
    run, plain = train_looped(spec(snapshots=(0, 2))), train_looped(spec())
    assert (run.snapshot_steps, plain.snapshot_steps) == ([0, 2, 5], [5])
    assert torch.equal(run.parameters[0], LoopedPopulation(SMALL, [m.seed for m in MEMBERS]).parameters)
    assert not torch.equal(run.parameters[1], run.parameters[0])
    assert torch.equal(run.parameters[2], plain.parameters[0])


def test_progress_counts_every_step() -> None:
    told: list[int] = []
    train_looped(spec(), progress=told.append)
    assert sum(told) == 5


def test_rebuilt_models_are_the_members() -> None:
    run = train_looped(spec(dtype="float64"))
    population = LoopedPopulation(SMALL, [m.seed for m in MEMBERS], dtype=torch.float64)
    tokens = torch.stack([sample(TASK, 4, 9, generator(seed, "test")).tokens for seed in range(3)])
    logits, last = (f(run.parameters[-1], tokens) for f in (population.logits, population.last))
    assert last.shape == (3, 4, 5)
    torch.testing.assert_close(last, logits[..., -1, :], rtol=1e-12, atol=1e-12)
    for m in range(3):
        model = rebuild(SMALL, run.parameters[-1, m])
        torch.testing.assert_close(model(tokens[m]), logits[m], rtol=1e-10, atol=1e-10)


def test_scores_count_scored_positions_only() -> None:
    random = torch.Generator().manual_seed(0)
    batch = stack([sample(TASK, 4, 9, random) for _ in range(2)])
    logits = torch.randn(2, 4, 9, 5, generator=random, dtype=torch.float64)
    losses, right = scores(logits, batch)
    for m in range(2):
        at = [(b, i) for b in range(4) for i in range(9) if batch.scored[m, b, i]]
        logs = logits[m].log_softmax(-1)
        true = [-float(logs[b, i, batch.answers[m, b, i]]) for b, i in at]
        assert float(losses[m]) == pytest.approx(sum(true) / len(at))
        hits = [bool(logits[m, b, i].argmax() == batch.answers[m, b, i]) for b, i in at]
        assert float(right[m]) == pytest.approx(sum(hits) / len(at))


def test_a_batch_without_anything_scored_has_no_loss() -> None:
    tokens = torch.tensor([[[0, 1, 2]]])
    batch = Batch(tokens, torch.full_like(tokens, NO_ANSWER), torch.zeros_like(tokens, dtype=torch.bool))
    assert [x.tolist() for x in scores(torch.randn(1, 1, 3, 5), batch)] == [[0.0], [0.0]]


def test_canonical() -> None:
    asked = spec()
    assert json.loads(asked.canonical())["task"]["kind"] == "repeat"
    assert asked.canonical() == replace(asked, design="another").canonical()
    others = {"steps": 6, "batch_size": 5, "lengths": (6, 9), "warm_up": 0.0, "members": MEMBERS[:2]}
    for field, value in others.items():
        assert asked.canonical() != replace(asked, **{field: value}).canonical()
    assert asked.canonical() != replace(asked, config=replace(SMALL, n_loops=4)).canonical()


def test_canonical_is_that_of_published_rows() -> None:
    """The text of before there were hops, gates and steering; where they are set they are part of it."""
    asked = LoopedSpec(LoopedConfig(4), InductionTask(4, "repeat"), (LoopedMember(0),), 1)
    assert asked.canonical() == (
        '{"batch_size": 32, "clip": null, "config": {"causal": true, "d_ff": null, "d_model": 8, "damping": '
        '0.5, "hint": false, "n_blocks": 1, "n_heads": 1, "n_loops": 25, "norm": "post", "position_scale": '
        '0.15, "pull": 0.5, "residual": true, "slope": 0.1, "step_size": 1.0, "temperature": 1.0, "update": '
        '"plain", "vocabulary": 4}, "dtype": "float32", "lengths": [16, 24, 32, 48, 64], "members": '
        '[{"optimizer": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-08, "final_lr": 1.0, "lr": 0.001, '
        '"momentum": 0.0, "name": "adamw", "weight_decay": 0.0}, "seed": 0}], "regularizer": null, '
        '"snapshots": [], "steps": 1, "task": {"immediate": true, "kind": "repeat", "occurrence": "latest", '
        '"scored": "last", "solvable": true, "vocabulary": 4}, "warm_up": 0.25}'
    )
    several = replace(asked, task=replace(asked.task, hops=2)).canonical()
    assert json.loads(several)["task"] == json.loads(asked.canonical())["task"] | {"hops": 2}
    gated = replace(asked, config=replace(asked.config, gate="sharp")).canonical()
    assert json.loads(gated)["config"] == json.loads(asked.canonical())["config"] | {"gate": "sharp"}
    steered = json.loads(replace(asked, steering=Steering("factor", 1.0, 2.0)).canonical())
    assert steered["steering"] == {"what": "factor", "begin": 1.0, "end": 2.0, "gain": 0.1, "until": 0.75}


def test_work_grows_with_what_there_is_to_do() -> None:
    asked = spec()
    assert replace(asked, steps=10).work() == pytest.approx(2 * asked.work())
    assert replace(asked, config=replace(SMALL, n_loops=6)).work() == pytest.approx(2 * asked.work())
    assert replace(asked, lengths=(24,)).work() > 2 * replace(asked, lengths=(12,)).work()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "needs members, lengths, a sequence and a step"),
        ({"members": ()}, "needs members, lengths, a sequence and a step"),
        ({"snapshots": (6,)}, r"after 0 … 5 steps, got \(6,\)"),
        ({"snapshots": (-1,)}, r"after 0 … 5 steps, got \(-1,\)"),
        ({"lengths": (1, 6)}, "needs a length of at least 2, got 1"),
        ({"lengths": ()}, "needs members, lengths, a sequence and a step"),
        ({"warm_up": 1.5}, "a warm-up of 0 … 1 and a clip above 0, got 1.5"),
        ({"clip": 0.0}, "a warm-up of 0 … 1 and a clip above 0"),
        ({"batch_size": 0}, "needs members, lengths, a sequence and a step"),
    ],
)
def test_bad_specifications(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_looped(spec(**fields))


def test_learns_something_easy() -> None:
    """With the hint, a head can look for what the token at hand was followed by: almost all answers become right."""
    config, task = LoopedConfig(4, d_model=16, n_loops=2, hint=True), InductionTask(4, "repeat", scored="all")
    members = tuple(LoopedMember(seed, OptimizerConfig("adamw", lr=1e-2)) for seed in range(3))
    run = train_looped(spec(config=config, task=task, members=members, steps=400, batch_size=16))
    assert (run.losses[:10].mean(0) > 0.9).all()
    assert (run.losses[-20:].mean(0) < 0.4).all()
    assert (run.accuracy[-20:].mean(0) > 0.85).all()


@pytest.mark.parametrize("n_heads", [1, 2])
def test_sharpened_multiplies_every_logit(n_heads: int) -> None:
    """As many times as the logits, and nothing else: softmax of c times the logarithm of the rows."""
    config = LoopedConfig(5, n_loops=1, hint=True, n_heads=n_heads)
    population, tokens = LoopedPopulation(config, [0, 1], dtype=torch.float64), torch.arange(5).repeat(2, 1, 1)
    before, after = LoopTrace(), LoopTrace()
    population.logits(population.parameters, tokens, before)
    sharp = sharpened(config, population.parameters, 3.0)
    population.logits(sharp, tokens, after)
    if n_heads == 1:
        torch.testing.assert_close(after.rows[0], (3 * before.rows[0].log()).softmax(-1))
    assert (sharp != population.parameters).sum() == 2 * config.d_model**2
    torch.testing.assert_close(sharpened(config, sharp, 1 / 3), population.parameters)


@pytest.mark.parametrize("most", [0.01, 1e6])
def test_gradients_are_clipped_as_torch_does_it(most: float) -> None:
    members = tuple(LoopedMember(seed, OptimizerConfig("sgd", lr=1.0)) for seed in range(2))
    asked = spec(steps=1, members=members, dtype="float64", snapshots=(0,))
    free, held = train_looped(asked), train_looped(replace(asked, clip=most))
    for m in range(2):
        step = free.parameters[0, m] - free.parameters[1, m]
        p = torch.nn.Parameter(torch.zeros_like(step))
        p.grad = step.clone()
        torch.nn.utils.clip_grad_norm_([p], most)
        torch.testing.assert_close(held.parameters[0, m] - held.parameters[1, m], p.grad, rtol=1e-9, atol=1e-12)
        assert (float(step.norm()) > most) == (most < 1)
