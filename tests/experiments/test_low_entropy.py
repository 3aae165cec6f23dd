"""Claim 1's experiment, small: rows complete, and equal however they are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pandas as pd
import pytest
import torch

from entropylens.experiments import EXPERIMENTS
from entropylens.experiments.experiment import artefact
from entropylens.experiments.low_entropy import EXPERIMENT, REGIMES, Grid, measure, run
from entropylens.tasks.language import Language, entropy
from entropylens.training.spec import train_spec

GRID = Grid(widths=(4, 8), seeds=2, steps=6, n_snapshots=4)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return run(GRID, jobs=2)


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_cell_is_there_once(rows: pd.DataFrame) -> None:
    cells = rows.groupby(["d_model", "regime", "n_samples", "seed", "step"]).size()
    assert (cells == 1).all()
    assert len(cells) == 2 * len(REGIMES) * 2 * len(GRID.snapshots)
    assert rows[rows["final"]]["step"].unique().tolist() == [GRID.steps]
    assert rows["step"].min() == 0


@pytest.mark.usefixtures("one_thread")
def test_processes_change_nothing(rows: pd.DataFrame) -> None:
    specs = sorted(GRID.populations(), key=lambda s: -s.work())
    alone = pd.concat([measure(spec, artefact(train_spec(spec))) for spec in specs], ignore_index=True)
    pd.testing.assert_frame_equal(rows, alone, check_exact=True)


def test_regimes_share_target_and_start_and_differ_in_what_is_seen(rows: pd.DataFrame) -> None:
    start = rows[(rows["step"] == 0) & (rows["d_model"] == 8) & (rows["seed"] == 0)]
    assert start["bias"].nunique() == start["target_entropy"].nunique() == 1
    assert start["target_entropy"].iloc[0] == pytest.approx(float(entropy(GRID.target(0).build(Language()))))
    sample = start.set_index("n_samples")["sample_bias"]
    assert (sample.loc[0] == 0).all()
    assert sample[500] < sample[2000] < sample[8000] < sample[32000] < 0


def test_exact_training_approaches_the_target(rows: pd.DataFrame) -> None:
    exact = rows[(rows["regime"] == "exact") & (rows["d_model"] == 8)].groupby("step")["kl"].mean()
    assert exact.iloc[-1] < exact.iloc[0]


def test_snapshots_start_at_zero_and_end_at_the_last_step() -> None:
    for steps in (1, 2, 50, 600, 777):
        points = dataclasses.replace(GRID, steps=steps, n_snapshots=24).snapshots
        assert (points[0], points[-1]) == (0, steps)
        assert points == sorted(set(points))


def test_an_error_in_a_process_comes_back_as_it_was() -> None:
    wild = dataclasses.replace(GRID, concentration=-1.0)
    with pytest.raises(ValueError, match="concentration is positive"):
        run(wild, jobs=2)


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_profiles_are_designed_as_the_house_asks(experiment) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    assert set(experiment.populations) == {"quick", "full"}
    seeds = {getattr(m, "seed", m) for spec in experiment.populations["full"]() for m in spec.members}
    assert len(seeds) >= (10 if experiment.claims else 5), "ten where a claim is decided"


def test_the_registered_experiment_has_the_arms_that_its_rules_name() -> None:
    widths = {spec.config.d_model for spec in EXPERIMENT.populations["quick"]()}
    assert {8, 64} <= widths


def test_the_design_changes_one_thing_at_a_time() -> None:
    specs = EXPERIMENT.populations["full"]()
    assert len({spec.canonical() for spec in specs}) == len(specs)
    main = [spec for spec in specs if spec.design == "main"]
    cells = {(spec.config.d_model, member.data) for spec in main for member in spec.members}
    assert len(main) == len(cells) == 4 * len(REGIMES)
    for spec in specs:
        first, like = spec.members[0], next(s for s in main if s.config.d_model == spec.config.d_model)
        other = like.members[0]
        changed = {
            "target": first.target.family != other.target.family,
            "entropy": first.target.entropy != other.target.entropy,
            "norm": spec.config.norm != like.config.norm,
            "batch": first.data not in REGIMES.values(),
            "long": spec.steps != like.steps,
        }
        assert [name for name, differs in changed.items() if differs] == ([] if spec in main else [spec.design])


def test_labels_reach_the_rows() -> None:
    spec = next(spec for spec in EXPERIMENT.populations["quick"]() if spec.design == "entropy")
    frame = measure(spec, artefact(train_spec(dataclasses.replace(spec, steps=1, snapshots=()))))
    assert not frame["main"].any()
    assert frame["design"].unique().tolist() == ["entropy"]
    assert frame["tilt"].unique().tolist() == [spec.members[0].target.entropy]
    assert frame["target_entropy"].to_numpy() == pytest.approx(frame["tilt"].to_numpy(), abs=1e-5)
