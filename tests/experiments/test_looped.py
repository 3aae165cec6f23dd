"""The two experiments on looped models: arms, rows, and what the rules find in them."""

from __future__ import annotations

import pytest

from entropylens.experiments import looped_contraction, looped_induction
from entropylens.experiments.looped_induction import LENGTHS, SETTINGS, Arm, design, populations
from entropylens.experiments.looping import train_models
from entropylens.results.claims import decide, load_claims
from entropylens.training.looped import LoopedSpec


@pytest.fixture(scope="module")
def trained() -> tuple[LoopedSpec, dict[str, object]]:
    spec = Arm("main", "hint", 2, {"n_loops": 2}, training={"lengths": (8,)}).population(60)
    return spec, dict(train_models(spec, "cpu")[0])


def test_arms_are_different_trainings_and_the_main_ones_have_ten_seeds() -> None:
    specs = populations(design())
    assert len({spec.canonical() for spec in specs}) == len(specs)
    assert all(len(spec.members) == 10 for spec in specs if spec.design == "main")
    assert all(len(spec.members) >= 5 for spec in specs)
    assert {looped_induction.labels_of(s, s.members[0])["task"] for s in specs} == set(SETTINGS)


def test_rows_of_induction(trained: tuple[LoopedSpec, dict]) -> None:  # type: ignore[type-arg]
    rows = looped_induction.measure(*trained)
    models, curves = rows[rows["kind"] == "model"], rows[rows["kind"] == "curve"]
    assert len(models) == 2
    assert models["final"].all()
    shares = models[[f"accuracy_{n}" for n in LENGTHS]].to_numpy()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (models["shortfall"] + models["accuracy_64"]).to_numpy() == pytest.approx(1.0)
    assert curves["step"].tolist() == [60, 60]  # the first ten are left over


def test_rows_of_contraction_are_what_the_rules_ask_for(trained: tuple[LoopedSpec, dict]) -> None:  # type: ignore[type-arg]
    rows = looped_contraction.measure(*trained)
    maps = rows[rows["final"]]
    assert maps.groupby("map")["seed"].agg(list).to_dict() == {name: [0, 1] for name in ("block", "head", "loop")}
    assert (maps["radius"] <= maps["exact"] * (1 + 1e-6)).all()
    assert set(rows["norm"]) == {"post"}
    snapshots = rows[rows["kind"] == "snapshot"]
    assert snapshots.groupby("seed")["step"].agg(list).tolist() == [[0, 0, 60, 60]] * 2
    bounded = rows.dropna(subset="ours")
    assert (bounded["exact"] <= bounded["ours"] * (1 + 1e-6)).all()
    for name in ("EER-6", "EER-7"):
        assert decide(load_claims()[name], rows).verdict == "inconclusive"  # two seeds are too few


def test_a_spec_asks_for_the_same_training_whatever_its_label() -> None:
    one, other = (Arm(label, "plain", 5, {"n_loops": 4}).population(100) for label in ("a", "b"))
    assert one.canonical() == other.canonical()
    assert one.work() == other.work()
