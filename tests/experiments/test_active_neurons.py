"""Claim 4a's design: one change at a time, and rows that say what they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.experiments.active_neurons import BINS, EXPERIMENT, measure
from entropylens.experiments.experiment import artefact
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace
from entropylens.training.data import generator
from entropylens.training.population import rebuild
from entropylens.training.spec import PopulationSpec, train_spec

SPECS, QUICK = (EXPERIMENT.populations[profile]() for profile in ("full", "quick"))


def rows_of(spec: PopulationSpec) -> pd.DataFrame:
    return measure(spec, artefact(train_spec(spec)))


def test_no_cell_is_there_twice_every_arm_has_ten_seeds_and_every_step_is_logged() -> None:
    assert len({spec.canonical() for spec in SPECS}) == len(SPECS)
    assert all(len({member.seed for member in s.members}) == 10 and s.logged for s in SPECS)
    main = {(s.config.d_model, s.members[0].data.regime) for s in SPECS if s.design == "main"}
    assert len(main) == 4 * 3


def test_variations_change_what_they_say() -> None:
    def found(design: str) -> list[PopulationSpec]:
        return [s for s in SPECS if s.design == design]

    assert {s.config.norm for s in found("norm")} == {"none", "post"}
    assert {m.target.family for s in found("shuffled") for m in s.members} == {"shuffled"}
    assert {m.target.entropy for s in found("entropy") for m in s.members} == {3.0, 4.5, 7.0}
    assert {s.config.n_layers for s in found("depth")} == {1, 4}
    assert {(s.config.d_model, s.config.n_neurons) for s in found("neurons")} == {(8, 256), (64, 32)}
    assert {(m.optimizer.name, m.optimizer.momentum) for s in found("momentum") for m in s.members} == {("sgd", 0.9)}
    assert {s.steps for s in found("long")} == {6000}
    main = next(
        s for s in SPECS if s.design == "main" and s.members[0].data.regime == "fresh" and s.config.d_model == 8
    )
    for spec in SPECS:
        if spec.design in ("shuffled", "entropy", "rate", "momentum", "long") and spec.config.d_model == 8:
            assert spec.config == main.config
            assert {m.data for m in spec.members} == {main.members[0].data}


@pytest.mark.parametrize("design", ["main", "depth", "sparse"])
def test_rows_count_what_fires(design: str) -> None:
    spec = next(s for s in QUICK if s.design == design)
    trained = artefact(train_spec(spec))
    rows, layers = measure(spec, trained), spec.config.n_layers
    models, parts = rows[rows["kind"] == "model"], rows[rows["kind"] == "layer"]
    assert models["final"].sum() == len(spec.members) == len(models)
    assert len(parts) == layers * len(spec.members)
    assert not rows.loc[rows["kind"] != "model", "final"].any()
    for _, model in models.iterrows():
        mine = parts[parts["seed"] == model["seed"]]
        for column in ("active", "active_start", "silenced", "dead", "unreached"):
            assert model[column] == pytest.approx(mine[column].mean())
    assert (models["silenced"] == models["active_start"] - models["active"]).all()
    assert (rows["unreached"].dropna() >= rows["dead"].dropna() - 1e-12).all()
    assert (rows["main"] == (design == "main")).all()
    assert ("rates" in set(rows["kind"])) == (design == "main")


def test_the_first_entry_is_the_untrained_model_and_the_last_one_the_trained() -> None:
    spec = next(s for s in QUICK if s.design == "main")
    rows, layout = rows_of(spec), TrieLayout(spec.config.language)
    named = spec.members[1]
    untrained = spec.config.build(generator(named.seed, "init")).double()
    target = named.target.build(spec.config.language)
    contexts = spec.config.language.edges(target).sum(-1) / spec.config.language.length
    with torch.no_grad():
        untrained(layout, trace := Trace())
    shares = [float(((x > 0).double().mean(1) * contexts).sum()) for x in trace.neurons]
    layers = rows[(rows["kind"] == "layer") & (rows["seed"] == named.seed)]
    assert layers["active_start"].tolist() == pytest.approx(shares, abs=1e-9)
    start = rows[(rows["kind"] == "time") & (rows["seed"] == named.seed) & (rows["step"] == 0)]
    assert start["active"].tolist() == pytest.approx(shares, abs=1e-5)  # of the log, in float32, exact data
    assert rebuild(spec.config, artefact(train_spec(spec))["parameters"][1]).n_parameters == untrained.n_parameters


def test_rates_are_a_distribution_over_classes() -> None:
    rows = rows_of(next(s for s in QUICK if s.design == "main"))
    rates = rows[rows["kind"] == "rates"]
    assert sorted(rates["bin"].unique()) == list(range(len(BINS) - 1))
    assert rates.groupby(["seed", "layer"])["share"].sum().to_numpy() == pytest.approx(1)
    assert np.histogram([0.0, 0.05, 0.1, 0.95, 1.0], BINS)[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_a_design_is_no_part_of_what_is_trained() -> None:
    spec = SPECS[0]
    assert dataclasses.replace(spec, design="other").canonical() == spec.canonical()
