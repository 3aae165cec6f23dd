"""The figures of chapter 8: spikes of the loss, and jumps in the number of dead neurons, under five optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from entropylens.measures.events import Event, Floats, onsets
from entropylens.show.figures import (
    BLACK,
    BLUE,
    EMPTY,
    LINES,
    RED,
    WIDTH,
    Line,
    canvas,
    listing,
    picture,
    plot_means,
    size_axis,
)  # fmt: skip

NAMES = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "momentum": "SGD with momentum", "sgd": "SGD"}
"""Optimizers in words, in the order in which they are drawn."""
OPTIMIZER_LINES = {
    "adam": LINES[0], "adamw": LINES[4], "rmsprop": LINES[1], "momentum": LINES[2], "sgd": LINES[3],
}  # fmt: skip
RATES = {
    "spikes_1000": "spikes in 1000 steps", "jumps_1000": "jumps in deaths in 1000 steps", "kl": "KL at the end (nats)",
}  # fmt: skip
VARIANTS = {"full": "attention and FFN", "attention_only": "attention only", "ffn_only": "FFN only"}


# ---- one training ----------------------------------------------------------------------------------------------------


@picture
def trace(
    losses: Floats, dead: Floats, spikes: Sequence[Event], jumps: Sequence[Event], label: str
) -> tuple[Figure, str]:
    """One training: its loss and its dead neurons, with the onsets of spikes and of jumps.

    Args:
        losses: (steps), nats; what is not finite is left out.
        dead: (steps), neurons.
        spikes: of the loss.
        jumps: of the dead neurons.
        label: which training, the title.
    """
    figure, axes = canvas(2, height=4.4, sharex=True)
    kinds = ((losses, spikes, BLUE, "v", "spikes"), (dead, jumps, RED, "^", "jumps in deaths"))
    loss = np.where(np.isfinite(losses), losses, np.nan)
    top = float(np.nanquantile(loss[min(50, len(loss) - 1) :], 0.995))
    for i, (values, found, color, marker, _) in enumerate(kinds):
        at = onsets(found)
        axes[i].plot(loss if i == 0 else values, color=BLACK, linewidth=0.7)
        height = np.minimum(values[at], top) if i == 0 else values[at]
        axes[i].plot(at, height, marker, color=color, markersize=6, zorder=3)
        for step in at:
            axes[1 - i].axvline(step, color=color, linewidth=0.7, alpha=0.35, zorder=1)
    low = float(np.nanmin(loss))
    axes[0].set(title=label, ylabel="loss (nats)", ylim=(low - 0.05 * (top - low), top + 0.05 * (top - low)))
    axes[1].set(ylabel="dead neurons", xlabel="training steps", xlim=(0, len(losses)))
    marks = [Line2D([], [], color=color, marker=marker, linestyle="") for *_, color, marker, _ in kinds]
    figure.legend(marks, [f"onsets of {name}" for *_, name in kinds], loc="outside upper center", ncols=2)
    told = [f"{len(found)} {name}{_first(found)}" for _, found, _, _, name in kinds]
    return figure, f"{label}: loss and dead neurons in {len(losses)} steps, with {listing(told)}."


def _first(found: Sequence[Event]) -> str:
    at = [str(step) for step in onsets(found)[:5]]
    return f" (at {'steps' if len(at) > 1 else 'step'} {listing(at)}{' first' if len(found) > 5 else ''})" if at else ""


# ---- many trainings --------------------------------------------------------------------------------------------------


@picture
def by_rate(models: pd.DataFrame) -> tuple[Figure, str]:
    """Spikes, jumps and the end against the learning rate, a line an optimizer; a ring is at its edge.

    Args:
        models: rows of the kind "model", of design "optimizers" and one width.
    """
    figure, axes = canvas(3, height=7.4, sharex=True)
    words = []
    for ax, (column, title) in zip(axes, RATES.items(), strict=True):
        for here, o, line, shift in by_optimizer(models, 1.05):
            means = _means(ax, here, column, "lr", line, NAMES[o], shift)
            rings = {float(lr) for lr in here.loc[here["at"] == "edge", "lr"]} & set(means)
            ax.plot([lr * shift for lr in rings], [means[lr] for lr in rings], "o", fillstyle="none", markersize=11,
                    color=line.color)  # fmt: skip
            words.append(f"{title}, {NAMES[o]}: {_told(means, 'rate', '.3g')}")
        ax.set(title=title, xscale="log")
    axes[-1].set(yscale="log", xlabel="learning rate; a ring marks the optimizer's edge")
    optimizer_legend(figure, models)
    return figure, f"Events and the end of training against the learning rate; means over seeds. {'; '.join(words)}."


@picture
def parts(models: pd.DataFrame) -> tuple[Figure, str]:
    """Spikes against the learning rate in whole models and in their parts, a panel an optimizer.

    Args:
        models: rows of the kind "model", of designs "optimizers" and "parts", of one width; optimizers of which
            there are no parts are left out, unless there are no others.
    """
    both = models.groupby("optimizer")["variant"].nunique()
    names = [o for o in NAMES if both.get(o, 0) > 1] or [o for o in NAMES if o in both]
    figure, axes = canvas(max(1, len(names)), height=1.0 + 2.2 * max(1, len(names)))
    words = []
    for ax, o in zip(axes, names, strict=False):
        for i, (variant, name) in enumerate(VARIANTS.items()):
            here = models[(models["optimizer"] == o) & (models["variant"] == variant)]
            means = _means(ax, here, "spikes_1000", "lr", LINES[i], name, 1.05 ** (i - 1))
            if means:
                words.append(f"{NAMES[o]}, {name}: {_told(means, 'rate', '.3g')}")
        ax.set(title=NAMES[o], ylabel="spikes in 1000 steps")
        size_axis(ax, sorted(models.loc[models["optimizer"] == o, "lr"].unique()))
    axes[-1].set_xlabel("learning rate")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, f"Spikes in 1000 steps against the learning rate; means over seeds. {'; '.join(words)}."


@picture
def order(thresholds: pd.DataFrame) -> tuple[Figure, str]:
    """How spikes and jumps meet, and which is first, when thresholds are varied and logs are kept less often.

    Args:
        thresholds: rows of the kind "threshold", of models that differ in optimizer and seed.
    """
    usual = thresholds[(thresholds["varied"] == "factor") & (thresholds["value"] == 1)]
    thresholds = pd.concat([usual.assign(varied="every"), thresholds])
    sides = {"factor": "threshold, times …", "every": "steps between log entries"}
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row", sharex="col")
    words = []
    for i, (column, title) in enumerate({"coincidence": "met beyond chance", "led": "jump first − after"}.items()):
        for j, (varied, side) in enumerate(sides.items()):
            rows, ax = thresholds[thresholds["varied"] == varied], axes[i, j]
            ax.axhline(0, color=BLACK, linewidth=1)
            for here, o, line, shift in by_optimizer(rows, 1.08):
                means = _means(ax, here, column, "value", line, NAMES[o], shift)
                words.append(f"{title} against {side}, {NAMES[o]}: {_told(means, 'at', '+.3f')}")
            size_axis(ax, sorted(rows["value"].unique()))
            ax.set_xlabel(side if i else "")
        axes[i, 0].set_ylabel(f"{title}\n(share of spikes)")
    optimizer_legend(figure, thresholds)
    return figure, f"How spikes and jumps in deaths meet, shares of spikes; means over seeds. {'; '.join(words)}."


@picture
def detectors(rows: pd.DataFrame, event: str = "spike") -> tuple[Figure, str]:
    """How many injected events are found, and how many false alarms there are, against the threshold.

    Args:
        rows: of the kind "detector"; those of one optimizer are pooled.
        event: "spike" or "jump".
    """
    figure, axes = canvas(2, height=5.0, sharex=True)
    words = []
    for here, o, line, shift in by_optimizer(rows[rows["event"] == event], 1.04):
        found, alarms = _pooled(here)
        for ax, values in zip(axes, (found, alarms), strict=True):
            ax.plot(values.index.to_numpy(float) * shift, values, color=line.color, linestyle=line.linestyle,
                    marker=line.marker, label=NAMES[o])  # fmt: skip
        told = [f"{x.get(1.0, np.nan):{form}}" for x, form in ((found, ".3f"), (alarms, ".2f"))]
        words.append(f"{NAMES[o]} {told[0]} found, {told[1]} false alarms".replace("nan", "unknown"))
    for ax, least, title in zip(axes, (0.95, 1), ("share found", "false alarms in 10,000 quiet steps"), strict=True):
        ax.axhline(least, color=BLACK, linestyle=":", linewidth=1.2)
        ax.set_title(title)
    axes[0].set_ylim(-0.04, 1.04)
    axes[1].set_yscale("symlog", linthresh=1)
    axes[1].yaxis.set_major_formatter("{x:g}")
    axes[1].set(ylim=(-0.1, 2 * max(1.0, float(axes[1].dataLim.y1))), xlabel="threshold, times …")
    size_axis(axes[1], sorted(rows["factor"].dropna().unique()))
    optimizer_legend(figure, rows[rows["event"] == event])
    return figure, (
        "Injected events that are found, and false alarms in 10,000 quiet steps, against the threshold. At the usual "
        f"one, {event}s: {'; '.join(words)}."
    )


def _pooled(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The share found, and false alarms in 10,000 quiet steps, by factor; NaN where nothing was tried."""
    tried = rows[["factor", "injected"]].assign(
        found=rows["found"] * rows["injected"], quiet=rows["quiet"], alarms=rows["false_alarms"]
    )
    total = tried.groupby("factor").sum()
    none = total.replace(0, np.nan)
    return total["found"] / none["injected"], 1e4 * total["alarms"] / none["quiet"]


