"""The figures of chapter 6: which way the information goes, by weights, by norms, and by what cutting costs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from entropylens.experiments.residual_dominance import MAIN_DATA
from entropylens.results.statistics import select
from entropylens.show.figures import (
    BLACK,
    BLUE,
    LINES,
    RED,
    WIDTH,
    canvas,
    picture,
    plot_means,
    size_axis,
)
from entropylens.show.figures_bias import data_label

REGIMES = {data.regime: data.n_samples or 0 for data in MAIN_DATA.values()}
"""Those of the main design, and the size of the sample."""
PATH_COLORS = {"residual": BLACK, "head": BLUE, "ffn": RED}


@picture
def bypass(rows: pd.DataFrame) -> tuple[Figure, str]:
    """The main figure: the residual's share of a layer against width, by its weight and by what cutting costs.

    Args:
        rows: of the main design, one a model.
    """
    figure, axes = canvas(2, height=5.2, sharex=True, sharey=True)
    titles = {"static": "by proxy: its learned weight", "none": "directly: its share of what cutting costs"}
    words = []
    for ax, (router, title) in zip(axes, titles.items(), strict=True):
        for i, (regime, n) in enumerate(REGIMES.items()):
            here = select(rows, {"router": router, "regime": regime})
            means = plot_means(ax, here, "bypass", "d_model", LINES[i], data_label(regime, n), 2 ** (0.08 * (i - 1)))
            told = ", ".join(f"d = {d:g} {mean:.3f}" for d, mean in means.items())
            words.append(f"{title}, {data_label(regime, n)}: {told}")
        ax.set(title=title, ylabel="residual's share")
        size_axis(ax, sorted(rows["d_model"].unique()))
    heads = rows["n_heads"].iloc[0]
    axes[0].axhline(1 / (1 + heads), color="0.5", linewidth=1.2)
    axes[0].annotate("all paths alike", (1, 1 / (1 + heads)), xycoords=("axes fraction", "data"), ha="right",
                     va="bottom", fontsize=9, color="0.3")  # fmt: skip
    axes[1].set_xlabel("width, d_model")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, f"The residual path's share of a layer against width; means over seeds. {'; '.join(words)}."


@picture
def cuts(rows: pd.DataFrame) -> tuple[Figure, str]:
    """What it costs to cut a path of one layer, against width, a panel a path, a line a way of cutting.

    Args:
        rows: of paths in standard transformers, of one kind of data.
    """
    names = {"cut_zero": "by nothing", "cut_mean": "by its mean", "cut_even": "by even attention"}
    figure, axes = canvas(3, height=6.2, sharex=True, sharey=True)
    words = []
    for ax, path in zip(axes, ("residual", "attention", "ffn"), strict=True):
        here = rows[rows["path"] == path].groupby(["d_model", "seed"], as_index=False)[list(names)].mean()
        for i, (column, label) in enumerate(names.items()):
            if here[column].notna().all():
                means = plot_means(ax, here, column, "d_model", LINES[i], label, 2 ** (0.08 * (i - 1)))
                told = ", ".join(f"d = {d:g} {mean:.2f}" for d, mean in means.items())
                words.append(f"{path} replaced {label}: {told}")
        ax.set(title={"residual": "the residual", "attention": "attention", "ffn": "the FFN"}[path], ylabel="nats")
        ax.axhline(0, color=BLACK, linewidth=1)
        size_axis(ax, sorted(rows["d_model"].unique()))
    axes[-1].set_xlabel("width, d_model")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, [f"replaced {label}" for label in labels], loc="outside upper center", ncols=2)
    return figure, (
        "By how many nats a sentence the divergence from the target grows when one layer's path is cut; means over "
        f"layers and seeds. {'; '.join(words)}."
    )


@picture
def agreement(pairs: pd.DataFrame) -> tuple[Figure, str]:
    """Proxy against direct evidence: one mark a pair of twins; shapes by data, larger for wider models, full for depth.

    Args:
        pairs: columns `proxy`, `direct`, `design`, `regime` and `d_model`.
    """
    figure, (ax,) = canvas(height=3.6)
    for (regime, n), line in zip(REGIMES.items(), LINES, strict=False):
        here = select(pairs, {"regime": regime})
        size = 10 + 0.9 * here["d_model"]
        faces = [line.color if design == "depth" else "none" for design in here["design"]]
        ax.scatter(here["proxy"], here["direct"], s=size, marker=line.marker, facecolors=faces, edgecolors=line.color)
        ax.plot([], [], line.marker, color=line.color, fillstyle="none", label=data_label(regime, n))
    ax.plot([], [], "s", color=BLACK, label="other depth")
    ax.axvline(0, color="0.5", linewidth=1.2)
    ax.set(xlabel="proxy: preference of the router for the residual  (nats)", ylabel="direct: residual's causal share")
    figure.legend(loc="outside upper center", ncols=4)
    deep = pairs["design"] == "depth"
    told = [f"from {pairs[c].min():.2f} to {pairs[c].max():.2f}" for c in ("proxy", "direct")]
    return figure, (
        f"Each routed model's preference for the residual, {told[0]}, against the causal share of the residual in its "
        f"standard twin, {told[1]}: {len(pairs)} pairs, of which {deep.sum()} are of another depth."
    )


# ---- the flow of a model ---------------------------------------------------------------------------------------------


@picture
def flow(models: Mapping[str, pd.DataFrame], column: str, unit: str) -> tuple[Figure, str]:
    """Models as graphs, side by side: an edge is as wide as what its path contributes.

    Args:
        models: a title, and the rows of its paths, averaged over seeds: layer, path and the column.
        column: the contribution; one scale serves all models, and what lies below zero is drawn as a hair.
        unit: of the column, for the legend.
    """
    layers = max(int(rows["layer"].max()) for rows in models.values())
    figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * layers), layout="constrained")
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    most = max(float(rows[column].max()) for rows in models.values())
    words = []
    for ax, (title, rows) in zip(axes, models.items(), strict=True):
        values = {(int(r["layer"]), r["path"]): float(r[column]) for _, r in rows.iterrows()}
        for layer in range(1, layers + 1):
            _layer(ax, layer, values, 14 / most)
        ax.set(title=title, xlim=(-2.9, 1.9), ylim=(-0.35, 2 * layers + 0.35))
        ax.axis("off")
        ax.text(0, -0.12, "symbols so far", ha="center", va="top", fontsize=9)
        ax.text(0, 2 * layers + 0.12, "next symbol", ha="center", va="bottom", fontsize=9)
        told = [f"layer {layer} {path} {v:.2f}" for (layer, path), v in values.items() if path != "attention"]
        words.append(f"{title}: {', '.join(told)}")
    return figure, f"Flow through models, edges as wide as what their paths contribute, {unit}. {'; '.join(words)}."


def _layer(ax: Axes, layer: int, values: Mapping[tuple[int, str], float], scale: float) -> None:
    """From height 2·layer − 2: the residual and the heads to the first sum, then the FFN to the second."""
    low, middle, high = 2.0 * layer - 2, 2.0 * layer - 1, 2.0 * layer
    ax.plot([0, 0], [middle, high], color="0.75", linewidth=2, solid_capstyle="butt", zorder=1)
    heads = sorted(path for at, path in values if at == layer and path.startswith("head"))
    edges = [("residual", 0.0, low, middle, PATH_COLORS["residual"])]
    edges += [(h, -1.05 - 1.05 * i, low, middle, PATH_COLORS["head"]) for i, h in enumerate(heads)]
    edges += [("ffn", 0.95, middle, high, PATH_COLORS["ffn"])] if (layer, "ffn") in values else []
    for path, bulge, start, end, color in edges:
        value = values[layer, path]
        curve = Path([(0, start), (1.35 * bulge, start), (1.35 * bulge, end), (0, end)], [1, 4, 4, 4])
        ax.add_patch(PathPatch(curve, fill=False, edgecolor=color, linewidth=max(0.6, scale * value), alpha=0.75,
                               capstyle="butt", zorder=2))  # fmt: skip
        name = {"ffn": "FFN", "residual": "residual"}.get(path, path)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        ax.text(bulge, (start + end) / 2, f"{name}\n{value:.2f}", ha="center", va="center", fontsize=8, bbox=box,
                zorder=4)  # fmt: skip
    for y in (middle, high):
        ax.plot(0, y, marker="o", markersize=9, markerfacecolor="white", markeredgecolor=BLACK, zorder=3)
        ax.text(0, y, "+", ha="center", va="center_baseline", fontsize=9, zorder=4)
