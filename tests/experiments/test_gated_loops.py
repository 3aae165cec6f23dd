"""The experiments of chapters 12 and 13: arms, rows, contrasts, and what the rules find in planted ones."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.experiments import gated_loops, latent_dynamics, looped_or_deep
from entropylens.experiments.looped_arms import LENGTHS, SHOWN, THRESHOLDS, learning
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.operators import operator_norm
from entropylens.models.looped import LoopedTransformer
from entropylens.results.claims import decide, load_claims
from entropylens.training.looped import rebuild


@pytest.fixture(scope="module")
def gated() -> pd.DataFrame:
    specs = [spec for spec in gated_loops.quick() if spec.design == "main"]
    return pd.concat(gated_loops.measure(spec, train_tuned(spec, "cpu")[0]) for spec in specs)


@pytest.fixture(scope="module")
def stacked() -> pd.DataFrame:
    specs = [spec for spec in looped_or_deep.quick() if spec.design == "main"]
    return pd.concat(looped_or_deep.measure(spec, train_tuned(spec, "cpu")[0]) for spec in specs)


@pytest.fixture(scope="module")
def dynamic() -> pd.DataFrame:
    specs = [spec for spec in latent_dynamics.quick() if spec.design == "main"]
    return pd.concat(latent_dynamics.measure(spec, train_tuned(spec, "cpu")[0]) for spec in specs)


@pytest.mark.parametrize("module", [gated_loops, looped_or_deep, latent_dynamics])
def test_arms_are_different_trainings(module: ModuleType) -> None:
    specs: list[TunedSpec] = module.full()
    assert len({spec.canonical() for spec in specs}) == len(specs)
    assert {len(spec.members) for spec in specs if spec.design == "main"} == {10}
    for spec in specs:
        assert len({choice.canonical() for choice in spec.choices}) == len(spec.choices)
    assert [spec.design for spec in module.quick()] == [spec.design for spec in specs]


def test_feedback_and_lines_choose_from_as_many_schedules() -> None:
    feedback, line = (spec for spec in gated_loops.full() if spec.training.steering)
    assert len(feedback.choices) == len(line.choices) == 3
    assert feedback.rates == line.rates
    assert feedback.seeds == line.seeds


def test_rows_of_gates(gated: pd.DataFrame) -> None:
    models = gated[gated["kind"] == "model"]
    assert len(models) == 2 * 8
    shares = models[[f"accuracy_{n}" for n in LENGTHS] + ["mean_gate"]].to_numpy()
    assert ((shares >= 0) & (shares <= 1 + 1e-6)).all()
    assert set(models["gate"]) == {"none", "learned", "constant"}
    learned = models[models["gate"] == "learned"]
    assert learned[["gate_a", "gate_b"]].notna().all(axis=None)
    assert models[models["gate"] == "none"]["gate_a"].isna().all()
    assert set(models["steering"]) == {"none", "feedback", "line"}
    speeds = gated[gated["kind"] == "speed"]
    assert len(speeds) == 2 * len(models)
    assert speeds["speed"].notna().all()
    by_loops = speeds[speeds["reading"] == "loops"]["speed"].tolist()
    assert by_loops == pytest.approx((-np.log(models["wander"])).tolist())
    assert (gated[gated["kind"] == "path"].groupby(["gate", "gate_of", "steering", "step_size", "seed"]).size() == len(
        SHOWN
    )).all()  # fmt: skip


def test_halting_at_nothing_is_a_fixed_number_of_loops(gated: pd.DataFrame) -> None:
    halting = gated[gated["kind"] == "halting"]
    assert set(halting["threshold"]) == set(THRESHOLDS)
    never = halting[halting["threshold"] == 0]
    assert (never["loops"] == 4).all()
    assert (never["accuracy"] == never["accuracy_fixed"]).all()
    assert never["accuracy_random"].tolist() == pytest.approx(never["accuracy"].tolist())
    models = gated[gated["kind"] == "model"]
    assert never["accuracy"].tolist() == models["accuracy"].tolist()


def test_controls_with_the_same_weights(gated: pd.DataFrame) -> None:
    after = gated[gated["kind"] == "afterwards"]
    assert set(after["given"]) == {"own", "mean", "shuffled", "constant"}
    assert set(after[after["gate"] == "learned"]["held"]) == {"learned"}
    assert set(after[after["gate"] == "none"]["held"]) == set(gated_loops.GATES)
    assert (after["steering"] == "none").all()
    assert (after["step_size"] == 1).all()
    gates = after.pivot_table(index=["gate", "held", "seed"], columns="given", values="mean_gate")
    assert gates["shuffled"].tolist() == pytest.approx(gates["own"].tolist(), abs=0.1)
    assert (gates["constant"] == 1).all(), "a step size is no gate"


def test_contrasts_of_steering(gated: pd.DataFrame) -> None:
    contrasts = gated[gated["kind"] == "contrast"]
    sides = contrasts.groupby(["side", "rival", "steering", "gate", "step_size"]).size()
    assert sides.index.tolist() == [
        ("feedback", "line", "feedback", "none", 1.0),
        ("feedback", "none", "feedback", "none", 1.0),
        ("rival", "line", "line", "none", 1.0),
        ("rival", "none", "none", "none", 1.0),
    ]
    assert (sides == 2).all()
    steering = gated[gated["kind"] == "steering"]
    assert set(steering["steering"]) == {"feedback", "line"}
    assert (steering[steering["steering"] == "line"]["miss"] < 1e-6).all()


def test_learning_is_timed() -> None:
    accuracies = torch.zeros(200, 3)
    accuracies[100:, 0] = 1.0  # half of 50 from 125 on
    accuracies[:, 1] = 1.0
    assert learning(accuracies).tolist() == [125, 50, 200]


def test_looped_models_are_compared_with_each_deep_one(stacked: pd.DataFrame) -> None:
    models = stacked[stacked["kind"] == "model"]
    sizes = models.groupby("shape")["parameters"].first()
    assert sizes["deep, narrow"] == pytest.approx(sizes["looped"], rel=0.1)
    assert sizes["deep, no MLP"] == pytest.approx(sizes["looped"], rel=0.15)
    assert sizes["deep"] > 3 * sizes["looped"]
    for match in ("parameters", "compute", "parameters, width"):
        assert models[models["match"] == match]["looped"].value_counts().to_dict() == {True: 2, False: 2}
    assert models[models["shape"] == "stack of 3"]["looped"].all()
    deep = stacked[~stacked["looped"]]
    assert deep["accuracy_late"].isna().all()
    assert not (deep["kind"] == "path").any()


def test_a_product_bounds_a_pass_and_a_norm_its_rate(stacked: pd.DataFrame) -> None:
    maps = stacked[stacked["kind"] == "map"]
    assert set(maps["shape"]) == {"looped", "stack of 2", "stack of 3"}
    assert (maps["exact"] <= maps["bound"] + 1e-6).all()
    assert (maps["radius"] <= maps["exact"] + 1e-6).all()
    one = maps[maps["shape"] == "looped"]
    assert one["exact"].tolist() == pytest.approx(one["bound"].tolist())
    assert ((maps["bound"] < 0) == (maps["promised"] == 1)).all()


def test_the_norm_of_a_pass_is_that_of_its_jacobian() -> None:
    spec = next(s for s in looped_or_deep.quick() if looped_or_deep.shape_of(s)[0] == "stack of 2")
    kept, _, _ = train_tuned(spec, "cpu")
    rows = looped_or_deep.measure(spec, kept)
    model = rebuild(spec.config, kept["parameters"][-1, 0].double())
    x, z = looped_or_deep._end(model, spec)

    def one_pass(state: torch.Tensor, of: LoopedTransformer = model) -> torch.Tensor:
        for loop in range(2):
            state, _ = of.step(state[None], x[None], torch.zeros_like(x)[None], loop)
            state = state[0]
        return state

    jacobian = torch.autograd.functional.jacobian(one_pass, z).reshape(z.numel(), -1)
    found = rows[(rows["kind"] == "map") & (rows["map"] == "loop") & (rows["seed"] == 0)].iloc[0]
    assert found["exact"] == pytest.approx(float(torch.linalg.matrix_norm(jacobian, ord=2).log()), abs=1e-6)
    assert found["radius"] == pytest.approx(float(torch.linalg.eigvals(jacobian).abs().amax().log()), abs=1e-5)
    assert operator_norm(lambda s: s, z) == pytest.approx(1.0)


def test_plain_loops_are_compared_with_each_dynamics(dynamic: pd.DataFrame) -> None:
    models = dynamic[dynamic["kind"] == "model"]
    assert models.groupby(["side", "rival"])["dynamics"].first().to_dict() == {
        ("plain", "energy alone"): "plain",
        ("plain", "with F"): "plain",
        ("rival", "energy alone"): "energy alone",
        ("rival", "with F"): "with F",
        ("rival", "without energy"): "without energy",
    }
    starts = models.groupby("dynamics")["start"].first()
    assert starts.to_dict() == latent_dynamics.STARTS
    chosen = set(models[models["side"] == "rival"][["damping", "pull", "slope"]].itertuples(index=False, name=None))
    assert chosen <= {constants for some in latent_dynamics.DYNAMICS.values() for constants in some}
    assert math.isnan(models[models["side"] == "plain"]["slope"].iloc[0])


@pytest.mark.parametrize("name", ["EER-8", "EER-9", "EER-10", "EER-f1", "EER-f2"])
def test_rules_find_their_rows(name: str, gated: pd.DataFrame, stacked: pd.DataFrame, dynamic: pd.DataFrame) -> None:
    """Each finds one row a seed on both sides, and sees a difference that is planted."""
    claim = load_claims()[name]
    rule = claim.rule
    assert rule is not None
    rows = {"gated_loops": gated, "looped_or_deep": stacked, "latent_dynamics": dynamic}[str(claim.experiment)].copy()
    both = decide(claim, rows)
    assert both.effect is not None
    assert both.second is not None
    assert both.effect.n == both.second.n == 2

    def chosen(where: dict[str, object]) -> pd.Series:
        return pd.concat([rows[column] == value for column, value in where.items()], axis=1).all(axis=1)

    if rule.versus is None:
        return
    rows.loc[chosen(dict(rule.arm)), rule.metric] = 1.0
    rows.loc[chosen(dict(rule.versus)), rule.metric] = 0.0
    planted = decide(claim, rows)
    assert planted.effect is not None
    assert planted.second is not None
    assert planted.effect.mean == planted.second.mean == 1
