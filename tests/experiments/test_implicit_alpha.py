"""Claim 5's rows: the models of claims 1 and 2, each told by four stories."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entropylens.experiments import EXPERIMENTS
from entropylens.experiments.implicit_alpha import EXPERIMENT, measure
from entropylens.measures.explanations import families
from entropylens.measures.regularised import escort
from entropylens.training.data import finite_sample
from entropylens.training.spec import PopulationSpec


def spec_of(source: str, regime: str) -> PopulationSpec:
    specs = EXPERIMENTS[source].populations["quick"]()
    return next(s for s in specs if s.members[0].data.regime == regime and s.members[0].data.n_samples in (None, 2000))


def trained(spec: PopulationSpec, log_probs: torch.Tensor) -> dict[str, torch.Tensor]:
    """As of a training that ended at the given log pθ, (M, S)."""
    return {
        "log_probs": torch.stack([torch.zeros_like(log_probs), log_probs]),
        "snapshot_steps": torch.tensor([0, spec.steps]),
        "parameters": torch.zeros(len(log_probs), 3),
    }


def test_it_looks_at_the_models_of_both_claims_and_trains_none() -> None:
    for profile in ("quick", "full"):
        mine = [(s.canonical(), s.design) for s in EXPERIMENT.populations[profile]()]
        theirs = [EXPERIMENTS[name].populations[profile]() for name in ("low_entropy", "ffn_or_attention")]
        assert mine == [(s.canonical(), s.design) for specs in theirs for s in specs]


def test_planted_stories_are_told() -> None:
    spec = spec_of("low_entropy", "finite")
    members = spec.build_members()
    models = []
    for i, member in enumerate(members):
        drawn = finite_sample(spec.config.language, member.target, 2000, member.seed)
        sample = spec.config.language.empirical(drawn).numpy()
        known = families(member.target.numpy(), sample)
        models.append(known["sample"].member(0.5) if i else escort(member.target.numpy(), 0.2))
    rows = measure(spec, trained(spec, torch.as_tensor(np.stack(models)).log()))
    assert (rows.loc[1:, "best"] == "sample").all()
    assert (rows["alpha_limit"] > 0.2).all()
    assert rows["final"].all()
    assert rows.loc[0, "escort"] == pytest.approx(0.2, abs=1e-4)
    assert rows.loc[0, "alpha_share"] == pytest.approx(1, abs=1e-4)
    assert rows.loc[0, "escort_lead"] > 0 > rows.loc[1, "escort_lead"]
    assert rows.loc[1, "sample"] == pytest.approx(0.5, abs=1e-4)
    assert (rows["source"] == "low_entropy").all()


def test_a_diverged_model_counts_neither_for_nor_against() -> None:
    spec = spec_of("low_entropy", "finite")
    shape = (len(spec.members), spec.config.language.n_sentences)
    rows = measure(spec, trained(spec, torch.full(shape, torch.nan, dtype=torch.float64)))
    assert rows[["alpha_share", "escort_lead", "escort_share"]].isna().all(axis=None)


def test_a_negative_alpha_supports_no_price_on_entropy() -> None:
    spec = spec_of("ffn_or_attention", "fresh")
    flat = [torch.as_tensor(escort(m.target.numpy(), -0.2)).clamp_min(1e-12) for m in spec.build_members()]
    rows = measure(spec, trained(spec, torch.stack(flat).log()))
    assert rows["escort"].tolist() == pytest.approx([-0.2] * len(rows), abs=1e-3)
    assert (rows["alpha_share"] == 0).all()
    assert (rows["escort_share"] > 0.99).all()
    assert rows["sample_share"].isna().all()  # fresh data have no sample
    assert (rows["source"] == "ffn_or_attention").all()
