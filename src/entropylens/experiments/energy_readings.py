"""The paper's set-up once more, with the two other readings of p_t: each row of attention, and the mean of all rows.

An experiment of its own because it costs most: whole attention matrices have to be kept, and so are not made by the
kernel. What p_t does with four loops is among the choices of `energy_entropy`, whose measures these are.
"""

from __future__ import annotations

from dataclasses import replace

from entropylens.experiments.energy_entropy import arm, measure
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.training.regularizers import PAPER, Row

READINGS: tuple[Row, ...] = ("each", "mean")


def full() -> list[TunedSpec]:
    """All three terms, 25 loops, no hint, the norm after the block."""
    return [arm("readings", "paper", replace(PAPER, row=row), 5) for row in READINGS]


def quick() -> list[TunedSpec]:
    """Both with two seeds, six loops and a few short steps."""
    found = []
    for spec in full():
        t = replace(spec.training, config=replace(spec.config, n_loops=6), lengths=(8, 16), steps=40, batch_size=8)
        t = replace(t, members=t.members[:2])
        found.append(replace(spec, training=t, seeds=spec.seeds[:1], trial_steps=10))
    return found


EXPERIMENT = Experiment(
    name="energy_readings",
    claims=(),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
