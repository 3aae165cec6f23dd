"""Figures of chapter 14 on text: how sure models are and how right, what their parts do, and whether gates help.

Everything is in nats a symbol, but for the yardstick's bits a character. Trained models are those of the main design.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from entropylens.experiments.gated_text import ARMS
from entropylens.measures.parts import Cut
from entropylens.results.statistics import select
from entropylens.show import marks
from entropylens.show.figures import BLACK, GREEN, LINES, ORANGE, PURPLE, SKY, WIDTH, Line, canvas, picture, size_axis
from entropylens.show.figures_energy import difference
from entropylens.show.figures_gates import BY_ENTROPY, CONTROL, PLAIN, RIVAL
from entropylens.show.figures_source import (
    CROSS,
    FORCED,
    OWN,
    REGIMES,
    UNIT,
    by_regime,
    ends,
    means_by,
    series,
    signed_log,
    widest,
    zero,
)

READ = {
    "cross_entropy": ("cross-entropy", CROSS), "forced": ("forced entropy", FORCED),
    "entropy": ("entropy of own texts", OWN),
}  # fmt: skip
USUAL = "constant gate"
"""The arm that the others are compared with."""
GATES = {USUAL: RIVAL, "plain": PLAIN, "entropy gate": BY_ENTROPY, "mean gate": BY_ENTROPY}
NEURONS = {"silent": "share of neurons\nthat never fire", "active": "share of symbols\non which a neuron fires"}
CUTS = {"even": "even", "deaf": "deaf", "ffn": "FFN"}
FILLS = [(SKY, ""), (ORANGE, "//"), (PURPLE, "xx"), (GREEN, "..")]
"""Of bars."""


@picture
def overconfidence(
    rows: pd.DataFrame, larger: pd.DataFrame | None = None, smallest: float | None = None
) -> tuple[Figure, str]:
    """Overconfidence on test documents, against width and, of the widest models, against training steps.

    Args:
        rows: of `real_text`, all.
        larger: of `larger_text`, all, if there are any: its marks are hollow and stand alone.
        smallest: half the width of the grey band: the smallest effect.
    """
    models = select(rows, {"kind": "model", "main": True})
    final, wide = models[models["final"]], widest(models)
    figure, axes = canvas(2, height=6.0)
    what, words = "overconfidence", []
    for i, (name, line, here) in enumerate(by_regime(final)):
        told = series(axes[0], here, what, "d_model", line, name, where="d = {:g}", spread=1.02 ** (2 * i - 1))
        words.append(f"{name}: {told}")
    for label, line, here in _larger(larger):
        told = series(axes[0], here, what, "d_model", line, f"larger: {label}", where="d = {:g}", hollow=True)
        words.append(f"larger, {label}: {told}")
    for i, (name, line, here) in enumerate(by_regime(wide[wide["step"] > 0])):
        told = series(axes[1], here, what, "step", line, name, where="step {:g}", spread=1.02 ** (2 * i - 1))
        words.append(f"d = {here['d_model'].max()}, {name}: {told}")
    for ax in axes:
        zero(ax, "as sure as right", smallest)
        ax.set_ylabel(f"{what}\n({UNIT})")
    sizes = set(final["d_model"]) | {d for *_, here in _larger(larger) for d in here["d_model"]}
    size_axis(axes[0], sorted(sizes))
    axes[0].set_xlabel("width, d_model")
    axes[0].margins(x=0.08)
    axes[1].set(xlabel="training steps", xscale="log", title=f"d = {wide['d_model'].max()}")
    marks.legend(figure, axes, ncols=2)
    return figure, marks.alt(f"{what} on test documents, {UNIT}", words)


@picture
def positions(rows: pd.DataFrame) -> tuple[Figure, str]:
    """How right and how sure the widest models are by how much they have read, a panel a regime.

    Args:
        rows: of `real_text`, all.
    """
    here = widest(select(rows, {"kind": "position", "main": True}))
    spans = here[["first", "last"]].astype(int).drop_duplicates().sort_values("first").to_numpy() + 1
    names = [f"{a}" if a == b else f"{a}–{b}" for a, b in spans]
    here = here.assign(place=np.searchsorted(spans[:, 0], here["first"] + 1))
    panels = list(by_regime(here))
    figure, axes = canvas(len(panels), height=1.0 + 2.2 * len(panels), sharex=True, sharey=True)
    words = []
    for ax, (name, _, found) in zip(axes, panels, strict=True):
        for i, (column, (label, line)) in enumerate(READ.items()):
            series(ax, found, column, "place", line, label, move=0.08 * (i - 1))
            told = zip(means_by(found, column, "place")["mean"], names, strict=True)
            words.append(f"{name}, {label}: {', '.join(f'{mean:.2f} at {where}' for mean, where in told)}")
        ax.set(title=name, ylabel=UNIT)
        ax.set_xticks(range(len(names)), names)
    axes[-1].set_xlabel("place of the symbol in its window")
    marks.legend(figure, axes, ncols=3)
    return figure, marks.alt(f"{UNIT} by place in the window, width {here['d_model'].max()}", words)


@picture
def calibration(rows: pd.DataFrame) -> tuple[Figure, str]:
    """How often the likeliest symbol is right against how likely it was said to be, of the widest models.

    Args:
        rows: of `real_text`, all; the area of a mark is the share of predictions that it stands for.
    """
    here = widest(select(rows, {"kind": "bin", "main": True}))
    errors = select(rows, {"kind": "model", "main": True, "final": True, "d_model": here["d_model"].max()})
    panels = list(by_regime(here))
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    axes, words = list(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]), []
    for ax, (name, line, found) in zip(axes, panels, strict=True):
        ax.plot([0, 1], [0, 1], color=BLACK, linewidth=1, label="as right as sure", zorder=1)
        ax.scatter(found["confidence"], found["accuracy"], 4, color=line.color, marker=line.marker, alpha=0.3)
        means = found.groupby("bin")[["share", "confidence"]].mean()
        means = means.join(means_by(found, "accuracy", "bin").clip(0, 1), how="inner")
        ax.errorbar(means["confidence"], means["mean"], yerr=ends(means), color=line.color, linestyle="", capsize=2)
        ax.scatter(means["confidence"], means["mean"], 500 * means["share"], color=line.color, marker=line.marker,
                   alpha=0.6, edgecolor=BLACK, zorder=3)  # fmt: skip
        told = [f"{x.confidence:.2f} sure, {x.mean:.2f} right ({x.share:.0%} of symbols)" for x in means.itertuples()]
        error = errors[errors["regime"] == name]["calibration_error"].mean()
        words.append(f"{name}, expected calibration error {error:.3f}: {', '.join(told)}")
        ax.set(title=name, xlabel="confidence", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0].set_ylabel("accuracy")
    marks.legend(figure, axes)
    what = f"how often the likeliest symbol is right, by its probability, width {here['d_model'].max()}"
    return figure, marks.alt(what, words)


@picture
def yardstick(table: pd.DataFrame) -> tuple[Figure, str]:
    """Bits a character of the test documents: counting, compressors and models, the worst on top.

    Args:
        table: columns name, kind and bits; of a model a row a seed, which gives it small marks and an interval.

    Raises:
        ValueError: for a table without rows, or of more kinds than there are kinds of bars.
    """
    kinds = list(dict.fromkeys(table["kind"])) if len(table) else []
    if not 0 < len(kinds) <= len(FILLS):
        raise ValueError(f"needs 1 to {len(FILLS)} kinds, got {kinds}")
    means = table.groupby(["name", "kind"])["bits"].mean().sort_values(ascending=False)
    figure, (ax,) = canvas(height=1.5 + 0.29 * len(means))
    words = []
    for y, (name, kind, mean) in enumerate(means.reset_index().itertuples(index=False)):
        color, hatch = FILLS[kinds.index(kind)]
        ax.barh(y, mean, 0.7, color=color, hatch=hatch, edgecolor=BLACK, linewidth=0.8, label=kind)
        values = table[(table["name"] == name) & (table["kind"] == kind)]["bits"]
        said = difference(ax, values, y, LINES[-1], "", "{:.2f}") if len(values) > 1 else f"{mean:.2f}"
        words.append(f"{name} ({kind}) {said}")
    ax.set_axisbelow(True)
    ax.set_xlabel("bits a character")
    marks.names_down(ax, [name for name, _ in means.index])
    marks.legend(figure, [ax], ncols=2)
    return figure, marks.alt("bits a character of the test documents, from the most to the fewest", words, "seeds")


@picture
def parts(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Which neurons are silent, and how often they fire, by width; and what cutting a layer costs the widest models.

    Args:
        rows: of `real_text`, all; layers count from 1. A cut makes a layer's attention even or deaf, or its FFN silent.
    """
    here = select(rows, {"kind": "layer", "main": True, "final": True})
    here = here.assign(layer=here["layer"].astype(int) + 1)
    layers, cuts = sorted(here["layer"].unique()), get_args(Cut)
    figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    grid, words = figure.subplots(2, 2), []
    for i, (name, line, found) in enumerate(by_regime(here)):
        for layer in layers:
            style = LINES[(i + 2 * layer - 2) % len(LINES)]._replace(color=line.color)
            one, label = found[found["layer"] == layer], f"{name}, layer {layer}"
            for ax, column in zip(grid[0], NEURONS, strict=True):
                told = series(ax, one, column, "d_model", style, label, where="d = {:g}", form="{:.3f}",
                              spread=1.03 ** (2 * i - 1), within=(0, 1))  # fmt: skip
                words.append(f"{label}, {column} {told}")
        wide = widest(found)
        signed_log(grid[1, i])
        for j, cut in enumerate(cuts):
            told = series(grid[1, i], wide, cut, "layer", LINES[2 + j]._replace(linestyle=""), f"cut: {CUTS[cut]}",
                          where="layer {:g}", move=0.15 * (j - 1))  # fmt: skip
            words.append(f"{name}, d = {wide['d_model'].max()}, cut {CUTS[cut]} {told}")
        grid[1, i].set_xticks(layers)
        grid[1, i].set(title=name, xlabel="layer", xlim=(layers[0] - 0.5, layers[-1] + 0.5))
    for ax in grid[1, len(set(here["regime"])) :]:
        ax.set_visible(False)
    for ax, label in zip(grid[0], NEURONS.values(), strict=True):
        ax.set(xlabel="width, d_model", ylabel=label, ylim=(0, None))
        ax.margins(x=0.12)
        size_axis(ax, sorted(here["d_model"].unique()))
    grid[1, 0].set_ylabel(f"cost of a cut\n({UNIT})")
    marks.legend(figure, list(grid.flat), ncols=3)
    return figure, marks.alt(f"neurons that fire, and what cuts cost in {UNIT}", words)


