"""Chapter 8's explorer: one training at a time, its loss and its dead neurons step by step, and where events begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entropylens.measures.events import SPIKE
from entropylens.models.transformer import TransformerConfig
from entropylens.results.statistics import select
from entropylens.show.explorers import source, style
from entropylens.show.figures_spikes import NAMES

KINDS = ("spike", "jump", "collapse")
"""Of events: a collapse is a rise of the loss that does not come back."""
DEAD_BITS = 10
"""Of the 24 bits of a point; the loss has the others."""
MOST_DEAD = 2**DEAD_BITS - 1
DIVERGED = 2 ** (24 - DEAD_BITS) - 1
"""The code of a loss that is not finite, or above `SPIKE.ceiling`."""
LEAST_LOSS = 1e-3
"""Nats; what is smaller is told as this."""


class TraceExplorer(anywidget.AnyWidget):
    """Controls over optimizer, rate and seed; two panels with a cursor, which can be sent from event to event."""

    _esm = source("events.js", "traces.js")
    _css = style()
    name = traitlets.Unicode("trace").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    names: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    """For each optimizer its name and its words; no dictionary, whose keys a saved notebook sorts."""
    populations: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """`optimizer`, learning `rate` (in words), its `mark` ("edge", "matched" or ""), `steps`, number of `neurons`."""
    seeds: traitlets.List[str] = traitlets.List().tag(sync=True)
    kinds: traitlets.List[str] = traitlets.List(list(KINDS)).tag(sync=True)
    models: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """(populations × seeds): `diverged`, `kl` (nats; None if not finite), `most` and `end` (dead neurons: most
    after step 100, and at the end), and `events`: number of the kind, onset, height (nats, or neurons)."""
    points = traitlets.Bytes().tag(sync=True)
    """(populations × seeds, P, 3): see `pack`."""
    dead_bits = traitlets.Int(DEAD_BITS).tag(sync=True)
    span: traitlets.List[float] = traitlets.List().tag(sync=True)
    """Lowest and highest loss that is packed, nats."""
    selected = traitlets.Dict().tag(sync=True)
    """`optimizer`, `rate` and `seed`; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, str]:
        given = {key: str(value) for key, value in proposal["value"].items()}
        chosen = {**self.selected, **given}
        rates = {p["rate"]: p["mark"] for p in self.populations if p["optimizer"] == chosen["optimizer"]}
        if "rate" not in given and chosen.get("rate") not in rates and rates:
            chosen["rate"] = edge_of(rates)
        allowed = {"optimizer": [name for name, _ in self.names], "rate": list(rates), "seed": self.seeds}
        for key, value in chosen.items():
            if value not in allowed.get(key, ()):
                raise traitlets.TraitError(f"no {key} = {value}; choose from {allowed}")
        return chosen


def trace_explorer(
    rows: pd.DataFrame, loss: Tensor, dead: Tensor, shown: Mapping[str, Any] | ArrayLike
) -> TraceExplorer:
    """The explorer of some models of the experiment `spikes`; each adds about 1.5 kB to the page.

    Args:
        rows: published, all of them.
        loss: (F, P), nats: the highest of each of P equal stretches of a training; one a final row, in their order.
        dead: (F, P): the most dead neurons of each stretch.
        shown: which models are offered: column to value, or a mask over `rows`. No two of one optimizer, rate and seed.

    Raises:
        ValueError: if rows, tensors and selection do not fit together; the message says what does not.
    """
    chosen, place = _chosen(rows, loss, dead, shown)
    chosen = chosen.assign(place=place, order=chosen["optimizer"].map(list(NAMES).index), at=chosen["at"].fillna(""))
    chosen = chosen.sort_values(["order", "lr", "seed"])
    groups = [group for _, group in chosen.groupby(["order", "lr"])]
    seeds = _seeds(groups)
    populations = [_population(group.iloc[0], loss.shape[1]) for group in groups]
    happened = rows[(rows["kind"] == "event") & rows["event"].isin(KINDS)]
    events = dict(list(happened.groupby(["population", "seed"])))
    models = [
        _facts(row, population["neurons"], events.get((row["population"], row["seed"])))
        for group, population in zip(groups, populations, strict=True)
        for _, row in group.iterrows()
    ]
    order = chosen["place"].tolist()
    points, span = pack(loss[order].double().cpu().numpy(), dead[order].long().cpu().numpy())
    return TraceExplorer(
        names=[[name, NAMES[name]] for name in dict.fromkeys(p["optimizer"] for p in populations)],
        populations=populations,
        seeds=[str(s) for s in seeds],
        models=models,
        points=points.tobytes(),
        span=list(span),
        selected={"optimizer": populations[0]["optimizer"], "seed": str(seeds[0])},
    )


