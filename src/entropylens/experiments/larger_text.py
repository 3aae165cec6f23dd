"""The same on a GPU: models that are larger, and trained on the source until next to nothing is left to learn.

What two CPU cores do not reach: widths to 256, four layers, sixteen times as many symbols. The rows are exploratory:
five seeds and one card stand behind them. On a CPU they would take a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from torch import Tensor

from entropylens.experiments import gated_text, known_source, real_text
from entropylens.experiments.experiment import Experiment
from entropylens.experiments.language_models import adam, members, shape, shorter, spread, train
from entropylens.models.looped import LoopedConfig
from entropylens.training.text import TextSpec

STEPS, BATCH = 6000, 64
SEEDS = 5
WIDE = 256


def source(d_model: int, n_symbols: int | None, n_layers: int) -> TextSpec:
    """A population on the source, with larger batches for longer."""
    spec = known_source.arm(d_model, n_symbols, SEEDS, "larger", STEPS)
    config = shape(d_model, spec.data, spec.length, n_layers)
    return replace(spec, config=config, batch_size=BATCH, compiled=False)


def text(n_symbols: int | None, epochs: int) -> TextSpec:
    """A population on the text."""
    return replace(real_text.arm(WIDE, n_symbols, SEEDS, "larger", epochs, 4), compiled=False)


def gated(name: str) -> TextSpec:
    """An arm of `gated_text`, wider, on as many symbols as the whole text has."""
    spec, steps = gated_text.arm(gated_text.ARMS[name], "larger"), 1200
    config = spec.config
    assert isinstance(config, LoopedConfig)
    return replace(
        spec,
        config=replace(config, d_model=WIDE),
        members=members(10, adam(WIDE)),
        steps=steps,
        snapshots=spread(steps),
    )


def full() -> list[TextSpec]:
    """Fresh sources by width, samples, the text once and four times and a tenth of it again and again, and gates."""
    fresh = [source(64, None, 2), source(128, None, 2), source(WIDE, None, 4)]
    samples = [source(WIDE, n, 4) for n in (2**20, 2**22)]
    texts = [text(None, 1), text(None, 4), text(real_text.SAMPLE, 1)]
    return [*fresh, *samples, *texts, *(gated(name) for name in ("entropy gate", "constant gate", "plain"))]


def quick() -> list[TextSpec]:
    """Every arm with two seeds and a few updates."""
    return [shorter(spec, steps=3) for spec in full()]


def measure(spec: TextSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of `known_source`, `real_text` or `gated_text`, whichever has such models."""
    if isinstance(spec.config, LoopedConfig):
        return gated_text.measure(spec, trained)
    reader = known_source if spec.data.origin == "source" else real_text
    rows: pd.DataFrame = reader.measure(spec, trained)
    return rows


EXPERIMENT = Experiment(
    name="larger_text",
    claims=(),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train,
)
