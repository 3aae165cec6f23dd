"""The terms of the regularised loss against loops over their definition, their slopes at corners, their schedule."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedMember, LoopedPopulation, LoopedSpec, stack, train_looped
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.regularizers import PAPER, Regularizer, Row, Terms

ROWS: tuple[Row, ...] = ("last", "each", "mean")
TASK = InductionTask(5, "repeat", scored="all")


def trace_of(config: LoopedConfig, batch: int = 3, length: int = 7, seed: int = 0) -> LoopTrace:
    """A pass of a random model in double precision, with all of its attention."""
    trace, model = LoopTrace(), config.build(generator(seed, "init")).double()
    with torch.no_grad():
        model(sample(TASK, batch, length, generator(seed, "batches")).tokens, trace)
    return trace


def s_q(p: list[float], q: float) -> float:
    """As the paper writes it; Shannon's at q = 1."""
    if q == 1:
        return -sum(x * math.log(x) for x in p if x > 0)
    return (1 - sum(x**q for x in p)) / (q - 1)


def by_loops(asked: Regularizer, trace: LoopTrace) -> tuple[float, float, float]:
    """The three terms number by number, averaged over sequences."""
    loops, batch = len(trace.rows), len(trace.states[0])
    terms = [0.0, 0.0, 0.0]
    for b in range(batch):
        moved = sum(
            float(x - y) ** 2
            for before, after in zip(trace.states[:-1], trace.states[1:], strict=True)
            for x, y in zip(after[b].flatten(), before[b].flatten(), strict=True)
        )
        potentials, entropies = [], []
        for rows in trace.rows:
            whole = rows[b].tolist()
            n = len(whole)
            if asked.row == "last":
                p_t = [whole[-1]]
            elif asked.row == "each":
                p_t = whole
            else:
                p_t = [[sum(row[j] for row in whole) / n for j in range(n)]]
            potentials.append(sum(min(-math.log(x) for x in p if x > 0) for p in p_t) / len(p_t))
            entropies.append(sum(s_q(p, asked.q) for p in p_t) / len(p_t))
        terms[0] += moved / (2 * loops) / batch
        terms[1] += sum(potentials) / loops / batch
        terms[2] += abs(sum(entropies) / loops - asked.target) / batch
    return terms[0], terms[1], terms[2]


