"""A claim before its experiment, and the verdict after it, as boxes on the page, from the registry and rows."""

from __future__ import annotations

from html import escape

from IPython.display import HTML

from entropylens.results.claims import FEWEST_SEEDS, Claim, Verdict
from entropylens.results.statistics import Interval

MARKS = {"supported": "✓", "refuted": "✗", "depends": "◐", "inconclusive": "?"}


def claim_box(claim: Claim) -> HTML:
    """What is claimed, who says so, what may fool us, and the rule, with its hash."""
    rule = claim.rule
    contrast = f"with {_words(rule.arm)}" + (f", minus the same with {_words(rule.versus)}" if rule.versus else "")
    conditions = f"decided with {_words(rule.primary)}" + (f"; also with {_words(rule.second)}" if rule.second else "")
    confounds = "".join(f"<li>{escape(c)}</li>" for c in claim.confounds)
    return _box(
        "note",
        f"Claim {claim.id}",
        f"<p><strong>{escape(claim.claim)}</strong> (stated in the paper's {escape(claim.source)})</p>"
        f"<p>What could fool us:</p><ul>{confounds}</ul>"
        f"<p>Rule, written before the run: {escape(claim.quantity)}; {escape(contrast)}; {escape(conditions)}. "
        f"Supported if the 95 % interval "
        f"over seeds lies above {rule.smallest_effect:g} {escape(rule.unit)}, refuted if it lies below. "
        f"<code>rule {rule.hash}</code></p>",
    )


def verdict_box(claim: Claim, verdict: Verdict, profile: str) -> HTML:
    """The verdict with its effect and interval, and that of the second condition."""
    rule = claim.rule
    lines = [_effect(_words(rule.primary), verdict.effect, rule.unit)]
    if verdict.second is not None and rule.second is not None:
        lines.append(_effect(_words(rule.second), verdict.second, rule.unit))
    few = verdict.effect.n < FEWEST_SEEDS
    note = f"Fewer than {FEWEST_SEEDS} seeds decide nothing. " if few else ""
    title = f"Verdict on {claim.id}: {MARKS[verdict.verdict]} {verdict.verdict}"
    condition = f"<p><strong>It {escape(verdict.condition)}.</strong></p>" if verdict.condition else ""
    return _box(
        "important",
        title,
        f"<p>{escape(claim.claim)}</p>{condition}<ul>{''.join(lines)}</ul>"
        f"<p>{note}{verdict.effect.n} seeds, profile {escape(profile)}; smallest effect of interest "
        f"{rule.smallest_effect:g} {escape(rule.unit)}; <code>rule {rule.hash}</code></p>",
    )


def _effect(where: str, effect: Interval, unit: str) -> str:
    return (
        f"<li>{escape(where)}: {effect.mean:+.3f} {escape(unit)}, 95 % [{effect.low:+.3f}, {effect.high:+.3f}] "
        f"(bootstrap [{effect.bootstrap_low:+.3f}, {effect.bootstrap_high:+.3f}])</li>"
    )


def _words(condition: object) -> str:
    return ", ".join(f"{k} = {v}" for k, v in condition.items()) if isinstance(condition, dict) else str(condition)


def _box(kind: str, title: str, body: str) -> HTML:
    title = f'<p class="admonition-title">{escape(title)}</p>'
    return HTML(f'<div class="admonition {kind}">{title}{body}</div>')  # type: ignore[no-untyped-call]
