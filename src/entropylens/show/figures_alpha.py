"""The figures of chapter 5: the minimiser of CE + α·H, and what explains how models differ from their target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropylens.experiments.low_entropy import N_SAMPLES
from entropylens.measures.explanations import Family, divergence, project
from entropylens.measures.regularised import Array, escort, regularised
from entropylens.results.statistics import select
from entropylens.show.figures import BLACK, LINES, WIDTH, Line, canvas, picture, plot_means, size_axis
from entropylens.show.figures_bias import data_label

FAMILY_NAMES = {
    "escort": "α: escort of the target",
    "exact": "α ≤ α*: exact minimiser",
    "sample": "β: target mixed with the sample",
    "sample_escort": "γ: escort of the sample",
    "uniform": "s: target mixed with uniform",
}
FAMILY_LINES: dict[str, Line] = dict(zip(FAMILY_NAMES, LINES, strict=False))


KINDS = [("exact", 0), ("fresh", 0), *(("finite", n) for n in N_SAMPLES)]
"""Of data; each keeps its line from figure to figure."""


@picture
def tempered(target: Array, alphas: Sequence[float]) -> tuple[Figure, str]:
    """A small target, and the exact minimisers of CE + α·H for several α, sentence by sentence."""
    figure, (ax,) = canvas(height=2.8)
    at, width = np.arange(len(target)), 0.8 / (len(alphas) + 1)
    words = []
    for i, alpha in enumerate([0.0, *sorted(alphas)]):
        p, line = regularised(target, alpha), LINES[i]
        label = f"α = {alpha:+g}" if alpha else "α = 0: the target"
        ax.bar(at + (i - len(alphas) / 2) * width, p, width, color=line.color, edgecolor=BLACK, linewidth=0.6,
               hatch=["", "//", "..", "xx"][i % 4], label=label)  # fmt: skip
        words.append(f"{label}: {', '.join(f'{x:.2f}' for x in p)}")
    ax.set_xticks(at, [f"sentence {i + 1}" for i in at])
    ax.set_ylabel("probability")
    ax.legend()
    return figure, f"Probabilities of {len(target)} sentences. {'; '.join(words)}."


@picture
def first_order(target: Array, alphas: Sequence[float]) -> tuple[Figure, str]:
    """How far the escort is from the exact minimiser, against |α|, on both sides; the slope is 2."""
    figure, (ax,) = canvas(height=2.8)
    words = []
    for sign, line, side in ((1, LINES[0], "α > 0"), (-1, LINES[1], "α < 0")):
        errors = [np.abs(regularised(target, sign * a) - escort(target, sign * a)).sum() for a in alphas]
        slope = np.polyfit(np.log(alphas), np.log(errors), 1)[0]
        ax.loglog(alphas, errors, color=line.color, linestyle=line.linestyle, marker=line.marker,
                  label=f"{side}: slope {slope:.2f}")  # fmt: skip
        words.append(f"{side}: slope {slope:.2f}")
    ax.minorticks_off()
    ax.set_xticks(list(alphas)[::2], [f"{a:.2g}" for a in list(alphas)[::2]])
    ax.set(xlabel="|α|", ylabel="Σ |exact − escort|")
    ax.legend()
    return (
        figure,
        "Total difference between exact minimiser and escort against the size of α, both logarithmic: "
        f"{'; '.join(words)}.",
    )


@picture
def shares(rows: pd.DataFrame, smallest: float) -> tuple[Figure, str]:
    """The main figure: the share of KL(p_tgt‖pθ) that each family explains, against width, a panel a kind of data."""
    kinds = rows[["regime", "n_samples"]].drop_duplicates().sort_values("n_samples", kind="stable")
    panels = -(-len(kinds) // 2)
    figure = Figure(figsize=(WIDTH, 2.1 * panels + 0.8), layout="constrained")
    grid = figure.subplots(panels, 2, squeeze=False, sharex=True, sharey=True)
    words = []
    for ax, (regime, n) in zip(grid.flat, kinds.itertuples(index=False), strict=False):
        here = select(rows, {"regime": regime, "n_samples": n})
        ax.axhline(smallest, color="0.6", linewidth=1.2)
        told = [
            f"{name} {_line(ax, here, f'{family}_share', FAMILY_LINES[family], name, 2 ** (0.08 * (i - 2))):.2f}"
            for i, (family, name) in enumerate(FAMILY_NAMES.items())
            if here[f"{family}_share"].notna().all()
        ]
        ax.set_title(data_label(regime, n))
        ax.set_ylim(-0.05, 1.05)
        words.append(f"{data_label(regime, n)}: {', '.join(told)}")
    for ax in grid[-1]:
        ax.set_xlabel("width, d_model")
    figure.supylabel("share of KL(p_tgt‖pθ) explained", fontsize=10)
    fullest = max(grid.flat, key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    figure.legend(*fullest.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return (
        figure,
        "Share of each model's divergence from its target that each family explains. At the largest width, "
        f"{'; '.join(words)}.",
    )


def _line(ax: Axes, here: pd.DataFrame, column: str, line: Line, label: str, shift: float = 1.0) -> float:
    """A column against width; returns the mean at the largest width."""
    means = plot_means(ax, here, column, "d_model", line, label, shift)
    size_axis(ax, list(means))
    return means[max(means)]


@picture
def parameters(rows: pd.DataFrame, family: str, symbol: str) -> tuple[Figure, str]:
    """The fitted parameter of one family against width, one line a kind of data."""
    figure, (ax,) = canvas(height=3.2)
    ax.axhline(0, color=BLACK, linewidth=1)
    words = []
    for (regime, n), line in zip(KINDS, LINES, strict=False):
        here = rows[(rows["regime"] == regime) & (rows["n_samples"] == n)]
        if len(here) and here[family].notna().all():
            last = _line(ax, here, family, line, data_label(regime, n))
            words.append(f"{data_label(regime, n)} {last:+.3f}")
    ax.set(xlabel="width, d_model", ylabel=symbol)
    ax.legend(ncols=2)
    return (
        figure,
        f"{symbol} against width, one line a kind of data; means over seeds. At the largest width: {'; '.join(words)}.",
    )


@picture
def projection(log_p: Array, target: Array, families: dict[str, Family]) -> tuple[Figure, str]:
    """One model: its divergence from the members of each family, and where the minimum lies."""
    figure, axes = canvas(len(families), height=1.8 * len(families))
    words, whole = [], divergence(log_p, target, target)
    for ax, (name, family) in zip(axes, families.items(), strict=True):
        line = FAMILY_LINES[name.replace(" ", "_")]
        best = project(log_p, target, family)
        grid = np.linspace(family.low, family.high, 120)
        values = [divergence(log_p, target, family.member(phi)) for phi in grid]
        ax.plot(grid, values, color=line.color, linestyle=line.linestyle)
        ax.plot(best.parameter, best.residual, line.marker, color=line.color, markersize=8)
        ax.axhline(whole, color="0.5", linewidth=1)
        ax.set(title=FAMILY_NAMES[name.replace(" ", "_")], ylabel="nats", ylim=(0, 1.6 * whole or None))
        words.append(f"{name}: best at {best.parameter:+.3f}, which explains {best.share:.1%}")
    axes[-1].set_xlabel("the family's parameter")
    return figure, f"KL divergence of one model from the members of each family, by parameter. {'; '.join(words)}."
