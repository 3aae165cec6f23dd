"""Trials choose a rate, the same way for all, and the training that follows is the one at that rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from entropylens.experiments.tuning import TunedSpec, best, train_tuned
from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import InductionTask
from entropylens.training.looped import LoopedMember, LoopedSpec, train_looped
from entropylens.training.optimizers import OptimizerConfig

OPTIMIZER = OptimizerConfig("adamw", lr=1.0, weight_decay=0.1)
TRAINING = LoopedSpec(
    LoopedConfig(5, n_loops=1, hint=True), InductionTask(5, "repeat", scored="all"),
    tuple(LoopedMember(seed, OPTIMIZER) for seed in range(2)), steps=12, batch_size=4, lengths=(6, 9),
)  # fmt: skip


def spec(**fields: Any) -> TunedSpec:
    return replace(TunedSpec(TRAINING, rates=(1e-6, 1e-2, 1e3), seeds=(7, 8), trial_steps=40), **fields)


def test_the_best_rate_is_taken_and_trained_with() -> None:
    kept, _, _ = train_tuned(spec(trial_steps=100), "cpu")
    assert kept["trials"].shape == (3, 2)
    lr = float(kept["lr"])
    assert lr == 1e-2
    by_hand = train_looped(replace(TRAINING, members=tuple(
        LoopedMember(seed, replace(OPTIMIZER, lr=lr)) for seed in range(2)
    )))  # fmt: skip
    assert torch.equal(kept["parameters"], by_hand.parameters)
    assert torch.equal(kept["losses"], by_hand.losses)


def test_trials_are_trainings_of_their_own() -> None:
    """Of every rate with every seed, and no others'; they say how accurate their last fifth was."""
    trials = spec().trials()
    assert [(m.optimizer.lr, m.seed) for m in trials.members] == [(r, s) for r in (1e-6, 1e-2, 1e3) for s in (7, 8)]
    assert {m.optimizer.weight_decay for m in trials.members} == {0.1}
    accuracy = train_looped(trials).accuracy[-8:].mean(0).reshape(3, 2)
    kept, _, _ = train_tuned(spec(), "cpu")
    torch.testing.assert_close(kept["trials"][:2], accuracy[:2])  # the last rate diverges


def test_trials_choose_among_trainings_as_well() -> None:
    """Of a model that sees the token before and one that does not, the first; and it is the one that is trained."""
    blind = replace(TRAINING, config=replace(TRAINING.config, hint=False))
    asked = spec(training=blind, others=(TRAINING,), rates=(1e-3, 1e-2), trial_steps=200)
    kept, _, _ = train_tuned(asked, "cpu")
    assert kept["trials"].shape == (2, 2, 2)
    assert int(kept["choice"]) == 1
    chosen = asked.chosen(kept)
    assert chosen.training == TRAINING
    assert chosen.others == ()
    by_hand = train_looped(chosen.at(float(kept["lr"])))
    assert torch.equal(kept["parameters"], by_hand.parameters)
    assert asked.steps == TRAINING.steps + 2 * 200
    assert asked.work() > spec(training=blind, rates=(1e-3, 1e-2), trial_steps=200).work()
    assert asked.canonical() != spec(training=blind, rates=(1e-3, 1e-2), trial_steps=200).canonical()


def test_one_rate_with_several_trainings_is_tried() -> None:
    asked = spec(others=(replace(TRAINING, clip=1.0),), rates=(1e-2,))
    assert train_tuned(asked, "cpu")[0]["trials"].shape == (2, 1, 2)


def test_a_single_rate_needs_no_trial() -> None:
    kept, _, _ = train_tuned(spec(rates=(0.5,)), "cpu")
    assert float(kept["lr"]) == 0.5
    assert kept["trials"].isnan().all()
    assert spec(rates=(0.5,)).steps == TRAINING.steps
    assert spec().steps == TRAINING.steps + 40
    assert spec(rates=(0.5,)).work() == pytest.approx(TRAINING.work())


def test_a_trial_that_diverges_has_no_accuracy() -> None:
    """Logits that are not numbers all have the first symbol for their largest, which is right now and then."""
    training = replace(TRAINING, members=tuple(LoopedMember(s, OptimizerConfig("sgd")) for s in range(2)))
    kept, _, _ = train_tuned(spec(training=training, rates=(1e-2, 1e30)), "cpu")
    assert kept["trials"].isnan().tolist() == [[False, False], [True, True]]
    assert float(kept["lr"]) == 1e-2


def test_best() -> None:
    assert best(torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.2, 0.2]])) == 1  # of two as good, the smaller
    assert best(torch.tensor([[torch.nan, 0.9], [0.3, 0.3]])) == 0
    assert best(torch.tensor([[torch.nan] * 2, [0.1, 0.1]])) == 1


def test_what_is_asked_for_is_in_the_key() -> None:
    keys = {s.canonical() for s in (spec(), spec(seeds=(7, 9)), spec(rates=(1e-3,)), spec(trial_steps=50),
                                    spec(training=replace(TRAINING, steps=13)))}  # fmt: skip
    assert len(keys) == 5
    assert spec().canonical() == spec(training=replace(TRAINING, design="other")).canonical()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rates": ()}, "needs ascending rates"),
        ({"rates": (1e-2, 1e-3)}, "needs ascending rates"),
        ({"trial_steps": 4}, "5 steps or more"),
        ({"others": (replace(TRAINING, steps=13),)}, "the same members and steps"),
        ({"seeds": (1, 7)}, r"none of the training's, got \[1\] as both"),
    ],
)
def test_bad_specifications(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**fields)