def by_optimizer(rows: pd.DataFrame, step: float) -> Iterator[tuple[pd.DataFrame, str, Line, float]]:
    """Those that have rows: their rows, name and line, and by what to multiply x, so that none hides another."""
    names = [o for o in NAMES if (rows["optimizer"] == o).any()]
    for i, o in enumerate(names):
        yield rows[rows["optimizer"] == o], o, OPTIMIZER_LINES[o], step ** (i - (len(names) - 1) / 2)


def _means(
    ax: Axes, rows: pd.DataFrame, column: str, x: str, line: Line, label: str, shift: float
) -> dict[float, float]:
    """As `plot_means`, of finite values; a place with only one of them gets its faint mark and no mean."""
    kept = rows[np.isfinite(rows[column].to_numpy(dtype=float))]
    if kept.empty:
        return {}
    alone = kept[kept.groupby(x)[column].transform("size") < 2]
    ax.plot(alone[x] * shift, alone[column], line.marker, color=line.color, markersize=3, alpha=0.25)
    return plot_means(ax, kept.drop(alone.index), column, x, line, label, shift)


def _told(means: Mapping[float, float], at: str, form: str) -> str:
    return ", ".join(f"{at} {x:g} {mean:{form}}" for x, mean in means.items()) or "nothing measured"


