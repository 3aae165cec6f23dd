"""Chapter 14's explorer offers the published models, each once, with the numbers of its rows."""

from __future__ import annotations

import pandas as pd
import pytest
from traitlets import TraitError

from entropylens.results.reference import published
from entropylens.show.explorers.entropies import QUANTITIES, EntropyExplorer, entropy_explorer


@pytest.fixture(scope="module")
def tables() -> list[pd.DataFrame]:
    return [published(name).rows for name in ("known_source", "larger_text")]


@pytest.fixture
def explorer(tables: list[pd.DataFrame]) -> EntropyExplorer:
    return entropy_explorer(tables, seeds=2)


def test_values_are_those_of_the_rows(explorer: EntropyExplorer, tables: list[pd.DataFrame]) -> None:
    (one,) = (p for p in explorer.populations if p["data"].startswith("a sample of 131k, 12") and p["width"] == "128")
    rows = tables[0].query("kind == 'model' and design == 'main' and regime == 'finite' and d_model == 128")
    assert one["seeds"] == ["0", "1"]
    for i, seed in enumerate((0, 1)):
        here = rows[rows["seed"] == seed].sort_values("step")
        assert one["steps"] == here["step"].tolist()
        for values, (_, row) in zip(one["values"][i], here.iterrows(), strict=True):
            wanted = [None if pd.isna(row[name]) else pytest.approx(row[name], abs=5e-5) for name in QUANTITIES]
            assert values == wanted
    assert one["source"] == pytest.approx(rows["source"].iloc[0], abs=1e-12)


def test_every_population_without_loops_is_offered_once(explorer: EntropyExplorer, tables: list[pd.DataFrame]) -> None:
    models = pd.concat(tables).query("kind == 'model' and final and design != 'rate'")
    models = models[models["arm"].isna()]
    assert len(explorer.populations) == len(models.drop_duplicates(["population"]))
    texts = [p for p in explorer.populations if p["of"] == "real text"]
    assert [p["data"] for p in texts] == [
        "the whole text, once",
        "the whole text, 4 times",
        "a sample of 131k, 10 times",
    ]
    assert all(p["source"] is None for p in texts)


def test_what_is_offered_twice_is_an_error(tables: list[pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match=r"offered twice: .*fresh, 1.5M symbols"):
        entropy_explorer([tables[0], tables[0]])


def test_what_cannot_be_chosen_says_what_can(explorer: EntropyExplorer) -> None:
    assert explorer.selected == {
        "of": "a source of known entropy",
        "data": "fresh, 1.5M symbols",
        "width": "128",
        "seed": "0",
    }
    with pytest.raises(TraitError, match=r"no width = 7; choose from \['32', '64', '128'\]"):
        explorer.selected = {"width": 7}
    with pytest.raises(TraitError, match="no height to choose; there are of, data"):
        explorer.selected = {"height": "1"}


def test_what_follows_from_a_choice_is_chosen_as_well(explorer: EntropyExplorer) -> None:
    explorer.selected = {"of": "real text"}
    assert explorer.selected == {"of": "real text", "data": "the whole text, once", "width": "256", "seed": "0"}
