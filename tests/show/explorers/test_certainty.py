"""Chapter 11's explorer: what its toy costs, and that Lam's terms ask for certainty, right or wrong."""

from __future__ import annotations

import math

import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.models.entropies import largest_tsallis
from entropylens.show.explorers.certainty import (
    ENDS,
    GUESS,
    MOST_TARGET,
    PLACES,
    RIGHT,
    SYMBOLS,
    WRONG,
    attention,
    certainty_explorer,
    costs,
)
from entropylens.training.regularizers import PAPER

LEADS, SHARP = st.floats(-3, 3), st.floats(0.05, 8)


def tensor(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def slopes(lead: float, sharpness: float, strength: float = 1.0, target: float = 0.0) -> tuple[float, float]:
    """In β: of cross-entropy, and of the loss with the terms."""
    beta = tensor(sharpness).requires_grad_()
    found = costs(tensor(lead), beta, strength, target)
    alone, both = (float(torch.autograd.grad(x, beta, retain_graph=True)[0]) for x in (found[0], found.loss))
    return alone, both


def turn(lead: float, sharpness: float) -> float:
    """The strength at which the loss with the terms is level in β."""
    alone, both = slopes(lead, sharpness)
    return alone / (alone - both)


@given(LEADS, SHARP, st.floats(0, 30), st.floats(0, MOST_TARGET))
def test_costs_are_those_of_the_formulas(lead: float, sharpness: float, strength: float, target: float) -> None:
    scores = [*WRONG[:RIGHT], lead, *WRONG[RIGHT:]]
    raised = [math.exp(sharpness * s) for s in scores]
    p = [x / sum(raised) for x in raised]
    cross_entropy = -math.log(0.95 * p[RIGHT] + 0.05 / 16)
    potential = min(-math.log(x) for x in p)
    entropy = abs((1 - sum(x**1.5 for x in p)) / 0.5 - target)
    wanted = (cross_entropy, potential, entropy, cross_entropy + strength * (0.1 * potential + 0.02 * entropy))
    found = costs(tensor(lead), tensor(sharpness), strength, target)
    assert [float(x) for x in found] == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    assert attention(tensor(lead), tensor(sharpness)).tolist() == pytest.approx(p)


@given(LEADS, SHARP, st.floats(0, MOST_TARGET))
def test_the_terms_ask_for_certainty_wherever_the_head_looks(lead: float, sharpness: float, target: float) -> None:
    """With the paper's coefficients not even a target of the entropy changes that."""
    beta = tensor(sharpness).requires_grad_()
    found = costs(tensor(lead), beta, target=target)
    (found.loss - found.cross_entropy).backward()
    assert beta.grad is not None
    assert beta.grad < 0


@given(st.floats(-3, -0.5), st.floats(0.05, 3))
def test_a_head_that_is_wrong_is_told_to_be_less_sharp_until_the_terms_are_strong(
    lead: float, sharpness: float
) -> None:
    strength = turn(lead, sharpness)
    assert min(slopes(lead, sharpness, 0.99 * strength)) > 0
    alone, both = slopes(lead, sharpness, 1.01 * strength)
    assert both < 0 < alone


def test_as_it_starts_the_paper_s_strength_does_not_turn_it_and_one_within_reach_does() -> None:
    start = certainty_explorer().selected
    assert min(slopes(start["lead"], start["sharpness"])) > 0
    assert start["strength"] < turn(start["lead"], start["sharpness"]) < ENDS["strength"][1]


def test_many_at_once_are_each_alone() -> None:
    lead, sharpness = torch.linspace(-3, 3, 5).double()[:, None], torch.linspace(0, 8, 4).double().expand(5, -1)
    many = costs(lead.expand(5, 4), sharpness, 2.0, 0.5)
    for i, j in ((0, 0), (2, 3), (4, 1)):
        one = costs(lead[i, 0], sharpness[i, j], 2.0, 0.5)
        assert [float(x[i, j]) for x in many] == pytest.approx([float(x) for x in one])


def test_it_carries_the_toy_and_the_paper_s_coefficients() -> None:
    explorer = certainty_explorer()
    assert len(set(WRONG)) == len(WRONG) == PLACES - 1
    assert max(WRONG) == 0  # from which the lead is counted
    assert (tuple(explorer.wrong), explorer.right) == (WRONG, RIGHT)
    assert (explorer.guess, explorer.symbols) == (GUESS, SYMBOLS)
    assert (explorer.coefficients, explorer.order) == ([PAPER.potential, PAPER.entropy], PAPER.q)
    assert {name: tuple(end) for name, *end in explorer.ends} == ENDS
    assert float(largest_tsallis(8, 1.5)) == MOST_TARGET


def test_python_may_choose_and_nonsense_is_refused() -> None:
    explorer = certainty_explorer(lead=1, strength=30)
    assert explorer.selected == {"lead": 1, "sharpness": 1, "strength": 30, "target": 0}
    explorer.selected = {"sharpness": 2.5}
    assert explorer.selected == {"lead": 1, "sharpness": 2.5, "strength": 30, "target": 0}
    wrong: list[dict[str, object]] = [
        {"lead": 3.1}, {"sharpness": -1}, {"strength": math.inf}, {"target": MOST_TARGET + 0.01}, {"lead": math.nan},
        {"strength": "1"}, {"strength": True}, {"beta": 1},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(values))} = .*; choose from lead -3 to 3, "):
            explorer.selected = values  # type: ignore[assignment]
    with pytest.raises(traitlets.TraitError, match="no lead = -4"):
        certainty_explorer(lead=-4)


def test_without_javascript_the_numbers_are_told() -> None:
    told = repr(certainty_explorer(lead=-0.5, sharpness=0))
    chance = -math.log(0.95 / 8 + 0.05 / 16)
    assert told.startswith(f"Explorer (needs JavaScript): lead -0.5, sharpness 0: cross-entropy {chance:.3f}, ")
    assert f"potential {math.log(8):.3f}, entropy {MOST_TARGET:.3f}, loss " in told
