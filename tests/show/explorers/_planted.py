"""A training with events at known steps, for the tests of chapter 8's raster."""

from __future__ import annotations

from dataclasses import replace

import torch

from entropylens.experiments.spikes import Arm
from entropylens.models.transformer import TransformerConfig
from entropylens.show.explorers.raster import Watched, watch
from entropylens.training.spec import PopulationSpec

STEPS, COLUMNS = 160, 53
SPIKE, JUMP = 106, 130


def spec(steps: int = STEPS) -> PopulationSpec:
    """Two small models, of which the second is trained far beyond its edge."""
    (one,) = Arm("live", "adam", 4, (0.03,), shape={"n_heads": 1}, steps=steps).populations(1)
    (member,) = one.members
    beyond = replace(member, optimizer=replace(member.optimizer, lr=0.3))
    return replace(one, config=TransformerConfig(d_model=4, n_heads=1), members=(member, beyond))


def watched() -> Watched:
    """They were trained; but the first one's log tells of a quiet loss, a spike of one nat, and a jump of 8 neurons."""
    real = watch(spec(), columns=COLUMNS)
    assert real.run.log is not None
    losses, dead = real.run.losses.clone(), real.run.log.dead.clone()
    losses[:, 0] = 6.0
    losses[SPIKE : SPIKE + 4, 0] += torch.tensor([0.3, 1.0, 0.5, 0.2])
    dead[:, 0] = 0
    dead[JUMP:, 0, 1] = 8
    return replace(real, run=replace(real.run, losses=losses, log=replace(real.run.log, dead=dead)))
