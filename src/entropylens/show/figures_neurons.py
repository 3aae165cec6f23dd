"""The figures of chapter 7: how many neurons fire, in which models, when, and how often each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from entropylens.experiments.active_neurons import BINS, MAIN_DATA
from entropylens.results.statistics import select
from entropylens.show.figures import (
    BLACK,
    LINES,
    WIDTH,
    Line,
    canvas,
    listing,
    mean_and_interval,
    picture,
    plot_means,
    plot_seeds,
    size_axis,
)  # fmt: skip
from entropylens.show.figures_bias import data_label

REGIMES = {data.regime: data.n_samples or 0 for data in MAIN_DATA.values()}
"""Those of the main design, and the size of the sample."""
UNTRAINED = Line("0.45", "o", ":")
RATES = ["never", *(f"{round(100 * e)} %" for e in BINS[2:-2]), "more", "always"]
"""Names of `BINS` by their upper ends."""


@picture
def active_by_width(rows: pd.DataFrame) -> tuple[Figure, str]:
    """The main figure: the share of neurons that fire on an input against width, a panel a kind of data.

    Args:
        rows: of the main design, one a model.
    """
    figure, axes = canvas(len(REGIMES), height=6.6, sharex=True, sharey=True)
    words = []
    for ax, (regime, n) in zip(axes, REGIMES.items(), strict=True):
        here = select(rows, {"regime": regime})
        for column, line, label in (("active_start", UNTRAINED, "untrained"), ("active", LINES[0], "trained")):
            means = plot_means(ax, here, column, "d_model", line, label, 1.04 if column == "active" else 0.96)
            told = ", ".join(f"d = {d:g} {mean:.3f}" for d, mean in means.items())
            words.append(f"{data_label(regime, n)}, {label}: {told}")
        ax.set(title=data_label(regime, n), ylabel="share active")
        size_axis(ax, sorted(rows["d_model"].unique()))
    axes[-1].set_xlabel("width, d_model")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, f"The share of neurons that fire on an input against width; means over seeds. {'; '.join(words)}."


@picture
def over_time(rows: pd.DataFrame, column: str, label: str) -> tuple[Figure, str]:
    """A share against steps, a panel a layer, a line a width; faint lines are seeds.

    Args:
        rows: of the kinds "time" and "layer", of one kind of data.
        column: the share.
        label: of the axis, with its unit.
    """
    layers = sorted(int(layer) for layer in rows["layer"].unique())
    figure, axes = canvas(len(layers), height=2.4 * len(layers), sharex=True, sharey=True)
    words = []
    for ax, layer in zip(axes, layers, strict=True):
        for d, line in zip(sorted(rows["d_model"].unique()), LINES, strict=False):
            table = select(rows, {"layer": layer, "d_model": d}).pivot_table(column, "seed", "step")
            plot_seeds(ax, 1 + table.columns.to_numpy(), table, line, f"d = {d}")
            mean = table.mean()
            words.append(f"layer {layer}, d = {d}: {mean.iloc[0]:.3f}, then {mean.max():.3f} at step "
                         f"{mean.idxmax():.0f} at most, {mean.iloc[-1]:.3f} in the end")  # fmt: skip
        ax.set(title=f"layer {layer}", ylabel=label, xscale="log")
    axes[-1].set_xlabel("training steps + 1 (the untrained model stands at 1)")
    axes[0].legend(ncols=2)
    return figure, f"{label}, against training steps; means over seeds. {'; '.join(words)}."


@picture
def against_loss(rows: pd.DataFrame) -> tuple[Figure, str]:
    """The active share against KL in the course of training, a line a width: widths are compared at equal loss.

    Args:
        rows: of the kinds "time" and "layer", of one kind of data.
    """
    figure, (ax,) = canvas(height=3.2)
    words = []
    for d, line in zip(sorted(rows["d_model"].unique()), LINES, strict=False):
        path = select(rows, {"d_model": d}).groupby("step")[["kl", "active"]].mean()
        ax.plot(path["kl"], path["active"], color=line.color, linestyle=line.linestyle, marker=line.marker,
                label=f"d = {d}")  # fmt: skip
        words.append(f"d = {d}: from {path['active'].iloc[0]:.3f} at {path['kl'].iloc[0]:.2f} nats to "
                     f"{path['active'].iloc[-1]:.3f} at {path['kl'].iloc[-1]:.3f}")  # fmt: skip
    ax.set(xlabel="KL(p_tgt‖pθ)  (nats);  training goes →", ylabel="share active", xscale="log")
    ax.invert_xaxis()
    ax.legend(ncols=2)
    return figure, f"Active share against divergence from the target during training. {'; '.join(words)}."


@picture
def firing_rates(rows: pd.DataFrame) -> tuple[Figure, str]:
    """How often neurons fire: the share of a layer's neurons in each class of firing rates, a panel a layer.

    Args:
        rows: of the kind "rates", of one kind of data.
    """
    layers = sorted(int(layer) for layer in rows["layer"].unique())
    figure, axes = canvas(len(layers), height=2.5 * len(layers), sharex=True, sharey=True)
    words = []
    for ax, layer in zip(axes, layers, strict=True):
        for d, line in zip(sorted(rows["d_model"].unique()), LINES, strict=False):
            table = select(rows, {"layer": layer, "d_model": d}).pivot_table("share", "seed", "bin")
            mean, half = mean_and_interval(table)
            at = table.columns.to_numpy()
            ax.fill_between(at, mean - half, mean + half, color=line.color, alpha=0.2, linewidth=0)
            ax.plot(at, mean, color=line.color, linestyle=line.linestyle, marker=line.marker, label=f"d = {d}")
            words.append(f"layer {layer}, d = {d}: most in “{RATES[int(mean.argmax())]}”, {mean.max():.2f}")
        ax.set(title=f"layer {layer}", ylabel="share of neurons")
    axes[-1].set_xticks(range(len(RATES)), RATES, rotation=60)
    axes[-1].set_xlabel("a neuron fires on … of inputs (up to)")
    axes[0].legend(ncols=2)
    return figure, f"How often neurons fire, by class; means over seeds. {'; '.join(words)}."


@picture
def meanings(activity: pd.DataFrame, chosen: Sequence[int]) -> tuple[Figure, str]:
    """Some neurons (rows) on all contexts (columns): black where they fire.

    Args:
        activity: bool, neurons × contexts.
        chosen: which of its rows are drawn, and their order.
    """
    picked = activity.iloc[list(chosen)]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.16 * len(picked)), layout="constrained")
    ax = figure.subplots()
    ax.imshow(picked.to_numpy(), cmap="Greys", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    ax.grid(visible=False)
    edges = [0, 1, 6, 31, 156]
    for edge in edges[1:]:
        ax.axvline(edge - 0.5, color=LINES[1].color, linewidth=0.8)
    ax.set(xlabel="contexts, shortest first; lines part their lengths", ylabel="neurons", yticks=[])
    share = picked.mean(axis=1)
    told = listing([f"{value:.0%}" for value in share])
    for spine in ax.spines.values():
        spine.set(visible=True, color=BLACK)
    return figure, f"{len(picked)} neurons on all {picked.shape[1]} contexts; they fire on {told} of them."
