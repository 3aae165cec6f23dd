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
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.low_entropy import REGIMES, Grid
from entropylens.measures.distribution import kl_from_log
from entropylens.measures.path_rows import of_model, of_paths
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
MAIN_DATA = {name: REGIMES[name] for name in ("exact", "fresh", "finite 2000")}
FRESH = {"fresh": REGIMES["fresh"]}
SAMPLE = {"finite 2000": REGIMES["finite 2000"]}
AGREE = 0.5
"""Proxy and direct evidence agree if the interval of their rank correlation (of `twins`, seed by seed) lies above this,
written before the full run; they disagree if it lies below."""
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
    main = replace(grid, regimes=MAIN_DATA)
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
        Cells("shuffled", replace(two, family="shuffled"), (STATIC, TOKEN)),
        Cells("decay", replace(two, optimizer=decay)),
        *(Cells("router lr", two, ({**STATIC, "router_lr": rate},)) for rate in (0.1, 10.0)),
        Cells("not rescaled", two, ({**STATIC, "rescaled": False},)),
        Cells("no norm", replace(two, norm="none")),
    ]


def populations(grid: Grid, ends: tuple[int, int], middle: int) -> list[PopulationSpec]:
    """The whole experiment."""
    return [spec for cells in design(grid, ends, middle) for spec in cells.populations()]


def twins(rows: pd.DataFrame, proxy: str, direct: str, measured_on: str = "none") -> tuple[pd.Series, pd.Series]:
    """Two measures of the cells that have both a static router and none, indexed by seed and `CELLS`.

    Args:
        rows: published; those of paths are left out.
        proxy: a column of the routed models.
        direct: a column of their standard twins, or, with `measured_on` = "static", of the routed models themselves.
        measured_on: the router of the models whose `direct` is taken.
    """
    models = rows[rows["final"] & rows["design"].isin(["main", "depth", "heads"])]

    def of(router: str, column: str) -> pd.Series:
        return models[models["router"] == router].set_index(["seed", *CELLS])[column]

    return of("static", proxy), of(measured_on, direct)


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


EXPERIMENT = Experiment(
    name="residual_dominance",
    claims=("LE-3", "LE-n2"),
    populations={
        "quick": lambda: populations(Grid(widths=(8, 16), seeds=2, steps=20, n_snapshots=3), (8, 16), middle=8),
        "full": lambda: populations(Grid(), (8, 64), middle=32),
    },
    measure=measure,
)
