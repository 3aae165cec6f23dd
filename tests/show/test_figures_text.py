"""The figures of chapter 14: they draw what rows say, say it in words, and refuse what has no such rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

from entropylens.experiments.gated_text import ARMS
from entropylens.measures.estimates import Interval
from entropylens.show import figures_source, figures_text
from entropylens.show.figures import STYLE, WIDTH, Picture

SEEDS = 3
WIDTHS = (32, 64, 128)
STEPS = (0, 40, 80)
FIGURES: dict[str, Callable[..., Picture]] = {
    "below_source": figures_source.below_source, "decomposition": figures_source.decomposition,
    "on_the_way": figures_source.on_the_way, "kl_line": figures_source.kl_line,
    "overconfidence": figures_text.overconfidence, "positions": figures_text.positions,
    "calibration": figures_text.calibration, "parts": figures_text.parts, "gates": figures_text.gates,
    "optimisers": figures_text.optimisers,
}  # fmt: skip
every = pytest.mark.parametrize("name", FIGURES)
Row = dict[str, Any]


def alt(figure: Callable[..., Picture], *args: Any, **kwargs: Any) -> str:
    """Of a figure that is not made a picture, which takes longest."""
    with mpl.rc_context(STYLE):
        return " ".join(figure.__wrapped__(*args, **kwargs)[1].split())  # type: ignore[attr-defined]


def words(name: str, rows: pd.DataFrame, *args: Any, **kwargs: Any) -> str:
    return alt(FIGURES[name], rows, *args, **kwargs)


def told(text: str) -> list[str]:
    return re.split("; ", re.split(r"means over [a-z ]+\. ", text)[1].removesuffix("."))


def labels(regimes: tuple[str, str], design: str = "main", widths: tuple[int, ...] = WIDTHS) -> Iterator[Row]:
    """Models of a design, batches of two windows of 64 symbols, at each of `STEPS`."""
    for regime, d, seed, step in product(regimes, widths, range(SEEDS), STEPS):
        origin = "source" if "fresh" in regimes else "text"
        yield {"design": design, "main": design == "main", "d_model": d, "regime": regime, "seed": seed, "step": step,
               "steps": STEPS[-1], "seen": STEPS[-1] * 128, "final": step == STEPS[-1], "origin": origin,
               "optimizer": "sgd" if design == "optimizer" else "adamw"}  # fmt: skip


def readings(label: Row) -> Row:
    """KL is 3.2 / d, 0.4 more where training has not ended; overconfidence 0, or 0.3 of samples, and 0.01 more by seed.

    Own texts are 0.005 above the forced entropy. What has been learned from has 0.2 less cross-entropy.
    """
    kl = 3.2 / label["d_model"] + 0.4 * (not label["final"]) + 0.01 * label["seed"]
    surer = 0.3 * (label["regime"] == "finite") + 0.01 * label["seed"]
    return {"kind": "model", "source": 2.0, "kl": kl, "cross_entropy": 2 + kl, "overconfidence": surer,
            "forced": 2 + kl - surer, "entropy": 2 + kl - surer + 0.005 if label["final"] else np.nan,
            "loss": 1.8 + kl, "calibration_error": surer}  # fmt: skip


def others(label: Row) -> Iterator[Row]:
    """Of text: layers, of which the second has 0.1 silent neurons, SGD's half of that; places, and three bins."""
    for layer in (0, 1):
        half = 0.5 if label["optimizer"] == "sgd" else 1.0
        cut = 0.5 - 0.4 * layer + 0.01 * label["seed"] if label["final"] else np.nan
        yield {"kind": "layer", "layer": layer, "active": 0.2 + 0.01 * label["seed"] + 0.3 * (label["step"] == 0),
               "silent": 0.1 * layer * half * (label["step"] > 0), "even": cut, "deaf": 2 * cut, "ffn": -cut,
               }  # fmt: skip
    if label["final"]:
        for first, last in ((0, 0), (1, 1), (2, 3)):
            place = {"kind": "position", "first": first, "last": last}
            yield place | {"cross_entropy": 3.0 - first, "forced": 2.5 - first, "entropy": 2.6 - first}
        for number, share in enumerate((0.75, 0.25, 0.0)):
            sure = 0.2 + 0.4 * number if share else np.nan
            yield {"kind": "bin", "bin": number, "share": share, "confidence": sure, "accuracy": sure - 0.1}


