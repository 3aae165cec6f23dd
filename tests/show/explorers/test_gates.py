"""Chapter 12's explorer: its toy in Python, and that its cases are what their buttons say."""

from __future__ import annotations

import math

import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st

from entropylens.measures.settling import TOLERANCE
from entropylens.models.entropies import largest_tsallis
from entropylens.models.loop_kernel import ORDER
from entropylens.show.explorers.gates import (
    CASES,
    ENDS,
    FIRST,
    LOOPS,
    NAMES,
    PLACES,
    Journey,
    attention,
    control,
    ending,
    gate_explorer,
    gates_of,
    loops_to_rest,
    travel,
)

STATES, SHARP = st.floats(-2, 2), st.floats(0, 20)


def both(case: str) -> tuple[Journey, Journey, Journey]:
    """The case's own way, that of the constant of the same mean, and that of the plain step."""
    chosen = CASES[case]
    own = travel(**chosen)
    return own, travel(**{**chosen, "gate": "constant"}, c=control(own)), travel(**{**chosen, "gate": "open"})


@given(STATES, SHARP, st.floats(-6, 6), st.floats(-12, 12), st.floats(0.05, 1))
def test_gates_are_those_of_the_formulas(state: float, sharpness: float, a: float, b: float, c: float) -> None:
    raised = [math.exp(sharpness * state * place) for place in PLACES]
    p = [x / sum(raised) for x in raised]
    entropy = (1 - sum(x**1.5 for x in p)) / 0.5
    h = entropy / ((1 - 8**-0.5) / 0.5)
    wanted = {
        "open": 1.0, "sharp": 1 - h, "diffuse": h, "exponential": math.exp(-entropy), "constant": c,
        "learned": 1 / (1 + math.exp(-a - b * h)),
    }  # fmt: skip
    row = attention(torch.tensor(state, dtype=torch.float64), sharpness)
    assert row.tolist() == pytest.approx(p)
    assert sorted(wanted) == sorted(NAMES)
    for gate, value in wanted.items():
        assert float(gates_of(gate, row, a, b, c)) == pytest.approx(value, abs=1e-12)


def test_many_rows_are_each_alone() -> None:
    states = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(2, 3)
    rows = attention(states, 3.0)
    for gate in NAMES:
        many = gates_of(gate, rows, 1.0, -2.0, 0.3)
        assert many.shape == (2, 3)
        assert many.flatten().tolist() == [float(gates_of(gate, row, 1.0, -2.0, 0.3)) for row in rows.flatten(0, 1)]


@given(st.sampled_from(NAMES), SHARP, STATES, st.floats(0.5, 2))
def test_a_way_is_made_of_steps(gate: str, sharpness: float, start: float, gain: float) -> None:
    way = travel(gate, sharpness, start, gain)
    assert [len(each) for each in way] == [LOOPS + 1] * 5
    assert torch.allclose(way.states.diff(), (way.gates * way.pulls)[:-1], atol=1e-12)
    mean = (way.rows * torch.tensor(PLACES, dtype=torch.float64)).sum(-1)
    assert torch.allclose(way.pulls, gain * (mean - way.states), atol=1e-12)
    assert float(way.entropies.max()) <= float(largest_tsallis(len(PLACES), ORDER)) + 1e-12


def test_rest_is_told_after_the_last_loop_that_moves_it() -> None:
    way = travel("open", 8.0, 0.0, 1.0)
    moves = way.states.diff().abs()
    k = loops_to_rest(way)
    assert 0 < k < LOOPS
    assert float(moves[k - 1]) > TOLERANCE >= float(moves[k:].max())
    assert loops_to_rest(travel("open", 8.0, 0.2, 2.2)) == LOOPS
    assert loops_to_rest(travel("constant", 0.0, round(sum(PLACES) / len(PLACES), 6), 1.0, c=0.5)) == 0


@pytest.mark.parametrize("case", CASES)
def test_cases_are_reached_by_the_sliders(case: str) -> None:
    chosen = gate_explorer(**CASES[case]).selected
    for name, (low, high, steps) in ENDS.items():
        at = (chosen[name] - low) / (high - low) * steps
        assert at == pytest.approx(round(at), abs=1e-9)


def test_as_it_starts_the_gate_is_sooner_than_its_constant_and_both_are_later_than_the_plain_step() -> None:
    assert CASES["as it starts"].items() <= FIRST.items()
    own, same, plain = (loops_to_rest(way) for way in both("as it starts"))
    assert plain < own < same < LOOPS


