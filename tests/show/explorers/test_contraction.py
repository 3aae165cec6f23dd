"""Chapter 10's explorer: that it takes its numbers from the measures, and that its cases are what their buttons say."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.contraction import RADIUS, Head, Instance, extremal, leaving, norm_of, printed
from entropylens.measures.operators import derivative
from entropylens.show.explorers.contraction import (
    CASES,
    COLD,
    COUNTS,
    ENDS,
    FIRST,
    HOT,
    LOOPS,
    MAPS,
    ORDERS,
    PLACES,
    VALUES,
    apart,
    contraction_explorer,
    controls_of,
    instance,
    measured,
    promised,
)

BOUNDS = ("printed", "frobenius", "corrected", "ours")
NUMBERS = st.floats(-2, 2)
CHOSEN = st.fixed_dictionaries(
    {
        "tokens": st.sampled_from(COUNTS), "places": st.lists(st.tuples(NUMBERS, NUMBERS), min_size=6, max_size=6),
        "temperature": st.floats(COLD, HOT), "turn": st.floats(-180, 180), "map": st.sampled_from(sorted(MAPS)),
        "values": st.sampled_from(sorted(VALUES)), "size": st.floats(-1, 1), "q": st.sampled_from(ORDERS),
    }
)  # fmt: skip


def within_hypotheses(chosen: dict[str, Any]) -> bool:
    at = instance(chosen)
    return float(at.y.norm()) <= RADIUS * (1 + 1e-9) and float(at.head.w_v.norm()) <= 0.5 * (1 + 1e-9)


def most_stretched(at: Instance) -> Tensor:
    direction: Tensor = torch.linalg.svd(derivative(at.head, at.y).matrix()).Vh[0]
    return direction.reshape(at.y.shape)


@given(CHOSEN)
def test_what_is_proved_holds_wherever_the_controls_are(chosen: dict[str, Any]) -> None:
    found = measured(chosen)
    exact = found["exact"][2]
    assert max(found["exact"][:2]) * (1 - 1e-9) <= found["corrected"][2] + 1e-12
    for bound in ("corrected", "ours"):
        assert exact <= found[bound][2] * (1 + 1e-9) + 1e-12
    assert found["ours"][2] <= found["corrected"][2] * (1 + 1e-9) + 1e-12
    if within_hypotheses(chosen):
        assert exact <= found["frobenius"][2] * (1 + 1e-9) + 1e-12, "that would be news"
        assert found["printed"][2] <= promised(chosen) * (1 + 1e-9)


@pytest.mark.parametrize("name", MAPS)
def test_a_query_is_turned_and_then_mirrored_or_kept_in_one_direction(name: str) -> None:
    head = instance({**FIRST, "map": name, "turn": 30.0, "temperature": 0.5}).head
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64) @ head.m
    assert query.tolist()[0] == pytest.approx([2 * math.cos(math.pi / 6), MAPS[name]])
    spectral = [float(torch.linalg.matrix_norm(w, ord=2)) for w in (head.w_q, head.w_k)]
    assert spectral == pytest.approx([1, 1])
    nuclear = float(torch.linalg.svdvals(head.w_q @ head.w_k.mT).sum())
    assert float(head.w_q.norm() * head.w_k.norm()) == pytest.approx(nuclear), "no factors have smaller ones"


@pytest.mark.parametrize("m", [0.5, 4.0, 64.0])
def test_the_chapter_s_instance_is_reached_by_the_controls(m: float) -> None:
    at, chosen = extremal(m), controls_of(extremal(m))
    made = instance(chosen)
    assert torch.allclose(made.y, at.y)
    assert torch.allclose(made.head.m, at.head.m)
    assert torch.allclose(made.head.w_v, at.head.w_v)
    found = measured({**chosen, "q": 2.0})
    assert found["exact"][2] == pytest.approx(float(norm_of(at.head, at.y)))
    for name, norm in (("printed", "spectral"), ("frobenius", "frobenius")):
        assert found[name][2] == pytest.approx(float(printed(at.head, at.y, 2.0, norm).total))  # type: ignore[arg-type]


def test_what_the_controls_cannot_say_is_refused() -> None:
    one = torch.eye(2, dtype=torch.float64)
    half = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
    for w_k, w_v in ((torch.diag(one.new_tensor([1.0, 0.5])), one / 2), (one, one.flip(0) / 2)):
        with pytest.raises(ValueError, match="no setting of the controls"):
            controls_of(Instance(half, half, Head(one, w_k, w_v)))


def test_as_it_starts_every_bound_holds() -> None:
    found = measured(CASES["as it starts"])
    assert within_hypotheses(FIRST)
    assert all(found["exact"][2] < found[bound][2] for bound in BOUNDS)


def test_the_counterexample_is_one_and_only_to_the_spectral_reading() -> None:
    case = CASES["the chapter's counterexample"]
    found = measured(case)
    assert within_hypotheses(case)
    assert found["exact"][2] > 1.7 * found["printed"][2]
    assert all(found["exact"][2] <= found[bound][2] for bound in BOUNDS[1:])


def test_its_norm_falls_with_the_temperature_though_its_entropy_does_not_move() -> None:
    case = CASES["the chapter's counterexample"]
    hotter = [{**case, "temperature": 2.0**k} for k in range(-6, 2)]
    rows = torch.stack([(at := instance(each)).head.rows(at.y) for each in hotter])
    assert torch.allclose(rows, torch.full_like(rows, 0.5))
    norms = [measured(each)["exact"][2] for each in hotter]
    assert all(b == pytest.approx(a / 2) for a, b in pairwise(norms))
    holds = {t: (f := measured({**case, "temperature": t}))["exact"][2] <= f["printed"][2] for t in (1.99, 2.01)}
    assert holds == {1.99: False, 2.01: True}


def test_it_is_said_to_contract_and_stretches() -> None:
    case = CASES["said to contract"]
    at = instance(case)
    assert within_hypotheses(case)
    assert promised(case) < 1 < measured(case)["exact"][2]
    assert float(apart(at, most_stretched(at), residual=False)[1]) > 1.5


def test_the_ball_is_left() -> None:
    case = CASES["sent out of the ball"]
    at = instance(case)
    assert within_hypotheses(case)
    assert float(at.head(at.y).norm()) == pytest.approx(float(leaving().head(leaving().y).norm()))
    assert float(at.head(at.y).norm()) > 1


def test_flat_rows_let_the_residual_loop_run_away_and_sharp_ones_calm_it_at_first() -> None:
    flat, sharp = (instance(CASES[f"{rows} rows, residual loop"]) for rows in ("flat", "sharp"))
    ways = {residual: apart(flat, most_stretched(flat), residual=residual) for residual in (False, True)}
    assert float(ways[False][-1]) < 1e-6
    assert float(ways[True][-1]) > 100
    assert promised(CASES["flat rows, residual loop"]) < 1
    assert float(apart(sharp, most_stretched(sharp), residual=True)[1]) == pytest.approx(0.5)


def test_a_way_is_made_of_steps() -> None:
    at = instance(FIRST)
    start = [at.z, at.z + 1e-3 * most_stretched(at)]
    way = apart(at, most_stretched(at), residual=True)
    after = [z + at.head(at.x + z) for z in start]
    assert way.shape == (LOOPS + 1,)
    assert float(way[0]) == pytest.approx(1)
    assert float(way[1]) == pytest.approx(float((after[1] - after[0]).norm()) / 1e-3)


def test_it_carries_what_the_page_computes_with() -> None:
    explorer = contraction_explorer()
    assert explorer.selected == FIRST
    assert (list(dict(explorer.maps)), dict(explorer.maps)) == (list(MAPS), MAPS)  # type: ignore[arg-type]
    assert (dict(explorer.values), explorer.radius) == (VALUES, RADIUS)  # type: ignore[arg-type]
    assert {name: tuple(end) for name, *end in explorer.ends} == ENDS
    assert dict(explorer.cases) == CASES
    for case in CASES.values():
        assert contraction_explorer(**case).selected == case


def test_python_may_choose_and_nonsense_is_refused() -> None:
    explorer = contraction_explorer(tokens=2, q=1.5)
    explorer.selected = {"turn": -90}
    assert explorer.selected == {**FIRST, "tokens": 2, "q": 1.5, "turn": -90}
    wrong: list[dict[str, Any]] = [
        {"tokens": 3}, {"token": 7}, {"token": True}, {"map": "bends"}, {"values": "none"}, {"q": 4.0},
        {"temperature": 0.0}, {"temperature": math.nan}, {"turn": 181}, {"size": "1"}, {"places": PLACES[:2]},
        {"places": [[0.0, 3.0]] * 6},        {"places": [[0.0, 0.0, 0.0]] * 6}, {"loop": 1},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(values))} = .*; (choose from|needs) "):
            explorer.selected = values
    with pytest.raises(traitlets.TraitError, match=r"no size = 2; choose from -1 to 1"):
        contraction_explorer(size=2)


def test_without_javascript_the_numbers_are_told() -> None:
    told = repr(contraction_explorer(**CASES["the chapter's counterexample"]))
    assert told.startswith("Explorer (needs JavaScript): 2 tokens, temperature 0.25, ")
    assert f"rows' entropy {math.log(2):.3f} nats; exact norm 8.000, bounds: printed 4.500, frobenius 8.500" in told
