"""The experiments of chapters 12 and 13: arms, rows, contrasts, and what the rules find in planted ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from entropylens.experiments import gated_loops, latent_dynamics, looped_arms, looped_or_deep
from entropylens.experiments.looped_arms import LENGTHS, SHOWN, THRESHOLDS, learning
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.operators import operator_norm
from entropylens.measures.settling import Path
from entropylens.models.looped import LoopedTransformer
from entropylens.results.claims import Claim, Rule, decide, load_claims
from entropylens.training.looped import LoopedPopulation, rebuild

MODULES = {"gated_loops": gated_loops, "looped_or_deep": looped_or_deep, "latent_dynamics": latent_dynamics}
MODEL = ["design", "setup", "shape", "dynamics", "start", "gate", "gate_of", "step_size", "steering", "seed"]
"""Which of these a table has tells its models apart."""


def untrained(spec: TunedSpec) -> dict[str, Tensor]:
    """What training would keep, of models as they are drawn."""
    parameters = LoopedPopulation(spec.config, [member.seed for member in spec.members]).parameters[None]
    curves = torch.rand(2, spec.training.steps, len(spec.members), generator=torch.Generator().manual_seed(0))
    kept = {"parameters": parameters, "losses": curves[0], "accuracy": curves[1], "choice": torch.tensor(0)}
    return kept | {"lr": torch.tensor(spec.rates[1], dtype=torch.float64)}


def measured(module: ModuleType) -> pd.DataFrame:
    """Rows of all specs; models of the main design are trained a little."""
    specs: list[TunedSpec] = module.quick()
    kept = [train_tuned(spec, "cpu")[0] if spec.design == "main" else untrained(spec) for spec in specs]
    return pd.concat(map(module.measure, specs, kept), ignore_index=True)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Shorter paths and sequences than the experiments', which take long and show no more of their rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gated_loops, "LOOPS_AFTER", 12)
        patch.setattr(looped_or_deep, "PLACES", 8)
        yield


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {name: measured(module) for name, module in MODULES.items()}


@pytest.fixture(scope="module")
def gated(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return _main(tables["gated_loops"])


@pytest.fixture(scope="module")
def stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return _main(tables["looped_or_deep"])


@pytest.fixture(scope="module")
def dynamic(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return _main(tables["latent_dynamics"])


def _main(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the main design."""
    return rows[rows["main"].astype(bool)]


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
    assert set(stacked["kind"]) == {"model", "map"}


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


