"""The figures of chapter 6: they draw what the rows say, and say it in words, too."""

from __future__ import annotations

import re
from itertools import product

import pandas as pd
import pytest

from entropylens.results.statistics import select
from entropylens.show import figures_paths as draw

PATHS = {"residual": 3.0, "attention": 2.0, "head 1": 1.5, "head 2": 0.75, "ffn": -0.1}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Planted: the residual has 0.3 + d / 1000 with a router, and 0.6 without; costs as `PATHS` says, times d."""
    found = []
    for router, regime, d, seed in product(("static", "none"), draw.REGIMES, (8, 64), range(3)):
        place = {"main": True, "router": router, "regime": regime, "d_model": d, "seed": seed, "n_heads": 2}
        share = 0.3 + d / 1000 if router == "static" else 0.6
        found.append(place | {"path": "model", "layer": 0, "bypass": share + 0.001 * seed})
        for layer, (path, cost) in product((1, 2), PATHS.items()):
            costs = {"cut_zero": 2 * cost * d, "cut_mean": cost * d, "cut_even": d if path == "attention" else None}
            weight = share if path == "residual" else (1 - share) / 2 if path.startswith("head") else None
            found.append(place | {"path": path, "layer": layer, "length": abs(cost), "weight": weight} | costs)
    return pd.DataFrame(found)


def test_the_main_figure_tells_both_kinds_of_evidence(rows: pd.DataFrame) -> None:
    alt = draw.bypass(rows[rows["path"] == "model"]).alt
    assert "by proxy: its learned weight, fresh: d = 8 0.309, d = 64 0.365" in alt
    assert "directly: its share of what cutting costs, sample of 2000: d = 8 0.601, d = 64 0.601" in alt


def test_cuts_are_told_path_by_path_and_only_where_they_exist(rows: pd.DataFrame) -> None:
    alt = draw.cuts(select(rows, {"router": "none", "regime": "fresh"})).alt
    assert "attention replaced by its mean: d = 8 16.00, d = 64 128.00" in alt
    assert "attention replaced by even attention: d = 8 8.00" in alt
    assert "ffn replaced by nothing: d = 8 -1.60" in alt
    assert "ffn replaced by even attention" not in alt


def test_agreement_tells_its_ranges_and_what_is_of_another_depth(rows: pd.DataFrame) -> None:
    pairs = select(rows, {"path": "model", "router": "static"}).assign(proxy=lambda x: x["bypass"] - 0.4, design="main")
    pairs = pd.concat([pairs, pairs.head(2).assign(design="depth")])
    alt = draw.agreement(pairs.assign(direct=pairs["bypass"])).alt
    assert "preference for the residual, from -0.09 to -0.03" in alt
    assert "20 pairs, of which 2 are of another depth" in alt


def test_edges_are_as_wide_as_their_contribution_on_one_scale(rows: pd.DataFrame) -> None:
    """The widest edge of all models sets the scale; what is below zero is a hair."""
    edges = select(rows, {"router": "none", "regime": "fresh", "seed": 0})
    edges = edges[edges["path"] != "model"]
    picture = draw.flow({f"d = {d}": select(edges, {"d_model": d}) for d in (8, 64)}, "cut_mean", "nats")
    widths = {round(float(w), 2) for w in re.findall(r"stroke-width: ([0-9.]+)", picture.svg)}
    assert {14.0, 7.0, 3.5, 1.75, 0.6} <= widths  # d = 64: residual, heads; d = 8: residual; FFN
    assert "layer 1 head 2 48.00" in picture.alt
    assert "attention" not in picture.alt
