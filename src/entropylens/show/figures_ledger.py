"""The figures of chapter 15: all claims at a glance, and a measure under a few conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entropylens.results.ledger import Entry
from entropylens.results.statistics import Interval, mean_interval
from entropylens.show.claims import MARKS
from entropylens.show.figures import BLACK, BLUE, GREEN, LINES, ORANGE, PURPLE, RED, WIDTH, Line, canvas, picture

VERDICT_LINES = {
    "supported": Line(GREEN, "o", "-"),
    "depends": Line(BLUE, "D", "-"),
    "inconclusive": Line(ORANGE, "s", "-"),
    "refuted": Line(RED, "v", "-"),
    "untested": Line(PURPLE, "P", "-"),
}
"""In the order in which they stand; each with a marker of its own."""

BRIEFLY = {
    "LE-1a": "below its target", "LE-1b": "more so if larger", "LE-2": "the FFN drives it",
    "LE-3": "attention is bypassed", "LE-4a": "fewer active neurons", "LE-4b": "deaths with spikes",
    "LE-4c": "deaths come first", "LE-4d": "Adam does, SGD not", "LE-5": "as if by α·H",
    "LE-q1": "α·H is the term", "LE-q2": "long steps kill", "LE-q3": "the FFN spikes",
    "LE-q4": "in larger models", "LE-n1": "on real text", "LE-n2": "bypassed, no router",
    "LE-n3": "spikes without FFN", "EER-1": "plain training fails", "EER-2": "the loss trains it",
    "EER-3": "a funnel", "EER-4": "energy falls first", "EER-5": "the bound holds",
    "EER-6": "entropy contracts", "EER-7": "loops converge", "EER-8": "gates are faster",
    "EER-9": "motion is not enough", "EER-10": "looped beats deep", "EER-f1": "stacks contract",
    "EER-f2": "steering helps", "EER-f3": "gates on text",
}  # fmt: skip
"""What is claimed, in as few words as fit beside an axis."""

_TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)


@picture
def at_a_glance(entries: Sequence[Entry], papers: Mapping[str, str]) -> tuple[Figure, str]:
    """Every claim by paper and verdict, with its effect in smallest effects of interest, and the 95 % interval.

    The filled mark decides, the open one is the second condition. A rate is compared with the rate that is asked for,
    so that its zero means nothing: it is written, and not drawn.

    Args:
        entries: of the ledger.
        papers: a title for each paper's key; other papers are left out.
    """
    columns = [_lines([entry for entry in entries if entry.claim.paper == key]) for key in papers]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.2 * sum(map(len, columns))), layout="constrained")
    axes = figure.subplots(len(papers), 1, squeeze=False, sharex=True, height_ratios=list(map(len, columns)))[:, 0]
    words = []
    for ax, lines, title in zip(axes, columns, papers.values(), strict=True):
        _ground(ax, lines, title)
        told = [_draw(ax, line, y) if isinstance(line, Entry) else f"{line}:" for y, line in enumerate(lines)]
        words.append(f"{title}. {'; '.join(told).replace(':;', ':')}.")
    axes[-1].set_xscale("asinh", linear_width=1)
    axes[-1].set_xticks(_TICKS, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in _TICKS])
    axes[-1].minorticks_off()
    axes[-1].set_xlabel("effect, in smallest effects of interest")
    intro = "All claims by verdict, effects in smallest effects of interest, with 95 % intervals; above 1 supports."
    return figure, f"{intro} {' '.join(words)}"


def _lines(entries: Sequence[Entry]) -> list[Entry | str]:
    """A verdict, then its claims, for each verdict that there is."""
    found: list[Entry | str] = []
    for word in VERDICT_LINES:
        here = [entry for entry in entries if entry.word == word]
        found += [word, *here] if here else []
    return found


def _ground(ax: Axes, lines: Sequence[Entry | str], title: str) -> None:
    """Band, zero, and what stands beside each line; headings are bold."""
    ax.axvspan(-1, 1, color="0.88", zorder=0)
    ax.axvline(0, color=BLACK, linewidth=0.8, linestyle=":")
    ax.axvline(1, color=BLACK, linewidth=0.8)
    names = [
        f"{line.claim.id}  {BRIEFLY.get(line.claim.id, '')}" if isinstance(line, Entry) else f"{MARKS[line]} {line}"
        for line in lines
    ]
    ax.set_yticks(range(len(lines)), names, fontsize=8.5)
    for label, line in zip(ax.get_yticklabels(), lines, strict=True):
        label.set_fontweight("normal" if isinstance(line, Entry) else "bold")
    ax.set_ylim(len(lines) - 0.3, -0.7)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.set_title(title)


def _draw(ax: Axes, entry: Entry, y: float) -> str:
    """One claim's line, and the same in words."""
    verdict, rule, name = entry.verdict, entry.claim.rule, entry.claim.id
    if verdict is None or rule is None:
        return _note(ax, y, "no published rows yet", name)
    e = verdict.effect
    if rule.test == "rate":
        shares = [f"{x.mean:.2f} [{x.low:.2f}, {x.high:.2f}]" for x in (e, verdict.second) if x is not None]
        return _note(ax, y, f"share {'; second '.join(shares)}; asked: {rule.smallest_effect:g}", name)
    line = VERDICT_LINES[entry.word]
    told = [_mark(ax, e, rule.smallest_effect, y - 0.14 * (verdict.second is not None), line, line.color)]
    if verdict.second is not None:
        told.append("second condition " + _mark(ax, verdict.second, rule.smallest_effect, y + 0.2, line, "white"))
    return f"{name} {', '.join(told)}"


def _note(ax: Axes, y: float, words: str, name: str) -> str:
    plain = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    ax.annotate(
        words, (0.015, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.8, color="0.2", bbox=plain
    )
    return f"{name} {words}"


def _mark(ax: Axes, effect: Interval, smallest: float, y: float, line: Line, face: str) -> str:
    low, mean, high = (value / smallest for value in (effect.low, effect.mean, effect.high))
    ax.plot([low, high], [y, y], color=line.color, linewidth=1.3, zorder=2)
    ax.plot(mean, y, line.marker, color=line.color, markerfacecolor=face, markersize=4.2, zorder=3)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


@picture
def conditions(
    groups: Mapping[str, ArrayLike], label: str, zero: float, marks: Mapping[str, float] | None = None
) -> tuple[Figure, str]:
    """One measure under several conditions, one a line: seeds faint, and their mean with its 95 % interval.

    Args:
        groups: for each condition the values of its seeds, (n), two or more.
        label: of the axis, with its unit.
        zero: where a line stands for "nothing": a target, or chance.
        marks: a further value for some conditions, drawn as a tick.
    """
    figure, (ax,) = canvas(height=0.9 + 0.3 * len(groups))
    ax.axvline(zero, color=BLACK, linewidth=1)
    words = []
    for y, (name, values) in enumerate(groups.items()):
        x, line = np.asarray(values, dtype=float), LINES[0]
        found = mean_interval(x)
        ax.plot(x, np.full(len(x), y), line.marker, color=line.color, markersize=3, alpha=0.3)
        ax.errorbar(found.mean, y, xerr=[[found.mean - found.low], [found.high - found.mean]], color=line.color,
                    marker=line.marker, capsize=3)  # fmt: skip
        tick = (marks or {}).get(name, math.nan)
        ax.plot([tick, tick], [y - 0.3, y + 0.3], color=RED, linewidth=2.2)
        words.append(f"{name} {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})")
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set_ylim(len(groups) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(label)
    return figure, f"{label}; means with 95 % intervals. {'; '.join(words)}."