@pytest.fixture(scope="module")
def source() -> pd.DataFrame:
    named = [*labels(("fresh", "finite")), *labels(("fresh", "finite"), "sample", (64,))]
    return pd.DataFrame([label | readings(label) for label in named])


@pytest.fixture(scope="module")
def text() -> pd.DataFrame:
    named = [*labels(("whole", "finite")), *labels(("whole", "finite"), "optimizer", (64,))]
    return pd.DataFrame([label | row for label in named for row in (readings(label), *others(label))])


@pytest.fixture(scope="module")
def larger() -> pd.DataFrame:
    """Of a source, of a text once and four times, and arms of gates."""
    named = [*labels(("fresh", "finite"), "larger", (256,)), *labels(("whole", "finite"), "larger", (256,))]
    rows = pd.DataFrame([label | readings(label) for label in named])
    longer = rows[rows["regime"] == "whole"].assign(steps=4 * STEPS[-1], overconfidence=0.7)
    return pd.concat([rows, longer, arms().assign(design="larger", overconfidence=9.0)], ignore_index=True)


def arms() -> pd.DataFrame:
    """Trained models by arm: each 0.1 above the one before, and 1 more a seed; the last arm has no last seed."""
    common = {"kind": "model", "design": "main", "final": True, "origin": "text", "regime": "whole", "steps": 80}
    rows = [
        common | {"arm": name, "seed": seed, "cross_entropy": 2 + 0.1 * i + seed, "d_model": 64}
        for (i, name), seed in product(enumerate(ARMS), range(SEEDS))
    ]
    return pd.DataFrame(rows[:-1])


@pytest.fixture
def rows(name: str, source: pd.DataFrame, text: pd.DataFrame) -> pd.DataFrame:
    if name == "gates":
        return arms()
    return source if name in ("below_source", "decomposition", "on_the_way", "kl_line") else text


# ---- a source --------------------------------------------------------------------------------------------------------


def test_coverage_counts_all_intervals_and_those_that_are_drawn() -> None:
    middle = torch.tensor([0.0, 1.0, 2.0, 9.0], dtype=torch.float64)
    found = {"narrow": Interval(middle, torch.full((4,), 1.5)), "wide": Interval(middle, torch.full((4,), 10.0))}
    picture = figures_source.coverage(found, 1.0, shown=3)
    assert picture.alt == (
        "95 % intervals of an entropy of 1.000 nats a text. narrow: 3 of 4 hold it (75.0%), 1.5 on either side on "
        "average; of 3 drawn 0 miss; wide: 4 of 4 hold it (100.0%), 10 on either side on average; of 3 drawn 0 miss."
    )
    assert "of 4 drawn 1 miss; wide" in alt(figures_source.coverage, found, 1.0)


def test_coverage_needs_intervals() -> None:
    for nothing in ({}, {"none": Interval(torch.zeros(0), torch.zeros(0))}):
        with pytest.raises(ValueError, match="needs intervals of each estimate"):
            figures_source.coverage(nothing, 1.0)


def test_how_far_from_the_source_models_are_is_told_by_regime_and_width(source: pd.DataFrame) -> None:
    fresh, finite = told(words("below_source", source, 0.01))
    assert fresh == (
        "fresh: +0.105 (+0.105 to +0.105) at d = 32, +0.055 (+0.055 to +0.055) at d = 64, "
        "+0.030 (+0.030 to +0.030) at d = 128"
    )
    assert finite.startswith("finite: -0.195 (-0.195 to -0.195) at d = 32")
    picture = figures_source.below_source(source, 0.01)
    assert "below the smallest effect" in picture.svg
    assert "below the smallest effect" not in figures_source.below_source(source).svg


def test_three_terms_add_up(source: pd.DataFrame) -> None:
    lines = told(words("decomposition", source))
    assert [line.partition(":")[0] for line in lines] == [f"{r}, d = {d}" for r in ("fresh", "finite") for d in WIDTHS]
    for line in lines:
        *terms, total = (float(x) for x in re.findall(r"(?<!\()[-+]\d\.\d+(?= ?\(|,)", line))
        assert len(terms) == 3
        assert abs(sum(terms) - total) < 0.002, line
    assert "KL(p‖pθ) +0.060, − overconfidence -0.310, own − forced entropy +0.005, sum -0.245" in lines[4]


