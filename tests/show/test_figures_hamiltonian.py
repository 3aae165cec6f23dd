"""The figures of chapter 13 draw what they are given, and do without what is missing."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.measures.hamiltonian import INTEGRATORS, Potential, drift, errors
from entropylens.measures.navigation import Plane, budget, by_loop, follow, plane, potential_of, with_update
from entropylens.models.looped import LoopBlock, LoopedConfig
from entropylens.show import figures_hamiltonian as draw
from entropylens.show.figures import WIDTH, Picture
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator

MODEL = LoopedConfig(5, n_loops=3, norm="pre").build(torch.Generator().manual_seed(0)).double()
BATCH = sample(InductionTask(5, "repeat"), 3, 6, generator(0, "evaluation"))
X = MODEL.embed(BATCH.tokens).detach()
POWERS = {"symplectic Euler": 1, "explicit Euler": 1, "leapfrog": 2}


def along(final: float = 1.0) -> pd.DataFrame:
    """Errors t hᵖ, one more in sequence 1; half as much at time 1 of two."""
    rows = [
        {"integrator": name, "step": h, "time": t, "sequence": s, "error": final * t / 2 * h ** POWERS[name] + s}
        for name, h, t, s in product(INTEGRATORS, (0.1, 0.2), (0.0, 1.0, 2.0), (0, 1))
    ]
    return pd.DataFrame(rows)


def flat() -> Plane:
    """Height −(first + 10 · second coordinate), a path of three states."""
    at = torch.linspace(-2, 2, 9)
    path = torch.tensor([[1.0, 0.5], [0.0, -0.25], [-1.0, -0.25]])
    return Plane(torch.zeros(3), torch.eye(3)[:2], path, at, -(at + 10 * at[:, None]), 0.875, 0.125)


def by_loops(updates: dict[str, float], seeds: int = 3) -> pd.DataFrame:
    """Accuracy that is the update's after loop 2, half of it at others; a state as large as there were loops."""
    rows = [
        {"update": name, "seed": seed, "loops": t, "accuracy": (top + 0.02 * seed) / (1 if t == 2 else 2), "size": t}
        for (name, top), seed, t in product(updates.items(), range(seeds), range(5))
    ]
    return pd.DataFrame(rows).astype({"size": float})


def is_a_picture(picture: Picture) -> None:
    inches = float(re.search(r'width="([\d.]+)pt"', picture.svg)[1]) / 72  # type: ignore[index]
    assert inches <= WIDTH + 0.2
    assert len(picture.alt) > 60
    assert "nan" not in picture.alt


def test_energies_are_told_for_each_potential_integrator_and_step() -> None:
    picture = draw.energies({"alone": along(), "with a spring": along(-3.0)})
    is_a_picture(picture)
    assert "alone, symplectic Euler with steps of 0.1: at most 0.1, +0.1 in the end" in picture.alt
    assert "with a spring, leapfrog with steps of 0.2: at most 0.12, -0.12 in the end." in picture.alt
    assert picture.alt.count("in the end") == 12
    assert "at most 1.1, +1.1" in draw.energies({"alone": along()}, sequence=1).alt
    still = along(0.0)
    assert "at most 0, +0 in the end" in draw.energies({"still": still}).alt


def test_orders_are_drawn_with_what_theory_says() -> None:
    found = drift(along())
    picture = draw.order(found)
    is_a_picture(picture)
    assert "symplectic Euler: 0.6 at 0.1, 0.7 at 0.2; explicit Euler: 0.6 at 0.1, 0.7 at 0.2; leapfrog:" in picture.alt
    assert "order 1" in picture.svg
    assert "order 2" in picture.svg
    alone = draw.order(found[found["integrator"] == "leapfrog"])
    assert "order 1" not in alone.svg
    assert "Euler" not in alone.alt


