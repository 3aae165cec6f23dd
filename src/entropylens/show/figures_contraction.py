"""The figures of chapter 10: bounds on the derivative of attention, and what they have to do with entropy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from entropylens.measures.contraction import entropy_root
from entropylens.models.entropies import normalised_tsallis
from entropylens.show.figures import BLACK, LINES, canvas, picture, plot_means, size_axis

ORDERS = (1.0, 1.5, 2.0, 4.0)
"""Orders q of the entropy for which the root is drawn."""
NORMS = {"spectral": LINES[1], "frobenius": LINES[0]}
SIZES = {"exact": LINES[0], "value": LINES[2], "score": LINES[1]}
BOUNDS = {"printed": LINES[6], "corrected": LINES[3], "ours": LINES[4]}


@picture
def roots(logits: Tensor, factors: int = 25) -> tuple[Figure, str]:
    """The root of the bound for several orders, and what it bounds, against the rows' entropy.

    Args:
        logits: (n, n), which are multiplied by factors from a large one to a small one.
        factors: how many.
    """
    rows = [torch.softmax(x * logits, -1) for x in np.logspace(2, -2, factors)]
    entropy = [float(normalised_tsallis(s, 1.0).mean()) for s in rows]
    figure, (ax,) = canvas(height=3.4)
    words = []
    for q, line in zip(ORDERS, (LINES[3], LINES[2], LINES[0], LINES[1]), strict=True):
        values = [float(entropy_root(s, q)) for s in rows]
        ax.plot(entropy, values, color=line.color, marker=line.marker, linestyle=line.linestyle, markevery=4,
                label=f"root, q = {q:g}")  # fmt: skip
        words.append(f"q = {q:g}: from {values[0]:.2f} to {values[-1]:.2f}")
    exact = [float(torch.linalg.matrix_norm(s, ord=2)) for s in rows]
    ax.plot(entropy, exact, color=BLACK, linewidth=2.4, label="‖S‖, which it is to bound")
    ax.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
    ax.set(yscale="log", xlabel="rows' entropy, over its largest value", ylabel="size")
    ax.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    ax.minorticks_off()
    figure.legend(loc="outside upper center", ncols=2)
    words.append(f"‖S‖: from {exact[0]:.2f} to {exact[-1]:.2f}")
    return figure, f"Root of the bound from sharp to flat rows, {len(logits)} tokens. {'; '.join(words)}."


@picture
def steps(table: pd.DataFrame) -> tuple[Figure, str]:
    """How close each inequality of the proof comes to its limit.

    Args:
        table: of `contraction_steps.tightness`.
    """
    figure, (ax,) = canvas(height=1.1 + 0.42 * len(table))
    y = np.arange(len(table))
    for (name, values), line in zip(table.items(), (LINES[2], LINES[1]), strict=True):
        ax.plot(values, y, color=line.color, marker=line.marker, linestyle="", markersize=7, label=str(name))
    ax.hlines(y, table.min(axis=1), table.max(axis=1), color="0.6", linewidth=1, zorder=1)
    ax.axvline(1, color=BLACK, linewidth=1)
    ax.set_yticks(y, list(table.index))
    ax.set(xlim=(0, 1.05), ylim=(len(table) - 0.5, -0.5), xlabel="left side over right side: 1 cannot be improved")
    figure.legend(loc="outside upper center", ncols=2)
    told = [
        f"{name}: {row['at random']:.3f} at random, {row['climbing']:.4f} climbing" for name, row in table.iterrows()
    ]
    return figure, f"Left over right side of each inequality. {'; '.join(told)}."


@picture
def by_strength(rows: pd.DataFrame) -> tuple[Figure, str]:
    """The main figure: the largest ratio of ‖DF‖ to the printed bound that searches found, by the logits' strength.

    Args:
        rows: of searches with given strength; columns strength, norm, ratio, random, seed.
    """
    figure, (ax,) = canvas(height=3.8)
    words = []
    for norm, line in NORMS.items():
        here = rows[rows["norm"] == norm]
        means = plot_means(ax, here, "ratio", "strength", line, f"{norm} norms, climbing")
        ax.plot(*_mean(here, "random"), color=line.color, linestyle=":", linewidth=1, label=f"{norm}, at random")
        words.append(f"{norm}: " + ", ".join(f"{m:g}: {ratio:.3f}" for m, ratio in means.items()))
    m = np.geomspace(rows["strength"].min(), rows["strength"].max(), 100)
    for of_theory in (4 * m / (2 * m + 1), 2 * m / (2 * m + 1)):
        ax.plot(m, of_theory, color=BLACK, linewidth=0.8, zorder=1)
    ax.axhline(1, color=BLACK, linewidth=1.4)
    ax.text(m[-1], 1.02, "bound exceeded", ha="right", va="bottom", fontsize=9)
    size_axis(ax, sorted(rows["strength"].unique()))
    ax.set(ylim=(0, 2.05), xlabel="‖W_Q‖ ‖W_K‖", ylabel="‖DF‖ over the bound as printed")
    figure.legend(loc="outside upper center", ncols=2)
    return figure, (
        "The largest ratio of the derivative's norm to the printed bound that a search found, by the product of the "
        f"weights' norms; means over searches. {'; '.join(words)}."
    )


def _mean(rows: pd.DataFrame, column: str) -> tuple[list[float], list[float]]:
    means = rows.groupby("strength")[column].mean()
    return means.index.tolist(), means.tolist()


@picture
def by_entropy(table: pd.DataFrame, title: str) -> tuple[Figure, str]:
    """Exact sizes, and bounds, against the entropy of the rows.

    Args:
        table: of `contraction_steps.heated`.
        title: which head.
    """
    figure, axes = canvas(2, height=5.6, sharex=True)
    words = []
    for ax, lines in zip(axes, (SIZES, {"exact": SIZES["exact"]} | BOUNDS), strict=True):
        for name, line in lines.items():
            shown = table.dropna(subset=name)
            label = {"exact": "‖DF‖, exact", "value": "value part", "score": "score part"}.get(name, f"bound, {name}")
            ax.plot(
                shown["entropy"],
                shown[name],
                color=line.color,
                marker=line.marker,
                linestyle=line.linestyle,
                label=label,
            )
            if len(shown):
                words.append(f"{label}: {shown[name].iloc[0]:.3g} to {shown[name].iloc[-1]:.3g}")
        ax.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
        ax.set(yscale="log", ylabel="size")
        ax.legend(fontsize=8, ncols=2)
    axes[0].set_title(title)
    axes[-1].set_xlabel("rows' entropy, over its largest value")
    low, high = table["entropy"].iloc[0], table["entropy"].iloc[-1]
    return figure, f"{title}: from entropy {low:.3f} to {high:.3f}. {'; '.join(dict.fromkeys(words))}."


@picture
def over_training(rows: pd.DataFrame) -> tuple[Figure, str]:
    """The derivative's norm and two bounds on it in the course of training, and the entropy of the rows.

    Args:
        rows: of the kind "snapshot" of one arm and loop: step, seed, exact, printed, ours, entropy.
    """
    figure, axes = canvas(2, height=5.0, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
    words = []
    lines = {"exact": SIZES["exact"], "ours": BOUNDS["ours"], "printed": BOUNDS["printed"]}
    labels = {"exact": "‖DF‖ of the head, exact", "ours": "our bound", "printed": "as printed"}
    for ax, columns in zip(axes, (lines, {"entropy": LINES[2]}), strict=True):
        for name, line in columns.items():
            table = rows.pivot_table(name, "seed", "step")
            at = 1 + table.columns.to_numpy(float)
            ax.plot(at, table.T, color=line.color, alpha=0.25, linewidth=0.7)
            middle = table.median()
            ax.plot(at, middle, color=line.color, marker=line.marker, linestyle=line.linestyle, label=labels.get(name))
            words.append(f"{labels.get(name, name)}: {', '.join(f'{s:g}: {m:.3g}' for s, m in middle.items())}")
    axes[0].set(yscale="log", xscale="log", ylabel="size")
    axes[1].set(ylim=(0, 1), ylabel="rows' entropy", xlabel="updates + 1")
    figure.legend(loc="outside upper center", ncols=3)
    return figure, f"Medians over models, after so many updates. {'; '.join(words)}."
