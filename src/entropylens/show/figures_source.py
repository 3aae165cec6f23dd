"""Figures of chapter 14 on a source of known entropy: whether intervals hold it, and where models come to lie.

Everything is in nats a symbol. p is the source, pθ a model; H(pθ) is of the model's own texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from entropylens.measures.around import mean_over_runs
from entropylens.measures.estimates import Interval
from entropylens.results.statistics import select
from entropylens.show import marks
from entropylens.show.figures import BLACK, GREEN, LINES, ORANGE, SKY, WIDTH, Line, canvas, picture, size_axis

UNIT = "nats a symbol"
ABOVE = f"H(pθ) − H(p)  ({UNIT})"
CROSS, FORCED, OWN, LOSS = LINES[0], LINES[1], LINES[2], LINES[6]
REGIMES = {"fresh": LINES[0], "whole": LINES[0], "finite": LINES[1]}
"""How models learned: from a source or a text that they see once, or from a sample again and again."""
TERMS = {
    "kl": ("KL(p‖pθ)", ORANGE, "//"),
    "surer": ("− overconfidence", SKY, ""),
    "led": ("own − forced entropy", GREEN, ".."),
}
"""What adds up to H(pθ) − H(p), and how its bars look."""


@picture
def coverage(
    intervals: Mapping[str, Interval], exact: float, shown: int = 60, unit: str = "nats a text"
) -> tuple[Figure, str]:
    """Simulated 95 % intervals of an entropy, the lowest first, and those that miss it; a panel a kind of estimate.

    Args:
        intervals: by estimate, (n) of it, each from texts of its own.
        exact: the entropy.
        shown: how many of them are drawn, the first ones; the words tell of all.
        unit: of the entropy.

    Raises:
        ValueError: without intervals.
    """
    if not intervals or any(not found.mean.numel() for found in intervals.values()):
        raise ValueError(f"needs intervals of each estimate, got { ({k: len(v.mean) for k, v in intervals.items()}) }")
    figure, axes = canvas(len(intervals), height=0.8 + 1.9 * len(intervals), sharex=True, sharey=True)
    words = []
    for ax, (name, found) in zip(axes, intervals.items(), strict=True):
        holds, n = found.covers(exact).numpy(), len(found.mean)
        order = found.mean[:shown].argsort().numpy()
        for hit, line, label in ((True, LINES[0], "holds it"), (False, LINES[1]._replace(marker="X"), "misses it")):
            at = np.flatnonzero(holds[order] == hit)
            mean, half = (x.numpy()[order[at]] for x in found)
            ax.errorbar(at, mean, yerr=half, fmt=line.marker, color=line.color, markersize=2.5 if hit else 6,
                        elinewidth=1 if hit else 2.4, label=label)  # fmt: skip
        ax.axhline(exact, color=BLACK, linewidth=1, label="exact")
        ax.set(title=name, ylabel=f"entropy\n({unit})")
        words.append(
            f"{name}: {int(holds.sum())} of {n} hold it ({holds.mean():.1%}), {float(found.half.mean()):.3g} on "
            f"either side on average; of {len(order)} drawn {int((~holds[order]).sum())} miss"
        )
    axes[-1].set_xlabel("simulated intervals, by their middle")
    marks.legend(figure, axes)
    return figure, f"95 % intervals of an entropy of {exact:.3f} {unit}. {'; '.join(words)}."


@picture
def below_source(rows: pd.DataFrame, smallest: float | None = None) -> tuple[Figure, str]:
    """The main figure: how far trained models' entropy is from that of the source, against width, a panel a regime.

    Args:
        rows: of `known_source`, all.
        smallest: half the width of the grey band: the smallest effect.
    """
    panels = list(by_regime(_ended(rows)))
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes, words = list(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]), []
    for ax, (name, line, here) in zip(axes, panels, strict=True):
        zero(ax, "the source's entropy", smallest)
        words.append(f"{name}: {series(ax, here, 'above', 'd_model', line, '', where='d = {:g}')}")
        ax.set(title=name, xlabel="width, d_model")
        ax.margins(x=0.12)
        size_axis(ax, sorted(here["d_model"].unique()))
    axes[0].set_ylabel(ABOVE)
    marks.legend(figure, axes)
    return figure, marks.alt(f"entropy of trained models less that of their source, {UNIT}, by width", words)


@picture
def decomposition(rows: pd.DataFrame) -> tuple[Figure, str]:
    """What H(pθ) − H(p) is made of, three bars a width and their sum, a panel a regime.

    H(pθ) = forced + (H(pθ) − forced), forced = cross-entropy − overconfidence, and cross-entropy = H(p) + KL(p‖pθ).

    Args:
        rows: of `known_source`, all.
    """
    final = _ended(rows)
    final = final.assign(surer=-final["overconfidence"], led=final["entropy"] - final["forced"])
    panels = list(by_regime(final))
    figure, axes = canvas(len(panels), height=1.1 + 2.0 * len(panels), sharex=True)
    words = []
    for ax, (name, _, here) in zip(axes, panels, strict=True):
        sums = means_by(here, "above", "d_model")
        told: list[list[str]] = [[] for _ in sums.index]
        for i, (column, (label, color, hatch)) in enumerate(TERMS.items()):
            means = means_by(here, column, "d_model").reindex(sums.index)
            at = np.arange(len(means)) + 0.22 * (i - 1.5)
            ax.bar(at, means["mean"], 0.22, yerr=ends(means), color=color, edgecolor=BLACK, hatch=hatch, label=label,
                   capsize=2, error_kw={"linewidth": 1})  # fmt: skip
            for parts, mean in zip(told, means["mean"], strict=True):
                parts.append(f"{label} {mean:+z.3f}")
        placed = here.assign(place=np.searchsorted(sums.index, here["d_model"]))
        series(ax, placed, "above", "place", Line(BLACK, "D", ""), "sum: H(pθ) − H(p)", move=0.36)
        for d, parts, total in zip(sums.index, told, sums.to_numpy(), strict=True):
            words.append(f"{name}, d = {d}: {', '.join(parts)}, sum {said(total)}")
        ax.axhline(0, color=BLACK, linewidth=1)
        ax.set_axisbelow(True)
        ax.set_xticks(range(len(told)), [f"d = {d}" for d in sums.index])
        ax.set(title=name, ylabel=UNIT)
    axes[-1].set_xlabel("width, d_model")
    marks.legend(figure, axes, ncols=2)
    return figure, marks.alt(f"three terms of H(pθ) − H(p), {UNIT}, and their sum", words)


@picture
def on_the_way(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Entropies less the source's in the course of training, of the widest models; a panel a regime.

    Args:
        rows: of `known_source`, all.
    """
    lines = {
        "cross_entropy": ("cross-entropy, new windows", CROSS), "forced": ("forced entropy, new windows", FORCED),
        "loss": ("cross-entropy, what was learned from", LOSS),
    }  # fmt: skip
    here = widest(select(rows, {"kind": "model", "main": True}))
    here = here[here["step"] > 0]
    here = here.assign(at=here["seen"] / here["steps"] * here["step"])
    here = here.assign(**{column: here[column] - here["source"] for column in lines})
    panels = list(by_regime(here))
    figure, axes = canvas(len(panels), height=1.1 + 2.3 * len(panels), sharex=True, sharey=True)
    words = []
    for ax, (name, _, found) in zip(axes, panels, strict=True):
        zero(ax, "the source's entropy")
        for i, (column, (label, line)) in enumerate(lines.items()):
            told = series(ax, found, column, "at", line, label, where="{:,.0f} symbols", spread=1.06 ** (i - 1))
            words.append(f"{name}, {label}: {told}")
        ax.set(title=name, ylabel=f"above H(p)\n({UNIT})", xscale="log")
    axes[-1].set_xlabel("symbols seen")
    marks.legend(figure, axes, ncols=2)
    what = f"entropies less the source's, {UNIT}, by symbols seen, width {here['d_model'].max()}"
    return figure, marks.alt(what, words)


