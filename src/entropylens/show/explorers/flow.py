"""Chapter 6's explorer: a trained model as a graph of paths, its edges as wide as the reader's notion of importance."""

from __future__ import annotations

from itertools import product
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from entropylens.show.explorers import source, style
from entropylens.show.figures_bias import data_label
from entropylens.show.figures_paths import REGIMES

ROUTERS = {"static": "routed", "none": "standard"}
PATHS = ("residual", "head 1", "head 2", "ffn")
MEASURES = {"cut_mean": "what cutting costs", "length": "length", "weight": "router's weight"}


class FlowExplorer(anywidget.AnyWidget):
    """Controls over models and measures, the graph, and a slider that renames a routed model's weights."""

    _esm = source("flow.js")
    _css = style()
    name = traitlets.Unicode("flow").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    choices: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """For each control its name and its values; models follow the product of all but the last."""
    paths: traitlets.List[str] = traitlets.List().tag(sync=True)
    """Of each layer, in the order of the values."""
    values = traitlets.Bytes().tag(sync=True)
    """(models, layers, paths, measures) float32; NaN for the weight of what has none."""
    layers = traitlets.Int().tag(sync=True)
    widest: traitlets.List[float] = traitlets.List().tag(sync=True)
    """(kinds of data): a cost in nats that few cuts exceed, the 95th percentile, which sets the width of edges."""
    selected = traitlets.Dict().tag(sync=True)
    """Control to the chosen value."""


def flow_explorer(rows: pd.DataFrame, seeds: int = 4) -> FlowExplorer:
    """The explorer of the main design.

    Args:
        rows: published, of the experiment `residual_dominance`.
        seeds: how many are shown.
    """
    main = rows[rows["main"] & (rows["path"] != "model")]
    widths, layers = sorted(int(d) for d in main["d_model"].unique()), sorted(main["layer"].unique())
    keys = ["d_model", "regime", "router", "seed", "layer", "path"]
    table = main.set_index(keys)[list(MEASURES)].sort_index()
    places = list(product(widths, REGIMES, ROUTERS, range(seeds), layers, PATHS))
    values = table.loc[places].to_numpy(np.float32).reshape(-1, len(layers), len(PATHS), len(MEASURES))
    costs = np.moveaxis(values[..., 0].reshape(len(widths), len(REGIMES), -1), 1, 0).reshape(len(REGIMES), -1)
    return FlowExplorer(
        choices=[
            ["width", [f"{d}" for d in widths]],
            ["data", [data_label(*kind) for kind in REGIMES.items()]],
            ["model", list(ROUTERS.values())],
            ["seed", [str(s) for s in range(seeds)]],
            ["edges", list(MEASURES.values())],
        ],
        paths=list(PATHS),
        values=values.tobytes(),
        layers=len(layers),
        widest=[float(x) for x in np.quantile(costs, 0.95, axis=1)],
        selected={
            "width": f"{widths[-1]}", "data": "fresh", "model": "routed", "seed": "0", "edges": MEASURES["cut_mean"],
        },
    )  # fmt: skip
