"""The figures of the claims: they draw what the rows say, and say it in words, too."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from entropylens.measures.explanations import families
from entropylens.show import figures_alpha, figures_bias, figures_ffn
from entropylens.show.figures import Picture


@pytest.fixture(scope="module")
def bias_rows() -> pd.DataFrame:
    """Planted: the model adds 0.1 · 8 / d to its sample, and starts 1 nat above the target."""
    rows = []
    for (regime, n), d, seed, step in product(
        [("fresh", 0), ("finite", 500), ("finite", 2000)], (8, 64), range(3), (0, 9)
    ):
        sample, model = -100 / n if n else 0.0, 0.8 / d + 0.001 * seed if step else 1.0
        rows.append(
            {
                "main": True,
                "d_model": d,
                "regime": regime,
                "n_samples": n,
                "seed": seed,
                "step": step,
                "final": step == 9,
            }
            | {
                "bias": sample + model,
                "sample_bias": sample,
                "model_bias": model,
                "kl": abs(model),
                "excess_loss": model,
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def ffn_rows() -> pd.DataFrame:
    rows = []
    for match, variant, size, seed, step in product(
        ("width", "parameters"), figures_ffn.NAMES, (8, 64), range(3), (0, 5, 9)
    ):
        place = {"match": match, "variant": variant, "size": size, "seed": seed, "step": step, "final": step == 9}
        measured = {"bias": 1.0 - 0.1 * step, "sample_bias": -0.2, "excess_loss": 1.2 - 0.1 * step}
        rows.append(place | measured | {"main": True, "memorisation": 0.3 * size, "regime": "finite"})
    return pd.DataFrame(rows)


def pictures(bias_rows: pd.DataFrame, ffn_rows: pd.DataFrame) -> dict[str, Picture]:
    ends = bias_rows[bias_rows["final"]]
    conditions = {"fresh": {"regime": "fresh", "d_model": 8}, "sample": {"n_samples": 500, "d_model": 8}}
    doses = pd.concat([ffn_rows.assign(dose=k, regime=r) for k, r in product((0, 4), ("fresh", "finite"))])
    return {
        "final bias": figures_bias.final_bias(bias_rows, 0.02),
        "over steps": figures_bias.bias_over_steps(bias_rows),
        "divergence over steps": figures_bias.bias_over_steps(bias_rows, "kl"),
        "heat map": figures_bias.heat_map(bias_rows),
        "against loss": figures_bias.bias_against_loss(bias_rows),
        "variations": figures_bias.variations(ends, conditions, 0.02),
        "variants": figures_ffn.variants(ffn_rows, 0.02),
        "memorisation": figures_ffn.variants(ffn_rows, 0.02, "memorisation"),
        "variants against loss": figures_ffn.against_loss(ffn_rows, (8, 64)),
        "doses": figures_ffn.doses(doses[doses["final"]], 0.02),
    }


def test_every_one_is_drawn_and_told(bias_rows: pd.DataFrame, ffn_rows: pd.DataFrame) -> None:
    for name, picture in pictures(bias_rows, ffn_rows).items():
        assert "<svg" in picture.svg, name
        assert len(picture.alt) > 80, name


def test_the_heat_map_tells_the_sample_s_part_from_the_model_s(bias_rows: pd.DataFrame) -> None:
    alt = figures_bias.heat_map(bias_rows).alt
    assert "d = 8, N = 500: -0.10, by the model +0.10" in alt
    assert "d = 64, N = 2000: -0.04, by the model +0.01" in alt


def test_variations_tell_each_mean_and_its_sample(bias_rows: pd.DataFrame) -> None:
    ends = bias_rows[bias_rows["final"]]
    where = {"a": {"regime": "fresh", "d_model": 8}, "b": {"n_samples": 500, "d_model": 8}}
    alt = figures_bias.variations(ends, where, 0.02).alt
    assert "a +0.101;" in alt
    assert "b -0.099 (sample -0.200)" in alt


def test_main_figure_has_a_panel_for_each_kind_of_data(bias_rows: pd.DataFrame) -> None:
    svg = figures_bias.final_bias(bias_rows, 0.02).svg
    panels = [
        title
        for title in ("<!-- exact -->", "<!-- fresh -->", "<!-- sample of 500 -->", "<!-- sample of 2000 -->")
        if title in svg
    ]
    assert panels == ["<!-- fresh -->", "<!-- sample of 500 -->", "<!-- sample of 2000 -->"]


@pytest.fixture(scope="module")
def alpha_rows() -> pd.DataFrame:
    rows = []
    for (regime, n), d, seed in product([("fresh", 0), ("finite", 500), ("finite", 2000)], (8, 64), range(3)):
        place = {"regime": regime, "n_samples": n, "d_model": d, "seed": seed}
        shares = {f"{name}_share": 0.1 * i + 0.01 * seed for i, name in enumerate(figures_alpha.FAMILY_NAMES)}
        absent = {} if n else {"sample_share": np.nan, "sample_escort_share": np.nan}
        rows.append(place | shares | {"escort": 0.3, "sample": 0.5 if n else np.nan} | absent)
    return pd.DataFrame(rows)


def test_shares_and_parameters_are_told_where_they_exist(alpha_rows: pd.DataFrame) -> None:
    alt = figures_alpha.shares(alpha_rows, 0.5).alt
    fresh, *sampled = alt.partition("fresh: ")[2].split("; ")
    assert "target mixed with the sample" not in fresh
    assert all("β: target mixed with the sample 0.21" in part for part in sampled)
    beta = figures_alpha.parameters(alpha_rows, "sample", "β̂").alt
    assert "fresh" not in beta
    assert "sample of 500 +0.500" in beta


def test_a_perfect_fit_can_be_drawn() -> None:
    target = np.array([0.5, 0.3, 0.2])
    alt = figures_alpha.projection(np.log(target), target, families(target, np.array([0.6, 0.4, 0.0]))).alt
    assert "sample: best at +0.000" in alt.replace("-0.000", "+0.000")
    assert "slope 2.0" in figures_alpha.first_order(target, (0.001, 0.003, 0.01)).alt
    assert "α = +0.1" in figures_alpha.tempered(target, [0.1]).alt
