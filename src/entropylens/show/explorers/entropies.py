"""Chapter 14's explorer: one language model at a time, how sure it is and how right, beside what it learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import anywidget
import pandas as pd
import traitlets

from entropylens.show.explorers import source, style

QUANTITIES = ("cross_entropy", "forced", "loss", "entropy")
"""Of a model at a snapshot, nats a symbol: columns of the rows; `entropy`, of its own texts, at the end only."""
ORIGINS = {"source": "a source of known entropy", "text": "real text"}
CONTROLS = ("of", "data", "width", "seed")


class EntropyExplorer(anywidget.AnyWidget):
    """Controls over models, a slider over snapshots; the model's entropies on a line, and over training."""

    _esm = source("entropies.js")
    _css = style()
    name = traitlets.Unicode("entropies").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    populations: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """Each with `of`, `data` and `width` in words, `seeds`, its `steps` (S), the exact entropy `source` or None, and
    `values` (seeds, S, quantities), nats a symbol or None."""
    selected = traitlets.Dict().tag(sync=True)
    """Control to the chosen value; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, str]:
        given = {key: str(value) for key, value in proposal["value"].items()}
        strange = [key for key in given if key not in CONTROLS]
        if strange:
            raise traitlets.TraitError(f"no {strange[0]} to choose; there are {', '.join(CONTROLS)}")
        chosen = {**self.selected, **given}
        here: list[dict[str, Any]] = list(self.populations)
        for key in CONTROLS:
            values = list(dict.fromkeys(value for p in here for value in (p["seeds"] if key == "seed" else [p[key]])))
            if chosen.get(key) not in values:
                if key in given:
                    raise traitlets.TraitError(f"no {key} = {given[key]}; choose from {values}")
                chosen[key] = values[0]
            here = here if key == "seed" else [p for p in here if p[key] == chosen[key]]
        return chosen


def entropy_explorer(rows: Sequence[pd.DataFrame], seeds: int = 5) -> EntropyExplorer:
    """The explorer of models that read a source or a text, without loops; each seed adds about 4 kB to the page.

    Args:
        rows: of experiments such as `known_source`, `real_text` and `larger_text`, all rows of each.
        seeds: how many of each population are offered, the first ones.

    Raises:
        ValueError: if two populations would be offered under the same words.
    """
    found = sorted((found for table in rows for found in _populations(table, seeds)), key=itemgetter(0))
    populations = [p for _, p in found]
    names = [(p["of"], p["data"], p["width"]) for p in populations]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"offered twice: {', '.join(map(str, sorted(twice)))}")
    widths = [name[-1] for name in names if name[:2] == names[0][:2]]
    return EntropyExplorer(populations=populations, selected={"width": widths[-1]})


def _populations(rows: pd.DataFrame, seeds: int) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """What is offered of an experiment, trained by Adam at the usual rate, and its place among others."""
    models = rows[(rows["kind"] == "model") & ~rows["design"].isin(("rate", "optimizer"))]
    models = models[models["arm"].isna()] if "arm" in models else models
    for (origin, *_), group in models.groupby(["origin", "regime", "n_symbols", "steps", "d_model"], sort=False):
        known = sorted(group["seed"].unique())[:seeds]
        snapshots = sorted(int(step) for step in group["step"].unique())
        table = group.set_index(["seed", "step"])[list(QUANTITIES)]
        first, finite = group.iloc[0], group["regime"].iloc[0] == "finite"
        size = [int(first[column]) for column in ("n_symbols", "seen", "d_model")]
        yield (list(ORIGINS).index(str(origin)), finite, *size), {
            "of": ORIGINS[str(origin)], "data": data_in_words(first, models), "width": str(int(first["d_model"])),
            "seeds": [str(seed) for seed in known], "steps": snapshots,
            "source": None if pd.isna(first.get("source")) else float(first["source"]),
            "values": [[[_told(x) for x in table.loc[(seed, step)]] for step in snapshots] for seed in known],
        }  # fmt: skip


def data_in_words(row: pd.Series, models: pd.DataFrame) -> str:
    """What a model has learned from, and how often it has seen it; a text's epoch is the shortest training on it."""
    seen = int(row["seen"])
    if row["regime"] == "fresh":
        return f"fresh, {_thousands(seen)} symbols"
    if row["regime"] == "finite":
        return f"a sample of {_thousands(row['n_symbols'])}, {_times(seen / row['n_symbols'])}"
    whole = models[(models["regime"] == "whole") & (models["origin"] == row["origin"])]
    return f"the whole text, {_times(row['steps'] / whole['steps'].min())}"


def _times(times: float) -> str:
    return "once" if round(times) == 1 else f"{round(times)} times"


def _thousands(symbols: float) -> str:
    millions = symbols / 1e6
    return f"{round(symbols / 1e3)}k" if millions < 1 else f"{millions:.1f}".removesuffix(".0") + "M"


def _told(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 4)
