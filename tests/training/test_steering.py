"""Steering attention's temperature: lines, feedback, limits; and a training that follows them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from entropylens.models.looped import LoopedConfig
from entropylens.tasks.induction import InductionTask
from entropylens.training.looped import LoopedMember, LoopedPopulation, LoopedSpec, sharpened, train_looped
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.regularizers import PAPER
from entropylens.training.steering import MOST, Steering


def spec(**changed: Any) -> LoopedSpec:
    members = tuple(LoopedMember(seed, OptimizerConfig("adamw", lr=1e-2)) for seed in (0, 1))
    asked: dict[str, Any] = {"steps": 30, "batch_size": 8, "lengths": (8, 12)} | changed
    return LoopedSpec(LoopedConfig(6, n_loops=2, hint=True), InductionTask(6, "repeat", scored="all"), members, **asked)


def test_a_factor_goes_in_a_straight_line_of_its_logarithm() -> None:
    steering = Steering("factor", 0.5, 2.0)
    assert steering.first(2).exp().tolist() == pytest.approx([0.5, 0.5])
    halfway = steering.next(torch.full((2,), 9.0), torch.zeros(2), 0.375)
    assert halfway.tolist() == pytest.approx([0.0, 0.0], abs=1e-7)
    assert steering.next(halfway, torch.zeros(2), 0.8).exp().tolist() == pytest.approx([2.0, 2.0])


def test_feedback_sharpens_what_is_too_open_and_no_further_than_its_limit() -> None:
    steering = Steering("entropy", 0.8, 0.2, gain=0.1)
    assert steering.first(2).tolist() == [0.0, 0.0]
    assert [steering.wanted(share) for share in (0.0, 0.375, 0.75, 1.0)] == pytest.approx([0.8, 0.5, 0.2, 0.2])
    after = steering.next(torch.zeros(2), torch.tensor([0.9, 0.3]), 0.375)
    assert after.tolist() == pytest.approx([0.1 * (0.9 - 0.5), 0.1 * (0.3 - 0.5)])
    most = math.log(MOST)
    assert steering.next(torch.tensor([most]), torch.ones(1), 1.0).item() == pytest.approx(most)
    assert steering.next(torch.tensor([-most]), torch.zeros(1), 0.0).item() == pytest.approx(-most)


@pytest.mark.parametrize(
    "asked",
    [
        ("entropy", 1.2, 0.5),
        ("factor", 0.0, 1.0),
        ("factor", 1.0, 100.0),
        ("warmth", 0.5, 0.5),
        ("entropy", 0.5, 0.5, 0.0),
        ("entropy", 0.5, 0.5, 0.1, 0.0),
        ("entropy", 0.5, 0.5, 0.1, 1.5),
    ],
)
def test_what_cannot_be_steered_is_refused(asked: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs a gain|unknown"):
        Steering(*asked)


def test_an_even_factor_of_one_changes_nothing() -> None:
    plain, steered = train_looped(spec()), train_looped(spec(steering=Steering("factor", 1.0, 1.0)))
    assert torch.equal(plain.parameters, steered.parameters)
    assert torch.equal(plain.losses, steered.losses)
    assert set(steered.terms) == {"factor", "open"}
    assert plain.terms == {}


def test_kept_parameters_have_the_factor_in_them() -> None:
    """At the beginning they are those that are drawn, their logits multiplied; at the end, those of the line's end."""
    run = train_looped(spec(steps=1, snapshots=(0,), steering=Steering("factor", 4.0, 0.5)))
    drawn = LoopedPopulation(run.spec.config, [0, 1]).parameters
    torch.testing.assert_close(run.parameters[0], sharpened(run.spec.config, drawn, 4.0))
    assert run.terms["factor"].tolist() == [[pytest.approx(4.0)] * 2]


def test_feedback_reaches_the_entropy_that_is_wanted() -> None:
    asked = [spec(steps=300, steering=Steering("entropy", wanted, wanted, gain=0.1)) for wanted in (0.7, 0.3)]
    for run, wanted in zip(map(train_looped, asked), (0.7, 0.3), strict=True):
        assert run.terms["open"][-50:].mean(0).tolist() == pytest.approx([wanted, wanted], abs=0.06)


def test_steering_and_terms_go_together() -> None:
    run = train_looped(spec(steering=Steering("entropy", 0.8, 0.4), regularizer=PAPER))
    assert set(run.terms) == {"kinetic", "potential", "entropy", "factor", "open"}
    assert all(curve.shape == (30, 2) and curve.isfinite().all() for curve in run.terms.values())
