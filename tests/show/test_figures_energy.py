"""The figures of chapter 11 on trainings: they draw what rows say, say it in words, and do without what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from entropylens.experiments import energy_readings
from entropylens.experiments.energy_entropy import FACTOR_LENGTHS, FACTORS, LOSSES, SETUPS, full, labels_of_tuned
from entropylens.experiments.looped_induction import LENGTHS
from entropylens.results.claims import load_claims
from entropylens.show import figures_energy as draw
from entropylens.show import figures_terms as draw_terms
from entropylens.show.figures import STYLE, WIDTH, Picture

NAN = np.nan
SEEDS = 3
ACCURACIES = [f"accuracy_{n}" for n in LENGTHS]
FIGURES: dict[str, tuple[Callable[..., Picture], dict[str, str]]] = {
    "lengths": (draw.lengths, {}),
    "losses": (draw.losses, {"setup": "short"}),
    "training": (draw.training, {"setup": "short"}),
    "order": (draw.order, {}),
    "sharpened": (draw_terms.sharpened, {}),
    "mediator": (draw_terms.mediator, {}),
    "choices": (draw_terms.choices, {}),
    "doses": (draw_terms.doses, {}),
}
every = pytest.mark.parametrize("name", FIGURES)


def drawn(name: str, rows: pd.DataFrame) -> Picture:
    figure, asked = FIGURES[name]
    return figure(rows, **asked)


def alt(name: str, rows: pd.DataFrame) -> str:
    """Of a figure that is not made a picture, which takes longest."""
    figure, asked = FIGURES[name]
    with mpl.rc_context(STYLE):
        return figure.__wrapped__(rows, **asked)[1]  # type: ignore[attr-defined]


def of_model(labels: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Accuracy is 0.2 without terms, 0.6 with all and 0.4 else, 0.3 at other doses, and 0.04 more for seed 0.

    At 16 tokens it is 0.5, and at 256 half of `most`, which is 0.5 and 0.1 more a seed. Only terms learn, at step 500;
    entropy falls 100 steps before and 30 more a seed, kinetic energy 100 after, but for seed 2, where it rises.
    """
    here, loss = labels | {"seed": seed}, labels["loss_name"]
    base = 0.3 if labels["design"] == "doses" else {"plain": 0.2, "all": 0.6}.get(loss, 0.4)
    base, most = base + 0.04 * (seed == 0), 0.5 + 0.1 * seed
    end: dict[str, Any] = dict.fromkeys(ACCURACIES, base) | {"accuracy_16": 0.5, "accuracy_256": most / 2, "most": most}
    end |= {"learned": int(loss != "plain"), "accuracy_step": 500, "kinetic_step": 600, "entropy_step": 400 - 30 * seed}
    end |= {
        "kinetic_before": 1,
        "kinetic_after": 1.5 if seed == 2 else 0.5,
        "entropy_before": 0.8,
        "entropy_after": 0.4,
    }
    rows = [here | {"kind": "model"} | end]
    if labels["design"] == "main":
        curve = {"accuracy": base, "kinetic": 30 * most, "potential": 0.2, "entropy": 0.4}
        rows += [here | {"kind": "curve", "step": 50 * k} | {n: k * v for n, v in curve.items()} for k in (1, 2)]
        factors = [*(("constant", factor) for factor in FACTORS), ("log n", 1.5)]
        rows += [
            here | {"kind": "factor", "length": n, "by": by, "factor": factor, "accuracy": base * factor / 4}
            for n, (by, factor) in product(FACTOR_LENGTHS, factors)
        ]
    return rows


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    labels = [labels_of_tuned(spec, 0.01)[0] for spec in full()]
    return pd.DataFrame([row for here, seed in product(labels, range(SEEDS)) for row in of_model(here, seed)])


def told(picture: Picture) -> list[str]:
    """What is told one by one."""
    return picture.alt.partition("means over ")[2].partition(". ")[2].rstrip(".").split("; ")


def test_set_ups_losses_and_choices_all_have_names() -> None:
    assert set(draw.TITLES) == set(SETUPS)
    assert list(draw.WORDS) == list(LOSSES)
    specs = [spec for spec in full() if spec.design == "choices"]
    names = {draw_terms._change(labels_of_tuned(spec, 0.01)[0]) for spec in specs}
    assert names == set(draw_terms.CHANGES.values())


