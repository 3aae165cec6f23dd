"""The figures of chapter 8: they draw what the rows say, say it in words, too, and leave out what is unmeasured."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from entropylens.experiments.branching import WAYS
from entropylens.experiments.spikes import OPTIMIZERS
from entropylens.measures.events import Event
from entropylens.show import figures_around
from entropylens.show import figures_spikes as draw

SEEDS = range(3)
NAN = np.nan


@pytest.fixture(scope="module")
def models() -> pd.DataFrame:
    """Planted: 1000 × rate spikes, with attention alone half as many; Adam diverges at the higher rate."""
    found = []
    for optimizer, lr, seed in product(("adam", "momentum", "sgd"), (0.01, 0.03), SEEDS):
        gone = optimizer == "adam" and lr > 0.01
        row = {"design": "optimizers", "variant": "full", "optimizer": optimizer, "lr": lr, "seed": seed}
        row |= {"at": "edge" if lr == 0.01 else NAN, "spikes_1000": 1000 * lr + seed - 1, "jumps_1000": 0.0}
        row |= {"kl": (np.inf if seed else 5.0) if gone else 0.25}
        row |= {f"auc_{score}": 0.5 + 0.1 * seed for score in figures_around.SCORES}
        row |= {"auc_lag": NAN if optimizer == "sgd" or seed == 2 else 0.75, "auc_dead": 0.9 if seed == 0 else NAN}
        found.append(row)
        if optimizer != "sgd":
            found.append(row | {"design": "parts", "variant": "attention_only", "spikes_1000": 500 * lr})
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def around() -> pd.DataFrame:
    """Planted: at the onset of Adam's spikes a rise of 0.5, of SGD's of 0.25; 2 % die; SGD has no jumps."""
    found = []
    for optimizer, event, seed, offset in product(("adam", "sgd"), ("spike", "jump"), SEEDS, range(-4, 6, 2)):
        if (optimizer, event) != ("sgd", "jump"):
            rise = (0.5 if optimizer == "adam" else 0.25) * (offset == 2)
            row = {"event": event, "optimizer": optimizer, "seed": seed, "offset": offset, "rise": rise}
            row |= {"died": 0.02 * (offset >= 4), "sharp": np.log(1.2) if optimizer == "adam" and offset > -4 else NAN}
            found.append(row)
    found[0]["rise"] = np.inf
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def branches() -> pd.DataFrame:
    """Planted: at half the rate half the rise, killed the same; one branch diverged; 3 % die, 5 % at calm places."""
    found = []
    for way, seed, step in product(WAYS, SEEDS, (100, 200)):
        beside = {"half rate": 0.25 + 0.5 * (step == 200), "leaky": np.inf, "gates held": NAN}.get(way, 1.0)
        died = 0.05 if way.startswith("calm") else 0.03
        row = {"way": way, "optimizer": "adam", "seed": seed, "step": step, "beside": beside, "died": died}
        found.append(row)
    return pd.DataFrame(found)


def test_every_optimizer_has_a_name_and_a_line_of_its_own() -> None:
    assert set(draw.NAMES) == set(draw.OPTIMIZER_LINES) == set(OPTIMIZERS)
    assert len({line.marker for line in draw.OPTIMIZER_LINES.values()}) == len(OPTIMIZERS)


def test_a_training_is_told_with_the_first_of_its_events() -> None:
    losses, dead = np.linspace(3, 1, 300), np.arange(300.0)
    losses[-5:] = np.inf
    spikes = [Event(at, at + 1, 0.5, at + 9, True) for at in range(100, 240, 20)]
    alt = draw.trace(losses, dead, spikes, [Event(120, 121, 9.0, 130, False)], "Adam").alt
    assert "7 spikes (at steps 100, 120, 140, 160 and 180 first) and 1 jumps in deaths (at step 120)" in alt
    assert "with 0 spikes and 0 jumps in deaths." in draw.trace(losses, dead, [], [], "Adam").alt


def test_rates_are_told_without_what_diverged(models: pd.DataFrame) -> None:
    alt = draw.by_rate(models[models["design"] == "optimizers"]).alt
    assert "spikes in 1000 steps, Adam: rate 0.01 10, rate 0.03 30;" in alt
    assert "KL at the end (nats), Adam: rate 0.01 0.25; KL at the end (nats), SGD with momentum: rate 0.01 0.25," in alt


def test_only_rates_at_the_edge_have_a_ring(models: pd.DataFrame) -> None:
    one = models[(models["design"] == "optimizers") & (models["optimizer"] == "sgd")]
    with_ring, without = (draw.by_rate(one.assign(at=at)).svg for at in (one["at"], NAN))
    assert with_ring.count("<use") - without.count("<use") == 3


def test_parts_are_told_of_the_optimizers_that_have_them(models: pd.DataFrame) -> None:
    alt = draw.parts(models).alt
    assert (
        "Adam, attention and FFN: rate 0.01 10, rate 0.03 30; Adam, attention only: rate 0.01 5, rate 0.03 15;" in alt
    )
    assert "SGD:" not in alt
    assert "SGD, attention and FFN: rate 0.01 10" in draw.parts(models[models["optimizer"] == "sgd"]).alt


def test_the_main_figure_tells_peaks_and_what_changes_do(around: pd.DataFrame, branches: pd.DataFrame) -> None:
    alt = figures_around.aligned(around, branches).alt
    assert "around a spike, Adam: loss +0.500 nats at most, at step +2, dead +2.00 % at most, at step +4" in alt
    assert "at step +4, sharpness 1.20 of the edge at step −2; around a spike, SGD: loss +0.250" in alt
    assert "around a jump in deaths, SGD" not in alt
    assert "half rate: Adam 0.50 (0.50 to 0.50)" in alt
    assert "leaky: Adam 3.00" in alt
    assert "gates held" not in alt
    assert "calm" not in alt
    assert "around" not in figures_around.aligned(around.iloc[:0], branches).alt.replace("around events", "")


def test_deaths_are_told_for_calm_branches_too(branches: pd.DataFrame) -> None:
    alt = figures_around.outcomes(branches).alt
    assert "unchanged: Adam 3.00 (3.00 to 3.00)" in alt
    assert "calm, double rate: Adam 5.00" in alt


def test_a_score_is_told_with_an_interval_where_there_are_models_to_tell(models: pd.DataFrame) -> None:
    alt = figures_around.announcements(models[(models["design"] == "optimizers") & (models["lr"] == 0.01)]).alt
    assert "sharpness: Adam 0.60 (0.35 to 0.85)" in alt
    assert "lag of v̂: Adam 0.75 (0.75 to 0.75), SGD with momentum 0.75 (0.75 to 0.75); neurons that" in alt
    assert "neurons dead: Adam 0.90, SGD with momentum 0.90, SGD 0.90;" in alt


def test_detectors_are_pooled_by_what_was_injected() -> None:
    rows = [
        {"event": "spike", "factor": f, "optimizer": o, "seed": s} | rest
        for f, o in product((0.5, 1.0, 2.0), ("adam", "sgd"))
        for s, rest in enumerate((
            {"injected": 30, "found": 1.0, "quiet": 1000, "false_alarms": 1},
            {"injected": 10, "found": 0.6, "quiet": 3000, "false_alarms": 0},
            {"injected": 0, "found": NAN, "quiet": 0, "false_alarms": 0},
        ))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.loc[table["optimizer"] == "sgd", "quiet"] = 0
    alt = draw.detectors(pd.concat([table, table.assign(event="jump", found=0.0)])).alt
    assert "spikes: Adam 0.900 found, 2.50 false alarms; SGD 0.900 found, unknown false alarms." in alt
    assert "jumps: Adam unknown found" in draw.detectors(table.assign(event="jump", injected=0), "jump").alt


def test_the_order_is_told_for_coarse_logs_and_the_usual_one() -> None:
    varied = [("factor", 0.5), ("factor", 1.0), ("every", 5.0), ("every", 25.0)]
    rows = pd.DataFrame([
        {"varied": name, "value": value, "optimizer": "rmsprop", "seed": seed, "led": value / 10, "coincidence": -0.2}
        for (name, value), seed in product(varied, SEEDS)
    ])  # fmt: skip
    rows.loc[(rows["value"] == 25) & (rows["seed"] > 0), "led"] = NAN
    alt = draw.order(rows).alt
    assert "met beyond chance against threshold, times …, RMSprop: at 0.5 -0.200, at 1 -0.200;" in alt
    assert "jump first − after against steps between log entries, RMSprop: at 1 +0.100, at 5 +0.500." in alt


def test_a_phase_diagram_tells_every_cell() -> None:
    table = pd.DataFrame([[0.0, 12.34], [NAN, 100.0]], index=pd.Index([0.9, 0.99], name="β₂"), columns=[0.001, 0.01])
    alt = draw.phase({"Adam": table, "none": 0 * table.iloc[:1]}, "spikes in 1000 steps").alt
    assert "Adam: 0.9 at 0.001: 0, 0.9 at 0.01: 12.3, 0.99 at 0.001: unmeasured, 0.99 at 0.01: 100; none: 0.9" in alt
    assert "unmeasured" in draw.phase({"all": table * NAN}, "spikes").alt
