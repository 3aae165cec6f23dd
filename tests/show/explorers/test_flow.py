"""Chapter 6's explorer carries the rows' numbers, in the order that its controls say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from entropylens.show.explorers.flow import MEASURES, PATHS, ROUTERS, FlowExplorer, flow_explorer
from entropylens.show.figures_paths import REGIMES

WIDTHS, SEEDS, LAYERS = (8, 64), (0, 1), (1, 2)


def planted(width: int, regime: str, router: str, seed: int, layer: int, path: str) -> float:
    order = (list(REGIMES).index(regime), list(ROUTERS).index(router), list(PATHS).index(path))
    return width + 0.1 * order[0] + 0.01 * order[1] + 1000 * seed + 100 * layer + 10000 * order[2]


@pytest.fixture(scope="module")
def explorer() -> FlowExplorer:
    rows = []
    for width, regime, router, seed in product(WIDTHS, REGIMES, ROUTERS, SEEDS):
        place = {"d_model": width, "regime": regime, "router": router, "seed": seed, "main": True}
        rows.append(place | {"path": "model", "layer": 0})
        for layer, path in product(LAYERS, (*PATHS, "attention")):
            at = 0.0 if path == "attention" else planted(width, regime, router, seed, layer, path)
            weight = at if router == "static" and path != "ffn" else np.nan
            rows.append(place | {"layer": layer, "path": path, "cut_mean": at, "length": -at, "weight": weight})
    return flow_explorer(pd.DataFrame(rows).sample(frac=1, random_state=0), seeds=len(SEEDS))


def test_every_number_is_where_the_controls_find_it(explorer: FlowExplorer) -> None:
    values = np.frombuffer(explorer.values, np.float32)
    table = values.reshape(len(WIDTHS), len(REGIMES), len(ROUTERS), len(SEEDS), len(LAYERS), len(PATHS), len(MEASURES))
    places = list(product(WIDTHS, REGIMES, ROUTERS, SEEDS, LAYERS, PATHS))
    wanted = np.array([planted(*place) for place in places], np.float32).reshape(table.shape[:-1])
    np.testing.assert_array_equal(table[..., 0], wanted)
    np.testing.assert_array_equal(table[..., 1], -wanted)
    assert np.isnan(table[:, :, 1, ..., 2]).all()  # no router
    assert np.isnan(table[..., PATHS.index("ffn"), 2]).all()
    np.testing.assert_array_equal(table[:, :, 0, ..., :3, 2], wanted[:, :, 0, ..., :3])
    by_data = np.moveaxis(wanted, 1, 0).reshape(len(REGIMES), -1)
    assert explorer.widest == pytest.approx(np.quantile(by_data, 0.95, axis=1))


def test_controls_name_what_there_is(explorer: FlowExplorer) -> None:
    controls = dict(explorer.choices)  # type: ignore[arg-type]
    assert controls["width"] == ["8", "64"]
    assert controls["data"] == ["exact", "fresh", "sample of 2000"]
    assert controls["model"] == ["routed", "standard"]
    assert all(explorer.selected[name] in values for name, values in controls.items())