@pytest.mark.parametrize("row", ROWS)
@given(
    q=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
    target=st.floats(0, 2),
    loops=st.integers(1, 4),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_terms_are_their_definition(row: Row, q: float, target: float, loops: int, causal: bool, seed: int) -> None:
    trace = trace_of(LoopedConfig(5, n_loops=loops, causal=causal, norm="pre"), seed=seed)
    asked = Regularizer(0.3, -0.7, 2.0, q=q, target=target, row=row)
    terms = asked.terms(trace.states, trace.rows)
    true = by_loops(asked, trace)
    assert [float(x) for x in terms] == pytest.approx(true, rel=1e-12, abs=1e-12)
    assert float(asked.weigh(terms)) == pytest.approx(0.3 * true[0] - 0.7 * true[1] + 2.0 * true[2], rel=1e-12)


def test_models_are_stacked() -> None:
    """(T, M, B, …) is each model alone."""
    traces = [trace_of(LoopedConfig(5, n_loops=3), seed=seed) for seed in range(2)]
    states, rows = (
        [torch.stack(x) for x in zip(*parts, strict=True)]
        for parts in ([t.states for t in traces], [t.rows for t in traces])
    )
    together = PAPER.terms(states, rows)
    for m, trace in enumerate(traces):
        for ours, alone in zip(together, PAPER.terms(trace.states, trace.rows), strict=True):
            torch.testing.assert_close(ours[m], alone, rtol=1e-13, atol=0)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("target", [0.0, 0.3])
def test_slopes_are_those_of_finite_differences(row: Row, target: float) -> None:
    """Away from kinks: no two largest weights, no entropy at its target."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, generator=random, dtype=torch.float64).requires_grad_()
    states = torch.randn(3, 3, 4, 2, generator=random, dtype=torch.float64).requires_grad_()
    asked = Regularizer(0.5, 0.7, 0.9, target=target, row=row)

    def loss(states: Tensor, logits: Tensor) -> Tensor:
        return asked.weigh(asked.terms(list(states), list(logits.softmax(-1))))

    assert torch.autograd.gradcheck(loss, (states, logits))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("q", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_slopes_are_finite_at_uniform_and_at_one_hot_rows(row: Row, q: float, dtype: torch.dtype, scale: float) -> None:
    logits = (scale * torch.eye(5, dtype=dtype)[None, None]).repeat(2, 1, 1, 1).requires_grad_()
    rows = logits.softmax(-1)
    if scale:
        assert torch.equal(rows.detach()[0, 0], torch.eye(5, dtype=dtype))
    terms = Regularizer(q=q, row=row).terms([torch.zeros(1, 5, 2, dtype=dtype)] * 3, list(rows))
    assert all(term.isfinite() for term in terms)
    (grad,) = torch.autograd.grad(terms.potential + terms.entropy, logits)
    assert grad.isfinite().all()


def test_values_at_the_corners() -> None:
    uniform, certain = torch.full((1, 1, 8, 8), 1 / 8).double(), torch.eye(8)[None, None].double()
    still = [torch.ones(1, 8, 2)] * 2
    for row in ROWS[:2]:
        assert float(Regularizer(row=row).terms(still, uniform).potential) == pytest.approx(math.log(8))
        assert float(Regularizer(row=row).terms(still, uniform).entropy) == pytest.approx(2 * (1 - 8**-0.5))
        assert Regularizer(row=row).terms(still, certain) == Terms(*torch.zeros(3))
    # each token looks at another one: all rows are certain, but their mean is not
    assert float(Regularizer(row="mean").terms(still, certain).potential) == pytest.approx(math.log(8))


def test_the_schedule() -> None:
    assert [PAPER.strength(x) for x in (0.0, 0.5, 0.999)] == [1.0] * 3
    assert Regularizer().strength(0.5) == 0.0
    late = Regularizer(entropy=-1.0, start=0.5, ramp=0.2)
    assert [late.strength(x) for x in (0.0, 0.49, 0.5, 0.6, 0.7, 0.9)] == pytest.approx([0, 0, 0, 0.5, 1, 1])
    off = replace(PAPER, stop=0.5)
    assert [off.strength(x) for x in (0.0, 0.49, 0.5, 0.9)] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"row": "first"}, "unknown row 'first'; choose from last, each, mean"),
        ({"q": 0.0}, "an order above 0"),
        ({"kinetic": math.nan}, "finite numbers"),
        ({"target": -1.0}, "a target of 0 or more"),
        ({"start": 0.7, "stop": 0.5}, "0 ≤ start ≤ stop ≤ 1"),
        ({"ramp": -0.1}, "a ramp of 0 or more"),
    ],
)
def test_bad_regularizers(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Regularizer(**fields)


# ---- in training -----------------------------------------------------------------------------------------------------


def spec(**fields: Any) -> LoopedSpec:
    members = tuple(LoopedMember(seed, OptimizerConfig("sgd", lr=1e-2)) for seed in range(2))
    asked: dict[str, Any] = {
        "config": LoopedConfig(5, n_loops=3, norm="pre"), "task": TASK, "members": members, "steps": 6,
        "batch_size": 4, "lengths": (6, 9), "dtype": "float64",
    } | fields  # fmt: skip
    return LoopedSpec(snapshots=tuple(range(asked["steps"])), **asked)


@pytest.mark.parametrize("row", ROWS)
def test_training_descends_the_sum(row: Row) -> None:
    """The first step of SGD is −lr times the gradient of cross-entropy plus terms; and what is logged are the terms."""
    asked = Regularizer(0.05, 0.3, 0.2, row=row)
    with_it, without = train_looped(spec(regularizer=asked, steps=1)), train_looped(spec(steps=1))
    theta = with_it.parameters[0].requires_grad_()
    # what the regularizer adds, by finite differences along the difference of the two steps
    added = (without.parameters[1] - with_it.parameters[1]) / 1e-2
    population = LoopedPopulation(spec().config, [0, 1], dtype=torch.float64)
    batch = stack([sample(TASK, 4, 6, generator(seed, "batches")) for seed in range(2)])

    def penalty(parameters: Tensor) -> Tensor:
        trace = LoopTrace()
        population.logits(parameters, batch.tokens, trace)
        return asked.weigh(asked.terms(trace.states, trace.rows))

    (gradient,) = torch.autograd.grad(penalty(theta).sum(), theta)
    torch.testing.assert_close(added, gradient, rtol=1e-8, atol=1e-10)
    assert [x.shape for x in with_it.terms.values()] == [(1, 2)] * 3
    assert float(asked.weigh(Terms(*with_it.terms.values()))[0, 0]) == pytest.approx(
        float(penalty(theta)[0].detach()), rel=1e-10
    )
    assert without.terms == {}


def test_without_coefficients_terms_are_logged_and_nothing_changes() -> None:
    logged, bare = train_looped(spec(regularizer=Regularizer())), train_looped(spec())
    assert torch.equal(logged.parameters, bare.parameters)
    assert torch.equal(logged.losses, bare.losses)
    assert list(logged.terms) == list(Terms._fields)
    assert all(x.shape == (6, 2) and (x > 0).all() for x in logged.terms.values())


def test_switched_on_late_is_without_before_and_off_late_is_with() -> None:
    bare, full = train_looped(spec()), train_looped(spec(regularizer=PAPER))
    late = train_looped(spec(regularizer=replace(PAPER, start=0.5)))
    off = train_looped(spec(regularizer=replace(PAPER, stop=0.5)))
    assert torch.equal(late.parameters[:4], bare.parameters[:4])
    assert torch.equal(off.parameters[:4], full.parameters[:4])
    assert not torch.equal(late.parameters[4], bare.parameters[4])
    assert not torch.equal(off.parameters[4], full.parameters[4])