def test_the_widest_are_followed_by_symbols_seen_from_the_first_update_on(source: pd.DataFrame) -> None:
    text = words("on_the_way", source)
    assert "width 128" in text
    lines = told(text)
    assert len(lines) == 6
    assert lines[0].startswith("fresh, cross-entropy, new windows: +0.435 (+0.410 to +0.460) at 5,120 symbols, +0.035")
    assert lines[4].startswith(
        "finite, forced entropy, new windows: +0.125 (+0.125 to +0.125) at 5,120 symbols, -0.275"
    )
    assert "finite, cross-entropy, what was learned from: +0.235" in lines[5]
    assert " 0 symbols" not in text


def test_models_of_all_designs_lie_in_the_plane_of_kl(source: pd.DataFrame, larger: pd.DataFrame) -> None:
    text = words("kl_line", source)
    assert "fresh, 12 models: KL 0.0250 to 0.1200, H(pθ) − H(p) +0.0300 to +0.1050, 0 below the source" in text
    assert "finite, 12 models" in text
    assert "12 below the source, 12 below the line." in text
    more = words("kl_line", source, larger)
    assert "fresh, 15 models: KL 0.0125 to 0.1200" in more
    assert words("kl_line", source, larger.iloc[:0]) == text
    edge = "larger models"
    assert edge in figures_source.kl_line(source, larger).svg
    assert edge not in figures_source.kl_line(source).svg


# ---- text ------------------------------------------------------------------------------------------------------------


def test_overconfidence_is_told_by_width_of_larger_models_and_by_step(text: pd.DataFrame, larger: pd.DataFrame) -> None:
    lines = told(words("overconfidence", text, larger, 0.02))
    assert lines[0].startswith("whole: +0.010 (-0.015 to +0.035) at d = 32, ")
    assert lines[1].startswith("finite: +0.310 (+0.285 to +0.335) at d = 32, ")
    assert lines[2] == "larger, whole: +0.010 (-0.015 to +0.035) at d = 256"
    assert lines[4] == "larger, whole, 4 times as long: +0.700 (+0.700 to +0.700) at d = 256"
    assert lines[-1].startswith("d = 128, finite: +0.310 (+0.285 to +0.335) at step 40, ")
    assert "9.000" not in " ".join(lines)
    assert told(words("overconfidence", text)) == [line for line in lines if "larger" not in line]


def test_places_are_named_from_one_on(text: pd.DataFrame) -> None:
    lines = told(words("positions", text))
    assert lines[0] == "whole, cross-entropy: 3.00 at 1, 2.00 at 2, 1.00 at 3–4"
    assert lines[-1] == "finite, entropy of own texts: 2.60 at 1, 1.60 at 2, 0.60 at 3–4"


def test_calibration_tells_bins_that_are_not_empty(text: pd.DataFrame) -> None:
    whole, finite = told(words("calibration", text))
    assert whole == (
        "whole, expected calibration error 0.010: 0.20 sure, 0.10 right (75% of symbols), "
        "0.60 sure, 0.50 right (25% of symbols)"
    )
    assert finite.startswith("finite, expected calibration error 0.310: ")


def yardsticks(*kinds: str) -> pd.DataFrame:
    rows = [{"name": f"one of {kind}", "kind": kind, "bits": 3.0 + i} for i, kind in enumerate(kinds)]
    models = [{"name": "d = 8", "kind": "model", "bits": bits} for bits in (3.4, 3.5, 3.6)]
    return pd.DataFrame(rows + models)


def test_yardsticks_stand_from_the_most_bits_to_the_fewest_and_models_have_intervals() -> None:
    picture = figures_text.yardstick(yardsticks("n-gram", "compressor"))
    assert told(picture.alt) == [
        "one of compressor (compressor) 4.00", "d = 8 (model) 3.50 (3.25 to 3.75)", "one of n-gram (n-gram) 3.00",
    ]  # fmt: skip


def test_yardsticks_are_of_few_kinds() -> None:
    for table in (pd.DataFrame(), yardsticks().iloc[:0], yardsticks("a", "b", "c", "d")):
        with pytest.raises(ValueError, match="needs 1 to 4 kinds, got"):
            figures_text.yardstick(table)


