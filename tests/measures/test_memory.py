"""Memorisation and leaked mass, against planted ones."""

from __future__ import annotations

import pytest
import torch

from entropylens.measures.memory import leaked_mass, memorisation
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet, sparse_support

LANGUAGE = Language(4, 4)
TARGETS = {"dense": autoregressive_dirichlet(LANGUAGE, seed=1), "sparse": sparse_support(LANGUAGE, 100, seed=1)}


def sample_of(target: torch.Tensor, n: int = 150) -> torch.Tensor:
    return LANGUAGE.empirical(LANGUAGE.sample(target, n, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_planted_preference_for_what_was_seen_is_found(target: torch.Tensor) -> None:
    seen = sample_of(target)
    planted = torch.tensor([0.0, 0.3, -0.2, 2.0], dtype=torch.float64)
    models = torch.log_softmax(target.clamp_min(1e-300).log() + planted[:, None] * (seen > 0), dim=-1)
    torch.testing.assert_close(memorisation(models, target, seen), planted, rtol=0, atol=1e-9)


def test_tempering_alone_is_no_memory() -> None:
    """Seen sentences are the likelier ones; a model that sharpens or flattens its target remembers nothing."""
    target = TARGETS["dense"]
    models = torch.stack([torch.log_softmax(beta * target.log(), dim=-1) for beta in (0.5, 1.0, 1.5)])
    found = memorisation(models, target, sample_of(target))
    torch.testing.assert_close(found, torch.zeros(3).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seen", [TARGETS["dense"], torch.zeros(LANGUAGE.n_sentences).double()])
def test_without_a_contrast_there_is_no_number(seen: torch.Tensor) -> None:
    assert memorisation(TARGETS["dense"].log()[None], TARGETS["dense"], seen).isnan().all()


def test_a_diverged_model_harms_no_other() -> None:
    target = TARGETS["dense"]
    models = torch.stack([target.log(), torch.full_like(target, torch.nan), target.log()])
    found = memorisation(models, target, sample_of(target))
    assert found.isnan().tolist() == [False, True, False]


def test_leaked_mass_is_what_lies_outside_the_support() -> None:
    target = TARGETS["sparse"]
    uniform = torch.full_like(target, 1 / len(target)).log()
    assert float(leaked_mass(uniform, target)) == pytest.approx(1 - 100 / len(target))
    assert float(leaked_mass(uniform, torch.full_like(target, 1 / len(target)))) == 0.0
