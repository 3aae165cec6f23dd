"""Verdicts on claims: rows and the rule that was written before them (`book/claims.yml`, see `registry`).

A rule is one contrast, compared with the smallest effect of interest. Its sign is chosen so that the claim predicts an
effect above zero. `supported`: the whole interval lies above the smallest effect of interest. `refuted`: the whole
interval lies below it. `inconclusive`: neither, or fewer than five seeds. A rule may name a second condition before
the run: where the claim fails in the primary one and holds in the second, or the reverse, the verdict is `depends`.
A claim without a rule, or without rows, is `untested`.

`refuted` may mean three things, which `Verdict.finding` tells apart: no effect, shown by equivalence (TOST) to lie
within ± the smallest of interest, and not shown to differ from zero; the opposite effect; or one that is not as large
as it would have to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from entropylens.results.registry import SOURCES, Claim, Rule, find_registry, load_claims
from entropylens.results.statistics import Interval, equivalence, mean_interval, paired_values, success_rate

__all__ = [
    "ENOUGH_SEEDS", "FEWEST_SEEDS", "SOURCES", "VERDICTS", "Claim", "Rule", "Verdict", "combine", "decide",
    "find_registry", "in_words", "judge", "judge_absence", "load_claims",
]  # fmt: skip

FEWEST_SEEDS = 5
"""Fewer are at most inconclusive."""
ENOUGH_SEEDS = 10
"""What the full profile has; from five on a verdict is allowed where a page gives the cost as the reason."""
JUDGED = ("final", "main")
"""Columns that mark what a rule is about, where rows have them: the end of training, and no earlier snapshot; the main
design, and none of the variations around it, such as other targets or norms, which are exploratory."""
VERDICTS = ("supported", "refuted", "depends", "inconclusive", "untested")


@dataclass(frozen=True)
class Verdict:
    """What the rows say."""

    verdict: str
    condition: str
    """For `depends`: on what."""
    effect: Interval
    second: Interval | None
    finding: str = ""
    """Of a refutation: "no effect", "the opposite", "too small an effect"; "an effect" where none was claimed."""
    p_absence: float | None = None
    """p of "the effect lies within ± the smallest of interest" (TOST), in the primary condition; None for a rate."""
    stale: bool = False
    """The rows were made by code that has changed since."""
    rule_changed: bool = False
    """The rows carry the hash of another rule than the one that was applied: it was changed after the run."""


def judge(effect: Interval, smallest: float) -> str:
    """The verdict of one interval, for a claim that predicts a positive effect."""
    if effect.n < FEWEST_SEEDS:
        return "inconclusive"
    return "supported" if effect.low > smallest else "refuted" if effect.high < smallest else "inconclusive"


def judge_absence(effect: Interval, p_absence: float, smallest: float) -> str:
    """The verdict for a claim that predicts no effect: equivalence at 0.05, or an interval beyond ±smallest."""
    if effect.n < FEWEST_SEEDS:
        return "inconclusive"
    if p_absence < 0.05:
        return "supported"
    return "refuted" if effect.low > smallest or effect.high < -smallest else "inconclusive"


def combine(primary: str, second: str) -> str:
    """The verdict of two conditions: the primary one's, unless they contradict each other."""
    return "depends" if {primary, second} == {"supported", "refuted"} else primary


def decide(claim: Claim, rows: pd.DataFrame, *, rule_hash: str | None = None, stale: bool = False) -> Verdict:
    """Apply a claim's rule to rows: the one way to a verdict.

    Args:
        claim: with a rule.
        rows: one a seed and condition, once those that a column of `JUDGED` excludes are left out.
        rule_hash: the hash that was stored with the rows; None if they were made just now.
        stale: the rows were made by code that has changed since.

    Raises:
        ValueError: the claim has no rule, or the rows are not what the rule asks for.
    """
    if claim.rule is None:
        raise ValueError(f"{claim.id} has no rule: it is untested")
    rule = claim.rule
    rows = _judged(rows)
    effect, p_absence, verdict = _apply(rule, rows, rule.primary)
    condition, second = "", None
    if rule.second is not None:
        second, _, other = _apply(rule, rows, rule.second)
        holds, fails = (rule.primary, rule.second) if verdict == "supported" else (rule.second, rule.primary)
        verdict = combine(verdict, other)
        condition = f"holds with {in_words(holds)}, not with {in_words(fails)}" if verdict == "depends" else ""
    finding = _finding(rule, effect, p_absence) if verdict == "refuted" else ""
    changed = rule_hash is not None and rule_hash != rule.hash
    return Verdict(verdict, condition, effect, second, finding, p_absence, stale, changed)


def _judged(rows: pd.DataFrame) -> pd.DataFrame:
    for column in JUDGED:
        if column in rows:
            if not rows[column].isin([True, False]).all():
                raise ValueError(f"column {column!r} holds something else than True and False")
            rows = rows[rows[column].astype(bool)]
    return rows


def _apply(rule: Rule, rows: pd.DataFrame, condition: Mapping[str, object]) -> tuple[Interval, float | None, str]:
    """Effect, p of its absence, and verdict in one condition."""
    versus = None if rule.versus is None else {**rule.versus, **condition}
    values = paired_values(rows, rule.metric, {**rule.arm, **condition}, versus)
    if rule.test == "rate":
        r = success_rate(values)
        effect = Interval(r.rate, r.low, r.high, math.nan, math.nan, r.n)
        return effect, None, judge(effect, rule.smallest_effect)
    effect, p = mean_interval(values), equivalence(values, rule.smallest_effect)
    if rule.test == "absence":
        return effect, p, judge_absence(effect, p, rule.smallest_effect)
    return effect, p, judge(effect, rule.smallest_effect)


def _finding(rule: Rule, effect: Interval, p_absence: float | None) -> str:
    if rule.test == "absence":
        return "an effect"
    if p_absence is not None and p_absence < 0.05 and effect.low <= 0 <= effect.high:
        return "no effect"
    return "the opposite" if rule.test == "mean" and effect.high < -rule.smallest_effect else "too small an effect"


def in_words(condition: Mapping[str, object]) -> str:
    """A condition as a reader sees it: "regime = fresh, d_model = 64"."""
    return ", ".join(f"{name} = {value}" for name, value in condition.items())
