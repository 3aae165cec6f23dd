"""Claim 1's experiment, small: rows complete, deterministic, equal however it is computed."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from entropylens.experiments.low_entropy import Grid, _one_width, run
from entropylens.tasks.language import entropy

GRID = Grid(widths=(4, 8), seeds=2, steps=6, n_snapshots=4)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return run(GRID, jobs=2)


def test_every_cell_is_there_once(rows: pd.DataFrame) -> None:
    cells = rows.groupby(["d_model", "regime", "seed", "step"]).size()
    assert (cells == 1).all()
    assert len(cells) == 2 * 3 * 2 * len(GRID.snapshots)
    assert rows[rows["final"]]["step"].unique().tolist() == [GRID.steps]
    assert rows["step"].min() == 0


def test_processes_change_nothing(rows: pd.DataFrame) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = pd.concat([_one_width((GRID, width, "cpu")) for width in (8, 4)], ignore_index=True)
    torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(rows.drop(columns="seconds"), alone.drop(columns="seconds"), check_exact=True)


def test_regimes_share_target_and_start_and_differ_in_what_is_seen(rows: pd.DataFrame) -> None:
    start = rows[(rows["step"] == 0) & (rows["d_model"] == 8) & (rows["seed"] == 0)]
    assert start["bias"].nunique() == start["target_entropy"].nunique() == 1
    assert start["target_entropy"].iloc[0] == pytest.approx(float(entropy(GRID.target(0))))
    sample = start.set_index("regime")["sample_bias"]
    assert sample["finite"] < 0
    assert sample["exact"] == sample["fresh"] == 0


def test_exact_training_approaches_the_target(rows: pd.DataFrame) -> None:
    exact = rows[(rows["regime"] == "exact") & (rows["d_model"] == 8)].groupby("step")["kl"].mean()
    assert exact.iloc[-1] < exact.iloc[0]


def test_snapshots_start_at_zero_and_end_at_the_last_step() -> None:
    for steps in (1, 2, 50, 600, 777):
        points = dataclasses.replace(GRID, steps=steps, n_snapshots=24).snapshots
        assert (points[0], points[-1]) == (0, steps)
        assert points == sorted(set(points))


def test_an_error_in_a_process_comes_back_as_it_was() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        run(dataclasses.replace(GRID, widths=(8, 5)), jobs=2)