@picture
def gates(rows: pd.DataFrame, smallest: float | None = None, design: str = "main") -> tuple[Figure, str]:
    """Cross-entropy of looped and deep models; below, less that of a constant gate, seed by seed.

    Args:
        rows: of `gated_text`, all, or of `larger_text`.
        smallest: half the width of the grey band: the smallest effect.
        design: of which models.
    """
    models = select(rows, {"kind": "model", "final": True, "design": design})
    models = models.dropna(subset=[column for column in models if column == "arm"])
    usual = select(models, {"arm": USUAL}).set_index("seed")["cross_entropy"]
    names = [name for name in ARMS if (models["arm"] == name).any()]
    figure, axes = canvas(2, height=1.8 + 0.62 * len(names))
    words = []
    for y, name in enumerate(names):
        here = models[models["arm"] == name].set_index("seed")["cross_entropy"]
        line, gap = GATES.get(name, CONTROL), (here - usual).dropna()
        words.append(f"{name} {difference(axes[0], here, y, line, '', '{:.3f}')}, {len(here)} models")
        if name != USUAL:
            said = difference(axes[1], gap, names.index(name) - (y > names.index(USUAL)), line, "", "{:+z.3f}")
            words.append(f"{name} − {USUAL} {said or 'unknown'}, {len(gap)} pairs")
    axes[0].axvline(usual.mean(), color=RIVAL.color, linewidth=1.2, zorder=1, label=f"mean, {USUAL}")
    axes[1].axvline(0, color=BLACK, linewidth=1, zorder=1)
    if smallest is not None:
        axes[1].axvspan(-smallest, smallest, color="0.88", zorder=0, label="below the smallest effect")
    axes[0].set_xlabel(f"cross-entropy of test documents  ({UNIT})")
    axes[1].set_xlabel(f"less that of the {USUAL}, same seed  ({UNIT})")
    marks.names_down(axes[0], names)
    marks.names_down(axes[1], [name for name in names if name != USUAL])
    marks.legend(figure, axes)
    return figure, marks.alt(f"cross-entropy of test documents, {UNIT}; lower is better", words)