@picture
def kl_line(rows: pd.DataFrame, larger: pd.DataFrame | None = None) -> tuple[Figure, str]:
    """H(pθ) − H(p) against KL(p‖pθ), a mark a model, and the line on which models are at rest on fresh windows.

    At rest, overconfidence is 0; if the model's own texts are like the source's, too, both axes tell the same.

    Args:
        rows: of `known_source`, all: trained models of every design.
        larger: of `larger_text`, all, if there are any.
    """
    frames = [select(rows, {"kind": "model", "final": True})]
    if larger is not None and len(larger):
        frames.append(select(larger, {"kind": "model", "final": True, "origin": "source"}))
    models = pd.concat([frame.assign(larger=i > 0) for i, frame in enumerate(frames)], ignore_index=True)
    models = models.assign(above=models["entropy"] - models["source"])
    markers = {d: line.marker for d, line in zip(sorted(models["d_model"].unique()), LINES, strict=False)}
    figure, (ax,) = canvas(height=4.4)
    words: list[str] = []
    keys: list[Artist] = []
    for name, line, here in by_regime(models):
        fill = "none" if name == "finite" else "full"
        for (d, more), group in here.groupby(["d_model", "larger"]):
            ax.plot(group["kl"], group["above"], markers[d], color=line.color, fillstyle=fill, alpha=0.8,
                    markeredgecolor=BLACK if more else line.color, markersize=7.5 if more else 5)  # fmt: skip
        keys.append(Patch(facecolor=line.color if fill == "full" else "none", edgecolor=line.color, label=name))
        words.append(
            f"{name}, {len(here)} models: KL {here['kl'].min():.4f} to {here['kl'].max():.4f}, H(pθ) − H(p) "
            f"{here['above'].min():+.4f} to {here['above'].max():+.4f}, {int((here['above'] < 0).sum())} below the "
            f"source, {int((here['above'] < here['kl']).sum())} below the line"
        )
    least, most = models["kl"][models["kl"] > 0].agg(["min", "max"]).to_numpy(float)
    along = np.geomspace(least / 1.3, most * 1.3, 100)
    keys += ax.plot(along, along, color="0.35", linestyle="--", label="y = x: at rest on fresh windows")
    keys += [Line2D([], [], marker=m, linestyle="", color="0.35", label=f"d = {d}") for d, m in markers.items()]
    if len(frames) > 1:
        keys.append(Line2D([], [], marker="o", linestyle="", color="0.35", markeredgecolor=BLACK, markersize=7.5,
                           label="large, black edge: larger models"))  # fmt: skip
    ax.axhline(0, color=BLACK, linewidth=1, zorder=1)
    ax.margins(0.08)
    ax.set(xscale="log", xlabel=f"KL(p‖pθ)  ({UNIT})", ylabel=ABOVE)
    signed_log(ax)
    figure.legend(handles=keys, loc="outside upper center", ncols=2)
    return figure, f"Trained models' entropy less the source's against KL, {UNIT}, a mark a model. {'; '.join(words)}."


