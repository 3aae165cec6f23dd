"""The maps of a looped model are the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from entropylens.measures.contraction import Head
from entropylens.measures.induction import accuracy
from entropylens.measures.loops import branch_of, first_gradients, head_of
from entropylens.measures.operators import operator_norm
from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, rebuild


@pytest.mark.parametrize("norm", ["none", "pre", "post"])
def test_the_branch_iterated_is_the_model(norm: str) -> None:
    model = LoopedConfig(5, n_loops=3, norm=norm, n_blocks=2).build(torch.Generator().manual_seed(0)).double()  # type: ignore[arg-type]
    tokens, trace = torch.tensor([[0, 1, 2, 1, 0, 3]]), LoopTrace()
    model(tokens, trace)
    x = model.embed(tokens)[0]
    for loop in range(3):
        z = trace.states[loop][0]
        assert torch.allclose(z + branch_of(model, x, loop)(z), trace.states[loop + 1][0], atol=1e-12)


def test_the_head_has_the_attention_rows_of_the_trace_and_a_derivative() -> None:
    model = LoopedConfig(5, n_loops=2, norm="none", d_ff=0).build(torch.Generator().manual_seed(1)).double()
    tokens, trace = torch.tensor([[0, 1, 2, 1, 0, 3]]), LoopTrace()
    model(tokens, trace)
    x, head = model.embed(tokens)[0].detach(), head_of(model)
    assert isinstance(head, Head)
    assert torch.allclose(head.rows(x), trace.rows[0][0], atol=1e-12)
    assert operator_norm(head, x) == pytest.approx(operator_norm(branch_of(model, torch.zeros_like(x)), x), rel=1e-8)


def test_accuracy_is_that_of_each_model_alone() -> None:
    task, population = InductionTask(4, "repeat", scored="all"), LoopedPopulation(LoopedConfig(4, n_loops=2), [0, 1])
    found = accuracy(population, population.parameters, task, 9, 50)
    for member in range(2):
        model = rebuild(population.config, population.parameters[member])
        batch = sample(task, 50, 9, generator(9, "evaluation"))
        with torch.no_grad():
            alone = (model(batch.tokens)[:, -1].argmax(-1) == batch.answers[:, -1]).float().mean()
        assert float(found[member]) == pytest.approx(float(alone))


@pytest.mark.parametrize("scored", ["last", "all"])
def test_accuracy_is_that_of_last_tokens_with_an_answer(scored: Any) -> None:
    task = InductionTask(4, "repeat", scored=scored, immediate=False, hops=3)
    population = LoopedPopulation(LoopedConfig(4, n_loops=2), [0, 1])
    found = accuracy(population, population.parameters, task, 9, 50)
    batch = sample(task, 50, 9, generator(9, "evaluation"))
    asked = [row for row in range(50) if batch.answers[row, -1] >= 0]
    assert 0 < len(asked) < 50
    for member in range(2):
        model = rebuild(population.config, population.parameters[member])
        with torch.no_grad():
            alone = (model(batch.tokens[asked])[:, -1].argmax(-1) == batch.answers[asked, -1]).float().mean()
        assert float(found[member]) == pytest.approx(float(alone))


def test_accuracy_where_nothing_is_asked_is_none() -> None:
    """At 6 tokens 4 hops need two tokens in turns throughout: one sequence has not."""
    task, population = InductionTask(50, "repeat", immediate=False, hops=4), LoopedPopulation(LoopedConfig(50), [0, 1])
    assert accuracy(population, population.parameters, task, 6, 1).isnan().all()


def test_gradients_explode_with_the_loops_if_the_norm_is_after_the_block() -> None:
    task = InductionTask(16, "repeat", scored="all")
    few, many, before = (
        first_gradients(LoopedConfig(16, n_loops=loops, norm=norm, hint=True), task, range(6))  # type: ignore[arg-type]
        for loops, norm in ((1, "post"), (25, "post"), (25, "pre"))
    )
    assert float(many[0].median()) > 20 * float(few[0].median())
    assert float(before[0].median()) < 20 * float(few[0].median())
    assert float(few[1].max()) < 1e-5
    assert float(many[1].median()) > 100 * float(few[1].median())
