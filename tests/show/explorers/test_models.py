"""The explorer of models packs what the rows and the targets say, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets
from torch import Tensor

from entropylens.experiments.experiment import artefact, final_log_probs
from entropylens.experiments.low_entropy import Grid, measure
from entropylens.show.explorers.models import (
    COURSES,
    DECADES,
    Control,
    ModelExplorer,
    as_bytes,
    bias_explorer,
    model_explorer,
)
from entropylens.tasks.language import Language
from entropylens.training.data import Data, finite_sample
from entropylens.training.spec import train_spec

SIZE = 5**5
REGIMES = {"fresh": Data("fresh", batch_size=8), "2000": Data("finite", n_samples=2000)}


@pytest.fixture(scope="module")
def published() -> tuple[pd.DataFrame, Tensor]:
    """Rows in an order that is not the explorer's, with a variation and a seed that it must leave out."""
    main = Grid(widths=(8, 4), seeds=3, steps=2, n_snapshots=3, regimes=REGIMES)
    other = Grid(widths=(4,), seeds=3, steps=2, n_snapshots=2, regimes=REGIMES, design="norm", norm="none")
    frames, tensors = [], []
    for number, spec in enumerate([*other.populations(), *main.populations()]):
        trained = artefact(train_spec(spec))
        frames.append(measure(spec, trained).assign(population=f"p{number}"))
        tensors.append(final_log_probs(trained)["log_probs"])
    return pd.concat(frames, ignore_index=True), torch.cat(tensors)


@pytest.fixture(scope="module")
def explorer(published: tuple[pd.DataFrame, Tensor]) -> ModelExplorer:
    return bias_explorer(*published, seeds=2)


def table(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(-1, SIZE)


def test_choices_are_the_main_design_s(explorer: ModelExplorer) -> None:
    assert explorer.choices == [
        ["width", ["4", "8"], "d = {}"],
        ["data", ["fresh", "sample of 2000"], "{}"],
        ["seed", ["0", "1"], "seed {}"],
    ]
    assert explorer.steps == [0, 1, 2]
    first = {"width": "4", "data": "sample of 2000", "seed": "0", "step": "2"}  # there is no width 64
    assert explorer.selected == first


def test_each_model_has_its_own_numbers_and_probabilities(
    explorer: ModelExplorer, published: tuple[pd.DataFrame, Tensor]
) -> None:
    rows, log_probs = published
    final = rows[rows["final"]].reset_index(drop=True)
    courses = np.frombuffer(explorer.courses, "<f4").reshape(-1, len(COURSES), 3)
    place = 0
    for width in (4, 8):
        for n_samples in (0, 2000):
            for seed in (0, 1):
                where = final["main"] & (final["d_model"] == width) & (final["n_samples"] == n_samples)
                (row,) = final.index[where & (final["seed"] == seed)]
                assert explorer.models[place]["sample_bias"] == pytest.approx(final.loc[row, "sample_bias"], abs=1e-6)
                here = (rows["population"] == final.loc[row, "population"]) & (rows["seed"] == seed)
                np.testing.assert_array_equal(courses[place].T, rows.loc[here, list(COURSES)].astype(np.float32))
                learned = table(explorer.learned)[explorer.models[place]["learned"]]
                np.testing.assert_array_equal(learned, as_bytes(log_probs[row].double().numpy()))
                place += 1
    assert len(explorer.models) == place


def test_targets_and_samples_are_those_of_the_training(explorer: ModelExplorer) -> None:
    language = Language()
    fresh, sampled = explorer.models[:2], explorer.models[2:4]  # of width 4, seeds 0 and 1
    for seed in (0, 1):
        target = Grid().target(seed).build(language)
        for model in (fresh[seed], sampled[seed]):
            np.testing.assert_array_equal(table(explorer.target)[int(model["target"])], as_bytes(target.log().numpy()))
        assert fresh[seed]["seen"] == -1
        counts = torch.bincount(finite_sample(language, target, 2000, seed), minlength=SIZE)
        np.testing.assert_array_equal(table(explorer.seen)[int(sampled[seed]["seen"])], counts.clamp(max=255))


def test_a_grid_with_a_hole_is_refused(published: tuple[pd.DataFrame, Tensor]) -> None:
    rows, log_probs = published
    final = rows[rows["final"]].reset_index(drop=True)
    main = final[final["main"]]
    controls = {"width": Control("d_model"), "data": Control("n_samples"), "seed": Control("seed")}
    with pytest.raises(ValueError, match="11 rows do not fill the grid of 12 combinations"):
        model_explorer("x", rows, main.iloc[1:], log_probs, controls, {})
    with pytest.raises(ValueError, match="12 rows do not fill the grid of 6"):
        model_explorer("x", rows, main, log_probs, {k: controls[k] for k in ("width", "seed")}, {})


def test_models_measured_at_other_steps_are_refused(published: tuple[pd.DataFrame, Tensor]) -> None:
    rows, log_probs = published
    late = rows["final"] | (rows["d_model"] == 4) | (rows["step"] == 0)
    with pytest.raises(ValueError, match=r"not all models were measured at the steps \[0, 1, 2\]"):
        bias_explorer(rows[late], log_probs)


def test_python_may_choose_and_nonsense_is_refused(explorer: ModelExplorer) -> None:
    explorer.selected = {"width": 8, "step": 1}
    assert explorer.selected == {"width": "8", "data": "sample of 2000", "seed": "0", "step": "1"}
    for wrong in ({"width": 9}, {"step": 3}):
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(wrong))} = "):
            explorer.selected = wrong
    explorer.selected = {"width": 4, "step": 2}


def test_bytes_span_the_decades_and_end_there() -> None:
    decades = np.array([0.0, -DECADES / 2, -DECADES, -2 * DECADES, -np.inf])
    np.testing.assert_array_equal(as_bytes(decades * np.log(10)), [255, 128, 0, 0, 0])
