"""The figures of chapter 11 on landscapes: they draw what rows say, and do without what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entropylens.show import figures_landscape as draw
from entropylens.show.figures import WIDTH, Picture

RADII = (-1.0, -0.5, 0.0, 0.5, 1.0)
SEEDS = 3
FIGURES: dict[str, tuple[Callable[..., Picture], dict[str, str]]] = {
    "slices": (draw.slices, {"setup": "paper"}),
    "surface": (draw.surface, {"setup": "paper"}),
    "ruggedness": (draw.ruggedness, {}),
}
every = pytest.mark.parametrize("name", FIGURES)


def drawn(name: str, rows: pd.DataFrame) -> Picture:
    figure, asked = FIGURES[name]
    return figure(rows, **asked)


def of_model(labels: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """A funnel at 1, one higher with terms, 0.3 a seed, two higher before training, with a slope of 1, 2 with terms.

    Ruggedness is 0.1 with terms and 0.3 without, 0.4 more before training, half of it around models of another loss.
    """
    here = labels | {"seed": seed}
    terms, before, other = labels["of"] == "all", labels["around"] == "initial", labels["of"] != labels["loss_name"]
    low, slope = 1 + terms + 0.3 * seed + 2 * before, 1 + (labels["loss_name"] == "all")
    rough = ((0.1 if terms else 0.3) + 0.4 * before) * (0.5 if other and not before else 1) + 0.03 * (seed == 0)
    rows = [here | {"kind": "model", "ruggedness": rough, "own": not other}]
    rows += [here | {"kind": "line", "radius": r, "loss": low + slope * abs(r)} for r in RADII]
    if seed == 0:
        rows += [
            here | {"kind": "surface", "radius": r, "other": o, "loss": low + slope * abs(r) + 3 * abs(o)}
            for r, o in product(RADII, RADII)
        ]
    return rows


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    found = []
    places = product(draw.TITLES, ("plain", "all"), ("plain", "all"), ("trained", "initial"), range(SEEDS))
    for setup, loss, of, around, seed in places:
        labels = {"design": "main", "setup": setup, "loss_name": loss, "of": of, "around": around}
        found += of_model(labels, seed)
    return pd.DataFrame(found)


def test_slices_are_told_at_both_ends_and_in_the_middle(rows: pd.DataFrame) -> None:
    words = draw.slices(rows, "hint").alt
    alone = "2.30 at radius -1, 1.30 at radius 0, 2.30 at radius 1"
    assert f"set-up hint; means over models. cross-entropy, trained with cross-entropy alone (3): {alone};" in words
    assert "with all three terms, trained with all three terms (3): 4.30 at radius -1, 2.30 at radius 0" in words
    assert len(words.split("; ")) == 1 + 4
    one = draw.slices(rows[(rows["loss_name"] == "all") & (rows["seed"] == 1)], "hint").alt
    assert "cross-entropy, trained with all three terms (1): 3.30 at radius -1" in one
    assert "trained with cross-entropy alone" not in one


def test_a_surface_is_that_of_the_loss_around_the_first_model_that_it_trained(rows: pd.DataFrame) -> None:
    words = draw.surface(rows, "short").alt
    assert "set-up short. cross-entropy, 1.00 in the middle, from 1.00 to 5.00; with all" in words
    assert "with all three terms, 2.00 in the middle, from 2.00 to 7.00." in words
    second = pd.concat([rows, rows[rows["kind"] == "surface"].assign(seed=1, loss=9.0)])
    assert draw.surface(second, "short").alt == words


def test_a_surface_has_one_bar_for_both(rows: pd.DataFrame) -> None:
    assert "<!-- loss -->" in draw.surface(rows, "short").svg
    half = draw.surface(rows[rows["loss_name"] == "all"], "short")
    assert ". with all three terms, 2.00 in the middle" in half.alt
    assert "<!-- loss -->" in half.svg
    assert "<!-- loss -->" not in draw.surface(rows[rows["kind"] != "surface"], "short").svg


@pytest.mark.filterwarnings("error")
def test_surfaces_with_holes_or_without_relief(rows: pd.DataFrame) -> None:
    holes = rows.assign(loss=rows["loss"].where(rows["radius"] < 1, np.inf))
    assert "cross-entropy, 1.00 in the middle, from 1.00 to 5.00" in draw.surface(holes, "short").alt
    centre = rows.assign(loss=rows["loss"].where((rows["radius"] != 0) | (rows["other"] != 0)))
    assert "cross-entropy, from 1.50 to 5.00" in draw.surface(centre, "short").alt
    flat = draw.surface(rows.assign(loss=1e6), "short").alt
    assert "cross-entropy, 1000000.00 in the middle, from 1000000.00 to 1000000.00" in flat


def test_ruggedness_is_of_each_loss_where_it_trained_and_of_both_before(rows: pd.DataFrame) -> None:
    words = draw.ruggedness(rows).alt
    assert (
        "models. paper, trained: cross-entropy 0.31 (0.27 to 0.35); paper, trained: with all three terms 0.11" in words
    )
    assert "short, before: cross-entropy 0.71 (0.67 to 0.75); short, before: with all three terms 0.51" in words
    of_all = draw.ruggedness(rows[rows["loss_name"] == "all"]).alt  # what they were before is not drawn
    assert "models. paper, trained: with all three terms 0.11 (0.07 to 0.15); clipped, trained: with" in of_all
    assert draw.ruggedness(rows.sample(frac=1, random_state=0)).alt == words


@every
@pytest.mark.filterwarnings("error")
def test_nothing_is_told_of_nothing(name: str, rows: pd.DataFrame) -> None:
    plane = rows[rows["kind"] == "model"].assign(kind="plane").drop(columns=["radius", "other", "loss", "ruggedness"])
    for nothing in (rows.iloc[:0], plane, rows.assign(loss=np.nan, ruggedness=np.nan)):
        assert "Nothing was measured" in drawn(name, nothing).alt


@every
@pytest.mark.filterwarnings("error")
def test_one_seed_has_no_interval_and_what_is_not_finite_is_left_out(name: str, rows: pd.DataFrame) -> None:
    alone, broken = drawn(name, rows[rows["seed"] == 0]).alt, rows.copy()
    assert not re.search(r"\([\d.]+ to ", alone)
    broken.loc[broken["seed"] > 0, ["loss", "ruggedness"]] = np.inf
    assert drawn(name, broken).alt == alone


@every
def test_figures_are_no_wider_than_a_page(name: str, rows: pd.DataFrame) -> None:
    (width,) = re.findall(r'<svg[^>]* width="([\d.]+)pt"', drawn(name, rows).svg)
    assert float(width) <= 72 * (WIDTH + 0.12)
