"""The figures of chapter 15: they draw what the ledger and rows say, and say it in words, too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from entropylens.results.claims import Verdict, load_claims
from entropylens.results.ledger import Entry
from entropylens.results.registry import Claim, Rule
from entropylens.results.statistics import Interval
from entropylens.show import figures_ledger as draw

PAPERS = {"one": "Paper 1", "two": "Paper 2"}
Maker = Callable[..., Entry]


@pytest.fixture
def made() -> Maker:
    """A planted entry: low, mean and high of an effect and of a second one, with a smallest effect of 0.1."""

    def make(name: str, word: str, effect: tuple[float, ...], second: tuple[float, ...] = (), test: str = "mean",
             paper: str = "one") -> Entry:  # fmt: skip
        rule = Rule("m", "nats", 0.1, {}, {"data": "fresh"}, second={"data": "sample"} if second else None, test=test)
        claim = Claim(name, paper, "It is so.", "So.", "P", None, ["c"], "q", "e", rule)
        first, other = (Interval(x[1], x[0], x[2], x[0], x[2], 10) if x else None for x in (effect, second))
        return Entry(claim, Verdict(word, "", first, other), "full") if first else Entry(claim)

    return make


def test_effects_are_told_in_smallest_effects_by_paper_and_verdict(made: Maker) -> None:
    entries = [
        made("X-1", "refuted", (-0.3, -0.2, -0.1)),
        made("X-2", "supported", (0.2, 0.3, 0.4), second=(0.1, 0.2, 0.3)),
        made("X-3", "inconclusive", (0.05, 0.15, 0.25), paper="two"),
    ]
    alt = draw.at_a_glance(entries, PAPERS).alt
    assert "Paper 1. supported: X-2 +3.0 (+2.0 to +4.0), second condition +2.0 (+1.0 to +3.0);" in alt
    assert "refuted: X-1 -2.0 (-3.0 to -1.0). Paper 2. inconclusive: X-3 +1.5 (+0.5 to +2.5)." in alt


def test_rates_and_untested_claims_are_written_and_not_divided(made: Maker) -> None:
    entries = [made("X-1", "supported", (0.69, 1.0, 1.0), second=(0.0, 0.0, 0.31), test="rate"), made("X-2", "", ())]
    alt = draw.at_a_glance(entries, {"one": "Paper 1"}).alt
    assert "X-1 share 1.00 [0.69, 1.00]; second 0.00 [0.00, 0.31]; asked: 0.1" in alt
    assert "untested: X-2 no published rows yet" in alt
    assert "10.0" not in alt


def test_every_claim_of_the_registry_has_a_short_name_that_fits() -> None:
    assert set(draw.BRIEFLY) == set(load_claims())
    assert max(map(len, draw.BRIEFLY.values())) <= 22


def test_conditions_tell_means_with_intervals_and_show_ticks() -> None:
    values = np.array([0.1, 0.2, 0.3])
    plain = draw.conditions({"fresh": values, "sample": -values}, "bias (nats)", 0.0)
    ticked = draw.conditions({"fresh": values, "sample": -values}, "bias (nats)", 0.0, {"sample": -0.2})
    assert "fresh +0.200 (-0.048 to +0.448); sample -0.200 (-0.448 to +0.048)." in plain.alt
    assert ticked.svg != plain.svg


def test_one_seed_is_no_interval() -> None:
    with pytest.raises(ValueError, match="two or more"):
        draw.conditions({"fresh": [0.1]}, "bias (nats)", 0.0)
