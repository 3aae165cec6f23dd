"""The seed's first check: real text. How sure are models of held-out documents, and how right; and what their parts do.

What text cannot show: its entropy is unknown. A model's forced entropy below its cross-entropy is overconfidence, and
may lie above the text's entropy all the same; only a forced entropy at or above the cross-entropy tells for certain
that it is not below, since no model's cross-entropy is below the entropy of what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.known_source import by_position, learned_from, own_entropy
from entropylens.experiments.language_models import (
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
from entropylens.measures.estimates import Forced, forced, reliability, sampled, scale
from entropylens.measures.parts import cut_costs, firing
from entropylens.tasks.corpus import Document, windows
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.text import TextData, TextPopulation, TextSpec, corpus_of, epoch

LENGTH, BATCH = 128, 8
SAMPLE = 131_072
"""Symbols of the sample that the rule judges: a tenth of the text, so that as many updates see it ten times."""
SGD = OptimizerConfig("sgd", lr=1.0, momentum=0.9, final_lr=0.02)
EVERY = 8
"""On its way, a model reads one in so many of the held-out windows; and so do trained ones for what costs much."""
OWN = 256
"""Texts that a model writes."""


def arm(
    d_model: int, n_symbols: int | None, seeds: int, design: str = "main", epochs: int = 1, n_layers: int = 2
) -> TextSpec:
    """A population on the training documents, or on a sample, for as many updates as the whole text takes."""
    data = TextData("text", n_symbols)
    steps = epochs * epoch(TextData("text"), BATCH, LENGTH)
    model = shape(d_model, data, LENGTH, n_layers)
    who = members(seeds, adam(d_model))
    return TextSpec(model, data, who, steps, BATCH, LENGTH, snapshots=spread(steps), design=design)


def full() -> list[TextSpec]:
    """Widths × one epoch or a sample, ten seeds; around it samples of other sizes, SGD, and four epochs of the text."""
    main = [arm(d, n, 10) for d in (32, 64, 128) for n in (None, SAMPLE)]
    samples = [arm(64, n, 5, "sample") for n in (SAMPLE // 4, 4 * SAMPLE)]
    sgd = [replace(spec, members=members(5, SGD)) for spec in (arm(64, n, 5, "optimizer") for n in (None, SAMPLE))]
    return [*main, *samples, *sgd, arm(128, None, 5, "yardstick", epochs=4)]


def quick() -> list[TextSpec]:
    """Every arm with two seeds and a few updates."""
    return [shorter(spec) for spec in full()]


def measure(spec: TextSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of four kinds, told apart by `kind`; in nats a symbol, of windows of `LENGTH`.

    "model", one a member and snapshot, read out on windows of the test documents: `cross_entropy`, `forced`, the
    entropy that the model has there, and `overconfidence`, their difference; the same of the validation documents
    (`validation` and `validation_forced`), and of windows that the member has learned from (`loss`, `loss_forced`).
    Where `final`: `context`, the cross-entropy of symbols with at least half a window before them; `entropy`,
    `entropy_half`, `plain` and `plain_half` of the model's own texts, as in `known_source`; `scale`, the factor of
    log-probabilities that is best on the validation documents; and `calibration_error`, the expected one.

    "position", one a final member and range of positions: `first`, `last`, and of it `cross_entropy`, `forced`, and
    `entropy` and `surprise` of the model's own texts.

    "bin", one a final member and bin of confidence: `share`, `confidence` and `accuracy`, see `estimates.reliability`.

    "layer", one a snapshot, member and layer, on validation windows: `active`, the share of neurons that fire on a
    symbol, and `silent`, the share that fire on none of them. Where `final`: what it costs to cut the layer, for each
    `parts.Cut`.
    """
    population, names, corpus = population_of(spec), labels(spec, trained), corpus_of(spec.data.corpus)
    rows: list[Row] = []
    for step, theta in snapshots(trained):
        final = step == spec.steps
        here = [name | {"step": step, "final": final} for name in names]
        test = held_out(spec, corpus.test, everything=final)
        validation = held_out(spec, corpus.validation)
        read = forced(population, theta, test)
        values = _means(spec, population, theta, read, forced(population, theta, validation))
        if final:
            random = [generator(m.seed, "evaluate") for m in spec.members]
            own = sampled(population, theta, some(spec, OWN), spec.length, random)
            values |= own_entropy(own.entropy, own.surprise)
            values |= {"context": context(read), "scale": scale(population, theta, validation)}
            bins = [reliability(*pair) for pair in zip(read.confidence, read.right, strict=True)]
            values["calibration_error"] = torch.stack([_error(*found) for found in bins])
            rows += _bins(here, bins)
            at = {
                "cross_entropy": read.surprise,
                "forced": read.entropy,
                "entropy": own.entropy,
                "surprise": own.surprise,
            }
            rows += by_position(here, {name: tensor.mean(1) for name, tensor in at.items()})
        rows += [row | {"kind": "model"} for row in rows_of(here, values)]
        rows += _layers(here, population, theta, validation, final)
    return pd.DataFrame(rows)


def held_out(spec: TextSpec, documents: tuple[Document, ...], everything: bool = False) -> Tensor:
    """Windows of held-out documents, (W, T): all, or one in `EVERY`."""
    found = windows(documents, spec.length)[0]
    found = found if everything else found[::EVERY]
    return found[:: len(found) // some(spec, len(found))]


def context(read: Forced) -> Tensor:
    """The cross-entropy of symbols with at least half a window before them, (M), nats."""
    half = read.surprise.shape[-1] // 2
    return read.surprise[..., half:].mean((-2, -1))


def _means(
    spec: TextSpec, population: TextPopulation, theta: Tensor, test: Forced, validation: Forced
) -> dict[str, Tensor]:
    seen = learned_from(spec, population, theta, 8)
    parts = {
        ("cross_entropy", "forced"): test,
        ("validation", "validation_forced"): validation,
        ("loss", "loss_forced"): seen,
    }
    values: dict[str, Tensor] = {}
    for (surprise, entropy), read in parts.items():
        values |= {surprise: read.surprise.mean((-2, -1)), entropy: read.entropy.mean((-2, -1))}
    return values | {"overconfidence": values["cross_entropy"] - values["forced"]}


def _error(share: Tensor, confidence: Tensor, accuracy: Tensor) -> Tensor:
    return (share * (confidence - accuracy).abs()).nansum()


def _bins(names: list[Row], bins: list[tuple[Tensor, Tensor, Tensor]]) -> list[Row]:
    rows: list[Row] = []
    for name, found in zip(names, bins, strict=True):
        for number, values in enumerate(zip(*found, strict=True)):
            told = dict(zip(("share", "confidence", "accuracy"), map(float, values), strict=True))
            rows.append(name | {"kind": "bin", "bin": number} | told)
    return rows


def _layers(names: list[Row], population: TextPopulation, theta: Tensor, read: Tensor, final: bool) -> list[Row]:
    rows: list[Row] = []
    costs = cut_costs(population, theta, read) if final else {}
    for layer, rates in enumerate(firing(population, theta, read)):
        values = {"active": rates.mean(-1), "silent": (rates == 0).double().mean(-1)}
        values |= {cut: cost for (at, cut), cost in costs.items() if at == layer}
        rows += [row | {"kind": "layer", "layer": layer} for row in rows_of(names, values)]
    return rows


EXPERIMENT = Experiment(
    name="real_text",
    claims=("LE-n1",),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train,
)
