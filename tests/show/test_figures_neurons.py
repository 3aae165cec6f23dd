"""The figures of chapter 7: they draw what the rows say, and say it in words, too."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from entropylens.experiments.active_neurons import BINS
from entropylens.results.statistics import select
from entropylens.show import figures_neurons as draw


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Planted: 0.5 fire untrained, 0.4 − d / 1000 trained; layer 2 less by 0.1; KL falls from 2 to 0.02."""
    found = []
    for regime, d, seed in product(draw.REGIMES, (8, 64), range(3)):
        place = {"main": True, "regime": regime, "d_model": d, "seed": seed}
        active = 0.4 - d / 1000 + 0.001 * seed
        found.append(place | {"kind": "model", "layer": 0, "active": active, "active_start": 0.5})
        for layer in (1, 2):
            here = active - 0.1 * (layer - 1)
            found.append(
                place | {"kind": "layer", "layer": layer, "step": 100, "active": here, "kl": 0.02, "dead": 0.0}
            )
            for step, dead in ((0, 0.0), (10, 0.25)):
                time = {
                    "kind": "time",
                    "layer": layer,
                    "step": step,
                    "active": 0.5,
                    "kl": 2.0 - step / 10,
                    "dead": dead,
                }
                found.append(place | time)
            rates = place | {"kind": "rates", "layer": layer}
            found += [rates | {"bin": b, "share": float(b == d // 8)} for b in range(len(BINS) - 1)]
    return pd.DataFrame(found)


def test_the_main_figure_tells_trained_and_untrained(rows: pd.DataFrame) -> None:
    alt = draw.active_by_width(rows[rows["kind"] == "model"]).alt
    assert "fresh, untrained: d = 8 0.500, d = 64 0.500" in alt
    assert "sample of 2000, trained: d = 8 0.393, d = 64 0.337" in alt


def test_time_is_told_layer_by_layer_with_its_maximum(rows: pd.DataFrame) -> None:
    here = rows[rows["kind"].isin(["time", "layer"]) & (rows["regime"] == "fresh")]
    alt = draw.over_time(here, "dead", "share dead").alt
    assert "layer 2, d = 64: 0.000, then 0.250 at step 10 at most, 0.000 in the end" in alt


def test_widths_are_compared_at_equal_loss(rows: pd.DataFrame) -> None:
    here = rows[rows["kind"].isin(["time", "layer"]) & (rows["regime"] == "fresh")]
    assert "d = 64: from 0.500 at 2.00 nats to 0.287 at 0.020" in draw.against_loss(here).alt


def test_rates_are_named_by_their_class(rows: pd.DataFrame) -> None:
    assert len(draw.RATES) == len(BINS) - 1
    assert draw.RATES[:3] == ["never", "10 %", "20 %"]
    assert draw.RATES[-3:] == ["90 %", "more", "always"]
    alt = draw.firing_rates(select(rows[rows["kind"] == "rates"], {"regime": "exact"})).alt
    assert "layer 1, d = 8: most in “10 %”, 1.00; layer 1, d = 64: most in “80 %”, 1.00" in alt


def test_neurons_on_contexts_tell_how_often_each_fires() -> None:
    activity = pd.DataFrame(np.arange(40).reshape(4, 10) % 4 == 0)
    alt = draw.meanings(activity, [3, 0]).alt
    assert alt == "2 neurons on all 10 contexts; they fire on 20% and 30% of them."
