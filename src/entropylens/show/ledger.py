"""The ledger as a page shows it: for each paper a table of its claims, with effects as small forest plots.

All plots share one axis, in smallest effects of interest, since the effects themselves have different units. It is
stretched around zero (inverse hyperbolic sine), so that effects of 1 and of 100 are both legible. On a narrow page each
row of the table becomes a card (`book/_static/book.css`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from IPython.display import HTML

from entropylens.results.claims import SOURCES, in_words
from entropylens.results.ledger import Entry, tally
from entropylens.results.statistics import Interval
from entropylens.show.claims import MARKS
from entropylens.show.figures import listing

PAPERS = {
    "ren2025lowentropy": "Ren & Liu, Revisiting Transformers through the Lens of Low Entropy and Dynamic Sparsity",
    "lam2026energy": "Lam, Energy-Entropy Regularization: The True Power of Minimal Looped Transformers",
}

_WIDTH, _LINE, _REACH = 150, 16, 100.0
_TICKS = (-10, -1, 0, 1, 10)
_LABELS = {-10: "−10", 0: "0", 10: "+10"}


def summary(entries: Sequence[Entry]) -> str:
    """How the claims stand, in words: "29 claims: 2 refuted and 27 untested"."""
    return f"{len(entries)} claims: {listing([f'{count} {word}' for word, count in tally(entries).items()])}"


def ledger_table(entries: Iterable[Entry], paper: str) -> HTML:
    """All claims of one paper, in the order of the registry."""
    rows = "".join(_row(entry) for entry in entries if entry.claim.paper == paper)
    heads = "".join(
        f'<th role="columnheader" scope="col">{head}</th>'
        for head in ("Claim", "What the paper says", "What we measured", "Verdict")
    )
    return HTML(  # type: ignore[no-untyped-call]
        f'<table class="ledger" role="table"><caption>{escape(PAPERS[paper])}</caption>'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>'
    )


def _row(entry: Entry) -> str:
    claim, word = entry.claim, entry.word
    cells = {
        "Claim": f"<b>{escape(claim.id)}</b> {escape(claim.claim)}",
        "What the paper says": f"{escape(claim.says)} {who_says(claim.source)}",
        "What we measured": _measured(entry),
        "Verdict": f'<strong class="verdict">{MARKS[word]} {word}</strong>{_verdict_notes(entry)}',
    }
    body = "".join(
        f'<td role="cell"><span class="head" aria-hidden="true">{head}</span><div>{cell}</div></td>'
        for head, cell in cells.items()
    )
    return f'<tr role="row" id="{escape(claim.id)}" class="{word}">{body}</tr>'


def who_says(source: str) -> str:
    """The mark of who was read, in HTML: [P], [S] or [P/S]."""
    return f'<abbr title="as {SOURCES[source]} has it">[{escape(source)}]</abbr>'


def _verdict_notes(entry: Entry) -> str:
    verdict, chapter = entry.verdict, entry.claim.chapter
    notes = [] if verdict is None else [note for note in (verdict.condition, verdict.finding) if note]
    told = "".join(f"<p>{escape(note)}</p>" for note in notes)
    warned = "".join(f'<p class="warning">⚠ {escape(warning)}</p>' for warning in entry.warnings)
    return told + warned + chapter_link(chapter)


def chapter_link(chapter: str | None) -> str:
    """A paragraph that leads to a chapter, in HTML; "" without one."""
    number = escape((chapter or "").partition("_")[0].lstrip("0"))
    return f'<p><a href="{quote(chapter, safe="")}.ipynb">chapter {number}</a></p>' if chapter else ""


def _measured(entry: Entry) -> str:
    verdict, rule = entry.verdict, entry.claim.rule
    if verdict is None or rule is None:
        return "nothing yet" if rule is None else "no published results yet"
    effects = [(in_words(rule.primary), verdict.effect)]
    if verdict.second is not None and rule.second is not None:
        effects.append((in_words(rule.second), verdict.second))
    lines = "".join(f"<p>{_in_numbers(where, effect, rule.unit)}</p>" for where, effect in effects)
    about = f"{verdict.effect.n} seeds, profile {entry.profile}"
    return forest_plot([e for _, e in effects], rule.smallest_effect, rule.unit) + lines + f"<p>{escape(about)}</p>"


def _in_numbers(where: str, effect: Interval, unit: str) -> str:
    told = f"<b>{effect.mean:+.3f}</b> [{effect.low:+.3f}, {effect.high:+.3f}]".replace("-", "−")
    return f"{escape(where)}: {told} {escape(unit)}"


def forest_plot(effects: Sequence[Interval], smallest: float, unit: str) -> str:
    """Effects with their 95 % intervals on the ledger's axis, as SVG with a text alternative.

    The first decides and has a filled square; others have open circles. The band is what is too small to matter.
    Whatever lies beyond the axis is drawn at its end, as an arrow.
    """
    height = _LINE * len(effects) + 14
    told = "; ".join(f"{e.mean:+.3g} (95 % interval {e.low:+.3g} to {e.high:+.3g})" for e in effects)
    band = f"the band of ±{smallest:g} {unit} is too small to matter"
    alt = escape(f"Forest plot, effects in {unit}: {told}; {band}.")
    rows = "".join(_interval(e, smallest, _LINE * i + _LINE / 2, i == 0) for i, e in enumerate(effects))
    return (
        f'<svg class="forest" role="img" aria-label="{alt}" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" fill="none" stroke="currentColor">{_axis(height)}{rows}</svg>'
    )


def _at(effect: float) -> float:
    """Where an effect, in smallest effects of interest, stands on the axis, in pixels."""
    share = math.asinh(max(-_REACH, min(_REACH, effect))) / math.asinh(_REACH)
    return round(_WIDTH * (0.5 + 0.47 * share), 1)


def _axis(height: int) -> str:
    base, left, right = height - 13, _at(-1), _at(1)
    ticks = "".join(f'<path d="M{_at(tick)} {base}v3" stroke-width="0.8"/>' for tick in _TICKS)
    labels = "".join(
        f'<text x="{_at(tick)}" y="{base + 12}" font-size="9" text-anchor="middle" fill="currentColor" '
        f'stroke="none">{label}</text>'
        for tick, label in _LABELS.items()
    )
    return (
        f'<rect x="{left}" y="0" width="{right - left:.1f}" height="{base}" fill="currentColor" fill-opacity="0.18" '
        f'stroke="none"/><path d="M{_at(0)} 0V{base}" stroke-dasharray="2 2" stroke-width="0.8"/>'
        f'<path d="M0 {base}H{_WIDTH}" stroke-width="0.8"/>{ticks}{labels}'
    )


def _interval(effect: Interval, smallest: float, y: float, decides: bool) -> str:
    low, mean, high = (value / smallest for value in (effect.low, effect.mean, effect.high))
    x = _at(mean)
    mark = (
        f'<rect x="{x - 3.5:.1f}" y="{y - 3.5}" width="7" height="7" fill="currentColor"/>'
        if decides
        else f'<circle cx="{x}" cy="{y}" r="3.5" fill="var(--pst-color-background, white)"/>'
    )
    arrows = [f'<path d="M{_at(end) - 4 * side} {y - 4}l{4 * side} 4l{-4 * side} 4"/>'
              for end, side in ((low, -1), (high, 1)) if end * side > _REACH]  # fmt: skip
    return f'<path d="M{_at(low)} {y}H{_at(high)}" stroke-width="1.6"/>{mark}{"".join(arrows)}'