def test_dynamics_have_a_path_for_each_model_and_no_halting(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["latent_dynamics"]
    assert set(rows["kind"]) == {"model", "path"}
    here = [name for name in MODEL if name in rows]
    models = rows[rows["kind"] == "model"].drop_duplicates(here)
    paths = rows[rows["kind"] == "path"].groupby([*here, "loops"]).size()
    assert (paths == 1).all()
    assert len(paths) == len(models) * len(SHOWN)


def ruled(name: str) -> tuple[Claim, Rule]:
    claim = load_claims()[name]
    assert claim.rule is not None
    return claim, claim.rule


def chosen(rows: pd.DataFrame, where: Mapping[str, object]) -> pd.Series:
    return pd.concat([rows[column] == value for column, value in where.items()], axis=1).all(axis=1)


RULES = pytest.mark.parametrize("name", ["EER-8", "EER-9", "EER-10", "EER-f1", "EER-f2"])


@RULES
def test_rules_find_their_rows(name: str, tables: dict[str, pd.DataFrame]) -> None:
    """Each finds one row a seed on both sides, and sees a difference that is planted."""
    claim, rule = ruled(name)
    rows = tables[str(claim.experiment)].copy()
    both = decide(claim, rows)
    assert both.second is not None
    assert both.effect.n == both.second.n == 2
    for arm, versus in ((1.0, 0.0), (0.0, 1.0)):
        rows.loc[chosen(rows, rule.arm), rule.metric] = arm
        if rule.versus is not None:
            rows.loc[chosen(rows, rule.versus), rule.metric] = versus
        planted = decide(claim, rows)
        assert planted.second is not None
        assert planted.effect.mean == planted.second.mean == arm - (rule.versus is not None) * versus


@RULES
def test_rules_take_nothing_but_the_main_design(name: str, tables: dict[str, pd.DataFrame]) -> None:
    claim, rule = ruled(name)
    rows = tables[str(claim.experiment)]
    assert len(_main(rows)) < len(rows)
    assert decide(claim, rows) == decide(claim, _main(rows))
    other = rows.copy()
    other.loc[~other["main"].astype(bool), rule.metric] = 1e6
    assert decide(claim, other) == decide(claim, rows)


def test_without_it_a_rule_would_take_other_arms_with_the_same_labels(tables: dict[str, pd.DataFrame]) -> None:
    claim, _ = ruled("EER-9")
    with pytest.raises(ValueError, match="seed"):
        decide(claim, tables["latent_dynamics"].assign(main=True))


# ---- of made-up models and paths -------------------------------------------------------------------------------------


def test_halting_after_as_many_loops_and_by_lot() -> None:
    """One sequence of four halts after the first of three loops, where it alone is right: 2.5 loops on average."""
    right = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]]).bool()
    openness = torch.ones(3, 4)
    openness[0, 0] = 0.15
    ones = torch.ones(3, 4)
    path = Path(torch.zeros(4, 4, 1, 1), right, torch.full((3, 4, 2), 0.5), openness, ones, ones, ones[0])
    rows = {row["threshold"]: row for row in looped_arms._halting(path, 3)}
    never = {"loops": 3.0, "accuracy": 0.75, "accuracy_fixed": 0.75, "accuracy_random": 0.75}
    some = {"loops": 2.5, "accuracy": 1.0, "accuracy_fixed": (0 + 0.75) / 2, "accuracy_random": (0.25 + 3 * 0.75) / 4}
    assert list(rows) == list(THRESHOLDS)
    for threshold, row in rows.items():
        wanted = some if threshold > 0.15 else never
        assert row == pytest.approx({"threshold": threshold, **wanted})


def test_one_loop_is_where_everybody_halts() -> None:
    ones = torch.ones(1, 2)
    path = Path(torch.zeros(2, 2, 1, 1), ones.bool(), torch.full((1, 2, 2), 0.5), 0 * ones, ones, ones, ones[0])
    for row in looped_arms._halting(path, 1):
        assert [row[x] for x in ("loops", "accuracy", "accuracy_fixed", "accuracy_random")] == [1.0] * 4


def test_answers_that_do_not_wander_are_as_fast_as_those_that_hardly_do() -> None:
    spec = gated_loops.quick()[0]
    kept = untrained(spec)
    rows = gated_loops.measure(spec, kept | {"parameters": torch.zeros_like(kept["parameters"])})
    assert rows[rows["kind"] == "model"]["wander"].max() == 0
    fastest = rows[(rows["kind"] == "speed") & (rows["reading"] == "loops")]["speed"]
    assert fastest.tolist() == pytest.approx([-math.log(gated_loops.CLOSE)] * 2)


def test_a_rate_at_the_edge_is_told() -> None:
    spec = looped_or_deep.quick()[0]
    assert len(spec.rates) == 3
    rates, kept = torch.tensor(spec.rates, dtype=torch.float64), untrained(spec)
    told = [[row["edge"] for row in looped_arms._models(spec, kept | {"lr": lr})] for lr in rates]
    assert told == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    alone = replace(spec, rates=spec.rates[:1])
    assert [row["edge"] for row in looped_arms._models(alone, kept | {"lr": rates[0]})] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("shut", "given"), [(True, ["own", "mean", "shuffled"]), (False, ["own", "mean", "shuffled", "constant"])]
)
def test_gates_that_are_shut_have_no_constant(shut: bool, given: list[str]) -> None:
    spec = next(spec for spec in gated_loops.quick() if spec.config.update == "gated")
    model = rebuild(spec.config, untrained(spec)["parameters"][-1, 0])
    assert model.gate is not None
    with torch.no_grad():
        model.gate.copy_(torch.tensor([-1e3 if shut else 0.0, 0.0]).expand_as(model.gate))
    rows = list(gated_loops._controls(model, looped_arms.batch_of(spec)))
    assert [row["given"] for row in rows] == given
    assert {row["mean_gate"] for row in rows[:3]} == {0.0 if shut else 0.5}
