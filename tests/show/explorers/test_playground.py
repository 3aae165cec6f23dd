"""The playground: what it offers can be built, what its buttons say is so, and nonsense is refused."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

import pytest
import traitlets

from entropylens.models.transformer import TransformerConfig
from entropylens.show.explorers import engine, text
from entropylens.show.explorers.playground import (
    CHOICES,
    FIRST,
    MOST_SEED,
    PRESETS,
    SEEDS,
    VIEW,
    Playground,
    playground,
)
from entropylens.training.data import Data
from entropylens.training.optimizers import OptimizerConfig
from tests._trie_model import NODE

_LOOK = """
globalThis.postMessage = () => {};
const looks = PRESETS.map(([settings, steps]) => {
  ORDERS.make({ run: 0, decades: 7, settings });
  const { target_entropy, sample_bias } = training.measure(), rows = [];
  for (let i = 1; i <= steps; i++) {
    advance();
    if (i % 10 === 0) rows.push(measured());
  }
  return { target_entropy, sample_bias, rows, ended, neurons: settings.layers * 4 * settings.width };
});
require("fs").writeSync(1, JSON.stringify(looks));
process.exit(); // the worker would wait for orders
"""
STEPS = {
    "See the bias": 200, "Make it vanish": 100, "Fresh sentences": 150, "Kill neurons with Adam": 150,
    "SGD with momentum beside it": 150, "Attention only": 400, "FFN only": 400,
}  # fmt: skip
"""Of each preset, enough to see what it says."""


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    """What becomes of each preset: rows as the worker tells them, of every tenth step."""
    asked = json.dumps([[PRESETS[name][1], steps] for name, steps in STEPS.items()])
    script = f"const PRESETS = {asked};\n{engine()}\n{text('playground_worker.js')}\n{_LOOK}"
    done = subprocess.run([NODE, "-"], input=script, capture_output=True, text=True, check=True, timeout=300)
    return dict(zip(STEPS, json.loads(done.stdout), strict=True))


def entropies(one: dict[str, Any]) -> list[float]:
    """H(pθ) − H(p_tgt), nats."""
    return [row[1] - one["target_entropy"] for row in one["rows"]]


def dead(one: dict[str, Any]) -> list[float]:
    """The share of dead neurons after step 50, by which those of the start have revived."""
    return [row[6] / one["neurons"] for row in one["rows"] if row[0] > 50]


def test_there_is_a_look_at_each_preset(seen: dict[str, dict[str, Any]]) -> None:
    assert set(seen) == set(PRESETS)
    assert all(one["ended"] == "" for one in seen.values())


def test_the_bias_is_seen_and_vanishes(seen: dict[str, dict[str, Any]]) -> None:
    biased, exact, fresh = (seen[name] for name in ("See the bias", "Make it vanish", "Fresh sentences"))
    assert entropies(biased)[-1] == pytest.approx(biased["sample_bias"], abs=0.15)
    assert biased["sample_bias"] < -1
    assert min(entropies(exact)[2:]) > 0
    assert entropies(exact)[-1] < 0.7 * entropies(exact)[2]
    assert min(entropies(fresh)[2:]) > -0.2


def test_adam_kills_at_that_rate_and_sgd_hardly(seen: dict[str, dict[str, Any]]) -> None:
    assert max(dead(seen["Kill neurons with Adam"])) > 0.1
    assert max(dead(seen["SGD with momentum beside it"])) < 0.02
    losses = [[row[3] for row in seen[name]["rows"]] for name in STEPS if "Adam" in name or "SGD" in name]
    assert losses[0][-1] > losses[1][-1] + 0.5


@pytest.mark.parametrize("name", ["Attention only", "FFN only"])
def test_either_part_goes_below_the_target(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert entropies(seen[name])[-1] < 0.5 * seen[name]["sample_bias"] < 0


@pytest.mark.parametrize("chosen", [FIRST, *(settings for _, settings in PRESETS.values())])
def test_what_is_chosen_can_be_built(chosen: dict[str, Any]) -> None:
    assert set(chosen) == set(FIRST)
    shape = {key: chosen[key] for key in ("variant", "norm")}
    TransformerConfig(d_model=chosen["width"], n_layers=chosen["layers"], n_heads=chosen["heads"], **shape)
    sizes = {"exact": {}, "finite": {"n_samples": chosen["n"]}, "fresh": {"batch_size": chosen["batch"]}}
    Data(chosen["data"], **sizes[chosen["data"]])
    OptimizerConfig(chosen["optimizer"], lr=chosen["rate"], beta2=chosen["beta2"])
    assert playground(**chosen).selected == {**VIEW, **chosen}


def test_every_width_has_every_number_of_heads() -> None:
    for width, heads in itertools.product(CHOICES["width"], CHOICES["heads"]):
        TransformerConfig(d_model=int(width), n_heads=int(heads))
    assert {*CHOICES, *SEEDS} == {*FIRST, *VIEW}


def test_it_carries_the_engine_and_is_small() -> None:
    explorer = Playground()
    assert json.dumps(engine())[1:-1] in explorer._esm
    assert len(explorer._esm.encode()) + len(explorer._css.encode()) < 200_000


def test_python_may_choose_and_nonsense_is_refused() -> None:
    explorer = playground(width=8, seed=3)
    assert explorer.selected == {**FIRST, **VIEW, "width": 8, "seed": 3}
    explorer.selected = {"rate": 0.1}
    assert explorer.selected == {**FIRST, **VIEW, "width": 8, "seed": 3, "rate": 0.1}
    wrong: list[dict[str, Any]] = [
        {"width": 9}, {"heads": True}, {"seed": -1}, {"seed": MOST_SEED + 1}, {"seed": 1.5}, {"target": False},
        {"rate": "0.1"}, {"data": "some"}, {"depth": 2},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(traitlets.TraitError, match=f"no {next(iter(values))} = .*; choose from"):
            explorer.selected = values
    with pytest.raises(traitlets.TraitError, match="no layers = 7; choose from"):
        playground(layers=7)


def test_without_javascript_the_settings_are_told() -> None:
    assert repr(playground(width=8)).startswith(
        "Playground (needs JavaScript): concentration 0.5, target 1, data finite"
    )
