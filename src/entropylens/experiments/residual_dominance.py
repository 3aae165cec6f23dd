"""Claim 3: do larger transformers bypass attention through the residual path? By proxy, and without.

The proxy: models with a router (models/routed.py), whose weights on the paths are learned with all else. Without:
standard models of the same sizes, whose paths are cut (measures/paths.py). A seed draws target, sample and initial
parameters together, so a routed model and its standard twin start as the same function of their input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.low_entropy import REGIMES, Grid
from entropylens.measures.distribution import kl_from_log
from entropylens.measures.paths import Paths
from entropylens.models.layouts import TrieLayout
from entropylens.models.routed import RoutedConfig
from entropylens.models.transformer import TransformerConfig
from entropylens.training.population import rebuild
from entropylens.training.spec import PopulationSpec

Fields = Mapping[str, object]
"""Fields of a configuration that differ from its defaults, and their values."""
STANDARD: Fields = {"router": "none"}
STATIC: Fields = {"router": "static"}
TOKEN: Fields = {"router": "token"}
THREE = {name: REGIMES[name] for name in ("exact", "fresh", "finite 2000")}
FRESH = {"fresh": REGIMES["fresh"]}
SAMPLE = {"finite 2000": REGIMES["finite 2000"]}
AGREE = 0.5
"""Proxy and direct evidence agree if their rank correlation (`agreement`) lies above this, with its whole interval;
written before the full run, as the rules in book/claims.yml are."""
CELLS = ("design", "d_model", "n_layers", "n_heads", "regime")
"""Columns that name the cell in which a routed model and a standard one are compared, seed by seed."""


@dataclass(frozen=True)
class Cells:
    """A block of the design: widths × regimes × routers.

    Attributes:
        design: label of the rows.
        grid: widths, regimes, seeds, steps, optimizer, target and norm.
        routers: fields of `RoutedConfig`; the router "none" is the standard transformer.
        shape: fields of `TransformerConfig` besides d_model and norm.
    """

    design: str
    grid: Grid
    routers: Sequence[Fields] = (STATIC,)
    shape: Fields = field(default_factory=dict)

    def populations(self) -> Iterator[PopulationSpec]:
        """One population a width, regime and router, with all seeds."""
        for spec in replace(self.grid, design=self.design).populations():
            for router in self.routers:
                yield replace(spec, config=routed(replace(spec.config, **self.shape), router))  # type: ignore[arg-type]


def routed(config: TransformerConfig, router: Fields) -> TransformerConfig:
    """The configuration with a router; as it is for the router "none"."""
    if router == STANDARD:
        return config
    return RoutedConfig(**{f.name: getattr(config, f.name) for f in fields(config)}, **router)  # type: ignore[arg-type]


def design(grid: Grid, ends: tuple[int, int], middle: int) -> list[Cells]:
    """The main block, and around it controls and variations, one change at a time.

    Args:
        grid: widths, seeds, steps and optimizer of the main block.
        ends: a small and a large width, which the controls compare.
        middle: the width at which depth and heads are varied.
    """
    main = replace(grid, regimes=THREE)
    few = replace(grid, n_snapshots=2)
    two = replace(few, widths=ends, regimes=FRESH)
    one = replace(few, widths=(middle,), regimes=FRESH)
    both = (STANDARD, STATIC)
    decay = replace(grid.optimizer, name="adamw", weight_decay=0.1)
    return [
        Cells("main", main, both),
        Cells("token", replace(two, regimes={**FRESH, **SAMPLE}), (TOKEN,)),
        *(Cells("depth", one, both, {"n_layers": n}) for n in (1, 4)),
        *(Cells("heads", one, both, {"n_heads": n}) for n in (1, 4)),
        Cells("sparse", replace(two, family="sparse", regimes=SAMPLE)),
        Cells("frozen random", two, ({**STATIC, "router_start": "random", "router_lr": 0.0},)),
        Cells("shuffled", replace(two, family="shuffled")),
        Cells("decay", replace(two, optimizer=decay)),
        *(Cells("router lr", two, ({**STATIC, "router_lr": rate},)) for rate in (0.1, 10.0)),
        Cells("not rescaled", two, ({**STATIC, "rescaled": False},)),
        Cells("no norm", replace(two, norm="none")),
    ]


def populations(grid: Grid, ends: tuple[int, int], middle: int) -> list[PopulationSpec]:
    """The whole experiment."""
    return [spec for cells in design(grid, ends, middle) for spec in cells.populations()]


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row a trained model, and one for every path of each of its layers.

    All rows say which model it is: design, d_model, n_layers, n_heads, norm, family, regime, n_samples, seed,
    weight_decay, and the router's fields (`router` is "none" for a standard transformer).

    A model's own row has `path` = "model", layer 0, `final` true, and what `of_model` returns. A path's row has its
    layer, from 1, and what `of_path` returns; what a row does not have is NaN.
    """
    layout, rows = TrieLayout(spec.config.language), []
    members = zip(spec.members, spec.build_members(), trained["parameters"], trained["log_probs"][-1], strict=True)
    for named, member, parameters, log_p in members:
        labels = _labels(spec) | {
            "family": named.target.family,
            "regime": named.data.regime,
            "n_samples": named.data.n_samples or 0,
            "weight_decay": named.optimizer.weight_decay,
            "seed": named.seed,
        }
        paths = Paths(rebuild(spec.config, parameters.double()), layout, member.target)
        found = of_paths(paths)
        model = of_model(paths, found) | {"kl": float(kl_from_log(member.target, log_p))}
        rows += [labels | row for row in (model, *found)]
    return pd.DataFrame(rows)


def _labels(spec: PopulationSpec) -> dict[str, object]:
    c = spec.config
    shape = {name: getattr(c, name) for name in ("d_model", "n_layers", "n_heads", "norm")}
    router = {"router": "none", "router_start": "", "router_lr": np.nan, "rescaled": True}
    if isinstance(c, RoutedConfig):
        router = {name: getattr(c, name) for name in router}
    return {"design": spec.design, "main": spec.design == "main", **shape, **router}


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
    over it and attention (cuts below zero count as zero), `causal_share_zero` the same of cuts by nothing, and
    `branch_share` the share of attention's cut in the sum over it and the FFN; `bypass`, the residual's share as the
    claim would have it: `weight` with a router, `causal_share` without.

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
        return float((one / (one + two)).mean())

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


EXPERIMENT = Experiment(
    name="residual_dominance",
    claims=("LE-3", "LE-n2"),
    populations={
        "quick": lambda: populations(Grid(widths=(8, 16), seeds=2, steps=20, n_snapshots=3), (8, 16), middle=8),
        "full": lambda: populations(Grid(), (8, 64), middle=32),
    },
    measure=measure,
)
