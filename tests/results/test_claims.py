"""The registry, and verdicts on rows whose truth is planted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entropylens.results.claims import Claim, Rule, decide, find_registry
from entropylens.results.ledger import Entry
from entropylens.show.claims import claim_box, entry_box, verdict_box

REGISTRY = Path(__file__).parents[2] / "book" / "claims.yml"


def claim(**rule: object) -> Claim:
    basis = {"metric": "x", "unit": "nats", "smallest_effect": 0.1, "arm": {"d": 64}, "primary": {"regime": "fresh"}}
    made = Rule(**{**basis, **rule})  # type: ignore[arg-type]
    return Claim("T-1", "nobody", "Big is <more>.", "More is big.", "P", "none", ["luck"], "how big", "fake", made)


def rows(fresh: float, finite: float = 0.0, n: int = 8, noise: float = 0.02, small: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        [
            {"seed": s, "d": d, "regime": r, "x": (m if d == 64 else small) + rng.normal(0, noise)}
            for s in range(n)
            for d in (8, 64)
            for r, m in (("fresh", fresh), ("finite", finite))
        ]
    )


@pytest.mark.parametrize(
    ("effect", "n", "noise", "verdict"),
    [
        (0.5, 8, 0.02, "supported"),
        (0.0, 8, 0.02, "refuted"),
        (-0.5, 8, 0.02, "refuted"),
        (0.05, 8, 0.01, "refuted"),  # above zero for sure, and too small to matter
        (0.1, 8, 0.5, "inconclusive"),
        (0.5, 4, 0.02, "inconclusive"),  # four seeds decide nothing
        (0.0, 4, 0.001, "inconclusive"),
    ],
)
def test_planted_effects_get_their_verdict(effect: float, n: int, noise: float, verdict: str) -> None:
    assert decide(claim(), rows(effect, n=n, noise=noise)).verdict == verdict


def test_a_difference_between_arms_is_paired() -> None:
    got = decide(claim(versus={"d": 8}), rows(0.5, small=0.45))
    assert got.verdict == "refuted"
    assert got.effect.mean == pytest.approx(0.05, abs=0.03)


def test_a_claim_that_holds_in_one_condition_only_depends() -> None:
    got = decide(claim(second={"regime": "finite"}), rows(0.0, finite=0.5))
    assert (got.verdict, got.condition) == ("depends", "holds with regime = finite, not with regime = fresh")
    got = decide(claim(second={"regime": "finite"}), rows(0.5, finite=0.0))
    assert got.condition == "holds with regime = fresh, not with regime = finite"
    assert decide(claim(second={"regime": "finite"}), rows(0.5, finite=0.5)).verdict == "supported"


@pytest.mark.parametrize(
    ("effect", "found"), [(0.0, "no effect"), (-0.05, "too small an effect"), (-0.5, "the opposite"), (0.5, "")]
)
def test_a_refutation_says_what_it_found(effect: float, found: str) -> None:
    assert decide(claim(), rows(effect)).finding == found


def test_too_small_an_effect_is_neither_none_nor_the_opposite() -> None:
    """A mean below −0.1 whose interval reaches above: not shown to lie within the band, nor to be the opposite."""
    assert decide(claim(), rows(-0.1, noise=0.1)).finding == "too small an effect"


@pytest.mark.parametrize(
    ("effect", "n", "noise", "verdict"),
    [
        (0.0, 8, 0.02, "supported"),
        (0.5, 8, 0.02, "refuted"),
        (-0.5, 8, 0.02, "refuted"),
        (0.0, 8, 0.5, "inconclusive"),  # nothing found is not the same as nothing there
        (0.0, 4, 0.001, "inconclusive"),
    ],
)
def test_a_claim_of_no_effect_is_supported_by_equivalence_only(
    effect: float, n: int, noise: float, verdict: str
) -> None:
    assert decide(claim(test="absence"), rows(effect, n=n, noise=noise)).verdict == verdict


@pytest.mark.parametrize(("successes", "verdict"), [(10, "supported"), (7, "inconclusive"), (1, "refuted")])
def test_a_rate_is_judged_by_its_exact_interval(successes: int, verdict: str) -> None:
    table = pd.DataFrame([{"seed": s, "d": 64, "regime": "fresh", "x": s < successes} for s in range(10)])
    got = decide(claim(test="rate", smallest_effect=0.5), table)
    assert (got.verdict, got.effect.mean, got.p_absence) == (verdict, successes / 10, None)
    assert "bootstrap" not in verdict_box(claim(test="rate", smallest_effect=0.5), got, "full").data


@pytest.mark.parametrize("column", ["final", "main"])
def test_earlier_snapshots_and_variations_of_the_design_are_not_judged(column: str) -> None:
    others = rows(-3.0).assign(**{column: False})
    got = decide(claim(), pd.concat([rows(0.5).assign(**{column: True}), others]))
    assert got == decide(claim(), rows(0.5))


def test_rows_that_a_rule_does_not_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than one row a seed with .*'regime': 'fresh'.*: add conditions"):
        decide(claim(), pd.concat([rows(0.5), rows(0.4)]))


def test_old_code_and_a_changed_rule_are_told() -> None:
    made, table = claim(), rows(0.5)
    fresh = decide(made, table, rule_hash=made.rule.hash)  # type: ignore[union-attr]
    assert (fresh.stale, fresh.rule_changed) == (False, False)
    old = decide(made, table, rule_hash="another", stale=True)
    assert (old.verdict, old.stale, old.rule_changed) == ("supported", True, True)
    page = verdict_box(made, old, "full").data
    assert "stale" in page
    assert "the rule was changed after the run" in page


def test_without_a_rule_there_is_no_verdict() -> None:
    untested = dataclasses.replace(claim(), rule=None)
    with pytest.raises(ValueError, match="T-1 has no rule"):
        decide(untested, rows(0.5))
    assert "No rule has been written yet" in claim_box(untested).data
    assert "untested" in entry_box(Entry(untested)).data


def test_the_registry_is_found_from_below(tmp_path: Path) -> None:
    assert find_registry(REGISTRY.parents[1] / "notebooks") == REGISTRY
    with pytest.raises(FileNotFoundError, match=r"claims\.yml"):
        find_registry(tmp_path)


def test_boxes_show_numbers_rule_and_escaped_text() -> None:
    c = claim(second={"regime": "finite"})
    verdict = decide(c, rows(0.0, finite=0.5))
    page = claim_box(c).data + verdict_box(c, verdict, "full").data
    assert "Big is &lt;more&gt;." in page
    assert page.count(c.rule.hash) == 2
    assert f"{verdict.effect.mean:+.3f} nats" in page
    assert "◐ depends" in page
    assert "Fewer than 5 seeds" in verdict_box(c, decide(c, rows(0.5, n=3)), "quick").data
    assert "5 seeds: allowed only where" not in page
    assert "Fewer than 10 seeds" in page
