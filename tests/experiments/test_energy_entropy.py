"""The two experiments on the energy-entropy loss: arms, rows, and what the rules find in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest
import torch

from entropylens.experiments import energy_entropy, energy_readings, loss_landscape
from entropylens.experiments.energy_entropy import LOSSES, POINTS, SETUPS, full, main_design, quick
from entropylens.experiments.looped_induction import LENGTHS
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.models.entropies import largest_tsallis
from entropylens.results.claims import decide, load_claims
from entropylens.training.regularizers import PAPER

Trained = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Fewer and shorter sequences than the experiment's, which take long and show no more of its rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_landscape, "SEQUENCES", 8)
        patch.setattr(loss_landscape, "TOKENS", 8)
        yield


@pytest.fixture(scope="module")
def trained() -> list[tuple[TunedSpec, Trained]]:
    """The main design of the quick profile."""
    specs = [spec for spec in quick() if spec.design == "main"]
    return [(spec, dict(train_tuned(spec, "cpu")[0])) for spec in specs]


def test_arms_are_different_trainings() -> None:
    specs = full()
    assert len({spec.canonical() for spec in specs}) == len(specs)
    assert all(len(spec.members) == 10 for spec in main_design())
    decays = {spec.training.members[0].optimizer.weight_decay for spec in specs if spec.design == "main"}
    assert decays == {energy_entropy.DECAY}
    small = quick()
    assert [s.design for s in small] == [s.design for s in specs]
    assert all(len(s.members) == min(2, len(f.members)) for s, f in zip(small, specs, strict=True))


def test_losses_are_the_papers_terms() -> None:
    assert [LOSSES["all"].kinetic, LOSSES["all"].potential, LOSSES["all"].entropy] == [0.001, 0.1, 0.02]
    alone, left_out = (LOSSES[name] for name in ("P", "no P"))
    assert (alone.kinetic, alone.potential, alone.entropy) == (0, 0.1, 0)
    assert (left_out.kinetic, left_out.potential, left_out.entropy) == (0.001, 0, 0.02)
    assert LOSSES["maximised"].entropy == -LOSSES["all"].entropy


def test_rows(trained: list[tuple[TunedSpec, Trained]]) -> None:
    spec, kept = trained[-1]
    rows = energy_entropy.measure(spec, kept)
    models, curves = rows[rows["kind"] == "model"], rows[rows["kind"] == "curve"]
    assert (models["setup"] == "short").all()
    assert (models["loss_name"] == "all").all()
    assert models["seed"].tolist() == [0, 1]
    assert (models["lr"] == float(kept["lr"])).all()
    shares = models[[f"accuracy_{n}" for n in LENGTHS] + ["most", "open", "answer"]].to_numpy()
    assert ((shares >= 0) & (shares <= 1 + 1e-6)).all()
    assert len(curves) == POINTS * 2
    assert curves["step"].max() == spec.training.steps
    trials = rows[rows["kind"] == "trial"]
    assert trials["accuracy"].tolist() == pytest.approx(kept["trials"].flatten().tolist())
    assert (trials["steps"] == spec.trial_steps).all()
    assert trials[trials["chosen"] == 1]["lr"].unique().tolist() == [float(kept["lr"])]
    factors = rows[rows["kind"] == "factor"]
    assert set(factors["by"]) == {"constant", "log n"}
    log_n = factors[(factors["by"] == "log n") & (factors["length"] == 1000)]["factor"].unique()
    assert log_n.tolist() == pytest.approx([math.log(1000) / math.log((16 + 24 + 32 + 48 + 64) / 5)])


def test_terms_are_relative_to_what_a_length_allows(trained: list[tuple[TunedSpec, Trained]]) -> None:
    spec, kept = trained[0]
    curves = energy_entropy.relative(spec, kept)
    n = int(kept["lengths"][5])
    assert n in (8, 16)
    assert float(curves["kinetic"][5, 0]) == pytest.approx(float(kept["kinetic"][5, 0]) / n)
    assert float(curves["potential"][5, 0]) == pytest.approx(float(kept["potential"][5, 0]) / math.log(n))
    largest = float(largest_tsallis(n, 1.5))
    assert float(curves["entropy"][5, 0]) == pytest.approx(float(kept["entropy"][5, 0]) / largest)
    assert (curves["entropy"] <= 1).all()


def test_a_model_that_learns_after_its_energies_fell(trained: list[tuple[TunedSpec, Trained]]) -> None:
    """Planted curves: the first model's accuracy jumps after both fall, the second one's before."""
    spec, kept = trained[-1]
    steps = torch.arange(spec.training.steps)[:, None]
    planted = kept | {"lengths": torch.full_like(kept["lengths"], 16)}
    planted["accuracy"] = (steps >= torch.tensor([30, 5])).float()
    planted["kinetic"] = 1.0 + (steps < torch.tensor([10, 10])).float()
    planted["entropy"] = 0.5 + 0.5 * (steps < torch.tensor([20, 20])).float()
    models = energy_entropy.measure(spec, planted).query("kind == 'model'")
    assert models["diverged"].tolist() == [0, 0]
    assert models["learned"].tolist() == [1, 1]
    assert models["ordered"].tolist() == [1, 0]
    assert models["accuracy_step"].tolist() == [30, 5]
    assert models["entropy_explained"].tolist() == pytest.approx([1, 1])


def test_slices(trained: list[tuple[TunedSpec, Trained]]) -> None:
    spec, kept = trained[-1]
    rows = loss_landscape.measure(spec, kept)
    models = rows[rows["kind"] == "model"]
    assert len(models) == 2 * 2 * 2  # models, losses, places
    assert models["ruggedness"].between(0, 1).all()
    assert (models[models["own"]]["of"] == "all").all()
    lines = rows[(rows["kind"] == "line") & (rows["radius"] == 0)].set_index(["around", "of", "seed"])["loss"]
    assert lines["trained", "plain", 0] < lines["trained", "all", 0]  # the terms are above zero
    assert set(lines.index.get_level_values("around")) == {"trained"}
    surface = rows[rows["kind"] == "surface"]
    at_centre = surface[(surface["radius"] == 0) & (surface["other"] == 0)]
    assert at_centre["of"].tolist() == ["all"]  # the loss that the model was trained with
    assert at_centre["loss"].item() == pytest.approx(lines["trained", "all", 0])


def test_rows_are_what_the_rules_ask_for(trained: list[tuple[TunedSpec, Trained]]) -> None:
    claims = load_claims()
    for experiment, ids in ((energy_entropy, ("EER-2", "EER-4")), (loss_landscape, ("EER-3",))):
        rows = pd.concat([experiment.measure(*one) for one in trained], ignore_index=True)
        assert set(rows["setup"]) == set(SETUPS)
        for name in ids:
            assert decide(claims[name], rows).verdict == "inconclusive"  # two seeds are too few


def test_readings_are_the_papers_set_up_with_nothing_but_p_t_changed() -> None:
    (plain,) = (s for s in energy_entropy.full() if (s.design, s.training.regularizer) == ("published", PAPER))
    for spec, row in zip(energy_readings.full(), energy_readings.READINGS, strict=True):
        assert spec.training.regularizer == replace(PAPER, row=row)
        assert spec.config == plain.config
        assert len(spec.members) == 5
    quick = energy_readings.quick()
    assert [s.training.regularizer for s in quick] == [s.training.regularizer for s in energy_readings.full()]
    assert {len(s.members) for s in quick} == {2}
