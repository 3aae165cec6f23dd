"""The figures of chapter 9: they draw what the rows say, say it in words, too, and do without what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.experiments.looped_induction import LENGTHS, SETTINGS, Arm, design, labels_of, measure, populations
from entropylens.experiments.looping import train_models
from entropylens.show import figures_looped as draw
from entropylens.show import figures_one_loop as draw_one
from entropylens.show.figures import Picture

NAN = np.nan
SEEDS = 3
TWELVE = {"n_loops": 12}
BOTH = ("plain", "hint")
VARIATIONS = {
    "d = 16": Arm("width", "hint", shape=TWELVE | {"d_model": 16}),
    "d = 32, rate 0.005": Arm("width", "hint", shape=TWELVE | {"d_model": 32}, optimizer={"lr": 5e-3}),
    "norm: pre": Arm("norm", "hint", shape=TWELVE | {"norm": "pre"}),
    "no mask": Arm("mask", "hint", shape=TWELVE | {"causal": False}),
    "no positions": Arm("positions", "hint", shape=TWELVE | {"position_scale": 0.0}),
    "positions × 1": Arm("positions", "hint", shape=TWELVE | {"position_scale": 1.0}),
    "rate 0.003": Arm("rate", "hint", shape=TWELVE, optimizer={"lr": 3e-3}),
    "weight decay 0.1": Arm("decay", "hint", shape=TWELVE, optimizer={"weight_decay": 0.1}),
    "no curriculum": Arm("curriculum", "hint", shape=TWELVE, training={"warm_up": 0.0}),
    "curriculum 0.5": Arm("curriculum", "hint", shape=TWELVE, training={"warm_up": 0.5}),
    "3 × the steps": Arm("long", "hint", shape=TWELVE, training={"steps": 6000}),
    "gradients clipped at 1": Arm("clipping", "hint", shape=TWELVE, training={"clip": 1.0}),
    "in float64": Arm("precision", "hint", shape=TWELVE, training={"dtype": "float64"}),
    "2 blocks": Arm("two blocks", "hint", shape=TWELVE | {"n_blocks": 2}),
}
ARMS = [
    *(Arm("main", task, shape={"n_loops": 25}) for task in BOTH),
    *(Arm("loops", task, shape={"n_loops": t}) for t in (1, 4, 12) for task in BOTH),
    *(Arm("width", task, shape={"n_loops": 4, "d_model": d}) for d in (16, 64) for task in BOTH),
    *(Arm("task", task, shape={"n_loops": 4}) for task in SETTINGS if task not in BOTH),
    *VARIATIONS.values(),
]
OF_ROWS = (draw.learning, draw.lengths, draw.arms, draw.tasks, draw.widths)


def planted(arms: list[Arm], seeds: int = SEEDS) -> pd.DataFrame:
    """Accuracy is d / 100 at 64 tokens, 0.04 more for seed 0, and loops / 50 at others; in training 0.2, 0.4, … 1."""
    found = []
    for spec in populations(arms):
        labels, c = labels_of(spec, spec.members[0]), spec.config
        for seed in range(seeds):
            end = {f"accuracy_{n}": 2 * c.n_loops / 100 for n in LENGTHS}
            end["accuracy_64"] = c.d_model / 100 + 0.04 * (seed == 0)
            found.append(labels | {"seed": seed, "kind": "model", "step": NAN, "accuracy": NAN} | end)
            curve = [{"kind": "curve", "step": 50.0 * k, "accuracy": min(1.0, 0.2 * k)} for k in range(1, 7)]
            found += [labels | {"seed": seed} | point for point in curve]
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return planted(ARMS)


def test_learning_is_told_by_its_end_and_by_when_half_is_right(rows: pd.DataFrame) -> None:
    alt = draw.learning(rows).alt
    assert "hint, 1 loop: 1.00 (1.00 to 1.00) in the end, above 0.5 first at step 150; hint, 4 loops: 1.00" in alt
    assert "plain, 25 loops: 1.00" in alt
    low = rows.assign(accuracy=rows["accuracy"] / 4)
    assert "hint, 1 loop: 0.25 (0.25 to 0.25) in the end; hint" in draw.learning(low).alt


def test_lengths_are_told_with_the_range_of_training(rows: pd.DataFrame) -> None:
    alt = draw.lengths(rows).alt
    assert "at 10, 16, 32, 64, 128, 256, 512 and 1000 tokens, trained at 16 to 64; means" in alt
    assert "hint, 25 loops: 0.50, 0.50, 0.50, 0.09, 0.50, 0.50, 0.50, 0.50; plain, 1 loop: 0.02" in alt
    assert "trained at 8 to 16" in draw.lengths(rows, (8, 16)).alt


def test_every_variation_has_a_name_and_the_first_line_is_without(rows: pd.DataFrame) -> None:
    for shuffled in (rows, rows.iloc[::-1]):
        told = re.findall(r"(?:^|; )(.+?) 0\.\d\d \(", draw.arms(shuffled).alt.partition("models. ")[2])
        assert told[0] == "12 loops (as is)"
        assert set(told[1:]) == set(VARIATIONS)
        assert len(told) == 1 + len(VARIATIONS)


def test_variations_of_another_number_of_loops() -> None:
    """Of 25, the loop as it is belongs to the main design."""
    changed = Arm("norm", "hint", shape={"n_loops": 25, "norm": "pre", "d_model": 16})
    alt = draw.arms(planted([*ARMS, changed]), n_loops=25).alt
    assert "25 loops (as is) 0.09" in alt
    assert "d = 16, norm: pre 0.17" in alt
    assert "12 loops" not in alt


def test_an_interval_of_shares_stays_between_nought_and_one() -> None:
    rows = planted([Arm("task", "unique", shape={"n_loops": 4})])
    rows["accuracy_64"] = [1.0 if seed else 0.7 for seed in rows["seed"]]
    assert "0.90 (0.47 to 1.00)" in draw.tasks(rows).alt


def test_every_arm_of_the_experiment_can_be_told_from_the_others() -> None:
    arms = [arm for arm in design() if arm.setting == "hint" and arm.shape["n_loops"] == 12]
    assert draw.arms(planted(arms)).alt.count("; ") == len(arms)  # one is after what it is of, the rest between


def test_the_vertical_line_is_there_if_the_loop_as_it_is_was_measured(rows: pd.DataFrame) -> None:
    picture, without = draw.arms(rows), draw.arms(rows[rows["design"] != "loops"])
    assert "12 loops (as is) 0.09 (0.04 to 0.15); d = 16 0.17 (0.12 to 0.23); d = 32, rate 0.005 0.33" in picture.alt
    assert "as is" not in without.alt
    assert "mean as is" in picture.svg
    assert "mean as is" not in without.svg


def test_tasks_are_told_where_they_were_measured(rows: pd.DataFrame) -> None:
    picture = draw.tasks(rows)
    for task in SETTINGS:
        assert f"{task}: 4 loops 0.09 (0.04 to 0.15)" in picture.alt
    assert "plain: 12 loops 0.09" in picture.alt
    assert "trigger: 12 loops" not in picture.alt
    trained = draw.tasks(planted([Arm("task", "trigger", shape={"n_loops": 12})]))
    assert trained.alt.endswith("models. trigger: 12 loops 0.09 (0.04 to 0.15).")


def test_widths_are_told_for_each_task_and_number_of_loops(rows: pd.DataFrame) -> None:
    alt = draw.widths(rows).alt
    assert "hint, 4 loops: 0.09 at d = 8, 0.17 at d = 16, 0.65 at d = 64; plain, 4 loops" in alt
    assert "hint, 12 loops: 0.09 at d = 8, 0.17 at d = 16, 0.33 at d = 32." in alt


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("figure", OF_ROWS)
def test_one_seed_has_no_interval_and_what_is_not_finite_is_left_out(figure: Callable[..., Picture]) -> None:
    alone = planted(ARMS, seeds=1)
    assert " to 0" not in figure(alone).alt
    broken = planted(ARMS, seeds=2)
    of_one = broken["seed"] == 1
    accuracies = ["accuracy", *(f"accuracy_{n}" for n in LENGTHS)]
    broken.loc[of_one, accuracies] = np.inf
    assert figure(broken).alt == figure(alone).alt
    broken[accuracies] = NAN
    assert "0.09" not in figure(broken).alt


@pytest.mark.filterwarnings("error")
def test_rows_of_one_short_training_are_enough() -> None:
    spec = Arm("main", "hint", 2, {"n_loops": 1}, training={"lengths": (4,)}).population(60)
    trained, *_ = train_models(spec, "cpu")
    measured = measure(spec, trained)
    for figure in OF_ROWS:
        known = figure in (draw.learning, draw.lengths)
        assert ("hint, 1 loop" if known else "Nothing was measured") in figure(measured).alt


# ---- one model -------------------------------------------------------------------------------------------------------


def test_attention_is_told_with_its_entropy() -> None:
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 1.0, 0.0]], requires_grad=True)
    alt = draw_one.attention(rows, torch.tensor([3, 7, 5, 7]), 2).alt
    assert "Attention of the last of 4 tokens, 2 loops, from the first to the last: to the answer 0.25 to 1.00," in alt
    assert "to the match 0.25 to 0.00; the answer has most of it in 1 loop. Entropy from 1.39 to 0.00 nats" in alt
    assert f"log n is {math.log(4):.2f}" in alt
    long = torch.arange(100) % 10
    assert "100 tokens, 1 loop," in draw_one.attention(torch.ones(1, 100) / 100, long, 90).alt


@pytest.mark.parametrize(("tokens", "target"), [("3757", 1), ("3757", 0), ("7777", 4), ("353", 1)])
def test_attention_needs_a_target_after_a_match(tokens: str, target: int) -> None:
    with pytest.raises(ValueError, match="needs 4 tokens"):
        draw_one.attention(torch.ones(2, 4) / 4, torch.tensor([int(t) for t in tokens]), target)


@pytest.mark.filterwarnings("error")
def test_survival_is_told_by_kind_and_length_without_noise_too() -> None:
    table = pd.DataFrame([
        {"noise": noise, "kind": kind, "length": length, "trial": trial, "accuracy": 1 - noise * length / 100}
        for noise, kind, length, trial in product((0.0, 0.01, 0.1), ("all weights", "own size"), (10, 1000), (0, 1))
    ])  # fmt: skip
    alt = draw_one.survival(table).alt
    assert "all weights, 10 tokens: 1.00 at noise 0, 1.00 at noise 0.01, 0.99 at noise 0.1; all weights, 1000" in alt
    assert "own size, 1000 tokens: 1.00 at noise 0, 0.90 at noise 0.01, 0.00 at noise 0.1." in alt
    assert "0.90 at noise 0.01, 0.00" in draw_one.survival(table[table["noise"] > 0]).alt
    assert "10 tokens: 1.00 at noise 0;" in draw_one.survival(table[table["noise"] == 0]).alt
    assert "noise 0.1" not in draw_one.survival(table[(table["trial"] == 0) & (table["noise"] < 0.1)]).alt
    assert "Nothing was measured" in draw_one.survival(table.iloc[:0]).alt


@pytest.mark.filterwarnings("error")
def test_states_are_told_at_three_loops() -> None:
    several = torch.stack([torch.arange(5.0), 3 * torch.arange(5.0)]).requires_grad_()
    alt = draw_one.states({"as is": several, "diverges": torch.tensor([0.0, 10.0, 30.0, math.inf])}).alt
    assert "as is: 0 after 0 loops, 4 after 2 loops, 8 after 4 loops; diverges: 0 after 0 loops, 10 after 1 loop" in alt
    sizes = {"small": torch.arange(3.0), "large": 1e3 * torch.arange(3.0)}
    assert "small: 0 after 0 loops" in draw_one.states(sizes).alt
    assert "Nothing was measured" in draw_one.states({"none": torch.tensor([NAN, NAN])}).alt
