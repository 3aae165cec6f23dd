"""The step at which a curve changes its level, against trying all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropylens.measures.transitions import change


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=15))
def test_is_the_best_of_all(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    found = change(x)

    def left(step: int) -> float:
        return sum(float((part - part.mean()).square().sum()) for part in (x[:step], x[step:]))

    whole = float((x - x.mean()).square().sum())
    best = min(left(step) for step in range(1, len(x)))
    assert left(int(found.step)) == pytest.approx(best, abs=1e-8)
    assert float(found.explained) == pytest.approx(
        1 - best / whole if whole > 1e-12 else float(found.explained), abs=1e-6
    )
    assert float(found.before) == pytest.approx(float(x[: int(found.step)].mean()), abs=1e-9)
    assert float(found.after) == pytest.approx(float(x[int(found.step) :].mean()), abs=1e-9)


def test_a_step_a_ramp_and_a_flat_line() -> None:
    step, ramp = torch.cat([torch.zeros(30), torch.ones(70)]), torch.linspace(0, 1, 1001)
    found = change(torch.stack([step, torch.ones(100)], dim=1))
    assert found.step[0].item() == 30
    assert found.explained.tolist() == pytest.approx([1.0, 0.0])
    assert float(change(ramp).explained) == pytest.approx(0.75, abs=1e-3)
    assert abs(int(change(ramp).step) - 500) <= 1


def test_one_point_has_no_change() -> None:
    with pytest.raises(ValueError, match="two points or more, got 1"):
        change(torch.ones(1))