def test_lengths_are_told_for_both_losses_in_each_set_up(rows: pd.DataFrame) -> None:
    words = draw.lengths(rows).alt
    assert "trained at 16 to 64 tokens; means over models. paper, cross-entropy alone: 0.21 at 10, " in words
    assert "short, with all three terms: 0.61 at 10, 0.50 at 16, 0.61 at 32" in words
    assert words.count("at 1000") == 2 * len(SETUPS)
    assert "trained at 8 to 16" in draw.lengths(rows, (8, 16)).alt


def test_losses_are_in_their_order_with_rivals_last(rows: pd.DataFrame) -> None:
    for shuffled in (rows, rows.iloc[::-1]):
        names = [words[: words.index(" (") - 5] for words in told(draw.losses(shuffled, "short"))]
        assert names == [*draw.WORDS.values(), *draw.RIVALS]
    words = draw.losses(rows, "short").alt
    assert "cross-entropy alone 0.21 (0.16 to 0.27); all three terms 0.61 (0.56 to 0.67); K alone 0.41" in words
    assert "gradients clipped 0.21 (0.16 to 0.27)" in words
    paper = ["cross-entropy alone 0.21 (0.16 to 0.27)", "all three terms 0.61 (0.56 to 0.67)"]
    assert told(draw.losses(rows, "paper")) == [*paper, "gradients clipped 0.21 (0.16 to 0.27)"]
    assert "accuracy, last of 256 tokens" in draw.losses(rows, "hint", 256).alt.lower()


def test_each_rival_is_told_from_the_others(rows: pd.DataFrame) -> None:
    rivals = (("no weight decay", rows["weight_decay"] == 0), ("gradients clipped", rows["clip"] == 1),
              ("small step", rows["step_size"] == 0.1))  # fmt: skip
    for name, where in rivals:
        only = rows[where & (rows["design"] == "rivals")]
        assert told(draw.losses(only, "short")) == [f"{name} 0.21 (0.16 to 0.27)"]


def test_the_vertical_line_needs_cross_entropy_alone(rows: pd.DataFrame) -> None:
    assert "mean of cross-entropy alone" in draw.losses(rows, "short").svg
    without = draw.losses(rows[rows["loss_name"] != "plain"], "short")
    assert "mean of cross-entropy alone" not in without.svg
    assert told(without)[0].startswith("all three terms")


def test_training_tells_where_curves_begin_and_end(rows: pd.DataFrame) -> None:
    words = draw.training(rows, "hint").alt
    assert "accuracy, cross-entropy alone: from 0.21 to 0.43 (0.31 to 0.54); accuracy, with all" in words
    assert "kinetic / n, with all three terms: from 18.00 to 36.00" in words
    assert "potential / log n, cross-entropy alone: from 0.20 to 0.40" in words
    assert "entropy / largest, with all three terms: from 0.40 to 0.80 (0.80 to 0.80)." in words


def test_order_is_that_of_models_that_learn_and_terms_that_fall(rows: pd.DataFrame) -> None:
    picture = draw.order(rows)
    assert [words.partition(",")[0] for words in told(picture)] == list(draw.WORDS.values())[1:]
    fell = "entropy falls +130 (+114 to +146) in 12, kinetic energy falls -100 (-100 to -100) in 8"
    assert f"all three terms, 12 learned: {fell}; K alone, 6 learned" in picture.alt
    assert "all three terms (n = 12)" in picture.svg
    assert "kinetic energy falls" not in draw.order(rows.assign(kinetic_after=2.0)).alt
    never = draw.order(rows.assign(kinetic_after=2.0, entropy_after=2.0)).alt
    assert "all three terms, 12 learned: nothing falls" in never


def test_arms_are_what_the_figure_tells(rows: pd.DataFrame) -> None:
    table = draw.arms(rows, "short")
    words = told(draw.losses(rows, "short"))
    assert len(table) == len(words)
    for name, row in table.iterrows():
        assert f"{name} {row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in words
    lone = draw.arms(rows[rows["seed"] == 0], "short")
    assert lone["low"].isna().all()
    assert draw.arms(rows[rows["seed"] > 9], "short").empty


