"""Chapter 5's explorer draws the divergences that the chapter measures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.experiments.low_entropy import Grid
from entropylens.measures.explanations import families, project
from entropylens.show.explorers.families import POINTS, STORIES, FamilyExplorer, family_explorer
from entropylens.show.figures_alpha import KINDS
from entropylens.tasks.language import Language
from entropylens.training.data import finite_sample


@pytest.fixture(scope="module")
def explorer() -> FamilyExplorer:
    """Models that are their targets' escorts, with α = width / 100."""
    rows, models, language = [], [], Language()
    for width in (8, 64):
        for regime, n in KINDS:
            target = Grid().target(0).build(language)
            models.append(torch.log_softmax((1 + width / 100) * target.log(), -1))
            rows.append({"d_model": width, "regime": regime, "n_samples": n, "seed": 0, "main": True, "final": True})
    return family_explorer(pd.DataFrame(rows), torch.stack(models), seeds=1)


def curves(explorer: FamilyExplorer) -> np.ndarray:
    return np.frombuffer(explorer.curves, np.float32).reshape(-1, len(STORIES), POINTS)


def test_the_least_of_a_curve_is_where_the_projection_is(explorer: FamilyExplorer) -> None:
    for place, alpha in ((0, 0.08), (len(KINDS), 0.64)):  # exact data, d = 8 and 64
        low, high = explorer.ranges[place][0]
        best = low + (high - low) * curves(explorer)[place, 0].argmin() / (POINTS - 1)
        assert best == pytest.approx(alpha, abs=(high - low) / (POINTS - 1))


def test_the_share_is_the_chapter_s(explorer: FamilyExplorer) -> None:
    language, place = Language(), len(KINDS) + KINDS.index(("finite", 2000))
    target = Grid().target(0).build(language)
    sample = language.empirical(finite_sample(language, target, 2000, 0)).numpy()
    log_p = torch.log_softmax(1.64 * target.log(), -1).numpy()
    for i, story in enumerate(STORIES):
        exact = project(log_p, target.numpy(), families(target.numpy(), sample)[story]).share
        assert 1 - curves(explorer)[place, i].min() / explorer.whole[place] == pytest.approx(exact, abs=0.03)


def test_without_a_sample_there_is_no_story_of_one(explorer: FamilyExplorer) -> None:
    missing = np.isnan(curves(explorer)).all(-1)
    for place, (_, n) in enumerate([*KINDS, *KINDS]):
        assert missing[place].tolist() == [False, n == 0, n == 0, False]
