"""Slices of a loss: where they go, what is found on them, and what makes them rugged."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropylens.measures.landscape import (
    directions,
    lines,
    losses_at,
    minima,
    planes,
    ruggedness,
    ruggedness_of_plane,
)
from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, rebuild, scores
from entropylens.training.regularizers import PAPER, Regularizer

CONFIG = LoopedConfig(5, n_loops=2, hint=True, norm="pre")
TASK = InductionTask(5, "repeat", scored="all")
POPULATION = LoopedPopulation(CONFIG, [0, 1])


def test_filters_of_a_direction_are_as_long_as_the_models() -> None:
    drawn = directions(CONFIG, POPULATION.parameters, 3)
    for d in range(3):
        for m in range(2):
            to, where = (rebuild(CONFIG, x[m]) for x in (drawn[d], POPULATION.parameters))
            for name, axis in (("token", 1), ("previous", 1), ("blocks.0.qkv", 0), ("unembed.weight", 0)):
                sizes = [model.get_parameter(name).norm(dim=axis) for model in (to, where)]
                torch.testing.assert_close(*sizes)
            for name, p in to.named_parameters():
                assert bool(p.any()) == (not name.endswith(("bias", "gain")))
    assert torch.equal(drawn, directions(CONFIG, POPULATION.parameters, 3))
    assert not torch.equal(drawn, directions(CONFIG, POPULATION.parameters, 3, seed=1))
    cosine = torch.nn.functional.cosine_similarity(drawn[0, 0], drawn[0, 1], dim=0)
    assert float(cosine) > 0.9  # the same random numbers, but for the lengths


@pytest.mark.parametrize("asked", [PAPER, Regularizer(0.1, row="each"), Regularizer()])
def test_losses_are_those_of_each_model(asked: Regularizer) -> None:
    batch = sample(TASK, 6, 9, generator(0, "batches"))
    points = lines(POPULATION.parameters, directions(CONFIG, POPULATION.parameters, 3), torch.linspace(-1, 1, 7))
    assert points.shape == (3, 2, 7, POPULATION.parameters.shape[1])
    torch.testing.assert_close(points[:, :, 3], POPULATION.parameters.expand(3, -1, -1))
    found = losses_at(CONFIG, points, batch, asked)
    assert found.plain.shape == found.regularised.shape == (3, 2, 7)
    for at in ((0, 0, 0), (2, 1, 6), (1, 0, 3)):
        model, trace = rebuild(CONFIG, points[at]), LoopTrace()
        with torch.no_grad():
            loss, _ = scores(model(batch.tokens, trace)[None], type(batch)(*(x[None] for x in vars(batch).values())))
            added = asked.weigh(asked.terms(trace.states, trace.rows))
        assert float(found.plain[at]) == pytest.approx(float(loss), rel=1e-5)
        assert float(found.regularised[at] - found.plain[at]) == pytest.approx(float(added), rel=1e-3, abs=1e-6)


def test_planes_hold_their_lines() -> None:
    along, radii = directions(CONFIG, POPULATION.parameters, 2), torch.linspace(-1, 1, 5)
    grid = planes(POPULATION.parameters, along, radii)
    assert grid.shape == (2, 5, 5, POPULATION.parameters.shape[1])
    torch.testing.assert_close(grid[:, :, 2], lines(POPULATION.parameters, along, radii)[0])
    torch.testing.assert_close(grid[:, 2, :], lines(POPULATION.parameters, along, radii)[1])


def slow(values: list[float]) -> float:
    total = sum(abs(b - a) for a, b in pairwise(values))
    low = min(values)
    return max(0.0, (total - (values[0] - low) - (values[-1] - low)) / total) if total else 0.0


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(0.1, 10), st.floats(-5, 5))
def test_ruggedness(values: list[float], factor: float, shift: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    found = float(ruggedness(x))
    assert found == pytest.approx(slow(values), abs=1e-9)
    assert 0 <= found <= 1
    if float(x.max() - x.min()) > 1e-3:
        assert float(ruggedness(factor * x + shift)) == pytest.approx(found, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_funnel_has_none(down: list[float], up: list[float]) -> None:
    """Whatever its slope is, and wherever its lowest point."""
    left = torch.tensor(down, dtype=torch.float64).cumsum(0).flip(0)
    right = torch.tensor(up, dtype=torch.float64).cumsum(0)
    assert float(ruggedness(torch.cat([left, torch.zeros(1), right]))) == pytest.approx(0, abs=1e-12)


def test_waves_in_a_bowl() -> None:
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    bowl = x**2
    assert float(ruggedness(bowl)) == pytest.approx(0, abs=1e-12)
    rough = [float(ruggedness(bowl + a * (12 * math.pi * x).cos())) for a in (0.01, 0.1, 1.0)]
    assert rough[0] < 0.1 < rough[1] < rough[2]
    assert float(ruggedness(torch.ones(9))) == 0
    for bad in (math.nan, math.inf):
        assert ruggedness(torch.tensor([1.0, bad, 2.0])).isnan()


def test_a_plane_by_its_lines_and_its_minima() -> None:
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    bowl = x[:, None] ** 2 + x**2
    waves = bowl + 0.2 * (4 * math.pi * x).cos()[:, None]
    assert float(ruggedness_of_plane(bowl)) == pytest.approx(0, abs=1e-12)
    assert minima(bowl).item() == 1
    assert float(ruggedness_of_plane(waves)) == pytest.approx(float(ruggedness(waves[:, 3])) / 2, abs=1e-9)
    assert minima(waves).item() == 4
    assert minima(torch.zeros(3, 5, 5)).tolist() == [0, 0, 0]


def test_flat_points_are_no_minima() -> None:
    grid: Tensor = torch.ones(5, 5)
    grid[2, 2:4] = 0
    assert minima(grid).item() == 0
