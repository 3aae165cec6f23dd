"""The figures of gates: what they say is what was drawn."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes

from entropylens.show import figures_gates as draw


def test_discs_hold_what_a_smaller_step_brings_to_rest() -> None:
    eigenvalues = torch.tensor([-3.0, -0.5, -1 + 1.5j], dtype=torch.complex128)
    alt = draw.stability(eigenvalues, "three of them").alt
    assert alt.startswith("three of them: 3 eigenvalues of DF, real parts from -3 to -0.5; 0 above 0, 0 are 0.")
    assert "c = 1: 1 inside the disc, largest |1 + cλ| 2.000; c = 0.5: 3 inside" in alt
    assert f"c = 0.25: 3 inside the disc, largest |1 + cλ| {0.875:.3f}." in alt


def test_what_grows_is_in_no_disc_and_marked_otherwise() -> None:
    picture = draw.stability(torch.tensor([0.5, 0.0, -1.0]), "growth", steps=(1.0, 0.01))
    assert "1 above 0, 1 are 0" in picture.alt
    assert picture.alt.count(": 1 inside the disc") == 2
    assert "largest |1 + cλ| 1.500" in picture.alt


def test_eigenvalues_that_no_disc_can_show_are_enlarged_and_rounded_zeros_are_zeros() -> None:
    small = draw.stability(torch.tensor([-0.02, 0.01, -1e-18], dtype=torch.float64), "a late state")
    assert "1 above 0, 1 are 0. c = 1: 1 inside" in small.alt
    assert small.svg.count("<clipPath") > draw.stability(torch.tensor([-2.0, 0.0]), "another").svg.count("<clipPath")


def test_stability_needs_eigenvalues_and_steps() -> None:
    for eigenvalues, steps in (
        (torch.zeros(0), (1.0,)),
        (torch.ones(2), (1.0, 0.0)),
        (torch.ones(2), ()),
        (torch.ones(2), (1.0,) * 8),
    ):
        with pytest.raises(ValueError, match="eigenvalues, and 1 to 7 steps above 0"):
            draw.stability(eigenvalues, "none", steps)


def test_as_many_discs_are_drawn_as_told() -> None:
    steps = tuple(1 / n for n in range(1, 8))
    picture = draw.stability(torch.tensor([-1.0, 1e-12]), "seven", steps)
    assert picture.alt.count("inside the disc") == picture.svg.count("|1 + cλ| &lt; 1, c = ") == 7
    assert "0 above 0, 1 are 0" in picture.alt


def test_what_turns_and_does_not_grow_has_a_real_part_of_0() -> None:
    alt = draw.stability(torch.tensor([1e-12 - 1j, 1e-12 + 1j], dtype=torch.complex128), "a rotation", (1.0,)).alt
    assert "real parts from 0 to 0; 0 above 0, 2 are 0. c = 1: 0 inside the disc" in alt


def test_shapes_are_the_gates() -> None:
    alt = draw.shapes(places=(4, 100), learned=((0.0, 2.0),)).alt
    assert "sharp, 1 − h: 1.00, 0.50, 0.00; diffuse, h: 0.00, 0.50, 1.00" in alt
    assert f"n = 4: 1.00, {math.exp(-0.5):.2f}, {math.exp(-1):.2f}" in alt  # the largest entropy is 2 (1 − 1/√n)
    assert f"n = 100: 1.00, {math.exp(-0.9):.2f}, {math.exp(-1.8):.2f}" in alt
    assert f"σ(0 + 2 h): 0.50, {1 / (1 + math.exp(-1)):.2f}, {1 / (1 + math.exp(-2)):.2f}." in alt


def test_a_row_of_one_place_has_no_relative_entropy() -> None:
    with pytest.raises(ValueError, match="two places or more, got 1"):
        draw.shapes(places=(1, 4))


def models(**changed: object) -> pd.DataFrame:
    usual = {"gate": "none", "gate_of": "own", "step_size": 1.0, "steering": "none", "kind": "model", "seed": [0, 1]}
    return pd.DataFrame(usual | changed)


def test_arms_have_names() -> None:
    rows = pd.concat([
        models(), models(step_size=0.25), models(gate="constant"), models(gate="learned"),
        models(gate="learned", gate_of="mean"), models(gate="sharp", gate_of="shuffled"), models(steering="line"),
        models(kind="path"),
    ])  # fmt: skip
    names = draw.named(rows, kind="model")["arm"]
    assert list(dict.fromkeys(names)) == [
        "plain", "fixed 0.25", "learned constant", "by entropy", "by entropy, mean over sequences",
        "sharp, other sequences'",
    ]  # fmt: skip
    assert len(names) == 12


def test_arms_are_compared() -> None:
    rows = pd.concat([models(wander=[0.2, 0.4]), models(gate="constant", wander=[0.5, 0.5]),
                      models(gate="learned", wander=[0.1, float("nan")])])  # fmt: skip
    picture = draw.compare(draw.named(rows), {"wander": "how far"}, "learned constant")
    assert picture.alt.startswith("Arms compared, against learned constant; means over models. how far, plain: 0.3 (")
    assert "how far, learned constant: 0.5 (0.5 to 0.5)" in picture.alt
    assert "how far, by entropy: 0.1" in picture.alt
    assert "mean, learned constant" in picture.svg


@pytest.mark.parametrize("broken", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_left_out_of_the_line_too(broken: float, monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[float] = []
    monkeypatch.setattr(Axes, "axvline", lambda _, x=0.0, **__: at.append(x))
    rows = models(gate="constant", wander=[0.5, broken])
    picture = draw.compare(draw.named(rows), {"wander": "how far"}, "learned constant")
    assert picture.alt.endswith("how far, learned constant: 0.5.")
    assert at == [0.5]


def test_controls_are_those_that_are_named() -> None:
    controls = ("fixed 0.5", "constant, same mean")
    assert draw._line("by entropy", "by entropy", ("by entropy",)) == draw.RIVAL
    assert draw._line("plain", "by entropy", controls) == draw.PLAIN
    assert {draw._line(name, "by entropy", controls) for name in controls} == {draw.CONTROL}
    for name in ("sharp", "fixed 0.25", "other sequences'"):
        assert draw._line(name, "by entropy", controls) == draw.BY_ENTROPY
    rows = pd.concat([models(wander=[0.2, 0.4]), models(step_size=0.5, wander=[0.5, 0.5])])
    pictures = [draw.compare(draw.named(rows), {"wander": "far"}, "plain", given) for given in ((), controls)]
    assert draw.RIVAL != draw.BY_ENTROPY
    assert [draw.BY_ENTROPY.color.lower() in picture.svg.lower() for picture in pictures] == [True, False]
