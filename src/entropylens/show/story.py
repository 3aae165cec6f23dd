"""Words that must not outlive the ledger: findings as sentences, and a notice where prose was written for others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
from IPython.display import HTML

from entropylens.results.claims import VERDICTS, combine, in_words, judge
from entropylens.results.ledger import Entry
from entropylens.results.registry import Rule
from entropylens.results.statistics import Interval
from entropylens.show.claims import MARKS
from entropylens.show.figures import listing
from entropylens.show.ledger import chapter_link, who_says


def in_a_sentence(entry: Entry) -> str:
    """What was measured, and beside which size; a sentence without a full stop that suits any verdict."""
    return "; ".join(_parts(entry))


def _parts(entry: Entry) -> list[str]:
    verdict, rule = entry.verdict, entry.claim.rule
    if verdict is None or rule is None:
        return ["no rows are published yet, and so nothing is known"]
    told = [_effect(verdict.effect, rule, rule.primary)]
    if verdict.second is not None and rule.second is not None:
        told.append(_effect(verdict.second, rule, rule.second))
    if rule.test == "rate":
        return [*told, f"asked for: above {rule.smallest_effect:g} ({rule.unit})"]
    return [*told, f"would matter from {rule.smallest_effect:g} on ({rule.unit})"]


def _effect(effect: Interval, rule: Rule, condition: Mapping[str, object]) -> str:
    low, mean, high = (_number(value, rule) for value in (effect.low, effect.mean, effect.high))
    interval = "in every seed" if effect.low == effect.high else f"[{low}, {high}]"
    return f"{mean} {interval} with {in_words(condition)}"


def _number(value: float, rule: Rule) -> str:
    """Two digits of the smallest effect's size, and no minus in front of a zero."""
    digits = 1 - math.floor(math.log10(rule.smallest_effect))
    value = round(value, digits)
    signed = rule.test != "rate" and value != 0
    return (f"{value:+.{digits}f}" if signed else f"{abs(value):.{digits}f}").replace("-", "−")


def numbers(entries: Sequence[Entry]) -> dict[str, str]:
    """For `prose.tell`: of LE-q4 its verdict as `LE_q4`, and what was measured as `LE_q4_found`."""
    found: dict[str, str] = {}
    for entry in entries:
        name = entry.claim.id.replace("-", "_")
        found |= {name: entry.word, f"{name}_found": in_a_sentence(entry)}
    return found


def written_for(entries: Sequence[Entry], verdicts: Mapping[str, str]) -> HTML:
    """A notice: whether the ledger still has the verdicts that a page's prose was written for.

    Args:
        entries: of the ledger.
        verdicts: for each verdict the ids of the claims that had it, separated by spaces.

    Raises:
        ValueError: naming what is no verdict, or no claim.
    """
    now = {entry.claim.id: entry.word for entry in entries}
    then = {name: word for word, names in verdicts.items() for name in names.split()}
    if unknown := (set(verdicts) - set(VERDICTS)) | (set(then) - set(now)):
        choices = f"verdicts are {', '.join(VERDICTS)}, and claims {', '.join(now)}"
        raise ValueError(f"no verdict and no claim: {', '.join(sorted(unknown))}; {choices}")
    changed = [f"{name} was {word} and is {now[name]}" for name, word in then.items() if now[name] != word]
    if changed:
        told = f"The prose on this page was written for other verdicts: {escape(listing(changed))}. Trust the ledger."
        return _box("warning", "Older than the ledger", told)
    which = f"all {len(now)}" if len(then) == len(now) else f"the {len(then)} of {len(now)}"
    told = f"The prose on this page fits the verdicts of {which} claims that it was written for."
    return _box("tip", "As the ledger stands", told)


def _box(kind: str, title: str, body: str) -> HTML:
    title = f'<p class="admonition-title">{title}</p>'
    return HTML(f'<div class="admonition {kind}">{title}<p>{body}</p></div>')  # type: ignore[no-untyped-call]