def _seeds(groups: list[pd.DataFrame]) -> list[int]:
    """Those that all populations have, each once."""
    seeds: list[int] = groups[0]["seed"].tolist()
    for group in groups:
        found, first = group["seed"].tolist(), group.iloc[0]
        if found != seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"{first['optimizer']} at {first['lr']:g} has seeds {found}; each once, and the same as "
                             f"others, {seeds}, were expected: narrow `shown`")  # fmt: skip
    return seeds


def edge_of(rates: Mapping[str, str]) -> str:
    """Of rates and their marks, the one at the edge; the first if there is none."""
    return next((rate for rate, mark in rates.items() if mark == "edge"), next(iter(rates)))


def pack(loss: NDArray[np.float64], dead: NDArray[np.int64]) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Losses (nats) and counts, (M, P) each, as three bytes a point, little-endian, and the span of losses.

    A point is code · 2^`DEAD_BITS` + dead. Codes are logarithmic: from 0, the lowest loss, to `DIVERGED` − 1, the
    highest; from losses of 4 to 1000 nats they err by less than 0.02 %.
    """
    bad = ~np.isfinite(loss) | (loss > SPIKE.ceiling)
    kept = np.maximum(loss[~bad], LEAST_LOSS)
    low, high = (float(kept.min()), float(kept.max())) if kept.size else (1.0, 1.0)
    codes = np.full(loss.shape, DIVERGED)
    codes[~bad] = np.rint((DIVERGED - 1) * np.log(kept / low) / max(np.log(high / low), 1e-9))
    points = ((codes << DEAD_BITS) | dead).astype("<u4")
    return np.ascontiguousarray(points[..., None].view(np.uint8)[..., :3]), (low, high)


def _chosen(
    rows: pd.DataFrame, loss: Tensor, dead: Tensor, shown: Mapping[str, Any] | ArrayLike
) -> tuple[pd.DataFrame, list[int]]:
    """The final rows that are offered, and their places among all final rows."""
    final = rows[rows["final"].astype(bool)]
    if loss.shape != dead.shape or loss.ndim != 2 or len(loss) != len(final):
        raise ValueError(f"loss {tuple(loss.shape)} and dead {tuple(dead.shape)} are no two traces of each of the "
                         f"{len(final)} final rows")  # fmt: skip
    if isinstance(shown, Mapping):
        place = select(final.reset_index(drop=True), shown).index.tolist()
    else:
        mask = np.asarray(shown)
        if mask.shape != (len(rows),) or mask.dtype != bool:
            raise ValueError(f"a mask is one bool a row, ({len(rows)},), not {mask.dtype} {mask.shape}")
        place = np.flatnonzero(mask[rows["final"].astype(bool)]).tolist()
    if not place:
        raise ValueError("no final row is among those shown")
    there = dead[place]
    if int(there.min()) < 0 or int(there.max()) > MOST_DEAD:
        raise ValueError(f"{int(there.min())} to {int(there.max())} dead neurons; only 0 to {MOST_DEAD} can be packed")
    chosen = final.iloc[place]
    strange = set(chosen["optimizer"]) - set(NAMES)
    if strange:
        raise ValueError(f"no optimizer of this experiment: {sorted(strange)}")
    return chosen, place


def _population(row: pd.Series, points: int) -> dict[str, Any]:
    """What is told of all seeds alike."""
    if row["steps"] < points:
        raise ValueError(f"{row['steps']} steps have no {points} stretches")
    shape = {key: row[key] for key in ("d_model", "n_layers", "norm", "variant")}
    neurons = 0 if row["variant"] == "attention_only" else int(row["n_layers"]) * TransformerConfig(**shape).n_neurons
    words = {"optimizer": str(row["optimizer"]), "rate": f"{row['lr']:g}", "mark": str(row["at"])}
    return {**words, "steps": int(row["steps"]), "neurons": int(neurons)}


def _facts(row: pd.Series, neurons: int, events: pd.DataFrame | None) -> dict[str, Any]:
    """What is told of a model; JSON knows no infinities."""
    happened = [] if events is None else events.sort_values("onset")[["event", "onset", "height"]].to_numpy().tolist()
    return {
        "diverged": bool(row["diverged"]),
        "kl": float(f"{row['kl']:.4g}") if np.isfinite(row["kl"]) else None,
        "most": round(float(row["dead_most"]) * neurons),
        "end": round(float(row["dead_end"]) * neurons),
        "events": [
            [KINDS.index(kind), int(onset), float(f"{height:.3g}") if np.isfinite(height) else None]
            for kind, onset, height in happened
        ],
    }