def test_a_budget_is_told_by_its_sums() -> None:
    loop = with_update(MODEL, "hamiltonian", damping=0.5, pull=0.5, slope=0.1)
    path = follow(loop, X, 7)
    parts = budget(loop, X, path)
    picture = draw.budget({"as is": parts, "twice": type(parts)(*(2 * part for part in parts))})
    is_a_picture(picture)
    change = float((path.total[-1] - path.total[0]).mean())
    assert f"H {change:+.3g}; twice, after 7 loops: friction" in picture.alt
    assert f"pull {2 * float(parts.pull.sum(0).mean()):+.3g}" in picture.alt
    rounded = parts._replace(friction=parts.friction * 0, pull=parts.pull * 1e-16)
    assert "friction +0, pull +0, step" in draw.budget({"alone": rounded}).alt


@pytest.mark.filterwarnings("error")
def test_a_plane_is_told_with_what_it_leaves_out() -> None:
    picture = draw.plane(flat(), "energy with a spring")
    is_a_picture(picture)
    assert "over 2 loops in the plane of its two principal axes, which holds 88% of its variance" in picture.alt
    assert "from (1.00, 0.50) to (-1.00, -0.25); the token's energy there is from -22 to 22" in picture.alt
    assert "differs by at most 0.125; it is least at (2.00, 2.00)." in picture.alt
    assert "energy with a spring" in picture.svg
    even = flat()._replace(energy=torch.full((9, 9), 2.0))
    assert "from 2 to 2, and" in draw.plane(even).alt


@pytest.mark.filterwarnings("error")
def test_a_plane_tells_where_the_answer_is_right() -> None:
    right = (flat().at < -0.5).expand(9, -1)  # left of the middle, where the path ends
    assert "right in 33% of the picture, hatched, with the end of the" in draw.plane(flat(), right=right).alt
    assert "67% of the picture, hatched, without the end" in draw.plane(flat(), right=~right).alt
    assert "right in 0% of" in draw.plane(flat(), right=torch.zeros_like(right)).alt
    assert "right in 100% of" in draw.plane(flat(), right=torch.ones_like(right)).alt


@pytest.mark.filterwarnings("error")
def test_accuracy_is_told_at_its_best_and_in_the_end() -> None:
    table = by_loops({"plain": 0.8, "Hamiltonian": 0.6})
    picture = draw.accuracy(table, trained=2)
    is_a_picture(picture)
    assert "plain: 0.82 at best, after 2 loops, and 0.41 with a state of size 4 after 4; Hamil" in picture.alt
    assert "trained" in picture.svg
    assert "chance" in picture.svg
    without = draw.accuracy(table)
    assert without.alt == picture.alt
    assert "trained" not in without.svg
    bare = draw.accuracy(table, size="‖Z‖, all tokens", band=False)
    assert bare.alt == picture.alt.replace("‖z‖, last token", "‖Z‖, all tokens")
    assert "all tokens" in bare.svg
    assert "all tokens" not in picture.svg
    assert len(bare.svg) < len(without.svg)
    alone = draw.accuracy(by_loops({"plain": 0.8}, seeds=1))
    assert "plain: 0.80 at best" in alone.alt
    gone = table.assign(size=np.where(table["loops"] > 2, np.inf, table["size"]))
    assert "0.41 with a state that is not finite after 4" in draw.accuracy(gone).alt
    assert "Nothing was measured" in draw.accuracy(table.assign(accuracy=np.nan)).alt


@pytest.mark.filterwarnings("error")
def test_what_is_measured_can_be_drawn() -> None:
    loop, block = with_update(MODEL, "hamiltonian", damping=0.5, pull=0.5, slope=0.1), MODEL.blocks[0]
    assert isinstance(block, LoopBlock)
    rest = torch.zeros_like(X)
    found = errors(Potential(block, X, spring=1.0), rest, rest, 1.0, [0.25, 0.5])
    is_a_picture(draw.energies({"with a spring": found}))
    is_a_picture(draw.order(drift(found)))
    is_a_picture(draw.plane(plane(potential_of(loop, X), follow(loop, X, 5).states)))
    each = {"plain": MODEL, "Hamiltonian": loop}
    table = pd.concat([by_loop(m, BATCH, 6).assign(update=name, seed=0) for name, m in each.items()])
    is_a_picture(draw.accuracy(table))
