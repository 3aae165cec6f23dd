"""Claim 3's design: twins that differ in the router only, and rows that say what they are."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

from entropylens.experiments.experiment import artefact
from entropylens.experiments.low_entropy import EXPERIMENT as LOW_ENTROPY
from entropylens.experiments.residual_dominance import CELLS, EXPERIMENT, measure, twins
from entropylens.models.routed import RoutedConfig
from entropylens.training.spec import PopulationSpec, train_spec

SPECS, QUICK = (EXPERIMENT.populations[profile]() for profile in ("full", "quick"))


def rows_of(spec: PopulationSpec, steps: int = 3) -> pd.DataFrame:
    return measure(spec, artefact(train_spec(dataclasses.replace(spec, steps=steps, snapshots=()))))


def cell(spec: PopulationSpec) -> tuple[object, ...]:
    c = spec.config
    return spec.design, c.d_model, c.n_layers, c.n_heads, spec.members[0].data


def test_no_cell_is_there_twice_and_every_arm_has_ten_seeds() -> None:
    assert len({(spec.canonical(), spec.design) for spec in SPECS}) == len(SPECS)
    assert all(len({member.seed for member in s.members}) == 10 for s in SPECS)
    main = {(s.config.d_model, s.members[0].data.regime, type(s.config)) for s in SPECS if s.design == "main"}
    assert len(main) == 4 * 3 * 2


def test_every_standard_model_has_a_routed_twin() -> None:
    standard = {cell(s): s for s in SPECS if not isinstance(s.config, RoutedConfig)}
    routed = {
        cell(s): s for s in SPECS if isinstance(s.config, RoutedConfig) and s.design in ("main", "depth", "heads")
    }
    assert standard.keys() == routed.keys()
    for name, spec in standard.items():
        twin = routed[name]
        assert spec.members == twin.members
        assert (spec.steps, spec.snapshots) == (twin.steps, twin.snapshots)
        fields = dataclasses.asdict(spec.config)
        assert {f: dataclasses.asdict(twin.config)[f] for f in fields} == fields


def test_standard_models_are_those_of_claim_1() -> None:
    known = {spec.canonical() for spec in LOW_ENTROPY.populations["full"]()}
    assert all(s.canonical() in known for s in SPECS if s.design == "main" and not isinstance(s.config, RoutedConfig))


def test_controls_change_what_they_say() -> None:
    def found(design: str) -> list[PopulationSpec]:
        return [s for s in SPECS if s.design == design]

    assert {s.config.router for s in found("token")} == {"token"}  # type: ignore[attr-defined]
    assert {(s.config.router_start, s.config.router_lr) for s in found("frozen random")} == {("random", 0.0)}  # type: ignore[attr-defined]
    assert {s.config.router_lr for s in found("router lr")} == {0.1, 10.0}  # type: ignore[attr-defined]
    assert {m.target.family for s in found("shuffled") for m in s.members} == {"shuffled"}
    assert {(m.optimizer.name, m.optimizer.weight_decay) for s in found("decay") for m in s.members} == {("adamw", 0.1)}
    assert {s.config.rescaled for s in found("not rescaled")} == {False}  # type: ignore[attr-defined]
    assert {s.config.norm for s in found("no norm")} == {"none"}
    assert all(s.config.d_model in (8, 64) for name in ("shuffled", "decay", "no norm") for s in found(name))


@pytest.mark.parametrize("design", ["main", "depth", "heads", "token"])
def test_rows_say_which_model_it_is_and_what_its_paths_do(design: str) -> None:
    for spec in [s for s in QUICK if s.design == design and s.config.d_model == 8]:
        rows, c = rows_of(spec), spec.config
        models, parts = rows[rows["final"]], rows[~rows["final"]]
        assert len(models) == len(spec.members)
        assert (models["path"] == "model").all()
        names = ["residual", "attention", "ffn", *(f"head {h + 1}" for h in range(c.n_heads))]
        assert sorted(parts["path"].unique()) == sorted(names)
        assert len(parts) == len(spec.members) * c.n_layers * len(names)
        assert (rows[["design", "n_layers", "n_heads"]] == [design, c.n_layers, c.n_heads]).all(axis=None)
        assert (rows["main"] == (design == "main")).all()
        assert (rows["norm"] == c.norm).all()
        assert set(CELLS) <= set(rows.columns)
        assert models["causal_share"].dropna().between(0, 1).all()
        if isinstance(c, RoutedConfig):
            assert (models["bypass"] == models["weight"]).all()
            sums = parts[parts["path"].isin(["residual", "attention"])].groupby(["seed", "layer"])["weight"].sum()
            assert sums.to_numpy() == pytest.approx(1)
            assert models["weight"].std() > 0
        else:
            assert (rows["router"] == "none").all()
            assert models["weight"].isna().all()
            pd.testing.assert_series_equal(models["bypass"], models["causal_share"], check_names=False)


def test_twins_are_matched_cell_by_cell() -> None:
    places = [("main", 8), ("main", 64), ("depth", 32), ("decay", 8)]
    common = {"n_layers": 2, "n_heads": 2, "regime": "fresh"}
    rows = pd.DataFrame(
        {"design": design, "d_model": d, "seed": seed, "router": router, "final": path == "model", "path": path}
        | common
        | {"weight": d + seed / 10 + (0.5 if path == "model" else 0.0), "cost": -d - (router == "static")}
        for design, d in places
        for seed in (0, 1)
        for router in ("static", "none")
        for path in ("model", "residual")
    ).sample(frac=1, random_state=0)
    weight, cost = twins(rows, "weight", "cost")
    assert set(weight.index) == set(cost.index)
    assert len(weight) == 6  # without what has no twin, and without the rows of paths
    assert weight.loc[1, "main", 64, 2, 2, "fresh"] == 64.6
    assert cost.loc[1, "main", 64, 2, 2, "fresh"] == -64
    assert twins(rows, "weight", "cost", "static")[1].loc[1, "main", 64, 2, 2, "fresh"] == -65


def test_a_design_is_no_part_of_what_is_trained_but_a_router_is() -> None:
    by_kind = [json.loads(s.canonical())["config"] for s in SPECS if s.config.d_model == 8 and s.design == "main"]
    assert {"router" in config for config in by_kind} == {True, False}