def findings(entries: Sequence[Entry], ids: str, caption: str) -> HTML:
    """A table of claims with what was measured and the verdict, grouped as `ids`, separated by spaces, are.

    Raises:
        ValueError: naming an id that is not in the ledger.
    """
    known = {entry.claim.id: entry for entry in entries}
    if unknown := [name for name in ids.split() if name not in known]:
        raise ValueError(f"no claim {', '.join(unknown)}; there are {', '.join(known)}")
    heads = {"Claim": 30, "What we measured": 43, "Verdict": 27}  # and their widths in percent
    rows = "".join(_row(known[name], list(heads)) for name in ids.split())
    top = "".join(
        f'<th role="columnheader" scope="col" style="width: {width}%">{head}</th>' for head, width in heads.items()
    )
    return HTML(  # type: ignore[no-untyped-call]
        f'<table class="ledger" role="table"><caption>{escape(caption)}</caption><thead role="rowgroup">'
        f'<tr role="row">{top}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>'
    )


def _row(entry: Entry, heads: Sequence[str]) -> str:
    claim, verdict = entry.claim, entry.verdict
    notes = [verdict.condition, verdict.finding, *entry.warnings] if verdict else []
    told = "".join(f"<p>{escape(note)}</p>" for note in notes if note)
    cells = (
        f"<b>{escape(claim.id)}</b> {escape(claim.claim)} {who_says(claim.source)}",
        "".join(f"<p>{escape(part)}</p>" for part in _parts(entry)),
        f'<strong class="verdict">{MARKS[entry.word]} {entry.word}</strong>{told}{chapter_link(claim.chapter)}',
    )
    body = "".join(
        f'<td role="cell"><span class="head" aria-hidden="true">{head}</span><div>{cell}</div></td>'
        for head, cell in zip(heads, cells, strict=True)
    )
    return f'<tr role="row" class="{entry.word}">{body}</tr>'


def rescaled(entry: Entry, factor: float) -> str:
    """The verdict with another smallest effect, `factor` times the rule's; a rate's and an untested one's stay."""
    verdict, rule = entry.verdict, entry.claim.rule
    if verdict is None or rule is None or rule.test != "mean":
        return entry.word
    words = [judge(e, factor * rule.smallest_effect) for e in (verdict.effect, verdict.second) if e is not None]
    return combine(*words) if len(words) > 1 else words[0]


def seeds_to_decide(entry: Entry) -> int | None:
    """About how many seeds would decide an inconclusive mean, if it and the scatter over seeds stay what they are.

    An interval's half width goes with 1/√n, and has to shrink to the distance from the smallest effect of interest.
    None where there is nothing to decide, or the mean lies right on it.
    """
    verdict, rule = entry.verdict, entry.claim.rule
    if verdict is None or rule is None or entry.word != "inconclusive" or rule.test != "mean":
        return None
    e = verdict.effect
    distance = abs(e.mean - rule.smallest_effect)
    return math.ceil(e.n * ((e.high - e.low) / 2 / distance) ** 2) if distance else None


def leaning(entry: Entry) -> str:
    """What the condition that decides would say, were its mean known exactly: "supported" or "refuted".

    Raises:
        ValueError: of a claim without rows, or a rule that is not about a mean.
    """
    verdict, rule = entry.verdict, entry.claim.rule
    if verdict is None or rule is None or rule.test != "mean":
        raise ValueError(f"{entry.claim.id} has no mean to lean by")
    return "supported" if verdict.effect.mean > rule.smallest_effect else "refuted"


def turned(entries: Sequence[Entry], factor: float) -> list[str]:
    """Ids of the claims whose verdict would be another one with `factor` times the smallest effect."""
    return [entry.claim.id for entry in entries if rescaled(entry, factor) != entry.word]


def sensitivity(entries: Sequence[Entry], factors: Sequence[float]) -> pd.DataFrame:
    """How many verdicts of each kind there would be, and how many turn: a column a multiple of the smallest effects.

    Upright, so that it fits on a phone.
    """
    table = {}
    for factor in factors:
        words = [rescaled(entry, factor) for entry in entries]
        counts = {word: words.count(word) for word in VERDICTS if word != "untested"}
        table[f"×\u00a0{factor:g}"] = counts | {"turned": len(turned(entries, factor))}
    return pd.DataFrame(table)
