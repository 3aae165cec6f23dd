"""Do Hamiltonian dynamics of the latent state suffice to learn induction? With the model's F in them, and without.

The update is V' = μV + α(F(Z + X) − Z) − β∇E(Z), Z' = Z + V', whose constants the paper does not give. "Alone" can be
read in two ways: the energy moves the state, and F does not (α = 0); or there is F, and nothing but cross-entropy in
the loss. Without the energy (β = 0), what is left is momentum and a pull towards F: that tells what the energy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from torch import Tensor

from entropylens.experiments.energy_entropy import LOSSES, arm, labels_of_tuned
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.gated_loops import paths
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.models.looped import LoopedConfig

DYNAMICS: dict[str, list[tuple[float, float, float]]] = {
    "energy alone": [(0.9, 0.0, 0.1), (1.0, 0.0, 0.1), (0.5, 0.0, 0.1), (0.9, 0.0, 1.0)],
    "with F": [(0.5, 0.5, 0.1), (0.9, 0.1, 0.1), (0.0, 0.5, 0.1), (0.5, 0.5, 1.0)],
    "without energy": [(0.5, 0.5, 0.0), (0.9, 0.1, 0.0), (0.0, 0.5, 0.0)],
}
"""μ, α and β; of each kind, the first is what the rule is about."""


def dynamic(design: str, setup: str, seeds: int, constants: tuple[float, float, float]) -> TunedSpec:
    """Cross-entropy alone, with such constants."""
    damping, pull, slope = constants
    shape = {"update": "hamiltonian", "damping": damping, "pull": pull, "slope": slope}
    return arm(design, setup, LOSSES["plain"], seeds, shape=shape)


def full() -> list[TunedSpec]:
    """The whole experiment: four loops, and with F and 25 loops, too."""
    specs = [arm("main", "short", LOSSES["plain"], 10)]
    for first, *others in DYNAMICS.values():
        specs += [dynamic("main", "short", 10, first), *(dynamic("constants", "short", 5, c) for c in others)]
    return [*specs, dynamic("loops", "hint", 5, DYNAMICS["with F"][0])]


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps."""

    def less(spec: TunedSpec) -> TunedSpec:
        t = spec.training
        t = replace(t, members=t.members[:2], config=replace(t.config, n_loops=4))
        return replace(
            spec, training=replace(t, lengths=(8, 16), steps=40, batch_size=8), seeds=spec.seeds[:1], trial_steps=10
        )

    return [less(spec) for spec in full()]


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of `gated_loops.paths`, with what moves the state, `dynamics`, and its constants."""
    labels = [here | dynamics_of(spec.config) for here in labels_of_tuned(spec, float(trained["lr"]))]
    return pd.DataFrame([labels[number] | row for number, row in paths(spec, trained)])


def dynamics_of(config: LoopedConfig) -> dict[str, object]:
    """A name, a key of `DYNAMICS` or "plain", and the three constants, NaN without."""
    if config.update == "plain":
        return {"dynamics": "plain", "damping": float("nan"), "pull": float("nan"), "slope": float("nan")}
    name = "energy alone" if config.pull == 0 else "with F" if config.slope else "without energy"
    return {"dynamics": name, "damping": config.damping, "pull": config.pull, "slope": config.slope}


EXPERIMENT = Experiment(
    name="latent_dynamics",
    claims=("EER-9",),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
