"""Chapter 5's explorer: one trained model, one story about it, and the story's parameter under the reader's hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets
from torch import Tensor

from entropylens.experiments.low_entropy import Grid
from entropylens.measures.explanations import divergence, families
from entropylens.results.statistics import select
from entropylens.show.explorers import source, style
from entropylens.show.figures_alpha import FAMILY_NAMES, KINDS
from entropylens.show.figures_bias import data_label
from entropylens.tasks.language import Language
from entropylens.training.data import finite_sample

POINTS = 61
"""Values of the parameter, evenly over the family's range."""
STORIES = ("escort", "sample", "sample escort", "uniform")


class FamilyExplorer(anywidget.AnyWidget):
    """Controls over models and families, a slider over the parameter, and KL(p_φ‖pθ) as a curve."""

    _esm = source("families.js")
    _css = style()
    name = traitlets.Unicode("story").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    choices: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """For each control its name, its values, and how they are told; models follow the product of all but the last."""
    curves = traitlets.Bytes().tag(sync=True)
    """(models, stories, POINTS) float32, nats; NaN where there is no sample."""
    ranges: traitlets.List[list[list[float]]] = traitlets.List().tag(sync=True)
    """(models, stories, 2): the ends of the parameter's range."""
    whole: traitlets.List[float] = traitlets.List().tag(sync=True)
    """(models): KL(p_tgt‖pθ), nats: what there is to explain."""
    points = traitlets.Int(POINTS).tag(sync=True)
    selected = traitlets.Dict().tag(sync=True)
    """Control to the chosen value."""


def family_explorer(rows: pd.DataFrame, log_probs: Tensor, seeds: int = 2) -> FamilyExplorer:
    """The explorer of chapter 3's main design.

    Args:
        rows: published, of the experiment `low_entropy`.
        log_probs: (final rows, S), log pθ in nats, in the order of the final rows.
        seeds: how many are shown; each adds 31 kB to the page.
    """
    final = rows[rows["final"]].reset_index(drop=True)
    main, language, grid = final[final["main"]], Language(), Grid()
    widths = sorted(int(d) for d in main["d_model"].unique())
    curves, ranges, whole = [], [], []
    for width, (regime, n), seed in product(widths, KINDS, range(seeds)):
        where = {"d_model": width, "regime": regime, "n_samples": n, "seed": seed}
        (row,) = select(main, where).index
        log_p, target = log_probs[row].double().numpy(), grid.target(seed).build(language)
        sample = language.empirical(finite_sample(language, target, n, seed)).numpy() if n else None
        known = families(target.numpy(), sample)
        ends = [[known[s].low, known[s].high] if s in known else [0.0, 1.0] for s in STORIES]
        curves.append(
            [
                [divergence(log_p, target.numpy(), known[s].member(phi)) for phi in np.linspace(end[0], end[1], POINTS)]
                if s in known
                else [np.nan] * POINTS
                for s, end in zip(STORIES, ends, strict=True)
            ]
        )
        ranges.append(ends)
        whole.append(divergence(log_p, target.numpy(), target.numpy()))
    names = [FAMILY_NAMES[s.replace(" ", "_")] for s in STORIES]
    return FamilyExplorer(
        choices=[
            ["width", [str(d) for d in widths], "d = {}"],
            ["data", [data_label(*kind) for kind in KINDS], "{}"],
            ["seed", [str(s) for s in range(seeds)], "seed {}"],
            ["story", names, "{}"],
        ],
        curves=np.asarray(curves, dtype=np.float32).tobytes(),
        ranges=ranges,
        whole=whole,
        selected={"width": str(widths[-1]), "data": "sample of 2000", "seed": "0", "story": names[0]},
    )
