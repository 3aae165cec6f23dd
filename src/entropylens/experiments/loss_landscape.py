"""Is the landscape of the energy-entropy loss a funnel where that of plain cross-entropy is rugged?

The models are those of `energy_entropy`; nothing is trained again. Around each, both losses are looked at along the
same random directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, product

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.energy_entropy import STEPS, labels_of_tuned, main_design
from entropylens.experiments.energy_entropy import quick as quick_populations
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.landscape import (
    directions,
    lines,
    losses_at,
    minima,
    planes,
    ruggedness,
    ruggedness_of_plane,
)
from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import Batch, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation
from entropylens.training.regularizers import PAPER

DIRECTIONS, REACH, POINTS = 8, 1.0, 41
"""Slices of each model, from −REACH to REACH times the parameters' own size, in so many points."""
PLANE_POINTS, FEW = 17, 3
"""Of a grid in two directions, and the models of a population for which there are such grids, and curves."""
SEQUENCES, TOKENS = 32, 32
"""What the losses are of: the same sequences everywhere."""
TELLS = ("plain", "all")
Row = dict[str, object]


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of four kinds, all of which say which model it is; of both losses at each point: `of`, "plain" or "all".

    "model", one a trained model, place and loss, `final` true: `ruggedness` (`landscape.ruggedness`), its mean over
    directions, and `spread`, its standard deviation over them; `around` tells where: "trained", the model, or
    "initial", what it was before. `own`: whether the loss is the one that the model was trained with. A slice that is
    not finite counts as 1: nothing leads down there.

    "line": `loss` at `radius` along the first direction of the first trained models.

    "plane": `ruggedness` and `minima` of grids in two directions, of the first models; there are several pairs, told by
    `pair`. "surface": `loss` at `radius` and `other`, the first trained model's own, for the first pair.
    """
    batch, rows = sample(spec.training.task, SEQUENCES, TOKENS, generator(0, "landscape")), []
    labels = labels_of_tuned(spec, float(trained["lr"]))
    before = LoopedPopulation(spec.config, [m.seed for m in spec.members]).parameters
    for around, parameters in (("trained", trained["parameters"][-1]), ("initial", before)):
        for number, row in _slices(spec, parameters, batch):
            own = labels[number]["loss_name"] == row["of"]
            pictured = around == "trained" and (own or row["kind"] == "line")
            if pictured or row["kind"] in ("model", "plane"):
                rows.append(labels[number] | {"around": around, "own": own} | row)
    return pd.DataFrame(rows)


def _slices(spec: TunedSpec, parameters: Tensor, batch: Batch) -> Iterator[tuple[int, Row]]:
    """A model's number, and a row of it; trainings that are shorter than the full ones are looked at coarsely."""
    coarse = spec.training.steps < STEPS
    along = directions(spec.config, parameters, 2 if coarse else DIRECTIONS)
    radii = torch.linspace(-REACH, REACH, 11 if coarse else POINTS)
    found = losses_at(spec.config, lines(parameters, along, radii), batch, PAPER)
    for of, values in zip(TELLS, found, strict=True):
        rough = ruggedness(values.double()).nan_to_num(1.0)  # (D, M)
        for number, here in enumerate(rough.mT):
            told: Row = {"ruggedness": float(here.mean()), "spread": float(here.std())}
            yield number, {"kind": "model", "final": True, "of": of} | told
        for number in range(min(FEW, len(parameters))):
            for radius, loss in zip(radii.tolist(), values[0, number].tolist(), strict=True):
                yield (
                    number,
                    {"kind": "line", "final": False, "of": of, "radius": round(radius, 6), "loss": _rounded(loss)},
                )
    yield from _planes(spec.config, parameters[:FEW], along[:, :FEW], batch, 5 if coarse else PLANE_POINTS)


def _planes(
    config: LoopedConfig, parameters: Tensor, along: Tensor, batch: Batch, points: int
) -> Iterator[tuple[int, Row]]:
    radii = torch.linspace(-REACH, REACH, points)
    for pair, (one, other) in enumerate(list(pairwise(range(len(along))))[::3]):
        found = losses_at(config, planes(parameters, along[[one, other]], radii), batch, PAPER)
        for of, values in zip(TELLS, found, strict=True):
            for number, grid in enumerate(values.double()):
                told: Row = {"ruggedness": float(ruggedness_of_plane(grid)), "minima": int(minima(grid))}
                yield number, {"kind": "plane", "final": False, "of": of, "pair": pair} | told
            for at, loss in zip(product(radii.tolist(), repeat=2), values[0].flatten().tolist(), strict=True):
                if pair == 0:
                    place: Row = {"radius": round(at[0], 6), "other": round(at[1], 6), "loss": _rounded(loss)}
                    yield 0, {"kind": "surface", "final": False, "of": of} | place


def _rounded(loss: float) -> float:
    return float(f"{loss:.5g}")


EXPERIMENT = Experiment(
    name="loss_landscape",
    claims=("EER-3",),
    populations={
        "quick": lambda: [s for s in quick_populations() if s.design == "main"],
        "full": lambda: list(main_design()),
    },
    measure=measure,
    train=train_tuned,
)
