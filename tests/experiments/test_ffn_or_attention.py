"""Claim 2's design: arms that differ in one thing, and sizes that are what they say."""

from __future__ import annotations

import dataclasses
import json

import pytest

from entropylens.experiments.experiment import artefact
from entropylens.experiments.ffn_or_attention import (
    EXPERIMENT,
    TOLERANCE,
    VARIANTS,
    at_equal_parameters,
    at_equal_width,
    measure,
    n_parameters,
)
from entropylens.models.transformer import Transformer, TransformerConfig
from entropylens.training.spec import PopulationSpec, train_spec


@pytest.fixture(scope="module")
def specs() -> list[PopulationSpec]:
    return EXPERIMENT.populations["full"]()


@pytest.mark.parametrize("size", [8, 16, 32, 64])
@pytest.mark.parametrize("shape", [{}, {"n_layers": 1}, {"n_layers": 4}, {"norm": "none"}])
def test_arms_of_equal_parameters_are_equal(size: int, shape: dict[str, object]) -> None:
    full = TransformerConfig(d_model=size, **shape)  # type: ignore[arg-type]
    counts = [Transformer(at_equal_parameters(full, variant)).n_parameters for variant in VARIANTS]
    assert max(counts) / min(counts) - 1 <= TOLERANCE
    attention_only, wanted = at_equal_parameters(full, "attention_only"), n_parameters(full)
    for d in (attention_only.d_model - 2, attention_only.d_model + 2):  # and as near to the full model as widths allow
        other = n_parameters(dataclasses.replace(attention_only, d_model=d))
        assert abs(other - wanted) >= abs(counts[1] - wanted)


def test_at_equal_width_only_the_part_is_missing() -> None:
    full = TransformerConfig(d_model=16)
    for variant in VARIANTS:
        assert dataclasses.replace(at_equal_width(full, variant), variant="full") == full


def test_sizes_that_cannot_be_matched_are_refused() -> None:
    with pytest.raises(ValueError, match="within 2%"):
        at_equal_parameters(TransformerConfig(d_model=2, n_heads=2, n_layers=2), "ffn_only")


def test_no_cell_is_there_twice_and_none_of_the_rule_s_is_missing(specs: list[PopulationSpec]) -> None:
    assert len({(spec.canonical(), spec.design) for spec in specs}) == len(specs)
    main = {(s.design, s.config.variant) for s in specs if s.design.startswith("main/64/")}
    assert main == {(f"main/64/{match}", variant) for match in ("width", "parameters") for variant in VARIANTS}
    assert all(len({member.seed for member in s.members}) == 10 for s in specs)


def test_arms_are_paired_on_targets_samples_and_schedules(specs: list[PopulationSpec]) -> None:
    main = [s for s in specs if s.design.startswith("main/")]
    assert len({json.dumps(json.loads(s.canonical())["members"]) for s in main}) == 1
    assert len({(s.steps, s.snapshots) for s in main}) == 1


def test_rows_say_what_each_model_is() -> None:
    wanted = ("dose 2/8/width", "main/16/parameters", "fresh/16/parameters")
    for spec in EXPERIMENT.populations["quick"]():
        if spec.design not in wanted or spec.config.variant == "no_mixing":
            continue
        rows = measure(spec, artefact(train_spec(dataclasses.replace(spec, steps=2, snapshots=(0,)))))
        name, size, match = spec.design.split("/")
        labels = {"design": name, "size": int(size), "match": match, "variant": spec.config.variant}
        assert (rows[list(labels)] == list(labels.values())).all(axis=None)
        assert (rows["main"] == (name == "main")).all()
        assert (rows["d_ff"] == (0 if spec.config.variant == "attention_only" else spec.config.n_neurons)).all()
        assert (rows["n_parameters"] == n_parameters(spec.config)).all()
        assert rows["memorisation"].isna().all() == (spec.members[0].data.regime == "fresh")
        assert rows["leak"].between(0, 1).all()


def test_an_untrained_model_remembers_nothing_that_a_trained_one_would() -> None:
    spec = next(s for s in EXPERIMENT.populations["quick"]() if s.design == "main/16/width")
    spec = dataclasses.replace(spec, steps=600, snapshots=(0,))
    rows = measure(spec, artefact(train_spec(spec)))
    before, after = rows.groupby("step")["memorisation"].mean()
    assert abs(before) < 1 < after