def test_parts_are_told_by_layer_counted_from_one(text: pd.DataFrame) -> None:
    lines = told(words("parts", text))
    assert lines[0].startswith("whole, layer 1, silent 0.000 (0.000 to 0.000) at d = 32")
    assert "whole, layer 2, silent 0.100 (0.100 to 0.100) at d = 32" in lines[2]
    assert lines[3].startswith("whole, layer 2, active 0.210 (0.185 to 0.235) at d = 32")
    assert "whole, d = 128, cut even +0.510 (+0.485 to +0.535) at layer 1, +0.110" in lines[4]
    assert "whole, d = 128, cut FFN -0.510" in lines[6]
    assert len(lines) == 14


def test_what_is_a_share_has_no_interval_beyond_it(text: pd.DataFrame) -> None:
    wild = text.assign(silent=text["seed"] % 2 * 0.9)
    for name in ("parts", "optimisers"):
        assert not re.search(r"silent [-+]?\d\.\d+ \((-0\.|[^)]*1\.[^0])", words(name, wild))


def test_arms_are_compared_seed_by_seed() -> None:
    lines = told(words("gates", arms(), 0.01))
    assert lines[0] == f"entropy gate 3.000 ({3 - 2.484:.3f} to 5.484), 3 models"
    assert lines[1] == "entropy gate − constant gate -0.100 (-0.100 to -0.100), 3 pairs"
    assert lines[-2].endswith("2 models")
    assert lines[-1] == "deep, narrow − constant gate +0.400 (+0.400 to +0.400), 2 pairs"


def test_arms_of_another_design_are_compared_too(larger: pd.DataFrame) -> None:
    assert told(words("gates", larger, design="larger")) == told(words("gates", arms()))
    with pytest.raises(ValueError, match="no row has design = 'main'"):
        words("gates", larger)


def test_arms_need_their_rival() -> None:
    with pytest.raises(ValueError, match="no row has arm = 'constant gate'"):
        words("gates", arms().query("arm != 'constant gate'"))
    with pytest.raises(ValueError, match="no column 'arm'"):
        words("gates", arms().drop(columns="arm"))


def test_optimisers_are_compared_at_one_width(text: pd.DataFrame) -> None:
    changed = text.assign(silent=text["silent"].where(text["d_model"] == 64, 0.77))
    text_of = words("optimisers", changed)
    assert "models of width 64" in text_of
    lines = told(text_of)
    assert lines[0] == "whole, adamw, silent: 0.000 untrained, at most 0.050 at step 40, 0.050 in the end"
    assert lines[1] == "whole, adamw, active: 0.510 untrained, at most 0.510 at step 0, 0.210 in the end"
    assert lines[2] == "whole, sgd, silent: 0.000 untrained, at most 0.025 at step 40, 0.025 in the end"


# ---- all of them -----------------------------------------------------------------------------------------------------


@every
@pytest.mark.filterwarnings("error")
def test_one_seed_has_no_interval_and_one_regime_is_enough(name: str, rows: pd.DataFrame) -> None:
    alone = rows[(rows["seed"] == 0) & (rows["regime"] != "finite")]
    found = words(name, alone)
    assert not re.search(r"\([-+\d.]+ to ", found)
    assert "nan" not in found
    assert "finite" not in found


@every
@pytest.mark.filterwarnings("error")
def test_a_picture_of_two_seeds_is_no_wider_than_a_page(name: str, rows: pd.DataFrame) -> None:
    picture = FIGURES[name](rows[rows["seed"] < 2])
    (width,) = re.findall(r'<svg[^>]* width="([\d.]+)pt"', picture.svg)
    assert float(width) <= 72 * (WIDTH + 0.13)
    assert "nan" not in picture.alt


@every
def test_without_rows_there_is_no_figure(name: str, rows: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"no row has (kind|design) = .*; there are"):
        words(name, rows.iloc[:0])
    with pytest.raises(ValueError, match="no column 'kind'"):
        words(name, pd.DataFrame())


@pytest.mark.parametrize("broken", [np.inf, np.nan])
def test_what_is_not_finite_is_left_out(broken: float, source: pd.DataFrame) -> None:
    """Of the models that have two seeds left, the means are told."""
    column = ["entropy", "kl", "overconfidence", "forced"]
    lost = source.copy()
    lost.loc[lost["seed"] == 2, column] = broken
    kept = source[source["seed"] < 2]
    assert words("below_source", lost) == words("below_source", kept)
    assert words("decomposition", lost) == words("decomposition", kept)
