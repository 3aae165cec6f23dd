"""Claim 4a: is a smaller share of the FFN's neurons active in larger transformers?

Widths × data × seeds with every step logged, and around this main design one change at a time. An untrained model is
the first entry of each log, so that every trained model has its own control for width alone. Targets whose
probabilities were dealt to the sentences anew are the other control: labels as random as labels can be here, with
nothing to be learned but by heart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.low_entropy import REGIMES, Grid
from entropylens.measures.distribution import kl_from_log
from entropylens.measures.neurons import (
    active_share,
    context_weights,
    decided,
    firing_rates,
    promise,
    promoted,
    reached,
    silent,
)  # fmt: skip
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, Transformer
from entropylens.tasks.language import Language
from entropylens.training.data import finite_sample, generator
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.population import rebuild
from entropylens.training.spec import MemberSpec, PopulationSpec

MAIN_DATA = {name: REGIMES[name] for name in ("exact", "fresh", "finite 2000")}
FRESH = {"fresh": REGIMES["fresh"]}
Row = dict[str, Any]
BINS = np.concatenate([[-np.inf, 1e-12], np.arange(0.1, 1.0, 0.1), [1 - 1e-9, np.inf]])
"""Edges of the distribution of firing rates: never; up to 0.1, 0.2, … 0.9; above that; always."""


@dataclass(frozen=True)
class Cells:
    """A block of the design.

    Attributes:
        grid: widths, regimes, seeds, steps, optimizer, target and norm.
        shape: fields of `TransformerConfig` besides d_model and norm.
    """

    grid: Grid
    shape: Mapping[str, int] = field(default_factory=dict)

    def populations(self) -> Iterator[PopulationSpec]:
        """One a width and regime, with all seeds; every step is logged."""
        for spec in self.grid.populations():
            yield replace(spec, config=replace(spec.config, **self.shape), logged=True)  # type: ignore[arg-type]


def design(grid: Grid) -> list[Cells]:
    """The main block, and around it controls and variations, one change at a time, at the smallest and largest width.

    Args:
        grid: widths, seeds, steps and optimizer of the main block.
    """
    small, large = ends = grid.widths[0], grid.widths[-1]
    two = replace(grid, n_snapshots=2, widths=ends, regimes=FRESH)
    adam = grid.optimizer

    def change(design: str, **fields: object) -> Cells:
        return Cells(replace(two, design=design, **fields))  # type: ignore[arg-type]

    def neurons(width: int, d_ff: int) -> Cells:
        return Cells(replace(two, design="neurons", widths=(width,)), {"d_ff": d_ff})

    return [
        Cells(replace(grid, regimes=MAIN_DATA)),
        Cells(replace(grid, design="shuffled", family="shuffled", regimes=FRESH)),
        *(change("entropy", entropy=nats) for nats in (3.0, 4.5, 7.0)),
        change("sparse", family="sparse", regimes={"finite 2000": REGIMES["finite 2000"]}),
        *(change("norm", norm=norm) for norm in ("none", "post")),
        *(Cells(replace(two, design="depth"), {"n_layers": n}) for n in (1, 4)),
        *(neurons(width, d_ff) for width, d_ff in ((small, 4 * large), (large, 4 * small))),
        *(change("rate", optimizer=replace(adam, lr=factor * adam.lr)) for factor in (1 / 3, 3.0)),
        change("momentum", optimizer=OptimizerConfig("sgd", lr=0.03, momentum=0.9, final_lr=adam.final_lr)),
        change("long", steps=4 * grid.steps, n_snapshots=grid.n_snapshots),
    ]


def populations(grid: Grid) -> list[PopulationSpec]:
    """The whole experiment."""
    return [spec for cells in design(grid) for spec in cells.populations()]


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of four kinds, all of which say which model it is; shares are between 0 and 1.

    * "model": one a trained model, the mean over its layers, layer 0, `final` true. `active`, the share of neurons that
      fire on an input, inputs weighted as the target has them; `active_even`, with all contexts alike; `active_start`,
      the untrained model's `active`, and `silenced`, by how much training has lowered it; `dead` and `unreached`, the
      shares that fire in no context at all, and in none that the data reach; `decided` (by position and last symbol)
      and `promise`, see measures/neurons.py; `kl`, KL(p_tgt‖pθ) in nats.
    * "layer": the same of each layer, from 1.
    * "time": a layer at the `step` of a snapshot before the last: `active`, inputs weighted as in the step's own data,
      `dead`, `unreached` by the step's data, and the model's `kl`.
    * "rates", main design only: the `share` of a layer's neurons whose firing rate is in `bin` of `BINS`.
    """
    layout, rows = TrieLayout(spec.config.language), list[Row]()
    for number, (named, member) in enumerate(zip(spec.members, spec.build_members(), strict=True)):
        labels = _labels(spec, named)
        kl = kl_from_log(member.target, trained["log_probs"][:, number])
        model, start = (rebuild(spec.config, theta.double()) for theta in _ends(spec, trained, number))
        layers = _of_layers(model, layout, member.target, seen_by(layout.language, named, member.target))
        for row, before in zip(layers, _active(start, layout, member.target), strict=True):
            row |= {"active_start": before, "silenced": before - row["active"], "kl": float(kl[-1])}
        common = labels | {"step": spec.steps, "final": False}
        mean = {str(name): value for name, value in pd.DataFrame(layers).mean().items()}
        rows.append(common | {"kind": "model", "final": True} | mean | {"layer": 0.0})
        rows += [common | {"kind": "layer"} | row for row in layers]
        rows += [labels | {"kind": "time", "final": False} | row for row in _over_time(spec, trained, number, kl)]
        if spec.design == "main":
            rows += [common | {"kind": "rates"} | row for row in _rates(model, layout, member.target)]
    return pd.DataFrame(rows)


