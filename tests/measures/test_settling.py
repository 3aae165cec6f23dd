"""A path of loops: its summary against made-up states, and halting against its definition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from entropylens.measures.settling import TOLERANCE, Path, follow, halted, settling, summary
from entropylens.models.entropies import normalised_tsallis
from entropylens.models.loop_kernel import ORDER
from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.tasks.induction import InductionTask, sample


def made(states: Tensor, right: Tensor | None = None) -> Path:
    loops, batch = len(states) - 1, states.shape[1]
    ones = torch.ones(loops, batch)
    answers = torch.full((loops, batch, 2), 0.5)
    return Path(states, ones.bool() if right is None else right, answers, ones, ones, ones, ones[0])


def geometric(rate: float, loops: int) -> Tensor:
    """Two sequences of one token that close in on 1, (T + 1, 2, 1, 1), float64."""
    return (1 - rate ** torch.arange(loops + 1).double())[:, None, None, None].expand(-1, 2, -1, -1)


def test_a_path_that_closes_in_has_its_rate_and_comes_to_rest() -> None:
    told = summary(made(geometric(0.5, 40)), trained=8)
    assert told["decay"] == pytest.approx(math.log(2))
    assert told["at_rest"] == 1
    assert told["cycles"] == 0
    first = next(t for t in range(1, 40) if 0.5**t / (1 - 0.5**t) <= TOLERANCE)
    assert told["loops_to_rest"] == first
    assert told["growth"] == pytest.approx(-math.log(1 - 0.5**8), abs=1e-9)


def test_a_path_that_walks_on_does_not_come_to_rest() -> None:
    walk = torch.arange(41).double()[:, None, None, None].expand(-1, 3, -1, -1)
    told = summary(made(walk), trained=10)
    assert told["decay"] == pytest.approx(0, abs=1e-12)
    assert told["at_rest"] == told["cycles"] == 0
    assert told["loops_to_rest"] == 41
    assert told["growth"] == pytest.approx(math.log(4))


@pytest.mark.parametrize("period", [2, 3, 7])
def test_a_cycle_is_seen(period: int) -> None:
    angle = 2 * math.pi * torch.arange(50).double() / period
    circle = torch.stack([angle.cos(), angle.sin()], -1)[:, None, None, :]
    told = summary(made(circle), trained=10)
    assert told["cycles"] == 1
    assert told["at_rest"] == 0


def test_rest_is_what_lasts() -> None:
    """A loop that stands still, and moves again afterwards, is no rest."""
    states = torch.tensor([0.0, 1, 1, 2, 2, 2])[:, None, None, None]
    assert summary(made(states), trained=2)["loops_to_rest"] == 4


def test_accuracies_are_those_after_so_many_loops() -> None:
    right = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 0]]).bool()
    told = summary(made(geometric(0.5, 4), right), trained=2)
    assert [told[f"accuracy{x}"] for x in ("", "_late", "_best")] == [0.5, 0.0, 1.0]
    with pytest.raises(ValueError, match="trained loops"):
        summary(made(geometric(0.5, 4)), trained=5)


def test_sizes_and_pushes_are_those_after_the_trained_loops_and_after_all() -> None:
    states = torch.tensor([0.0, 3, 6, 8])[:, None, None, None].expand(-1, 2, -1, -1)
    pushes = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    told = summary(replace(made(states), pushes=pushes, given=torch.tensor([2.0, 6.0])), trained=2)
    assert told["share"] == (6 / 2 + 6 / 6) / 2
    assert told["push"] == 3.5
    assert told["push_late"] == 5.5
    assert told["growth"] == pytest.approx(math.log(8 / 6))


def test_steps_shrink_otherwise_in_the_trained_loops_and_late() -> None:
    lengths = torch.cat([torch.tensor([1.0]), torch.tensor([0.9] * 7 + [0.8] * 16)]).double().cumprod(0)
    states = torch.cat([torch.zeros(1).double(), lengths.cumsum(0)])[:, None, None, None]
    told = summary(made(states), trained=8)
    assert told["decay"] == pytest.approx(-math.log(0.9))
    assert told["late_decay"] == pytest.approx(-math.log(0.8))


def test_halting_takes_the_first_loop_that_is_sure_enough() -> None:
    openness = torch.tensor([[0.9, 0.9, 0.2], [0.4, 0.8, 0.9], [0.1, 0.9, 0.9]])
    right = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).bool()
    path = replace(made(torch.zeros(4, 3, 1, 1), right), open=openness)
    loops, correct = halted(path, 0.5, 3)
    assert loops.tolist() == [2, 3, 1]
    assert correct.tolist() == [True, True, True]
    assert halted(path, 0.0, 3)[0].tolist() == [3, 3, 3], "threshold 0 never halts"
    assert halted(path, 0.5, 2)[0].tolist() == [2, 2, 1]
    assert halted(path, 0.0, 3)[1].tolist() == right[-1].tolist()


def test_an_answer_has_settled_once_it_stays_close_to_its_end() -> None:
    away = torch.tensor([[0.5, 0.009, 0.02, 0.0], [0.0] * 4, [0.5, 0.5, 0.5, 0.0], [math.nan] * 4]).T
    assert settling(away).tolist() == [4, 1, 4, 4]
    share = 0.5 + away[:, :2]
    told = summary(replace(made(geometric(0.5, 4)), answers=torch.stack([share, 1 - share], -1)), trained=2)
    assert told["loops_to_answer"] == 2.5
    assert told["wander"] == pytest.approx((0.009 + 0.0) / 2)


def test_a_path_with_numbers_that_are_none_has_diverged() -> None:
    states = geometric(0.5, 4).clone()
    assert summary(made(states), trained=2)["diverged"] == 0
    states[3] = math.nan
    told = summary(replace(made(states), answers=torch.full((4, 2, 2), math.nan)), trained=2)
    assert told["diverged"] == told["wander"] == 1
    assert told["loops_to_answer"] == 4


@pytest.mark.parametrize("update", ["plain", "gated"])
def test_a_path_is_what_the_model_says_after_so_many_loops(update: str) -> None:
    config = LoopedConfig(6, n_loops=3, update=update, gate="sharp")  # type: ignore[arg-type]
    model, task = config.build(torch.Generator().manual_seed(0)), InductionTask(6, "repeat")
    batch = sample(task, 5, 9, torch.Generator().manual_seed(1))
    path = follow(model, batch, 7)
    assert path.states.shape == (8, 5, 9, 8)
    for loops in (1, 4, 7):
        logits = model(batch.tokens, n_loops=loops)[:, -1]
        assert path.right[loops - 1].tolist() == (logits.argmax(-1) == batch.answers[:, -1]).tolist()
    trace = LoopTrace()
    model(batch.tokens, trace, n_loops=7)
    rows = torch.stack(trace.rows)[..., -1, :]
    torch.testing.assert_close(path.open, normalised_tsallis(rows, ORDER), rtol=1e-4, atol=1e-5)
    assert path.open.amax() > 0.1
    assert (path.gates == 1).all() == (update == "plain")
    x = model.embed(batch.tokens)
    torch.testing.assert_close(path.given, x.norm(dim=(-2, -1)))
    block = model.blocks[0](path.states[4] + x)
    taken = trace.gates[4][..., None] if trace.gates else torch.ones(1)
    torch.testing.assert_close(path.pushes[4], (block * (taken > 0)).norm(dim=(-2, -1)), rtol=1e-3, atol=1e-4)
    ends = model.read(path.states[1:, :, -1:])[..., 0, :].softmax(-1)
    torch.testing.assert_close(path.away[2], (ends[2] - ends[-1]).abs().sum(-1) / 2)
    assert summary(path, 3)["wander"] == pytest.approx((ends[5] - ends[2]).abs().sum(-1).mean().item() / 2, rel=1e-5)
    with pytest.raises(ValueError, match="a loop or more"):
        follow(model, batch, 0)