def test_the_plain_step_swings_and_a_gate_brakes_it_as_its_constant_does() -> None:
    swings, brake = CASES["the plain step swings"], CASES["a gate brakes it"]
    assert {**brake, "gate": "open"} == swings
    own, same, plain = both("a gate brakes it")
    assert loops_to_rest(plain) == LOOPS
    assert float(plain.states.diff()[-1].abs()) > 0.05
    assert bool((plain.states.diff()[-4:].sign().diff().abs() == 2).all()), "to and fro"
    assert max(loops_to_rest(own), loops_to_rest(same)) < 10
    assert max(abs(float(way.pulls[-1])) for way in (own, same)) < 1e-6


def test_a_constant_does_better() -> None:
    own, same, _ = both("a constant does better")
    assert loops_to_rest(same) < loops_to_rest(own) < LOOPS
    assert float(own.states[-1]) == pytest.approx(float(same.states[-1]), abs=0.01)


def test_a_gate_that_shuts_stops_where_the_plain_step_would_go_on() -> None:
    at_once, _, plain = both("a gate shuts at once")
    assert float(at_once.states.diff().abs().max()) < 1e-12
    assert float(at_once.pulls[-1]) > 0.1
    assert float(plain.states[-1]) > 0.9
    way, same, plain = both("a gate shuts on the way")
    assert 1 < loops_to_rest(way) < LOOPS == loops_to_rest(same)
    assert float(way.pulls[-1]) > 0.1
    assert float(way.gates[-1]) < 0.01
    assert float(plain.states[-1]) > float(way.states[-1]) + 0.5


def test_it_carries_the_toy() -> None:
    explorer = gate_explorer()
    assert (tuple(explorer.places), explorer.order, explorer.loops) == (PLACES, ORDER, LOOPS)
    assert (explorer.tolerance, tuple(explorer.gates)) == (TOLERANCE, NAMES)
    assert {name: tuple(end) for name, *end in explorer.ends} == ENDS
    assert dict(explorer.cases) == CASES
    assert explorer.selected == FIRST
    assert abs(sum(PLACES)) > 0.5  # so that a token that looks at all places alike has somewhere to go


def test_python_may_choose_and_nonsense_is_refused() -> None:
    explorer = gate_explorer(gate="learned", a=1, loop=3)
    assert explorer.selected == {**FIRST, "gate": "learned", "a": 1, "loop": 3}
    explorer.selected = {"sharpness": 2.5}
    assert explorer.selected == {**FIRST, "gate": "learned", "a": 1, "loop": 3, "sharpness": 2.5}
    wrong: list[dict[str, object]] = [
        {"gate": "shut"}, {"gate": 1}, {"sharpness": -1}, {"start": math.nan}, {"gain": math.inf}, {"a": "1"},
        {"c": 0}, {"loop": True}, {"loop": 2.0}, {"loop": 41}, {"beta": 1},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(values))} = .*; choose from gate open or "):
            explorer.selected = values
    with pytest.raises(traitlets.TraitError, match="no gain = 4"):
        gate_explorer(gain=4)


def test_without_javascript_the_numbers_are_told() -> None:
    own, same, _ = both("as it starts")
    told = repr(gate_explorer())
    assert told == (
        f"Explorer (needs JavaScript): with the diffuse gate the state comes to rest after {loops_to_rest(own)} loops, "
        f"at z = +0.94; with the constant of the same mean, {control(own):.2f}, it {ending(same)}"
    )
    assert repr(gate_explorer(**CASES["the plain step swings"])) == (
        "Explorer (needs JavaScript): with the plain step the state does not come to rest in 40 loops"
    )
    told = repr(gate_explorer(**CASES["a gate shuts at once"]))
    assert "with the sharp gate the state stays at z = +0.00, and has not arrived: F = +0.14 there; " in told
    assert "with the gate by entropy the state comes to rest after " in repr(gate_explorer(gate="learned"))
    told = repr(gate_explorer(gate="constant", c=0.6))
    assert "with the constant 0.60 the state comes to rest after " in told
    assert "mean" not in told


def test_endings_tell_rest_from_having_stopped() -> None:
    assert ending(travel("constant", 0.0, round(sum(PLACES) / len(PLACES), 6), 1.0, c=0.5)).startswith(
        "is at rest from"
    )
    way = both("a gate shuts on the way")[0]
    assert ending(way).startswith(f"stops after {loops_to_rest(way)} loops, at z = -0.06, and has not arrived: F = +")
    jump = travel("open", 0.0, 1.0, 1.0)  # all in one loop
    assert ending(jump) == "comes to rest after 1 loop, at z = +0.14"