# ---- rows ------------------------------------------------------------------------------------------------------------


def by_regime(rows: pd.DataFrame) -> Iterator[tuple[str, Line, pd.DataFrame]]:
    """The regimes that there are: a name, its line, its rows."""
    for name, line in REGIMES.items():
        if len(here := rows[rows["regime"] == name]):
            yield name, line, here


def widest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the largest width."""
    found: pd.DataFrame = rows[rows["d_model"] == rows["d_model"].max()]
    return found


def _ended(rows: pd.DataFrame) -> pd.DataFrame:
    """Trained models of the main design, and how far `above` the source they are."""
    final = select(rows, {"kind": "model", "main": True, "final": True})
    return final.assign(above=final["entropy"] - final["source"])


def by_seed(rows: pd.DataFrame, column: str, x: str) -> pd.DataFrame:
    """A line a seed and a column an x; of several rows the mean, and what is not finite is missing."""
    table: pd.DataFrame = rows[np.isfinite(rows[column])].pivot_table(column, "seed", x)
    return table


def means_by(rows: pd.DataFrame, column: str, x: str) -> pd.DataFrame:
    """Mean over seeds with the ends of its 95 % interval, by x: columns mean, low and high; NaN of what is missing."""
    table = by_seed(rows, column, x)
    found = dict(zip(("mean", "low", "high"), mean_over_runs(table.to_numpy(float)), strict=True))
    return pd.DataFrame(found, index=table.columns)


# ---- marks -----------------------------------------------------------------------------------------------------------


def ends(means: pd.DataFrame) -> list[pd.Series]:
    """What `errorbar` wants: how far the interval's ends are from the mean."""
    return [means["mean"] - means["low"], means["high"] - means["mean"]]


def series(
    ax: Axes, rows: pd.DataFrame, column: str, x: str, line: Line, label: str, *, where: str = "{:g}",
    form: str = "{:+z.3f}", spread: float = 1.0, move: float = 0.0, hollow: bool = False,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> str:  # fmt: skip
    """A column against x: models as faint marks, means with 95 % intervals over them; the same in words.

    Args:
        ax: where.
        rows: one a `seed` and x; of several the mean.
        column: what is shown.
        x: the column that tells where.
        line: how.
        label: for the legend.
        where: how words say x.
        form: how words say what is shown.
        spread: multiplies x, and
        move: is added, so that series do not hide each other.
        hollow: whether marks are.
        within: what the column can be at all, at which intervals are cut off.
    """
    table, means = by_seed(rows, column, x), means_by(rows, column, x).clip(*within)
    at = spread * table.columns.to_numpy(float) + move
    ax.plot(at, table.to_numpy(float).T, line.marker, color=line.color, markersize=3, alpha=0.3, zorder=2)
    ax.errorbar(at, means["mean"], yerr=ends(means), color=line.color, linestyle=line.linestyle, marker=line.marker,
                markerfacecolor="white" if hollow else line.color, markersize=6 if hollow else 4.5, capsize=3,
                linewidth=1.4, label=label, zorder=3)  # fmt: skip
    told = zip(means.to_numpy(), means.index, strict=True)
    return ", ".join(f"{said(mean, form)} at {where.format(value)}" for mean, value in told)


def said(mean: NDArray[np.float64], form: str = "{:+z.3f}") -> str:
    """A mean, low and high: the mean, and its interval if there is one."""
    middle, low, high = (form.format(x) for x in mean)
    return f"{middle} ({low} to {high})" if np.isfinite(mean).all() else middle


def zero(ax: Axes, label: str, smallest: float | None = None) -> None:
    """A line at 0, and around it what is smaller than the smallest effect."""
    ax.axhline(0, color=BLACK, linewidth=1, label=label, zorder=1)
    if smallest is not None:
        ax.axhspan(-smallest, smallest, color="0.85", zorder=0, label="below the smallest effect")


def signed_log(ax: Axes, linear: float = 0.01) -> None:
    """A logarithmic axis in both directions, linear near 0."""
    ax.set_yscale("symlog", linthresh=linear, linscale=0.6)
