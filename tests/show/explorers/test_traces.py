"""Chapter 8's explorer packs the traces of the right models, and finds their events."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import traitlets
from torch import Tensor

from entropylens.measures.events import SPIKE
from entropylens.show.explorers.traces import DEAD_BITS, DIVERGED, MOST_DEAD, TraceExplorer, pack, trace_explorer

POINTS, STEPS, SEEDS = 20, 100, (0, 1)
GRID = (
    ("optimizers", "sgd", 0.1, "edge"),
    ("optimizers", "adam", 0.03, np.nan),
    ("parts", "adam", 0.01, "edge"),
    ("optimizers", "adam", 0.01, "edge"),
    ("optimizers", "adam", 3e-4, "matched"),
)
SHOWN = {"design": "optimizers", "d_model": 64}


def planted() -> tuple[pd.DataFrame, Tensor, Tensor]:
    """Rows of five populations; model i has a loss of 4 + i and i dead neurons, and seed 1 of SGD diverges."""
    rows, number = [], 0
    for population, (design, optimizer, lr, at) in enumerate(GRID):
        variant = "attention_only" if design == "parts" else "full"
        for seed in SEEDS:
            shape = {"d_model": 64, "n_layers": 2, "norm": "pre", "variant": variant}
            place = {
                "design": design,
                "optimizer": optimizer,
                "lr": lr,
                "at": at,
                "seed": seed,
                "steps": STEPS,
                **shape,
            }
            place["population"] = f"p{population}"
            bad = optimizer == "sgd" and seed == 1
            facts = {
                "diverged": float(bad),
                "kl": np.inf if bad else 0.01 * number,
                "dead_most": 0.25,
                "dead_end": 1 / 512,
            }
            rows.append(place | facts | {"kind": "model", "final": True})
            for kind, onset in (("jump", 50 + number), ("spike", 30 + number)):
                rows.append(place | {"kind": "event", "final": False, "event": kind, "onset": onset, "height": 1.23456})
            rows.append(place | {"kind": "detector", "final": False, "event": "spike"})
            number += 1
    levels = torch.arange(number)[:, None].expand(-1, POINTS)
    loss = 4 + levels.float()
    loss[1, 7:] = torch.nan
    return pd.DataFrame(rows), loss, levels.to(torch.int16)


ROWS, LOSS, DEAD = planted()


def unpack(explorer: TraceExplorer) -> tuple[np.ndarray, np.ndarray]:
    """Losses and dead neurons, (models, P)."""
    parts = np.frombuffer(explorer.points, np.uint8).reshape(len(explorer.models), POINTS, 3)
    numbers = parts @ np.array([1, 256, 65536])
    codes, (low, high) = numbers >> DEAD_BITS, explorer.span
    loss = np.where(codes == DIVERGED, np.nan, low * (high / low) ** (codes / (DIVERGED - 1)))
    return loss, numbers & MOST_DEAD


@pytest.fixture(scope="module")
def explorer() -> TraceExplorer:
    return trace_explorer(ROWS, LOSS, DEAD, SHOWN)


def test_every_trace_is_where_the_controls_find_it(explorer: TraceExplorer) -> None:
    assert [(p["optimizer"], p["rate"], p["mark"]) for p in explorer.populations] == [
        ("adam", "0.0003", "matched"),
        ("adam", "0.01", "edge"),
        ("adam", "0.03", ""),
        ("sgd", "0.1", "edge"),
    ]
    places = [8, 9, 6, 7, 2, 3, 0, 1]  # among the final rows
    loss, dead = unpack(explorer)
    np.testing.assert_array_equal(dead, DEAD[places])
    np.testing.assert_allclose(loss, LOSS[places], rtol=2e-4)
    for model, place in zip(explorer.models, places, strict=True):
        assert model["events"] == [[0, 30 + place, 1.23], [1, 50 + place, 1.23]]
        assert (model["most"], model["end"]) == (128, 1)
        assert model["diverged"] == (place == 1)
        assert model["kl"] == (None if place == 1 else pytest.approx(0.01 * place))
    assert explorer.names == [["adam", "Adam"], ["sgd", "SGD"]]
    assert {p["neurons"] for p in explorer.populations} == {512}
    assert [p["steps"] for p in explorer.populations] == [STEPS] * 4
    json.dumps([explorer.models, explorer.populations], allow_nan=False)


def test_a_mask_and_a_selection_offer_the_same(explorer: TraceExplorer) -> None:
    mask = (ROWS["design"] == "optimizers") & (ROWS["d_model"] == 64)
    masked = trace_explorer(ROWS, LOSS, DEAD, mask)
    assert (masked.points, masked.models) == (explorer.points, explorer.models)


def test_attention_alone_has_no_neurons() -> None:
    assert trace_explorer(ROWS, LOSS, DEAD, {"design": "parts"}).populations[0]["neurons"] == 0


def test_it_starts_at_an_edge_and_python_may_choose(explorer: TraceExplorer) -> None:
    start = {"optimizer": "adam", "rate": "0.01", "seed": "0"}
    assert explorer.selected == start
    explorer.selected = {"seed": 1, "rate": 0.03}
    explorer.selected = {"optimizer": "sgd"}
    assert explorer.selected == {"optimizer": "sgd", "rate": "0.1", "seed": "1"}
    for wrong in ({"rate": 0.03}, {"optimizer": "lion"}, {"seed": 2}, {"width": 64}):
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(wrong))} = "):
            explorer.selected = wrong
    explorer.selected = start


def test_what_left_all_bounds_is_told_from_what_is_merely_high() -> None:
    loss = np.array([[5.0, 5.001, 999.0, SPIKE.ceiling, 1001.0, np.inf, np.nan, 0.0]])
    points, (low, high) = pack(loss, np.full(loss.shape, MOST_DEAD))
    numbers = points[0].astype(int) @ np.array([1, 256, 65536])
    assert ((numbers >> DEAD_BITS) == DIVERGED).tolist() == [False] * 4 + [True] * 3 + [False]
    assert (numbers & MOST_DEAD).tolist() == [MOST_DEAD] * 8
    assert (low, high) == (0.001, 1000)
    assert (pack(np.full((1, 3), np.nan), np.zeros((1, 3), dtype=int))[0][0, :, 1] >> 2 == 63).all()
    assert (pack(np.full((1, 3), 6.0), np.zeros((1, 3), dtype=int))[0] == 0).all()


def test_it_stays_small() -> None:
    n = 160
    points, _ = pack(np.random.default_rng(0).uniform(5, 9, (n, 300)), np.zeros((n, 300), dtype=int))
    model = {"diverged": False, "kl": 0.01234, "most": 285, "end": 24, "events": [[0, 1234, 0.123]] * 12}
    assert 4 / 3 * points.size + n * len(json.dumps(model)) < 250_000


def test_what_does_not_fit_is_named() -> None:
    repeated = pd.concat([ROWS, ROWS[ROWS["final"]].iloc[:1]])
    short = ROWS.assign(steps=POINTS - 1)
    strange = ROWS.replace({"optimizer": {"sgd": "lion"}})
    wrong: list[tuple[str, tuple[object, ...]]] = [
        (r"loss \(9, 20\) and dead \(10, 20\)", (ROWS, LOSS[1:], DEAD, SHOWN)),
        ("10 final rows", (ROWS, LOSS[1:], DEAD[1:], SHOWN)),
        ("no column 'shape'", (ROWS, LOSS, DEAD, {"shape": 1})),
        ("no row has d_model = 65", (ROWS, LOSS, DEAD, {"d_model": 65})),
        ("one bool a row", (ROWS, LOSS, DEAD, [True])),
        ("no final row", (ROWS, LOSS, DEAD, ~ROWS["final"])),
        ("adam at 0.01 has seeds", (ROWS, LOSS, DEAD, {"d_model": 64})),
        ("sgd at 0.1 has seeds", (repeated, torch.cat([LOSS, LOSS[:1]]), torch.cat([DEAD, DEAD[:1]]), SHOWN)),
        ("sgd at 0.1 has seeds", (ROWS, LOSS, DEAD, (ROWS["design"] != "parts") & (ROWS.index != 0))),
        ("0 to 1024 dead", (ROWS, LOSS, torch.where(DEAD == 9, 1024, DEAD), SHOWN)),
        ("19 steps have no 20 stretches", (short, LOSS, DEAD, SHOWN)),
        ("lion", (strange, LOSS, DEAD, SHOWN)),
    ]
    for message, given in wrong:
        with pytest.raises(ValueError, match=message):
            trace_explorer(*given)  # type: ignore[arg-type]
