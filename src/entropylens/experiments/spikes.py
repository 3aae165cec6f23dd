"""Claims 4b, 4c, 4d: deaths and spikes under five optimizers, with every step logged.

A learning rate means something else for each optimizer. So each has its own grid, which reaches into instability, and
two rates of each were marked before the run, by trainings on seeds that the experiment does not use: `edge`, the
largest at which trainings still come to a good end, and `matched`, at which all come to about the same loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.measures.event_rows import (
    Logs,
    Row,
    of_detectors,
    of_events,
    of_model,
    of_surroundings,
    of_thresholds,
)
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import entropy
from entropylens.training.data import Data, finite_sample
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.spec import MemberSpec, PopulationSpec, TargetSpec

ADAM = OptimizerConfig("adam")
OPTIMIZERS = {
    "adam": ADAM,
    "adamw": OptimizerConfig("adamw", weight_decay=0.1),
    "rmsprop": OptimizerConfig("rmsprop", beta2=0.99),
    "sgd": OptimizerConfig("sgd"),
    "momentum": OptimizerConfig("sgd", momentum=0.9),
}
"""With the settings that `torch.optim` proposes, but for the learning rate (and AdamW's decay, 0.01 there)."""
SMALL_SAMPLE = Data("finite", n_samples=200)
PROBE = 20
"""Steps between measurements of the sharpness: one falls into the steps in which a spike is to be announced. At d = 64
a measurement costs as much as 50 steps."""
POINTS = 300
"""Points of a published trace."""
NEAR = (-40, 60)
"""Of the steps around an event, those that are published."""


DTYPES = ("float32", "float64")
Fields = Mapping[str, object]


@dataclass(frozen=True)
class Rates:
    """Learning rates of one optimizer at one width.

    Attributes:
        grid: from the smallest to the largest.
        edge: the largest at which the pilots came to a good end.
        matched: where the pilots' final losses were most alike; None for plain SGD, which does not come as far.
    """

    grid: Sequence[float]
    edge: float
    matched: float | None = None

    def mark(self, lr: float) -> str:
        """Which of the two a rate is, if it is one of them."""
        return "edge" if lr == self.edge else "matched" if lr == self.matched else ""


RATES = {
    (64, "adam"): Rates((3e-4, 3e-3, 1e-2, 3e-2), edge=1e-2, matched=3e-4),
    (64, "adamw"): Rates((3e-4, 1e-2), edge=1e-2, matched=3e-4),
    (64, "rmsprop"): Rates((1e-3, 3e-3, 1e-2, 3e-2), edge=1e-2, matched=1e-3),
    (64, "momentum"): Rates((1e-2, 3e-2, 6e-2), edge=3e-2, matched=1e-2),
    (64, "sgd"): Rates((3e-2, 1e-1, 2e-1), edge=1e-1),
    (16, "adam"): Rates((1e-3, 3e-3, 1e-2, 3e-2, 1e-1), edge=3e-2, matched=1e-3),
    (16, "adamw"): Rates((1e-3, 3e-2), edge=3e-2, matched=1e-3),
    (16, "rmsprop"): Rates((1e-3, 3e-3, 1e-2, 3e-2), edge=3e-3, matched=1e-3),
    (16, "momentum"): Rates((1e-2, 3e-2, 1e-1, 1.5e-1), edge=1e-1, matched=3e-2),
    (16, "sgd"): Rates((3e-2, 1e-1, 3e-1), edge=1e-1),
}
"""By width and optimizer. A good end: all three pilots (seeds 100 to 102) end within 0.2 nats of the target's entropy.
Alike: about 0.02 nats at d = 64 and 0.06 at d = 16; RMSprop, which ends no lower than twice that, at its best."""


@dataclass(frozen=True)
class Arm:
    """Populations of one kind: an optimizer at some learning rates.

    Attributes:
        design: label of the rows.
        optimizer: a key of `OPTIMIZERS`.
        d_model: width.
        rates: learning rates, which stay constant; None takes the grid of `RATES`.
        fields: of the optimizer, that differ from those of `OPTIMIZERS`.
        shape: fields of `TransformerConfig` besides d_model.
        data: as in `Member`.
        steps: updates.
        dtype: float32 or float64.
        sharp: whether sharpness is measured along the way.
    """

    design: str
    optimizer: str
    d_model: int
    rates: Sequence[float] | None = None
    fields: Fields = field(default_factory=dict)
    shape: Fields = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    steps: int = 1500
    dtype: str = "float32"
    sharp: bool = False

    def populations(self, seeds: int) -> Iterator[PopulationSpec]:
        """One a learning rate, with all seeds; every step is logged."""
        config = TransformerConfig(d_model=self.d_model, **self.shape)  # type: ignore[arg-type]
        for lr in RATES[self.d_model, self.optimizer].grid if self.rates is None else self.rates:
            optimizer = replace(OPTIMIZERS[self.optimizer], lr=lr, **self.fields)  # type: ignore[arg-type]
            members = [MemberSpec(s, TargetSpec("autoregressive", s), self.data, optimizer) for s in range(seeds)]
            yield PopulationSpec(
                config, tuple(members), self.steps, dtype=self.dtype, logged=True,
                sharpness_every=PROBE if self.sharp else 0, design=self.design,
            )  # fmt: skip


def design() -> list[Arm]:
    """The main design: optimizers × rates at two widths, and parts of the model; around it, variations at d = 16."""
    few, middle = ("adam", "rmsprop", "momentum"), {o: (RATES[16, o].edge,) for o in OPTIMIZERS}
    edge = {o: (RATES[64, o].edge,) for o in OPTIMIZERS}
    marked = {o: [lr for lr in RATES[16, o].grid if RATES[16, o].mark(lr)] for o in OPTIMIZERS}
    at_edge = [o for o in OPTIMIZERS if o != "adamw"]
    return [
        *(Arm("optimizers", o, 64, [lr for lr in RATES[64, o].grid if lr not in edge[o]]) for o in OPTIMIZERS),
        *(Arm("optimizers", o, 64, edge[o], sharp=True) for o in OPTIMIZERS),
        *(Arm("optimizers", o, 16, [lr for lr in RATES[16, o].grid if lr not in marked[o]]) for o in OPTIMIZERS),
        *(Arm("optimizers", o, 16, marked[o], sharp=True) for o in OPTIMIZERS),
        *(
            Arm("parts", o, 64, shape={"variant": v})
            for v in ("attention_only", "ffn_only")
            for o in ("adam", "momentum")
        ),
        *(Arm("beta2", "adam", 16, fields={"beta2": b}) for b in (0.9, 0.99)),
        *(Arm("beta2", "rmsprop", 16, fields={"beta2": b}) for b in (0.9, 0.999)),
        Arm("eps", "adam", 16, fields={"eps": 1e-4}),
        *(Arm("no norm", o, 16, shape={"norm": "none"}) for o in few),
        Arm("no norm", "adam", 64, edge["adam"], shape={"norm": "none", "n_layers": 1}),
        *(Arm("minibatch", o, 16, middle[o], data=Data("fresh", batch_size=256)) for o in few),
        *(Arm("slingshot", "adam", 16, (3e-3, 1e-2), data=SMALL_SAMPLE, steps=6000, dtype=d) for d in DTYPES),
        *(Arm("float64", o, 16, middle[o], dtype="float64") for o in at_edge),
    ]


def populations(arms: Sequence[Arm], seeds: int) -> list[PopulationSpec]:
    """The whole experiment."""
    return [spec for arm in arms for spec in arm.populations(seeds)]


def quick() -> list[PopulationSpec]:
    """A little of everything: three seeds of two optimizers, small and short."""
    arms = [Arm("optimizers", o, 8, (0.03,), steps=POINTS, sharp=True) for o in ("adam", "momentum")]
    return populations([*arms, Arm("parts", "adam", 8, (0.03,), shape={"variant": "attention_only"}, steps=POINTS)], 3)


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of five kinds, all of which say which model it is; what each holds is told in measures/event_rows.py.

    "model", one a trained model, `final` true; and of design "optimizers": "event", one an event; "threshold", the same
    meetings under other thresholds or coarser logs; "detector", how well events are found; and, at the edge, "around",
    the average surroundings of the model's spikes and jumps, to five digits.
    """
    rows: list[Row] = []
    runs = [_logs(spec, trained, number) for number in range(len(spec.members))]
    detectors = of_detectors(runs) if spec.design == "optimizers" else [[] for _ in runs]
    for named, logs, detector in zip(spec.members, runs, detectors, strict=True):
        labels = labels_of(spec, named)
        rows.append(labels | {"kind": "model", "final": True, **of_model(logs)})
        parts: dict[str, Iterable[Row]] = {}
        if spec.design == "optimizers":
            parts = {"event": of_events(logs), "threshold": of_thresholds(logs), "detector": detector}
        if spec.design == "optimizers" and labels["at"] == "edge":
            parts["around"] = [_rounded(row) for row in of_surroundings(logs) if NEAR[0] <= row["offset"] <= NEAR[1]]
        rows += [labels | {"kind": kind, "final": False} | row for kind, found in parts.items() for row in found]
    return pd.DataFrame(rows)


def _rounded(row: Row) -> Row:
    return {name: float(f"{x:.5g}") if isinstance(x, float) else x for name, x in row.items()}


def optimizer_name(optimizer: OptimizerConfig) -> str:
    """A key of `OPTIMIZERS`: SGD with momentum is one of its own."""
    return "momentum" if optimizer.name == "sgd" and optimizer.momentum else optimizer.name


def labels_of(spec: PopulationSpec, named: MemberSpec) -> Row:
    """What tells a model's rows from others."""
    c, data, o = spec.config, named.data, named.optimizer
    name = optimizer_name(o)
    rates = RATES.get((c.d_model, name))
    return {
        "design": spec.design,
        "main": spec.design in ("optimizers", "parts"),
        **{column: getattr(c, column) for column in ("d_model", "n_layers", "norm", "variant")},
        "optimizer": name,
        **{column: getattr(o, column) for column in ("lr", "beta2", "eps")},
        "at": rates.mark(o.lr) if rates else "",
        "regime": data.regime,
        "n_samples": data.n_samples or 0,
        "batch_size": data.batch_size or 0,
        "dtype": spec.dtype,
        "steps": spec.steps,
        "seed": named.seed,
    }


def _logs(spec: PopulationSpec, trained: Mapping[str, Tensor], member: int) -> Logs:
    named, language = spec.members[member], spec.config.language

    def column(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return trained[name][:, member].double().numpy()

    target, layers = named.target.build(language), trained["dead"].shape[2]
    if named.data.n_samples is not None:
        target = language.empirical(finite_sample(language, target, named.data.n_samples, named.seed))
    probed = "sharpness_steps" in trained
    return Logs(
        losses=column("losses"),
        dead=column("dead").sum(-1),
        active=column("active").mean(-1) if layers else np.full(len(trained["losses"]), np.nan),
        grad_norm=column("grad_norm"),
        update_norm=column("update_norm"),
        second=column("second"),
        sharpness_steps=trained["sharpness_steps"].numpy() if probed else np.zeros(0, dtype=np.int64),
        sharpness=column("sharpness_value") if probed else np.zeros(0),
        edge=named.optimizer.stability_edge,
        n_neurons=layers * spec.config.n_neurons,
        floor=float(entropy(target)),
    )


def traces(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Thinned traces: of `POINTS` equal stretches the highest loss, (M, POINTS) float32, and the most dead, int16."""
    steps = len(trained["losses"]) // POINTS * POINTS
    loss = trained["losses"][:steps].float().unflatten(0, (POINTS, -1)).amax(1).T
    dead = trained["dead"][:steps].sum(-1).unflatten(0, (POINTS, -1)).amax(1).T
    return {"loss": loss.contiguous(), "dead": dead.to(torch.int16).contiguous()}


EXPERIMENT = Experiment(
    name="spikes",
    claims=("LE-4b", "LE-4c", "LE-4d", "LE-q3", "LE-n3"),
    populations={"quick": quick, "full": lambda: populations(design(), 10)},
    measure=measure,
    publishes=traces,
)
