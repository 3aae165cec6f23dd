"""Do Hamiltonian dynamics of the latent state suffice to learn induction? With the model's F in them, and without.

The update is V' = μV + α(F(Z + X) − Z) − β∇E(Z), Z' = Z + V', whose constants the paper does not give: trials choose
them, with the learning rate. "Alone" can be read in two ways: the energy moves the state, and F does not (α = 0); or
there is F, and nothing but cross-entropy in the loss. Without the energy (β = 0), what is left is momentum and a pull
towards F: that tells what the energy does.

With α = 0 and Z_0 = 0, tokens that see the same embeddings have the same state, whatever their own is: that cannot
learn induction, for a reason that has nothing to do with energies. So the energy alone starts from Z_0 = X, too, where
a token looks for what its own embedding asks for, and that is what is judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.looped_arms import Row, labels_of_arm, less, paths, wide
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.models.looped import LoopedConfig

Constants = tuple[float, float, float]
DYNAMICS: dict[str, tuple[Constants, ...]] = {
    "energy alone": ((0.9, 0.0, 0.1), (1.0, 0.0, 0.1), (0.5, 0.0, 0.1), (0.9, 0.0, 1.0), (0.0, 0.0, 1.0)),
    "with F": ((0.5, 0.5, 0.1), (0.9, 0.1, 0.1), (0.0, 0.5, 0.1), (0.5, 0.5, 1.0)),
    "without energy": ((0.5, 0.5, 0.0), (0.9, 0.1, 0.0), (0.0, 0.5, 0.0)),
}
"""μ, α and β that trials choose from."""
STARTS = {"energy alone": "input", "with F": "zero", "without energy": "zero", "plain": "zero"}


def dynamic(design: str, setup: str, seeds: int, name: str, start: str | None = None) -> TunedSpec:
    """One of `DYNAMICS` with constants to choose from, two outside the main design; from its usual start or another."""
    first, *others = (
        wide(design, setup, seeds, {
            "update": "hamiltonian", "damping": damping, "pull": pull, "slope": slope, "start": start or STARTS[name],
        }) for damping, pull, slope in DYNAMICS[name][: None if design == "main" else 2]
    )  # fmt: skip
    return replace(first, others=tuple(other.training for other in others))


def full() -> list[TunedSpec]:
    """The whole experiment: with a hint, where four loops learn well; and where two looks are needed."""
    return [
        wide("main", "short", 10),
        *(dynamic("main", "short", 10, name) for name in DYNAMICS),
        dynamic("others", "short", 5, "energy alone", "zero"),
        wide("others", "short", 5, {"start": "input"}),
        wide("others", "two looks", 5),
        *(dynamic("others", "two looks", 5, name) for name in DYNAMICS),
    ]


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps."""
    return [less(spec) for spec in full()]


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows "model" and "path" of `looped_arms.paths`, with what moves the state, its `start` and the chosen constants.

    Plain models are compared with the energy alone and with the `dynamics` that have F, and so have their row twice:
    `rival` says which, and `side` whether a row is the "plain" one's or the "rival"'s.
    """
    spec = spec.chosen(trained)
    here = dynamics_of(spec.config)
    labels = [label | here for label in labels_of_arm(spec, trained)]
    name = str(here["dynamics"])
    side, rivals = ("plain", ("energy alone", "with F")) if name == "plain" else ("rival", (name,))
    rows = [labels[number] | row | {"side": side} for number, row in paths(spec, trained) if row["kind"] != "halting"]
    repeated = [row | {"rival": rival} for row in rows for rival in (rivals if row["kind"] == "model" else rivals[-1:])]
    return pd.DataFrame(repeated)


def dynamics_of(config: LoopedConfig) -> Row:
    """A name, a key of `DYNAMICS` or "plain", where the state starts, and the three constants, NaN without."""
    if config.update == "plain":
        return {"dynamics": "plain", "start": config.start} | dict.fromkeys(("damping", "pull", "slope"), math.nan)
    name = "energy alone" if config.pull == 0 else "with F" if config.slope else "without energy"
    constants: Row = {"damping": config.damping, "pull": config.pull, "slope": config.slope}
    return {"dynamics": name, "start": config.start} | constants


EXPERIMENT = Experiment(
    name="latent_dynamics",
    claims=("EER-9",),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
