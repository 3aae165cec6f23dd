"""Chapter 11's explorer of trainings offers the models of its figures, each once, with the numbers of their rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from traitlets import TraitError

from entropylens.experiments.energy_entropy import POINTS
from entropylens.experiments.looped_induction import LENGTHS
from entropylens.results.reference import published
from entropylens.results.statistics import mean_interval
from entropylens.show.explorers.regularisation import (
    MEASURES,
    NOTHING,
    SHARE,
    RegularisationExplorer,
    Scale,
    regularisation_explorer,
)
from entropylens.show.figures_energy import arms

START = {"setup": "short", "loss": "all three terms", "beside": "cross-entropy alone", "measure": "entropy"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return published("energy_entropy").rows


@pytest.fixture(scope="module")
def packed(rows: pd.DataFrame) -> RegularisationExplorer:
    return regularisation_explorer(rows)


def decode(codes: bytes, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Shares of a scale, NaN where nothing was kept."""
    found = np.frombuffer(codes, dtype="<u2").reshape(shape).astype(float)
    return np.where(found == NOTHING, np.nan, found / (NOTHING - 1))


def scale_of(explorer: RegularisationExplorer, measure: str) -> list[float]:
    return next(scale for key, _, *scale in explorer.measures if key == measure)


@pytest.mark.parametrize("scale", [SHARE, Scale(0.0, 3.0), Scale(1e-3, 9e3, log=True)])
def test_codes_are_as_fine_as_the_scale(scale: Scale) -> None:
    values = np.geomspace(max(scale.low, 1e-3), scale.high, 500).reshape(5, 100)
    codes = scale.encode(values)
    assert codes.shape == values.shape
    share = codes / (NOTHING - 1)
    back = scale.low * (scale.high / scale.low) ** share if scale.log else scale.low + (scale.high - scale.low) * share
    assert np.abs(back / values - 1).max() < 2e-4 if scale.log else np.abs(back - values).max() < 2.4e-5
    assert scale.encode([scale.low, scale.high]).tolist() == [0, NOTHING - 1]
    assert scale.encode([np.nan, np.inf]).tolist() == [NOTHING, NOTHING]


def test_every_model_of_the_figures_is_offered_once(packed: RegularisationExplorer, rows: pd.DataFrame) -> None:
    for setup in ("paper", "clipped", "hint", "short"):
        here = [arm["loss"] for arm in packed.arms if arm["setup"] == setup]
        assert sorted(here) == sorted(arms(rows, setup).index)
    models = rows[(rows["kind"] == "model") & rows["design"].isin(("main", "terms", "rivals", "published"))]
    sizes = [len(arm["seeds"]) for arm in packed.arms]
    assert sum(sizes) == len(models)
    assert [arm["model"] for arm in packed.arms] == [0, *np.cumsum(sizes)[:-1]]
    assert packed.setups[1][:2] == ["published", "paper, 20,000 steps"]


def test_accuracies_and_intervals_by_length_are_the_figure_s(
    packed: RegularisationExplorer, rows: pd.DataFrame
) -> None:
    ends = decode(packed.ends, (-1, len(LENGTHS)))
    for n in (64, 1000):
        for arm in packed.arms:
            if arm["setup"] != "published":
                values = ends[arm["model"] :][: len(arm["seeds"]), list(LENGTHS).index(n)]
                wanted = arms(rows, arm["setup"], n).loc[arm["loss"]]
                half = packed.quantiles[len(values) - 2] * values.std(ddof=1) / len(values) ** 0.5
                found = [values.mean(), values.mean() - half, values.mean() + half]
                assert found == pytest.approx(wanted.tolist(), abs=3e-5)


def test_quantiles_are_those_of_the_statistics(packed: RegularisationExplorer) -> None:
    for n, quantile in enumerate(packed.quantiles, start=2):
        x = np.random.default_rng(n).normal(size=n)
        interval = mean_interval(x)
        assert quantile * x.std(ddof=1) / n**0.5 == pytest.approx(interval.high - interval.mean)


