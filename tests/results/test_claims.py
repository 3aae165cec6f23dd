"""The registry, and verdicts on rows whose truth is planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from entropylens.results.claims import Claim, Rule, decide, judge, load_claims
from entropylens.results.statistics import Interval, mean_interval
from entropylens.show.claims import claim_box, verdict_box

REGISTRY = Path(__file__).parents[2] / "book" / "claims.yml"


def claim(**rule: object) -> Claim:
    basis = {"metric": "x", "unit": "nats", "smallest_effect": 0.1, "arm": {"d": 64}, "primary": {"regime": "fresh"}}
    return Claim("T-1", "nobody", "Big is <more>.", "none", "test", "how big", ["luck"], Rule(**{**basis, **rule}))  # type: ignore[arg-type]


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


def test_no_effect_is_rarely_called_supported() -> None:
    """An effect exactly at the smallest one of interest is the hardest null: 2.5 % by construction."""
    rng = np.random.default_rng(2)
    verdicts = [judge(mean_interval_fast(rng.normal(0.1, 1.0, 5)), 0.1) for _ in range(2000)]
    assert verdicts.count("supported") / 2000 < 0.04


def mean_interval_fast(x: np.ndarray) -> Interval:
    """`mean_interval` without 9999 resamples, which do not decide."""
    t = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    return Interval(x.mean(), t.low, t.high, t.low, t.high, len(x))


def test_the_fast_interval_of_this_test_is_the_real_one() -> None:
    x = np.array([0.1, 0.4, 0.2, 0.7, -0.3])
    real, fast = mean_interval(x), mean_interval_fast(x)
    np.testing.assert_allclose([real.low, real.high], [fast.low, fast.high])


def test_the_registry_is_sound() -> None:
    claims = load_claims(REGISTRY)
    assert {"LE-1a", "LE-1b"} <= set(claims)
    notebooks = {p.stem for p in (REGISTRY.parents[1] / "notebooks").glob("*.ipynb")}
    for entry in claims.values():
        assert entry.chapter in notebooks
        assert entry.confounds
        assert entry.rule.smallest_effect > 0


def test_a_rule_has_a_hash_that_notices_any_change() -> None:
    basis = claim().rule.hash
    assert claim().rule.hash == basis
    changed = [claim(smallest_effect=0.2), claim(metric="y"), claim(arm={"d": 32}), claim(second={"regime": "finite"})]
    assert len({basis, *(c.rule.hash for c in changed)}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": {"metrik": "x"}}, "T-1: unknown metrik; a rule has .*metric"),
        ({"rule": {"metric": "x"}}, "T-1: .*missing.*'unit'"),
        ({"chapterr": "x"}, "T-1: unknown chapterr"),
    ],
)
def test_a_damaged_registry_is_refused_by_name(tmp_path: Path, change: dict[str, object], message: str) -> None:
    entry = yaml.safe_load(REGISTRY.read_text(encoding="utf8"))[0] | {"id": "T-1"} | change
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump([entry]), encoding="utf8")
    with pytest.raises(ValueError, match=message):
        load_claims(path)


def test_an_id_may_not_be_given_twice(tmp_path: Path) -> None:
    entry = yaml.safe_load(REGISTRY.read_text(encoding="utf8"))[0]
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump([entry, entry]), encoding="utf8")
    with pytest.raises(ValueError, match="LE-1a is there twice"):
        load_claims(path)


def test_boxes_show_numbers_rule_and_escaped_text() -> None:
    c = claim(second={"regime": "finite"})
    verdict = decide(c, rows(0.0, finite=0.5))
    page = claim_box(c).data + verdict_box(c, verdict, "full").data
    assert "Big is &lt;more&gt;." in page
    assert page.count(c.rule.hash) == 2
    assert f"{verdict.effect.mean:+.3f} nats" in page
    assert "◐ depends" in page
    assert "Fewer than 5 seeds" in verdict_box(c, decide(c, rows(0.5, n=3)), "quick").data
