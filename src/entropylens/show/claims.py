"""A claim before its experiment, and the verdict after it, as boxes on the page, from the registry and rows."""

from __future__ import annotations

import math
from html import escape

from IPython.display import HTML

from entropylens.results.claims import ENOUGH_SEEDS, FEWEST_SEEDS, SOURCES, Claim, Verdict, in_words
from entropylens.results.ledger import Entry
from entropylens.results.statistics import Interval

MARKS = {"supported": "✓", "refuted": "✗", "depends": "◐", "inconclusive": "?", "untested": "–"}


def claim_box(claim: Claim) -> HTML:
    """What is claimed, who says so, what may fool us, and the rule, with its hash."""
    confounds = "".join(f"<li>{escape(c)}</li>" for c in claim.confounds)
    rule = rule_in_words(claim) if claim.rule else "No rule has been written yet: the claim is untested."
    return _box(
        "note",
        f"Claim {claim.id}",
        f"<p><strong>{escape(claim.claim)}</strong></p>"
        f"<p>As {SOURCES[claim.source]} has it: {escape(claim.says)}</p>"
        f"<p>What could fool us:</p><ul>{confounds}</ul><p>{rule}</p>",
    )


def rule_in_words(claim: Claim) -> str:
    """The rule as a sentence of HTML, with its hash."""
    rule = claim.rule
    assert rule is not None, "there is nothing to put into words"
    contrast = f"with {in_words(rule.arm)}" + (f", minus the same with {in_words(rule.versus)}" if rule.versus else "")
    also = f"; also with {in_words(rule.second)}" if rule.second else ""
    told = f"Rule, written before the run: {claim.quantity}; {contrast}; decided with {in_words(rule.primary)}{also}."
    size = f"{rule.smallest_effect:g} {rule.unit}"
    decision = {
        "mean": f"Supported if the 95 % interval over seeds lies above {size}, refuted if it lies below.",
        "absence": f"Supported if two one-sided tests (p < 0.05) place the effect within ±{size}, refuted if the 95 % "
        "interval lies outside.",
        "rate": f"Supported if the exact 95 % interval of the rate lies above {size}, refuted if it lies below.",
    }[rule.test]
    return f"{escape(told)} {escape(decision)} <code>rule {rule.hash}</code>"


def verdict_box(claim: Claim, verdict: Verdict, profile: str) -> HTML:
    """The verdict with its effect and interval, and that of the second condition."""
    rule = claim.rule
    assert rule is not None, "a verdict comes from a rule"
    size = f"{rule.smallest_effect:g} {escape(rule.unit)}"
    lines = [_effect(in_words(rule.primary), verdict.effect, rule.unit)]
    if verdict.second is not None and rule.second is not None:
        lines.append(_effect(in_words(rule.second), verdict.second, rule.unit))
    if verdict.p_absence is not None:
        lines.append(f"<li>that the effect lies within ±{size} (two one-sided tests): {_p(verdict.p_absence)}</li>")
    title = f"Verdict on {claim.id}: {MARKS[verdict.verdict]} {verdict.verdict}"
    condition = f"<p><strong>It {escape(verdict.condition)}.</strong></p>" if verdict.condition else ""
    finding = f"<p>What was found: {escape(verdict.finding)}.</p>" if verdict.finding else ""
    warnings = "".join(f"<p><strong>Note:</strong> {w}.</p>" for w in Entry(claim, verdict, profile).warnings)
    return _box(
        "important",
        title,
        f"<p>{escape(claim.claim)}</p>{warnings}{condition}{finding}<ul>{''.join(lines)}</ul>"
        f"<p>{_seeds(verdict.effect.n)}{verdict.effect.n} seeds, profile {escape(profile)}; smallest effect of "
        f"interest {size}; <code>rule {rule.hash}</code></p>",
    )


def entry_box(entry: Entry) -> HTML:
    """The verdict box of a claim in the ledger, or one that says that there is none, and why."""
    if entry.verdict is not None:
        return verdict_box(entry.claim, entry.verdict, entry.profile or "")
    why = "No chapter tests it yet."
    if entry.claim.experiment:
        command = f"entropylens compute {escape(entry.claim.experiment)} --profile full"
        why = f"There are no published results; <code>{command}</code> makes them."
    title = f"Verdict on {entry.claim.id}: {MARKS['untested']} untested"
    return _box("important", title, f"<p>{escape(entry.claim.claim)}</p><p>{why}</p>")


def _seeds(n: int) -> str:
    if n < FEWEST_SEEDS:
        return f"Fewer than {FEWEST_SEEDS} seeds decide nothing. "
    if n < ENOUGH_SEEDS:
        return f"Fewer than {ENOUGH_SEEDS} seeds: allowed only where the page gives the cost as the reason. "
    return ""


def _effect(where: str, effect: Interval, unit: str) -> str:
    if effect.low == effect.high:  # a clamped quantity, say: no scatter is no interval
        return f"<li>{escape(where)}: {effect.mean:+.3f} {escape(unit)} in each of the {effect.n} seeds</li>"
    beside = f" (bootstrap [{effect.bootstrap_low:+.3f}, {effect.bootstrap_high:+.3f}])"
    return (
        f"<li>{escape(where)}: {effect.mean:+.3f} {escape(unit)}, 95 % [{effect.low:+.3f}, {effect.high:+.3f}]"
        f"{'' if math.isnan(effect.bootstrap_low) else beside}</li>"
    )


def _p(value: float) -> str:
    return "p &lt; 0.001" if value < 0.001 else f"p = {value:.3f}"


def _box(kind: str, title: str, body: str) -> HTML:
    title = f'<p class="admonition-title">{escape(title)}</p>'
    return HTML(f'<div class="admonition {kind}">{title}{body}</div>')  # type: ignore[no-untyped-call]
