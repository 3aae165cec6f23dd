"""Weights set by hand solve the task, with any number of loops, and not if they are disturbed everywhere."""

from __future__ import annotations

import pytest
import torch

from entropylens.models.handset import by_hand, perturbed, sphere
from entropylens.models.looped import LoopedTransformer
from entropylens.tasks.induction import InductionTask, sample


@torch.no_grad()
def right(model: LoopedTransformer, length: int, sequences: int = 40) -> float:
    batch = sample(
        InductionTask(model.config.vocabulary, "repeat"), sequences, length, torch.Generator().manual_seed(1)
    )
    return float((model(batch.tokens, last=True)[:, 0].argmax(-1) == batch.answers[:, -1]).double().mean())


@pytest.mark.parametrize("n_loops", [1, 2, 25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_answers_right(n_loops: int, dtype: torch.dtype) -> None:
    model = by_hand(n_loops=n_loops).to(dtype)
    assert model.config.d_model == 8
    assert [right(model, n) for n in (10, 64, 200)] == [1.0, 1.0, 1.0]


def test_it_answers_right_at_a_thousand_tokens_and_for_other_vocabularies() -> None:
    assert right(by_hand(n_loops=2), 1000, sequences=10) == 1.0
    assert right(by_hand(vocabulary=5, n_loops=3), 64) == 1.0


def test_points_are_on_a_sphere_and_apart() -> None:
    points = sphere(16)
    assert points.norm(dim=-1).allclose(torch.ones(16).double())
    assert float((points @ points.mT - 2 * torch.eye(16)).max()) < 0.75


def test_noise_on_its_own_weights_is_survived_and_noise_on_the_zeros_is_not() -> None:
    model = by_hand(n_loops=2)
    random = torch.Generator().manual_seed(0)
    assert right(perturbed(model, 0.03, random, zeros=False), 64) > 0.95
    assert right(perturbed(model, 0.03, random), 64) < 0.5
    assert right(perturbed(model, 0.0, random), 64) == 1.0