def seen_by(language: Language, named: MemberSpec, target: Tensor) -> Tensor:
    """The sentences that training weighs: the sample's, where it is finite; else the target's, in the long run; (S)."""
    n_samples = named.data.n_samples
    return target if n_samples is None else language.empirical(finite_sample(language, target, n_samples, named.seed))


def _labels(spec: PopulationSpec, named: MemberSpec) -> Row:
    c, target, data, optimizer = spec.config, named.target, named.data, named.optimizer
    return {
        "design": spec.design,
        "main": spec.design == "main",
        **{name: getattr(c, name) for name in ("d_model", "n_layers", "n_neurons", "norm")},
        "family": target.family,
        "tilt": np.nan if target.entropy is None else target.entropy,
        "regime": data.regime,
        "n_samples": data.n_samples or 0,
        "optimizer": optimizer.name,
        "lr": optimizer.lr,
        "steps": spec.steps,
        "seed": named.seed,
    }


def _activations(model: Transformer, layout: TrieLayout) -> list[Tensor]:
    trace = Trace()
    with torch.no_grad():
        model(layout, trace)
    return trace.neurons


def _of_layers(model: Transformer, layout: TrieLayout, target: Tensor, seen: Tensor) -> list[Row]:
    language = layout.language
    edges = language.edges(target)
    contexts, next_symbol = context_weights(edges), language.conditionals(target).nan_to_num()
    even, simple = torch.full_like(contexts, 1 / len(contexts)), layout.paths[len(layout.tokens)][:, 0]
    among, rows = reached(language.edges(seen)), []
    for layer, (x, says) in enumerate(zip(_activations(model, layout), promoted(model), strict=True)):
        values = {
            "active": active_share(x, contexts),
            "active_even": active_share(x, even),
            "dead": silent(x).double().mean(),
            "unreached": silent(x, among).double().mean(),
            "decided": decided(x > 0, contexts, simple).nanmean(),
            "promise": promise(x > 0, contexts, next_symbol, says).nanmean(),
        }
        rows.append({"layer": layer + 1.0} | {name: float(value) for name, value in values.items()})
    return rows


def _active(model: Transformer, layout: TrieLayout, target: Tensor) -> list[float]:
    contexts = context_weights(layout.language.edges(target))
    return [float(active_share(x, contexts)) for x in _activations(model, layout)]


def _ends(spec: PopulationSpec, trained: Mapping[str, Tensor], member: int) -> tuple[Tensor, Tensor]:
    """A member's parameters after the last step, and before the first."""
    untrained = spec.config.build(generator(spec.members[member].seed, "init"))
    return trained["parameters"][member], torch.nn.utils.parameters_to_vector(untrained.parameters()).detach()


def _over_time(spec: PopulationSpec, trained: Mapping[str, Tensor], member: int, kl: Tensor) -> Iterator[Row]:
    for snapshot, step in enumerate(trained["snapshot_steps"].tolist()[:-1]):
        for layer in range(trained["active"].shape[2]):
            row = {name: float(trained[name][step, member, layer]) for name in ("active", "dead", "unreached")}
            row |= {name: row[name] / spec.config.n_neurons for name in ("dead", "unreached")}
            yield {"step": step, "layer": layer + 1.0, "kl": float(kl[snapshot])} | row


def _rates(model: Transformer, layout: TrieLayout, target: Tensor) -> Iterator[Row]:
    contexts = context_weights(layout.language.edges(target))
    for layer, x in enumerate(_activations(model, layout)):
        counts, _ = np.histogram(firing_rates(x, contexts).numpy(), BINS)
        for number, share in enumerate(counts / counts.sum()):
            yield {"layer": layer + 1.0, "bin": float(number), "share": float(share)}


EXPERIMENT = Experiment(
    name="active_neurons",
    claims=("LE-4a",),
    populations={
        "quick": lambda: populations(Grid(widths=(8, 16), seeds=2, steps=20, n_snapshots=5)),
        "full": lambda: populations(Grid()),
    },
    measure=measure,
)
