"""Every claim of the registry with what the published rows say about it: the one source of all that shows verdicts."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entropylens.results.claims import VERDICTS, Claim, Verdict, decide, find_registry, in_words, load_claims
from entropylens.results.reference import Reference, load_reference

Loader = Callable[[Path, str], Reference | None]

_COLUMNS = ("id", "verdict", "effect", "95 % interval", "unit", "seeds", "profile", "chapter", "")


@dataclass(frozen=True)
class Entry:
    """A claim, and its verdict if there are rows."""

    claim: Claim
    verdict: Verdict | None = None
    profile: str | None = None

    @property
    def word(self) -> str:
        """The verdict in one word, one of `VERDICTS`."""
        return self.verdict.verdict if self.verdict else "untested"

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before trusting the verdict."""
        if self.verdict is None:
            return []
        stale = "stale: the code has changed since the rows were made" if self.verdict.stale else ""
        changed = "the rule was changed after the run" if self.verdict.rule_changed else ""
        return [warning for warning in (stale, changed) if warning]

    def as_dict(self) -> dict[str, Any]:
        """What `entropylens claims --json` prints; numbers and flags are None for an untested claim."""
        claim, verdict, rule = self.claim, self.verdict, self.claim.rule
        effect = verdict.effect if verdict else None
        return {
            "id": claim.id,
            "paper": claim.paper,
            "claim": claim.claim,
            "says": claim.says,
            "source": claim.source,
            "chapter": claim.chapter,
            "verdict": self.word,
            "condition": (verdict.condition or None) if verdict else None,
            "finding": (verdict.finding or None) if verdict else None,
            "primary": in_words(rule.primary) if rule else None,
            "n_seeds": effect.n if effect else None,
            "effect": effect.mean if effect else None,
            "unit": rule.unit if rule else None,
            "ci_low": effect.low if effect else None,
            "ci_high": effect.high if effect else None,
            "smallest_effect": rule.smallest_effect if rule else None,
            "profile": self.profile,
            "stale": verdict.stale if verdict else None,
            "rule": rule.hash if rule else None,
            "rule_changed": verdict.rule_changed if verdict else None,
        }


def ledger(root: Path | None = None, load: Loader = load_reference) -> list[Entry]:
    """Every claim in the order of the registry, decided wherever it has a rule and published rows.

    Args:
        root: the folder that holds `book/claims.yml` and `results/`; None for that of the working folder's project.
        load: where an experiment's published rows come from.

    Raises:
        ValueError: the registry or a file of results is damaged, or rows do not hold what a rule asks for; the message
            names the claim or the file.
    """
    root = root or find_registry().parents[1]
    once = functools.cache(functools.partial(load, root))
    return [_entry(claim, once) for claim in load_claims(root / "book" / "claims.yml").values()]


def _entry(claim: Claim, load: Callable[[str], Reference | None]) -> Entry:
    reference = load(claim.experiment) if claim.rule and claim.experiment else None
    if reference is None:
        return Entry(claim)
    stored = reference.rule_hashes.get(claim.id, "none")  # rows from before the rule are rows of another rule
    try:
        verdict = decide(claim, reference.rows, rule_hash=stored, stale=reference.stale)
    except ValueError as error:
        raise ValueError(f"{claim.id}, rows of {claim.experiment}: {error}") from error
    return Entry(claim, verdict, reference.profile)


def tally(entries: Iterable[Entry]) -> dict[str, int]:
    """How many claims have which verdict, in the order of `VERDICTS`; those that none has are left out."""
    counts = Counter(entry.word for entry in entries)
    return {word: counts[word] for word in VERDICTS if counts[word]}


def as_text(entries: Iterable[Entry]) -> str:
    """A table for a terminal: one line a claim, with what its verdict depends on, and warnings, at the end."""
    table = [_COLUMNS, *(_cells(entry) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join(lines)


def _cells(entry: Entry) -> tuple[str, ...]:
    verdict, rule = entry.verdict, entry.claim.rule
    if verdict is None or rule is None:
        return (entry.claim.id, entry.word, "", "", "", "", "", entry.claim.chapter or "", "")
    e = verdict.effect
    notes = "; ".join([note for note in (verdict.condition, verdict.finding) if note] + entry.warnings)
    interval = f"[{e.low:+.3g}, {e.high:+.3g}]"
    return (
        entry.claim.id, entry.word, f"{e.mean:+.3g}", interval, rule.unit, str(e.n), entry.profile or "",
        entry.claim.chapter or "", notes,
    )  # fmt: skip