def optimizer_legend(figure: Figure, *tables: pd.DataFrame) -> None:
    """Above a figure: the optimizers that occur in its tables."""
    there = {o for table in tables for o in table["optimizer"]}
    lines = [(NAMES[o], line) for o, line in OPTIMIZER_LINES.items() if o in there]
    handles = [Line2D([], [], color=x.color, marker=x.marker, linestyle=x.linestyle) for _, x in lines]
    figure.legend(handles, [name for name, _ in lines], loc="outside upper center", ncols=3)


# ---- phase diagrams --------------------------------------------------------------------------------------------------


@picture
def phase(tables: Mapping[str, pd.DataFrame], label: str) -> tuple[Figure, str]:
    """Small tables in shades of grey, darker for more, with one scale for all.

    Args:
        tables: a title and mean values, rows by their labels and columns by learning rate; NaN is "–".
        label: what the values are, with their unit.
    """
    heights = [0.85 + 0.38 * len(table) for table in tables.values()]
    figure = Figure(figsize=(WIDTH, 0.3 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    most = np.nanmax([0.0, *(v for table in tables.values() for v in table.to_numpy(dtype=float).ravel())])
    words = []
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        told = _cells(ax, table, float(most) or 1.0)
        ax.set(title=title, ylabel=table.index.name or "")
        words.append(f"{title}: {told}")
    axes[-1].set_xlabel("learning rate")
    figure.suptitle(label, fontsize=10)
    return figure, f"{label}. {'; '.join(words)}."


def _cells(ax: Axes, table: pd.DataFrame, most: float) -> str:
    values = table.to_numpy(dtype=float)
    ax.imshow(np.ma.masked_invalid(values), cmap=mpl.colormaps["Greys"].with_extremes(bad=EMPTY), aspect="auto",
              vmin=0, vmax=most)  # fmt: skip
    columns, rows = ([f"{x:g}" if isinstance(x, float) else str(x) for x in a] for a in (table.columns, table.index))
    told = []
    for (y, x), value in np.ndenumerate(values):
        text = f"{value:.3g}" if np.isfinite(value) else "–"
        ax.text(x, y, text, ha="center", va="center", fontsize=9, color="white" if value > 0.55 * most else BLACK)
        told.append(f"{rows[y]} at {columns[x]}: {text.replace('–', 'unmeasured')}")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.grid(visible=False)
    return ", ".join(told)
