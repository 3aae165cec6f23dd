"""Chapter 3's explorer: one trained model at a time, what it learned against what it was taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import torch
import traitlets
from numpy.typing import NDArray
from torch import Tensor

from entropylens.experiments.low_entropy import Grid
from entropylens.show.explorers import source, style
from entropylens.show.figures_bias import data_label
from entropylens.tasks.language import Language
from entropylens.training.data import finite_sample

DECADES = 7.0
"""Probabilities are shown from 1 down to 10⁻⁷; what is rarer lies on the edge."""
_NUMBERS = ("bias", "sample_bias", "model_bias", "kl", "target_entropy", "entropy")


class BiasExplorer(anywidget.AnyWidget):
    """Width × data × seed: a scatter of pθ against p_tgt, and the entropy bias split into sample and model."""

    _esm = source("bias.js")
    _css = style()
    choices = traitlets.Dict().tag(sync=True)
    """Control to its values, as words, in the order of the axes of `learned`."""
    numbers: traitlets.List[dict[str, float]] = traitlets.List().tag(sync=True)
    """One dictionary a model, in the order of `learned`: nats."""
    learned = traitlets.Bytes().tag(sync=True)
    """(widths · data · seeds, S): log pθ, one byte each, see `as_bytes`."""
    target = traitlets.Bytes().tag(sync=True)
    """(seeds, S): log p_tgt, likewise."""
    seen = traitlets.Bytes().tag(sync=True)
    """(data · seeds, S): how often the sample has a sentence, 255 at most."""
    letters = traitlets.Unicode().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    decades = traitlets.Float(DECADES).tag(sync=True)
    selected = traitlets.Dict().tag(sync=True)
    """Control to the chosen value; in JupyterLab Python may read it, and set it."""


def bias_explorer(rows: pd.DataFrame, log_probs: Tensor, seeds: int = 3) -> BiasExplorer:
    """The explorer of the main design.

    Args:
        rows: published, of the experiment `low_entropy`.
        log_probs: (final rows, S), log pθ in nats, in the order of the final rows.
        seeds: how many are shown; each adds 75 kB to the page.
    """
    final = rows[rows["final"]].reset_index(drop=True)
    final = final[final["main"] & (final["seed"] < seeds)]
    final = final.assign(data=[data_label(r, n) for r, n in zip(final["regime"], final["n_samples"], strict=True)])
    axes = {"width": final["d_model"], "data": final["data"], "seed": final["seed"]}
    order = {name: list(dict.fromkeys(column)) for name, column in axes.items()}
    order["width"].sort()
    place = final.set_index([final["d_model"], final["data"], final["seed"]]).index
    wanted = pd.MultiIndex.from_product(list(order.values()))
    position = final.index[place.get_indexer(wanted)]
    language, targets, seen = Language(), *_data(final, order["data"], order["seed"])
    table = final.loc[position, list(_NUMBERS)]
    return BiasExplorer(
        choices={name: [str(v) for v in values] for name, values in order.items()},
        numbers=[{name: round(float(v), 4) for name, v in row.items()} for row in table.to_dict("records")],
        learned=as_bytes(log_probs[position.tolist()].double().numpy()).tobytes(),
        target=as_bytes(targets).tobytes(),
        seen=seen.tobytes(),
        letters=language.text(tuple(range(language.vocab_size))),
        length=language.length,
        selected={"width": str(order["width"][-1]), "data": "sample of 2000", "seed": str(order["seed"][0])},
    )


def as_bytes(log_p: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Logarithms (nats) as bytes: 255 is probability 1, 0 is 10^-DECADES or less, evenly between."""
    share = 1 + log_p / (DECADES * np.log(10))
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), dtype=np.uint8)


def _data(
    final: pd.DataFrame, data: Sequence[str], seeds: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Log p_tgt (seeds, S) and how often each sample has each sentence (data · seeds, S), drawn as for training."""
    language, grid = Language(), Grid()
    targets = {seed: grid.target(seed).build(language) for seed in seeds}
    size: Mapping[Any, Any] = final.groupby("data")["n_samples"].first().to_dict()
    seen = np.full((len(data) * len(seeds), language.n_sentences), 1, dtype=np.uint8)
    for i, (label, seed) in enumerate((label, seed) for label in data for seed in seeds):
        if size[label]:
            sample = finite_sample(language, targets[seed], int(size[label]), seed)
            counts = torch.bincount(sample, minlength=language.n_sentences)
            seen[i] = counts.clamp(max=255).numpy()
    return torch.stack([targets[seed] for seed in seeds]).log().numpy(), seen
