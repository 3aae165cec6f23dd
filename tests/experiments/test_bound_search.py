"""The search for counterexamples as an experiment: its rows, and what each of them says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.experiments.bound_search import EXPERIMENT, Instances, SearchSpec, measure, populations, run_searches
from entropylens.results.reference import published


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    specs = [
        SearchSpec(Instances(2, 2, norm, 2.0), (0, 1, 2), starts=32, steps=150) for norm in ("spectral", "frobenius")
    ]
    return pd.concat([measure(spec, run_searches(spec, "cpu")[0]) for spec in specs], ignore_index=True)


def test_a_search_exceeds_the_printed_bound_with_spectral_norms_and_not_with_frobenius_norms(
    rows: pd.DataFrame,
) -> None:
    ratio = rows.groupby("norm")["ratio"]
    assert ratio.min()["spectral"] > 1.2
    assert ratio.max()["frobenius"] <= 1 + 1e-9
    assert rows.groupby("norm")["holds"].agg(list).to_dict() == {"spectral": [0, 0, 0], "frobenius": [1, 1, 1]}
    assert (rows["random"] <= rows["ratio"]).all()


def test_searches_repeat_bit_for_bit() -> None:
    spec = SearchSpec(Instances(2, 2, "spectral", 2.0), (4,), starts=8, steps=20)
    first, again = (run_searches(spec, "cpu")[0] for _ in range(2))
    assert torch.equal(first["ratios"], again["ratios"])


def test_the_rule_finds_one_row_a_seed_and_a_label_is_no_part_of_what_is_asked() -> None:
    specs = populations(10)
    main = [
        spec for spec in specs if spec.design == "free" and (spec.config.n, spec.config.d, spec.config.q) == (2, 2, 2.0)
    ]
    assert sorted(spec.config.norm for spec in main) == ["frobenius", "spectral"]
    assert len({spec.canonical() for spec in specs}) == len(specs)
    renamed = SearchSpec(specs[0].config, specs[0].members, specs[0].starts, specs[0].steps, design="another")
    assert renamed.canonical() == specs[0].canonical()


def test_all_arms_are_in_the_quick_profile() -> None:
    quick, full = (EXPERIMENT.populations[profile]() for profile in ("quick", "full"))
    assert {(s.config, s.design) for s in quick} == {(s.config, s.design) for s in full}  # type: ignore[attr-defined]


def test_published_searches_found_numbers() -> None:
    """A search of NaNs would count as one that finds no violation."""
    rows = published("bound_search").rows
    assert np.isfinite(rows[["ratio", "random"]].to_numpy()).all()
    assert (rows["ratio"] > 0.3).all()
