"""What would have become of a spike without the deaths, and of the deaths without the spike? See branching.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from entropylens.experiments.branching import WAYS, train_branches
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.spikes import RATES, Arm, labels_of
from entropylens.measures.event_rows import Row
from entropylens.training.spec import PopulationSpec


def design() -> list[Arm]:
    """At the edge of two optimizers that kill, and of one that does not: where spikes are, and trainings end well."""
    return [Arm("interventions", o, 64, (RATES[64, o].edge,)) for o in ("adam", "rmsprop", "momentum")]


def populations(arms: Sequence[Arm], seeds: int) -> list[PopulationSpec]:
    """The whole experiment."""
    return [spec for arm in arms for spec in arm.populations(seeds)]


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of two kinds, all of which say which model it is.

    "model": one a trained model, `final` true, with the number of its `places`, and `kills`: how many more neurons die
    when the rate is doubled at a calm place than when it is not (a share of all; 0 if there is no such place).

    "branch": one a branch; its `way`, the `step` at which it begins, `doomed` (neurons that die in the unchanged one, a
    share of all), `cost` (loss at the checkpoint, with the change in force, less the unchanged one's; nats), `height`
    (highest loss, less the loss at the branch's own start; nats, infinite if it diverged), `beside` (`height` over the
    unchanged branch's), `died` (most dead neurons, less those at the start, a share of all).
    """
    branches = list(_branches(trained, spec))
    rows: list[Row] = []
    for number, named in enumerate(spec.members):
        labels = labels_of(spec, named) | {"main": True}
        here = [branch for branch in branches if branch["member"] == number]
        rows.append(labels | {"kind": "model", "final": True} | _of_model(here))
        for branch in here:
            told = {name: value for name, value in branch.items() if name != "member"}
            rows.append(labels | {"kind": "branch", "final": False} | told)
    return pd.DataFrame(rows)


def _branches(trained: Mapping[str, Tensor], spec: PopulationSpec) -> Iterator[Row]:
    n_neurons = max(1, spec.config.n_layers * spec.config.n_neurons)
    base: tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float] | None = None
    for row in range(len(trained["member"])):
        losses, dead = trained["losses"][row].double().numpy(), trained["dead"][row].double().numpy() / n_neurons
        way = WAYS[int(trained["way"][row])]
        rise = np.where(np.isfinite(losses), losses, np.inf) - losses[0]
        if way in ("unchanged", "calm"):
            base = losses, float(rise.max())
        assert base is not None
        yield {
            "member": int(trained["member"][row]),
            "step": int(trained["step"][row]),
            "way": way,
            "doomed": int(trained["doomed"][row]) / n_neurons,
            "cost": losses[0] - base[0][0],
            "height": float(rise.max()),
            "beside": float(rise.max()) / base[1] if base[1] > 0 else np.nan,
            "died": float(dead.max() - dead[0]),
        }


def _of_model(here: Sequence[Row]) -> Row:
    died = {branch["way"]: branch["died"] for branch in here}
    return {
        "places": len({branch["step"] for branch in here}),
        "kills": died["calm, double rate"] - died["calm"] if "calm" in died else 0.0,
    }


EXPERIMENT = Experiment(
    name="interventions",
    claims=("LE-q2",),
    populations={
        "quick": lambda: populations([Arm("interventions", "adam", 8, (0.1,), steps=400)], 2),
        "full": lambda: populations(design(), 10),
    },
    measure=measure,
    train=train_branches,
)