def test_orders_are_counted_and_compared_with_those_of_other_models(rows: pd.DataFrame) -> None:
    early = rows.assign(ordered=0)
    early["kinetic_step"] = early["seed"].map({0: 480, 1: 480, 2: 580})  # entropy falls before
    early["accuracy_step"] = early["seed"].map({0: 400, 1: 500, 2: 600})
    table = draw.orders(early.assign(kinetic_after=0.5)).set_index(["set-up", "loss"])
    expected = [SEEDS, SEEDS, SEEDS, 0, 2 / 3, 1 / 2]
    assert table.loc[("short", "all three terms")].tolist() == pytest.approx(expected)
    assert table.loc[("short", "cross-entropy alone")].tolist()[:4] == [SEEDS, 0, SEEDS, 0]
    assert table.loc[("short", "cross-entropy alone")].isna().sum() == 2
    never = draw.orders(early.assign(kinetic_after=0.9)).set_index(["set-up", "loss"])
    assert never.loc[("short", "all three terms")].tolist()[:4] == [SEEDS, SEEDS, 0, 0]
    lone = early[(early["seed"] == 1) & (early["loss_name"] == "all")].assign(kinetic_after=0.5)
    assert draw.orders(lone)["before own"].tolist() == [1.0] * len(draw.TITLES)
    assert draw.orders(lone)["before others'"].isna().all()


def test_factors_are_told_with_the_model_as_it_is_and_by_the_length(rows: pd.DataFrame) -> None:
    words = draw_terms.sharpened(rows).alt
    of_64 = "0.03 at × 0.5, 0.21 at × 1, 0.11 at × 2, 0.21 at × 4, 0.08 by log n"
    assert f"models. paper, 64 tokens: {of_64}; paper, 256 tokens: 0.03 at × 0.5, 0.30 at × 1" in words
    assert f"short, 64 tokens: {of_64}" in words
    as_is = draw_terms.sharpened(rows[rows["kind"] == "model"]).alt
    assert "models. paper, 64 tokens: 0.21 at × 1; paper, 256" in as_is
    only = rows[(rows["kind"] == "factor") & (rows["by"] == "log n")]
    assert "models. paper, 64 tokens: 0.08 by log n; paper, 256" in draw_terms.sharpened(only).alt


def test_the_mediator_is_told_with_its_correlation(rows: pd.DataFrame) -> None:
    picture = draw_terms.mediator(rows)
    specs = [s for s in full() if s.design not in ("published", "baseline")]
    plain = sum(s.training.regularizer == LOSSES["plain"] for s in specs)
    counts = f"n = {SEEDS * len(specs)}, of which {SEEDS * plain} with cross-entropy alone."
    assert f"a mark a model: Spearman's ρ = 1.00, {counts}" in picture.alt
    assert f"ρ = 1.00, n = {SEEDS * len(specs)}" in picture.svg
    assert draw_terms.mediation(rows) == {"mediator": pytest.approx(1.0), "mediator_n": SEEDS * len(specs)}
    assert np.isnan(draw_terms.mediation(rows[:0])["mediator"])
    poor = rows.assign(accuracy_16=rows["accuracy_16"].where(rows["loss_name"] != "plain", 0.1))
    assert ", of which 0 with" in draw_terms.mediator(poor).alt
    two = rows[(rows["design"] == "main") & (rows["setup"] == "paper") & (rows["seed"] == 0)]
    assert "a mark a model: n = 2, of which 1" in draw_terms.mediator(two).alt


def test_choices_are_told_by_pairs_of_a_seed(rows: pd.DataFrame) -> None:
    words = told(draw_terms.choices(rows))
    assert words[0] == "as is +0.40 (+0.40 to +0.40)"
    assert len(words) == 1 + len(draw_terms.CHANGES)
    assert "no norm +0.40 (+0.40 to +0.40)" in words
    assert words[-1] == "terms of the mean row +0.20 (+0.20 to +0.20)"
    shifted = rows.assign(accuracy_64=rows["accuracy_64"] + 0.1 * ((rows["seed"] == 2) & (rows["loss_name"] == "all")))
    assert "no mask +0.43 (+0.29 to +0.58)" in draw_terms.choices(shifted).alt
    unpaired = rows[(rows["loss_name"] == "plain") | (rows["seed"] == 0)]
    assert told(draw_terms.choices(unpaired))[0] == "as is +0.40"
    without = draw_terms.choices(rows[(rows["loss_name"] != "plain") | (rows["norm"] == "pre")])
    assert "no norm" not in without.alt


