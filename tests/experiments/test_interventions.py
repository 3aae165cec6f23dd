"""Branches of real trainings: the unchanged one is the training itself, and each other differs as it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from entropylens.experiments.branching import LEAD, MARGIN, PER_MODEL, WAYS, places, train_branches
from entropylens.experiments.interventions import EXPERIMENT, measure, populations
from entropylens.experiments.spikes import Arm
from entropylens.measures.event_rows import spike_rule
from entropylens.measures.events import events
from entropylens.training.population import train
from entropylens.training.spec import PopulationSpec

(SPEC,) = populations([Arm("interventions", "adam", 8, (0.05,), steps=400, dtype="float64")], 2)


@pytest.fixture(scope="module")
def trained() -> Mapping[str, Tensor]:
    return train_branches(SPEC, "cpu")[0]


@pytest.fixture(scope="module")
def rows(trained: Mapping[str, Tensor]) -> pd.DataFrame:
    return measure(SPEC, trained)


def test_the_unchanged_branch_is_the_training(trained: Mapping[str, Tensor]) -> None:
    """To rounding: another composition of the population changes last bits."""
    same = [i for i, way in enumerate(trained["way"].tolist()) if WAYS[way] in ("unchanged", "calm")]
    assert same
    for i in same:
        begin, member = int(trained["step"][i]), int(trained["member"][i])
        run = trained["run_losses"][begin : begin + LEAD, member]
        torch.testing.assert_close(trained["losses"][i, :LEAD], run, rtol=1e-6, atol=1e-6)


def test_spikes_are_taken_up_before_their_onset_and_calm_places_are_calm(trained: Mapping[str, Tensor]) -> None:
    for i, way in enumerate(trained["way"].tolist()):
        begin, member = int(trained["step"][i]), int(trained["member"][i])
        found = events(trained["run_losses"][:, member].double().numpy(), spike_rule())
        if WAYS[way] == "unchanged":
            assert begin + LEAD in [e.onset for e in found if e.recovered]
        if WAYS[way] == "calm":
            assert not [e for e in found if e.onset - MARGIN < begin < e.end + MARGIN]


def test_each_place_has_its_ways_and_no_model_has_too_many(rows: pd.DataFrame) -> None:
    branches = rows[rows["kind"] == "branch"]
    for _, here in branches.groupby(["seed", "step"]):
        ways = here["way"].tolist()
        assert ways == [w for w in WAYS if w.startswith("calm") == ways[0].startswith("calm")]
    spikes = branches[branches["way"] == "unchanged"]
    assert (spikes.groupby("seed").size() <= PER_MODEL).all()
    models = rows[rows["kind"] == "model"]
    assert models["final"].all()
    assert rows["main"].all()
    assert len(models) == len(SPEC.members)


def test_branches_start_where_they_say(rows: pd.DataFrame) -> None:
    branches = rows[rows["kind"] == "branch"]
    same = branches["way"].isin(["unchanged", "gates held", "half rate", "calm", "calm, double rate"])
    assert branches.loc[same, "cost"].abs().max() < 1e-5
    assert (branches.loc[branches["way"] == "unchanged", "beside"] == 1).all()
    killed = branches[branches["way"] == "random killed"]
    assert (killed["cost"].abs() > 0).any()


def test_a_held_or_killed_neuron_that_was_not_doomed_changes_nothing(rows: pd.DataFrame) -> None:
    """Where nobody dies, holding the gates of nobody is no change at all."""
    branches = rows[(rows["kind"] == "branch") & (rows["doomed"] == 0)]
    if len(branches):
        for _, here in branches.groupby(["seed", "step"]):
            by_way = here.set_index("way")["height"]
            for way in {"gates held", "killed"} & set(by_way.index):
                assert by_way[way] == pytest.approx(by_way["unchanged"], rel=1e-3, abs=1e-3)


def test_a_training_without_events_gives_models_and_no_branches() -> None:
    (calm,) = populations([Arm("interventions", "adam", 8, (1e-4,), steps=120)], 2)
    found = measure(calm, train_branches(calm, "cpu")[0])
    assert found["kind"].tolist() == ["model", "model"]
    assert found["kills"].tolist() == [0, 0]


def test_two_trainings_give_the_same_bits(trained: Mapping[str, Tensor]) -> None:
    again = train_branches(SPEC, "cpu")[0]
    for name, tensor in trained.items():
        assert np.array_equal(again[name].numpy(), tensor.numpy(), equal_nan=name != "way"), name


def test_places_need_a_quiet_past() -> None:
    spec: PopulationSpec = EXPERIMENT.populations["quick"]()[0]
    run = train(spec.config, spec.build_members(), steps=spec.steps, logged=True)
    for place in places(run):
        found = events(run.losses[:, place.member].double().numpy(), spike_rule())
        assert all(e.end <= place.step - MARGIN or e.onset > place.step for e in found)
    assert np.isfinite(run.losses).all()