def test_courses_are_the_curves(packed: RegularisationExplorer, rows: pd.DataFrame) -> None:
    kept = [arm for arm in packed.arms if arm["course"] is not None]
    assert {arm["loss"] for arm in kept} == {"all three terms", "cross-entropy alone"}
    courses = decode(packed.courses, (-1, len(MEASURES), POINTS))
    assert len(courses) == sum(len(arm["seeds"]) for arm in kept)
    curves = rows[rows["kind"] == "curve"]
    for arm in kept:
        loss = {"all three terms": "all", "cross-entropy alone": "plain"}[arm["loss"]]
        where = (curves["design"] == "published") if arm["setup"] == "published" else (
            (curves["design"] == "main") & (curves["setup"] == arm["setup"])
        )  # fmt: skip
        here = curves[where & (curves["loss_name"] == loss) & (curves["seed"] == arm["seeds"][-1])].sort_values("step")
        one = courses[arm["course"] + len(arm["seeds"]) - 1]
        assert here["step"].tolist() == [(i + 1) * arm["steps"] // POINTS for i in range(POINTS)]
        assert one[0] == pytest.approx(here["accuracy"].to_numpy(), abs=1e-5)
        assert one[1] * scale_of(packed, "loss")[1] == pytest.approx(here["loss"].to_numpy(), abs=5e-5)
        low, high, log = scale_of(packed, "kinetic")
        assert log
        assert low * (high / low) ** one[2] == pytest.approx(here["kinetic"].to_numpy(), rel=2e-4)


def test_levels_are_those_of_the_rows(packed: RegularisationExplorer, rows: pd.DataFrame) -> None:
    (arm,) = (arm for arm in packed.arms if (arm["setup"], arm["loss"]) == ("hint", "entropy target 0.5"))
    assert arm["course"] is None
    here = rows[(rows["kind"] == "model") & (rows["setup"] == "hint") & (rows["loss_name"] == "target")]
    levels = np.frombuffer(packed.levels, dtype="<u2").reshape(-1, len(MEASURES), 3)[arm["model"] :][: len(here)]
    names = list(MEASURES)
    at = levels[:, names.index("accuracy")]
    assert at[:, 2].tolist() == here["accuracy_step"].tolist()
    for i, when in enumerate(("before", "after")):
        assert at[:, i] / (NOTHING - 1) == pytest.approx(here[f"accuracy_{when}"].to_numpy(), abs=1e-5)
    assert (levels[:, names.index("entropy"), :2] == NOTHING).all(), "its distance from a target is no entropy"
    loss = levels[:, names.index("loss")]
    assert (loss[:, 0] == NOTHING).all()
    assert (loss[:, 2] == arm["steps"] - arm["steps"] // POINTS).all(), "known at the last point only"
    assert loss[:, 1] / (NOTHING - 1) * scale_of(packed, "loss")[1] == pytest.approx(here["loss"].to_numpy(), abs=5e-5)


def test_it_is_small(packed: RegularisationExplorer) -> None:
    assert sum(map(len, (packed.ends, packed.levels, packed.courses))) < 50_000


def test_python_may_choose_and_nonsense_is_refused(rows: pd.DataFrame) -> None:
    explorer = regularisation_explorer(rows, loss="P alone", point=40)
    assert explorer.selected == {**START, "loss": "P alone", "point": 40, "length": 64}
    explorer.selected = {"setup": "clipped"}  # which has no P alone
    assert explorer.selected == {**START, "setup": "clipped", "point": 40, "length": 64}
    wrong: list[dict[str, object]] = [
        {"setup": "long"}, {"loss": "P alone"}, {"measure": "heat"}, {"point": 0}, {"point": True}, {"length": 65},
        {"seed": 1},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(TraitError, match=f"no {next(iter(values))} = .*; choose from "):
            explorer.selected = values


def test_without_javascript_it_says_what_there_is(packed: RegularisationExplorer) -> None:
    assert repr(packed) == "Explorer (needs JavaScript): 286 models, 37 arms in 5 set-ups"
