"""A model's paths as rows of a table: one for each path of each layer, and one for the model.

What the evidence is, and how paths are cut, is told in measures/paths.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from entropylens.measures.paths import Paths

Row = dict[str, object]


def of_paths(paths: Paths) -> list[Row]:
    """A row for the residual, attention, each head and the FFN of every layer.

    `weight` of a routed path, on average over contexts (of "attention": of all heads together), and `weight_sd` over
    contexts; `length`, the mean norm of what it adds, `relative`, the mean ratio to that of the residual path, and
    `cosine` to it; `cut_zero`, `cut_mean` and, for attention, `cut_even`, nats, and what `Paths.looks` finds.
    """
    rows: list[Row] = []
    for layer in range(paths.model.config.n_layers):
        added = paths.added(layer)
        residual = added["residual"]
        for path, x in added.items():
            ratio = x.norm(dim=-1) / residual.norm(dim=-1)
            cosine = torch.cosine_similarity(x, residual, dim=-1)
            means = {"length": x.norm(dim=-1), "relative": ratio, "cosine": cosine}
            row: Row = {"path": path, "layer": layer + 1, "final": False, **_weight(paths, layer, path)}
            row |= {name: float(paths.mean(values)) for name, values in means.items()}
            rows.append(row | _cuts(paths, layer, path))
    return rows


LISTS = {"residual": "entering", "attention": "mixed", "ffn": "recalled"}
"""Where a trace keeps what a path adds."""


def _cuts(paths: Paths, layer: int, path: str) -> dict[str, float]:
    if path not in LISTS:
        return {"cut_mean": paths.cut(paths.headless(layer, int(path.removeprefix("head ")) - 1))}
    name = LISTS[path]
    found = {"cut_zero": paths.cut(paths.nothing(name, layer)), "cut_mean": paths.cut(paths.averaged(name, layer))}
    if path == "attention":
        found |= {"cut_even": paths.cut(paths.even(layer)), **paths.looks(layer)}
    return found


def _weight(paths: Paths, layer: int, path: str) -> dict[str, float]:
    if not paths.trace.paths or path == "ffn":
        return {"weight": np.nan, "weight_sd": np.nan}
    w = paths.trace.paths[layer]  # (N or 1, 1 + H)
    residual, heads = w[:, 0], w[:, 1:]
    chosen = {"residual": residual, "attention": heads.sum(-1)}
    x = chosen[path] if path in chosen else heads[:, int(path.removeprefix("head ")) - 1]
    mean = paths.mean(x)
    return {"weight": float(mean), "weight_sd": float(paths.mean((x - mean) ** 2).sqrt())}


def of_model(paths: Paths, rows: Sequence[Row]) -> Row:
    """What the paths of a model say together; from `of_paths`, on average over layers.

    `weight` of the residual path; `preference`, the log of its ratio to a head's mean weight (0 where all are alike);
    `norm_share`, its length's share of the sum over it and the heads; `causal_share`, the share of its cut in the sum
    over it and attention (cuts below zero count as zero; NaN where a layer has none above it), `causal_share_zero` the
    same of cuts by nothing, and `branch_share` the share of attention's cut in the sum over it and the FFN; `bypass`,
    the residual's share as the claim would have it: `weight` with a router, `causal_share` without.

    The cuts of a model's row are those of all layers' attention at once; `ffn_zero` and `ffn_mean`, of all FFNs.
    """
    table = pd.DataFrame(rows)
    by = table.set_index(["path", "layer"])
    heads = table[table["path"].str.startswith("head")].groupby("layer")
    weight, norm, rest = by["weight"]["residual"], by["length"]["residual"], by["weight"]["attention"]
    with np.errstate(divide="ignore"):  # a path of weight 0 is preferred infinitely little
        preference = np.log(weight) - np.log(rest / paths.model.config.n_heads)

    def share(path: str, other: str, column: str = "cut_mean") -> float:
        one, two = (by[column][name].clip(lower=0) for name in (path, other))
        return float((one / (one + two)).mean(skipna=False))

    causal = share("residual", "attention")
    found: Row = {
        "weight": float(weight.mean()),
        "preference": float(preference.mean()),
        "norm_share": float((norm / (norm + heads["length"].sum())).mean()),
        "causal_share": causal,
        "causal_share_zero": share("residual", "attention", "cut_zero"),
        "branch_share": share("attention", "ffn") if paths.trace.recalled else 1.0,
        "bypass": float(weight.mean()) if paths.trace.paths else causal,
        **{name: float(by[name]["attention"].mean()) for name in ("entropy", "entropy_even", "bos", "self")},
    }
    for part, name in (("cut", "mixed"), ("ffn", "recalled")):
        for how, replaced in (("zero", paths.nothing), ("mean", paths.averaged)):
            layers = range(len(getattr(paths.trace, name)))
            found[f"{part}_{how}"] = paths.cut({k: v for n in layers for k, v in replaced(name, n).items()})
    return {"path": "model", "layer": 0, "final": True, **found}