def test_the_rule_is_applied_to_every_choice(rows: pd.DataFrame) -> None:
    rule = load_claims()["EER-2"].rule
    assert rule is not None
    more = rows.assign(seed=rows["seed"] + SEEDS)
    shifted = more.assign(
        accuracy_1000=more["accuracy_1000"] - 0.5 * (more["norm"] == "none") * (more["loss_name"] == "all")
    )
    table = draw_terms.by_choice(pd.concat([rows, shifted]), rule).set_index("choice")
    assert next(iter(table["question"])) == "the paper's, as we read it"
    assert len(table) == len(draw_terms.SETUP_WORDS) + len(draw_terms.CHANGES)
    assert set(table["n"]) == {2 * SEEDS}
    kept = table.loc["no mask"]
    assert kept["says"] == "supported"
    assert kept[["without", "adds", "effect", "low", "high"]].tolist() == pytest.approx(
        [0.2 + 0.04 / 3, 0.4, 0.4, 0.4, 0.4]
    )
    assert table.loc["no norm", ["adds", "effect"]].tolist() == pytest.approx([0.4, 0.15])
    assert table.loc["no norm", "says"] == "inconclusive"
    assert table.loc["terms of the mean row", "adds"] == pytest.approx(0.2)
    labels = [labels_of_tuned(spec, 0.01)[0] for spec in energy_readings.full()]
    read = pd.DataFrame([row for here, seed in product(labels, range(SEEDS)) for row in of_model(here, seed)])
    last = draw_terms.by_choice(pd.concat([rows, read]), rule).iloc[-2:]
    assert last["choice"].tolist() == [f"terms of {x} row, the paper's set-up" for x in ("every", "the mean")]
    assert last["effect"].tolist() == pytest.approx([0.2, 0.2])
    assert set(draw_terms.by_choice(rows, rule)["says"]) == {"inconclusive"}, "three seeds are too few"


def test_doses_are_told_for_each_term(rows: pd.DataFrame) -> None:
    words = told(draw_terms.doses(rows))
    assert words == [f"{t} alone: 0.31 at × 0.1, 0.41 at × 1, 0.31 at × 10" for t in "KPS"] + [
        "cross-entropy alone: 0.21"
    ]
    assert "S alone: 0.31 at × 0.1, 0.31 at × 10" in draw_terms.doses(rows[rows["design"] != "terms"]).alt


@every
@pytest.mark.filterwarnings("error")
def test_nothing_is_told_of_nothing(name: str, rows: pd.DataFrame) -> None:
    trial = rows[rows["kind"] == "curve"].iloc[:1].assign(kind="trial").dropna(axis=1)
    assert not re.search(r"\d\.\d\d", drawn(name, rows.iloc[:0]).alt + alt(name, trial))


@every
@pytest.mark.filterwarnings("error")
def test_one_seed_has_no_interval_and_what_is_not_finite_is_left_out(name: str, rows: pd.DataFrame) -> None:
    broken = rows[(rows["setup"] == "short") & (rows["design"] != "choices")].copy()
    alone = broken[broken["seed"] == 0]
    assert not re.search(r"\([-+\d.]+ to ", alt(name, alone))
    numbers = [*ACCURACIES, "accuracy", "kinetic", "potential", "entropy", "most", "accuracy_step", "learned"]
    broken[numbers] = broken[numbers].astype(float)
    broken.loc[broken["seed"] > 0, numbers] = np.inf
    assert alt(name, broken) == alt(name, alone)
    broken[numbers] = NAN
    assert not re.search(r"\d\.\d\d", drawn(name, broken).alt)


@every
def test_figures_are_no_wider_than_a_page(name: str, rows: pd.DataFrame) -> None:
    (width,) = re.findall(r'<svg[^>]* width="([\d.]+)pt"', drawn(name, rows).svg)
    assert float(width) <= 72 * (WIDTH + 0.12)
