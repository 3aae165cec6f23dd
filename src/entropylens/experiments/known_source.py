"""Open question 4: does the preference for low entropy persist where sentences cannot be enumerated?

Text has an entropy that nobody knows. So models learn from a source that is fitted to a text and whose entropy is
known: a Markov chain over 31 symbols, each of which depends on the two before it. Windows of 64 symbols, fresh ones at
each step, or a sample of some size, again and again. What the sample's own entropy would be is no yardstick here: no
window comes twice, so that the empirical distribution's entropy is log(windows), two hundredths of the source's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.language_models import (
    EVALUATED,
    Row,
    adam,
    labels,
    members,
    population_of,
    rows_of,
    shape,
    shorter,
    snapshots,
    some,
    spread,
    train,
)
from entropylens.measures.estimates import Forced, forced, interval, sampled, scale
from entropylens.tasks.language import entropy
from entropylens.training.data import generator
from entropylens.training.text import TextData, TextPopulation, TextSpec, batches, source_of

LENGTH, BATCH, STEPS = 64, 16, 1500
SAMPLE = 131_072
"""Symbols of the sample that the rule judges: 2048 windows, each of which is seen twelve times."""
FINAL, EARLY = 1024, 128
"""Windows that a trained model is read out with, and a model on its way."""


def arm(d_model: int, n_symbols: int | None, seeds: int, design: str = "main", steps: int = STEPS) -> TextSpec:
    """A population on the source."""
    data = TextData("source", n_symbols)
    who = members(seeds, adam(d_model))
    kept = spread(steps)
    return TextSpec(shape(d_model, data, LENGTH), data, who, steps, BATCH, LENGTH, snapshots=kept, design=design)


def full() -> list[TextSpec]:
    """Widths × regimes with ten seeds; around it other samples, another rate, and four times as many updates."""
    main = [arm(d, n, 10) for d in (32, 64, 128) for n in (None, SAMPLE)]
    samples = [arm(64, n, 5, "sample") for n in (SAMPLE // 4, 4 * SAMPLE)]
    slow = [
        replace(spec, members=members(5, adam(64, lr=3e-3)), design="rate")
        for spec in (arm(64, None, 5), arm(64, SAMPLE, 5))
    ]
    return [*main, *samples, *slow, arm(64, None, 5, "long", 4 * STEPS)]


def quick() -> list[TextSpec]:
    """Every arm with two seeds and a few updates."""
    return [shorter(spec) for spec in full()]


def measure(spec: TextSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of two kinds, told apart by `kind`; everything is in nats a symbol, of windows of `LENGTH`.

    "model", one a member and snapshot, read out on windows that are the same for all: `source`, H(p) / T, exact;
    `cross_entropy`, of the source's own conditionals; `kl`, what it is above H(p) / T; `forced`, the entropy that the
    model has where the source leads it; `overconfidence`, `cross_entropy` − `forced`; `forced_lowering`, H(p) / T −
    `forced`. Of these, `kl`, `forced` and the two that follow are estimated by their differences to the source's own
    entropies on the same windows, whose mean is known. `loss` and `loss_forced`, cross-entropy and entropy on windows
    that the member has learned from. Where `final`: `entropy`, H(pθ) / T, from the model's own texts by the entropies
    of their steps, `entropy_half`, half its 95 % interval, the same by surprises (`plain`, `plain_half`); `lowering`,
    H(p) / T − `entropy`; and `scale`, the factor of log-probabilities that would have been best.

    "position", one a final member and range of positions: `first` and `last` (counted from 0), and of it `source`,
    `cross_entropy`, `forced` and `entropy`.
    """
    population, names = population_of(spec), labels(spec, trained)
    rows: list[Row] = []
    for step, theta in snapshots(trained):
        final = step == spec.steps
        here = [name | {"step": step, "final": final} for name in names]
        read = read_out(spec, population, theta, some(spec, FINAL if final else EARLY))
        values = {name: tensor.mean(-1) for name, tensor in read.items()}
        if final:
            random = [generator(m.seed, "evaluate") for m in spec.members]
            own = sampled(population, theta, some(spec, FINAL), LENGTH, random)
            values |= own_entropy(own.entropy, own.surprise)
            values["lowering"] = values["source"] - values["entropy"]
            values["scale"] = scale(population, theta, windows_of(spec, some(spec, EARLY)))
            rows += by_position(here, {**read, "entropy": own.entropy.mean(1)})
        rows += [row | {"kind": "model"} for row in rows_of(here, values)]
    return pd.DataFrame(rows)


def windows_of(spec: TextSpec, n: int) -> Tensor:
    """The windows of the source that models are read out with, (n, T)."""
    return source_of(spec.data.corpus).sample(n, spec.length, generator(EVALUATED, "evaluate"))


def read_out(spec: TextSpec, population: TextPopulation, theta: Tensor, n: int) -> dict[str, Tensor]:
    """Means over n windows at each position, (M, T), nats; entropies of the source by its exact values."""
    source, windows = source_of(spec.data.corpus), windows_of(spec, n)
    exact = source.conditional_entropies(spec.length)
    found = forced(population, theta, windows, source.conditionals)
    chance = entropy(source.conditionals(windows)).mean(0) - exact  # what these windows have more than others
    result = {"source": exact.expand(len(theta), -1)}
    result["cross_entropy"] = found.expected.mean(1) - chance
    result["forced"] = found.entropy.mean(1) - chance
    result["kl"] = result["cross_entropy"] - exact
    result["overconfidence"] = result["cross_entropy"] - result["forced"]
    result["forced_lowering"] = exact - result["forced"]
    seen = learned_from(spec, population, theta, max(1, n // spec.batch_size // 4))
    return result | {"loss": seen.surprise.mean(1), "loss_forced": seen.entropy.mean(1)}


def learned_from(spec: TextSpec, population: TextPopulation, theta: Tensor, n_batches: int) -> Forced:
    """Models on the first batches that each was trained on."""
    streams = [batches(spec, m.seed) for m in spec.members]
    windows = [torch.cat([next(stream) for _ in range(n_batches)]) for stream in streams]
    return forced(population, theta, torch.stack(windows))


def own_entropy(entropies: Tensor, surprises: Tensor) -> dict[str, Tensor]:
    """Both estimates of a model's own entropy, from (M, W, T): (M) each, nats a symbol."""
    by_entropy, by_surprise = interval(entropies.mean(-1)), interval(surprises.mean(-1))
    return {
        "entropy": by_entropy.mean, "entropy_half": by_entropy.half,
        "plain": by_surprise.mean, "plain_half": by_surprise.half,
    }  # fmt: skip


def by_position(names: list[Row], values: Mapping[str, Tensor]) -> list[Row]:
    """Rows "position" of values (M, T): ranges of positions that double in length."""
    length = next(iter(values.values())).shape[-1]
    edges = [0, *(2**k for k in range(int(np.log2(length)) + 1))]
    shown = {"source", "cross_entropy", "forced", "entropy", "surprise"}
    rows: list[Row] = []
    for first, end in pairwise(edges):
        means = {name: tensor[:, first:end].mean(-1) for name, tensor in values.items() if name in shown}
        place: Row = {"kind": "position", "first": first, "last": end - 1}
        rows += [row | place for row in rows_of(names, means)]
    return rows


EXPERIMENT = Experiment(
    name="known_source",
    claims=("LE-q4",),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train,
)
