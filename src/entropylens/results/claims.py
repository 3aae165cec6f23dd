"""The registry of claims, `book/claims.yml`, and verdicts computed from rows by the rule that is written there.

A rule is one contrast, compared with the smallest effect of interest. Its sign is chosen so that the claim predicts an
effect above zero. `supported`: the whole interval lies above the smallest effect of interest. `refuted`: the whole
interval lies below it. `inconclusive`: neither, or fewer than five seeds. A rule may name a second condition before
the run: where the claim fails in the primary one and holds in the second, or the reverse, the verdict is `depends`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from entropylens.results.statistics import Interval, paired_contrast

FEWEST_SEEDS = 5


@dataclass(frozen=True)
class Rule:
    """How rows become a verdict; everything here is fixed before the run."""

    metric: str
    """A column, oriented so that the claim predicts a positive contrast."""
    unit: str
    smallest_effect: float
    arm: Mapping[str, object]
    """Which rows."""
    primary: Mapping[str, object]
    """The condition that decides."""
    versus: Mapping[str, object] | None = None
    """What the arm is compared with, seed by seed; None compares with zero."""
    second: Mapping[str, object] | None = None
    """A condition named beforehand in which the claim may fare differently."""

    @property
    def hash(self) -> str:
        """Changes when anything in the rule does."""
        content = json.dumps({f.name: getattr(self, f.name) for f in fields(self)}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Claim:
    """One entry of the registry."""

    id: str
    paper: str
    claim: str
    chapter: str
    source: str
    quantity: str
    """The rule's metric in words."""
    confounds: list[str]
    rule: Rule


@dataclass(frozen=True)
class Verdict:
    """What the rows say."""

    verdict: str
    condition: str
    effect: Interval
    second: Interval | None


def load_claims(path: Path | None = None) -> dict[str, Claim]:
    """Read the registry, by default `book/claims.yml` of the project that the working folder lies in.

    Raises:
        FileNotFoundError: if there is no such project.
        ValueError: naming the entry and the field that is missing, unknown or given twice.
    """
    path = path or _registry(Path.cwd())
    claims: dict[str, Claim] = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf8")):
        name = entry.get("id", "an entry without id")
        claim = _build(Claim, {**entry, "rule": _build(Rule, entry.get("rule", {}), name)}, name)
        if claim.id in claims:
            raise ValueError(f"{path.name}: {name} is there twice")
        claims[claim.id] = claim
    return claims


def _registry(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / "book" / "claims.yml").exists():
            return folder / "book" / "claims.yml"
    raise FileNotFoundError(f"no book/claims.yml in {start} or above it")


def _build(kind: Any, entry: Mapping[str, Any], name: str) -> Any:
    known = {f.name for f in fields(kind)}
    if unknown := set(entry) - known:
        names, choices = ", ".join(sorted(unknown)), ", ".join(sorted(known))
        raise ValueError(f"{name}: unknown {names}; a {kind.__name__.lower()} has {choices}")
    try:
        return kind(**entry)
    except TypeError as error:
        raise ValueError(f"{name}: {str(error).split('() ')[-1]}") from None


def judge(effect: Interval, smallest: float) -> str:
    """The verdict of one interval, for a claim that predicts a positive effect."""
    if effect.n < FEWEST_SEEDS:
        return "inconclusive"
    return "supported" if effect.low > smallest else "refuted" if effect.high < smallest else "inconclusive"


def decide(claim: Claim, rows: pd.DataFrame) -> Verdict:
    """Apply a claim's rule to rows (one a seed and condition)."""
    rule = claim.rule

    def contrast(condition: Mapping[str, object]) -> Interval:
        versus = None if rule.versus is None else {**rule.versus, **condition}
        return paired_contrast(rows, rule.metric, {**rule.arm, **condition}, versus)

    primary = contrast(rule.primary)
    verdict = judge(primary, rule.smallest_effect)
    if rule.second is None:
        return Verdict(verdict, "", primary, None)
    second = contrast(rule.second)
    other = judge(second, rule.smallest_effect)
    if {verdict, other} == {"supported", "refuted"}:
        holds, fails = (rule.primary, rule.second) if verdict == "supported" else (rule.second, rule.primary)
        return Verdict("depends", f"holds with {_words(holds)}, not with {_words(fails)}", primary, second)
    return Verdict(verdict, "", primary, second)


def _words(condition: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in condition.items())