@picture
def optimisers(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Which share of neurons is silent, and how often they fire, over steps, with AdamW and with SGD.

    Args:
        rows: of `real_text`, all: of design "optimizer", and main ones of the same width; the mean over layers.
    """
    found = select(rows, {"kind": "layer"})
    width = select(found, {"design": "optimizer"})["d_model"].iloc[0]
    found = found[found["design"].isin(("optimizer", "main")) & (found["d_model"] == width)]
    found = found.assign(at=found["step"] + 1)
    panels = list(by_regime(found))
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    grid = figure.subplots(2, len(panels), squeeze=False, sharex=True, sharey="row")
    words = []
    for column, (name, _, here) in zip(grid.T, panels, strict=True):
        for (optimizer, one), line in zip(here.groupby("optimizer"), LINES[2:], strict=False):
            for ax, share in zip(column, NEURONS, strict=True):
                series(ax, one, share, "at", line, str(optimizer), within=(0, 1))
                words.append(f"{name}, {optimizer}, {share}: {_path(means_by(one, share, 'step'))}")
        column[0].set_title(name)
        column[1].set(xscale="log", xlabel="training steps + 1")
    for row, label in zip(grid, NEURONS.values(), strict=True):
        row[0].set(ylabel=label, ylim=(0, None))
    marks.legend(figure, list(grid.flat))
    return figure, marks.alt(f"neurons of models of width {width} over training steps, mean over layers", words)


# ---- rows and words --------------------------------------------------------------------------------------------------


def _larger(rows: pd.DataFrame | None) -> Iterator[tuple[str, Line, pd.DataFrame]]:
    """Trained larger models of text by what they learned from, with a label and a line; without loops."""
    if rows is None or not len(rows):
        return
    found = select(rows, {"kind": "model", "final": True, "origin": "text"})
    found = found[found["arm"].isna()] if "arm" in found else found
    for (name, steps), here in found.groupby(["regime", "steps"], sort=False):
        times, line = round(steps / found["steps"].min()), REGIMES[str(name)]._replace(linestyle="")
        label = f"{name}, {times} times as long" if times > 1 else str(name)
        yield label, line._replace(marker="D") if times > 1 else line, here


def _path(means: pd.DataFrame) -> str:
    """The first, the highest and the last of means."""
    mean = means["mean"].to_numpy()
    top = int(mean.argmax())
    return f"{mean[0]:.3f} untrained, at most {mean[top]:.3f} at step {means.index[top]:g}, {mean[-1]:.3f} in the end"
