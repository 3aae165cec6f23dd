"""Words of the last chapter: they follow the ledger, and say so where typed ones do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropylens.results.claims import Verdict, judge
from entropylens.results.ledger import Entry
from entropylens.results.registry import Claim, Rule
from entropylens.results.statistics import Interval, mean_interval
from entropylens.show import story

RULE = Rule("m", "nats", 0.02, {}, {"data": "fresh"}, second={"data": "sample"})
CLAIM = Claim("X-1", "p", "It is <so>.", "So.", "P", "03_low_entropy_bias", ["c"], "q", "e", RULE)


def interval(low: float, high: float, n: int = 10) -> Interval:
    return Interval((low + high) / 2, low, high, low, high, n)


def entry(word: str, effect: Interval, second: Interval | None = None, **rule: object) -> Entry:
    changed = replace(CLAIM, rule=replace(RULE, **rule))  # type: ignore[arg-type]
    return Entry(changed, Verdict(word, "", effect, second), "full")


def test_a_sentence_tells_both_conditions_and_what_would_matter() -> None:
    found = story.in_a_sentence(entry("depends", interval(-0.0301, -0.01), interval(0.1, 0.2)))
    assert found == (
        "−0.020 [−0.030, −0.010] with data = fresh; +0.150 [+0.100, +0.200] with data = sample; "
        "would matter from 0.02 on (nats)"
    )


def test_a_rate_has_no_sign_a_zero_no_minus_and_no_scatter_no_interval() -> None:
    rate = story.in_a_sentence(entry("refuted", interval(0.0, 0.31), test="rate", smallest_effect=0.5, second=None))
    assert rate == "0.15 [0.00, 0.31] with data = fresh; asked for: above 0.5 (nats)"
    assert story.in_a_sentence(entry("refuted", interval(-1e-5, -1e-5))).startswith("0.000 in every seed with")


def test_an_untested_claim_has_words_too() -> None:
    told = story.numbers([Entry(CLAIM)])
    assert told == {"X_1": "untested", "X_1_found": "no rows are published yet, and so nothing is known"}


def test_prose_that_fits_is_called_so_and_other_prose_is_warned_of() -> None:
    entries = [entry("supported", interval(0.1, 0.2))]
    fits = story.written_for(entries, {"supported": "X-1"}).data
    assert "admonition tip" in fits
    assert "of all 1 claims" in fits
    assert "of the 0 of 1 claims" in story.written_for(entries, {}).data
    changed = story.written_for(entries, {"refuted": "X-1"}).data
    assert "admonition warning" in changed
    assert "written for other verdicts: X-1 was refuted and is supported" in changed


@pytest.mark.parametrize(("verdicts", "wrong"), [({"refuted": "X-2"}, "X-2"), ({"confirmed": "X-1"}, "confirmed")])
def test_what_is_no_claim_or_no_verdict_is_named(verdicts: dict[str, str], wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"no verdict and no claim: {wrong}; verdicts are supported, .* claims X-1"):
        story.written_for([Entry(CLAIM)], verdicts)


def test_findings_are_a_table_with_links_and_escaped_words() -> None:
    table = story.findings([entry("supported", interval(0.1, 0.2))], "X-1", "Claims").data
    assert '<b>X-1</b> It is &lt;so&gt;. <abbr title="as the paper has it">[P]</abbr>' in table
    assert '<a href="03_low_entropy_bias.ipynb">chapter 3</a>' in table
    assert "✓ supported" in table
    with pytest.raises(ValueError, match="no claim X-2; there are X-1"):
        story.findings([Entry(CLAIM)], "X-1 X-2", "Claims")


@given(st.floats(-1, 1), st.floats(0.001, 1), st.floats(0.1, 10))
def test_another_smallest_effect_is_judged_as_a_rule_with_it_would(low: float, width: float, factor: float) -> None:
    effect = interval(low, low + width)
    assert story.rescaled(entry("", effect), factor) == judge(effect, factor * 0.02)


def test_rescaling_combines_conditions_and_leaves_rates_alone() -> None:
    one = entry("supported", interval(0.1, 0.2), interval(0.05, 0.06))
    assert story.rescaled(one, 1) == "supported"
    assert story.rescaled(one, 4) == "depends"
    assert story.rescaled(entry("supported", interval(0.7, 1), test="rate"), 100) == "supported"
    assert story.rescaled(Entry(CLAIM), 2) == "untested"
    assert [story.turned([one], factor) for factor in (1, 4)] == [[], ["X-1"]]
    table = story.sensitivity([one], (1, 4))
    assert table.iloc[:, 1][["supported", "depends", "turned"]].to_numpy().tolist() == [0, 1, 1]


def test_so_many_seeds_shrink_the_interval_to_the_distance() -> None:
    """Planted: the same scatter with as many seeds as were said to be needed is decided, with half as many is not."""
    noise = np.tile([-1.0, 1.0], 500)
    few = mean_interval(0.05 + 0.05 * noise[:10])
    needed = story.seeds_to_decide(entry("inconclusive", few))
    assert needed is not None
    assert judge(mean_interval(0.05 + 0.05 * noise[: needed + needed % 2]), 0.02) == "supported"
    half = 2 * (needed // 4)
    assert judge(mean_interval(0.05 + 0.05 * noise[:half]), 0.02) == "inconclusive"


def test_what_is_decided_needs_no_seeds() -> None:
    assert story.seeds_to_decide(entry("supported", interval(0.1, 0.2))) is None
    assert story.seeds_to_decide(Entry(CLAIM)) is None
    assert story.seeds_to_decide(entry("inconclusive", interval(0.0, 0.04))) is None


def test_an_open_claim_leans_to_the_side_of_its_mean() -> None:
    assert story.leaning(entry("inconclusive", interval(0.0, 0.05))) == "supported"
    assert story.leaning(entry("inconclusive", interval(-0.01, 0.03))) == "refuted"
    with pytest.raises(ValueError, match="X-1 has no mean to lean by"):
        story.leaning(entry("inconclusive", interval(0.4, 0.6), test="rate"))
