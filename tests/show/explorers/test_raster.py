"""Chapter 8's raster packs what the neurons of a training did, and finds its events."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import traitlets

from entropylens.experiments.spikes import Arm
from entropylens.show.explorers.raster import (
    COLUMNS,
    LEVELS,
    RasterExplorer,
    Watched,
    as_levels,
    by_death,
    halves,
    raster_explorer,
    watch,
)
from entropylens.training.spec import train_spec
from tests.show.explorers import _planted as planted

NAMES = [("edge", "at the edge"), ("beyond", "beyond it")]


@pytest.fixture(scope="module")
def watched() -> Watched:
    return planted.watched()


@pytest.fixture(scope="module")
def explorer(watched: Watched) -> RasterExplorer:
    return raster_explorer(watched, NAMES)


def unpack(explorer: RasterExplorer) -> np.ndarray:
    """(trainings, neurons, T)."""
    packed = np.frombuffer(explorer.levels, np.uint8).reshape(len(explorer.trainings), sum(explorer.layers), -1)
    both = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
    return both[..., : -(-explorer.steps // explorer.every)]


def test_it_is_the_same_training_and_the_log_counts_the_same_dead() -> None:
    seen, plain = watch(planted.spec(20), columns=10), train_spec(replace(planted.spec(20), logged=True))
    assert torch.equal(seen.run.losses, plain.losses)
    assert seen.every == 2
    assert plain.log is not None
    dead = (seen.levels == 0).sum(-1)  # (T, M, L)
    np.testing.assert_array_equal(dead, plain.log.dead[::2])
    active, share = plain.log.active[::2].mean(-1).numpy(), seen.levels.astype(float).mean((-2, -1)) / LEVELS
    assert (active <= share + 1e-6).all()
    assert (active >= share - 1 / LEVELS).all()


def test_levels_are_shares_and_nought_is_dead() -> None:
    rates = torch.tensor([0.0, 0.0, 1e-5, 1 / 15, 1 / 15 + 1e-4, 1 / 3, 0.999, 1.0])
    dead = torch.tensor([True] + [False] * 7)
    assert as_levels(rates, dead).tolist() == [0, 1, 1, 1, 2, 5, 15, 15]


def test_those_who_die_first_are_on_top() -> None:
    lives = ["9990009", "1111111", "9900000", "9909999", "0000000", "9999990", "2222222"]
    levels = np.array([[int(x) for x in life] for life in lives], dtype=np.uint8)
    assert [lives[i] for i in by_death(levels)] == [
        "0000000", "9900000", "9999990", "9990009", "9909999", "1111111", "2222222",
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [6, 7])
def test_two_levels_a_byte(columns: int) -> None:
    levels = np.random.default_rng(0).integers(0, 16, (2, 3, columns), dtype=np.uint8)
    packed = halves(levels)
    assert packed.shape == (2, 3, -(-columns // 2))
    np.testing.assert_array_equal(packed & 15, levels[..., 0::2])
    np.testing.assert_array_equal((packed >> 4)[..., : columns // 2], levels[..., 1::2])


def test_each_row_is_the_neuron_it_is_said_to_be(explorer: RasterExplorer, watched: Watched) -> None:
    f = explorer.layers[0]
    for member, (rows, model) in enumerate(zip(unpack(explorer), explorer.models, strict=True)):
        order = np.array(model["order"]).reshape(len(explorer.layers), f)
        for layer, neurons in enumerate(order):
            assert sorted(neurons) == list(range(f))
            own = watched.levels[:, member, layer, neurons].T
            np.testing.assert_array_equal(rows[layer * f : (layer + 1) * f], own)
    assert explorer.contexts == 781


def test_events_and_facts_are_the_log_s(explorer: RasterExplorer) -> None:
    model = explorer.models[0]
    assert model["events"] == [[0, planted.SPIKE, pytest.approx(1.0)], [1, planted.JUMP, 8]]
    assert (model["most"], model["end"]) == (8, 8)
    assert len(model["loss"]) == 54 == -(-planted.STEPS // explorer.every)
    assert max(model["loss"]) == pytest.approx(7)
    assert np.argmax(model["loss"]) == (planted.SPIKE + 1) // explorer.every
    json.dumps(explorer.models, allow_nan=False)


def test_a_training_that_diverged_ends_there(watched: Watched) -> None:
    losses = watched.run.losses.clone()
    losses[120:, 0] = torch.nan
    run = replace(watched.run, losses=losses, diverged_at=[120, None])
    first, second = raster_explorer(replace(watched, run=run), NAMES).models
    assert (len(first["loss"]), len(second["loss"])) == (40, 54)
    assert (first["diverged"], second["diverged"], first["most"]) == (120, None, 0)
    assert [kind for kind, *_ in first["events"]] == [0]
    json.dumps([first, second], allow_nan=False)


def test_python_may_choose_and_nonsense_is_refused(explorer: RasterExplorer) -> None:
    assert explorer.selected == {"training": "edge", "step": 0, "row": 1}
    explorer.selected = {"training": "beyond", "step": 30, "row": 32}
    assert explorer.selected == {"training": "beyond", "step": 30, "row": 32}
    for wrong in ({"training": "sgd"}, {"step": 31}, {"step": 162}, {"row": 0}, {"row": 33}, {"neuron": 1}):
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(wrong))} = "):
            explorer.selected = wrong
    explorer.selected = {"training": "edge", "step": 0, "row": 1}


def test_what_does_not_fit_is_named(watched: Watched) -> None:
    with pytest.raises(ValueError, match="2 trainings cannot have the names"):
        raster_explorer(watched, [("a", "x"), ("a", "y")])
    (alone,) = Arm("parts", "adam", 4, (0.03,), shape={"variant": "attention_only"}, steps=4).populations(1)
    with pytest.raises(ValueError, match="no neurons"):
        watch(alone)


def test_it_stays_small() -> None:
    levels = np.zeros((2, 128, COLUMNS), dtype=np.uint8)
    assert 4 / 3 * halves(levels).size < 45_000  # beside the traces' 250 kB
