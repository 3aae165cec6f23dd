"""The figures of chapter 3: the entropy bias of trained models, over steps, widths, data, and variations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropylens.results.statistics import Where, paired_contrast, select
from entropylens.show.figures import (
    BLACK,
    BLUE,
    LINES,
    ORANGE,
    RED,
    SKY,
    WIDTH,
    canvas,
    listing,
    picture,
    plot_means,
    plot_seeds,
    size_axis,
)

BIAS = "H(pθ) − H(p_tgt)  (nats)"


def data_label(regime: str, n_samples: int) -> str:
    """What a model was trained on, in words: "exact", "fresh", "sample of 2000"."""
    return f"sample of {n_samples}" if n_samples else regime


TITLES = {"exact": "exact: the target itself", "fresh": "fresh: new samples at each step"}


def _by_data(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each kind of data, with a title, in the order of the rows: exact, fresh, then larger samples."""
    kinds = rows[["regime", "n_samples"]].drop_duplicates().sort_values("n_samples", kind="stable")
    return [
        (TITLES.get(r, data_label(r, n)), select(rows, {"regime": r, "n_samples": n}))
        for r, n in kinds.itertuples(index=False)
    ]


@picture
def final_bias(rows: pd.DataFrame, smallest_effect: float) -> tuple[Figure, str]:
    """The main figure: H(pθ) − H(p_tgt) after training against width, one panel a kind of data, each seed a dot."""
    final = rows[rows["final"]]
    panels = _by_data(final)
    figure = Figure(figsize=(WIDTH, 2.1 * -(-len(panels) // 2)), layout="constrained")
    grid = figure.subplots(-(-len(panels) // 2), 2, squeeze=False, sharex=True, sharey="row")
    words = []
    for ax, (title, here) in zip(grid.flat, panels, strict=False):
        ax.axhline(0, color=BLACK, linewidth=1)
        ax.axhspan(-smallest_effect, smallest_effect, color="0.8", zorder=0)
        means = plot_means(ax, here, "bias", "d_model", LINES[0], "")
        if (here["n_samples"] > 0).all():
            sample = here.groupby("seed")["sample_bias"].first().mean()
            ax.axhline(sample, color=ORANGE, linestyle=":", linewidth=2.2)
            ax.annotate("H(p̂)", (0.02, sample), (0, -3), xycoords=("axes fraction", "data"),
                        textcoords="offset points", va="top", fontsize=9)  # fmt: skip
        ax.set_title(title.partition(":")[0])
        words.append(f"{title}: " + ", ".join(f"d = {d:g} {m:+.2f}" for d, m in means.items()))
    for ax in grid[-1]:
        size_axis(ax, sorted(final["d_model"].unique()))
        ax.set_xlabel("width, d_model")
    figure.supylabel(BIAS, fontsize=10)
    return figure, (
        f"Entropy of trained models minus that of their target, in nats, against width, one panel a kind of data. "
        f"Means over seeds: {'; '.join(words)}. Below zero would be the bias that is claimed."
    )


@picture
def bias_over_steps(rows: pd.DataFrame, column: str = "bias") -> tuple[Figure, str]:
    """A column against training steps, one panel a kind of data, one line a width; faint lines are seeds."""
    panels, widths = _by_data(rows), sorted(rows["d_model"].unique())
    figure, axes = canvas(len(panels), height=2.2 * len(panels), sharex=True, sharey=True)
    for ax, (title, here) in zip(axes, panels, strict=True):
        if column == "bias":
            ax.axhline(0, color=BLACK, linewidth=1)
        for width, line in zip(widths, LINES, strict=False):
            table = select(here, {"d_model": width}).pivot_table(column, "seed", "step")
            plot_seeds(ax, 1 + table.columns.to_numpy(), table, line, f"d = {width}")
        label = BIAS if column == "bias" else "KL(p_tgt‖pθ)  (nats)"
        ax.set(title=title, ylabel=label, xscale="log")
        if column == "kl":
            ax.set_yscale("log")
    axes[0].legend(ncols=2)
    axes[-1].set_xlabel("training steps + 1 (the untrained model stands at 1)")
    what = "Entropy above the target's" if column == "bias" else "KL divergence from the target"
    start = rows[rows["step"] == 0].groupby("d_model")[column].mean()
    untrained = listing([f"{v:+.2f} at d = {d}" for d, v in start.items()])
    return figure, f"{what}, in nats, against steps, one panel a kind of data, a line a width. Untrained: {untrained}."


@picture
def heat_map(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Two tables in colour, width × size of the sample: the bias, and what of it the model added; means over seeds."""
    final = select(rows[rows["final"]], {"regime": "finite"})
    figure, axes = canvas(2, height=5.4)
    parts = {"bias": "the bias, H(pθ) − H(p_tgt)  (nats)", "model_bias": "what the model added, H(pθ) − H(p̂)  (nats)"}
    tables = {name: final.pivot_table(name, "d_model", "n_samples") for name in parts}
    reach = max(float(table.abs().to_numpy().max()) for table in tables.values())
    for ax, (name, title) in zip(axes, parts.items(), strict=True):
        _coloured_table(ax, tables[name], reach)
        ax.set(title=title, ylabel="width, d_model", xlabel="sentences in the sample, N")
    both = final.groupby(["d_model", "n_samples"], as_index=False)[list(parts)].mean()
    words = [
        f"d = {r.d_model}, N = {r.n_samples}: {r.bias:+.2f}, by the model {r.model_bias:+.2f}"
        for r in both.itertuples(index=False)
    ]
    return figure, f"Mean entropy bias in nats by width and sample size. {'; '.join(words)}."


def _coloured_table(ax: Axes, table: pd.DataFrame, reach: float) -> None:
    """Numbers on a diverging ground whose lightness, not only its hue, tells how far from zero they are."""
    ax.imshow(table, cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="auto")
    ax.set_xticks(range(table.shape[1]), [f"{n:,}" for n in table.columns])
    ax.set_yticks(range(table.shape[0]), list(table.index))
    ax.grid(visible=False)
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        dark = abs(value) > 0.65 * reach
        ax.text(j, i, f"{value:+.3f}", ha="center", va="center", color="white" if dark else "black", fontsize=10)


@picture
def decomposition(rows: pd.DataFrame) -> tuple[Figure, str]:
    """What the sample did and what the model added, as bars over width, one panel a size of the sample."""
    finite = select(rows[rows["final"]], {"regime": "finite"})
    panels = _by_data(finite)
    figure, axes = canvas(len(panels), height=1.75 * len(panels), sharex=True)
    words = []
    for ax, (title, here) in zip(axes, panels, strict=True):
        final = here.groupby("d_model")[["sample_bias", "model_bias", "bias"]].mean()
        at = np.arange(len(final))
        ax.bar(
            at - 0.2,
            final["sample_bias"],
            0.36,
            color=ORANGE,
            edgecolor=BLACK,
            hatch="//",
            label="sample: H(p̂) − H(p_tgt)",
        )
        ax.bar(at + 0.2, final["model_bias"], 0.36, color=SKY, edgecolor=BLACK, label="model: H(pθ) − H(p̂)")
        ax.plot(at, final["bias"], "D", color=BLACK, label="sum: H(pθ) − H(p_tgt)")
        ax.axhline(0, color=BLACK, linewidth=1)
        ax.set_xticks(at, [f"d = {d}" for d in final.index])
        ax.set(ylabel="nats", title=title)
        words += [
            f"{title}, d = {d}: sample {r.sample_bias:+.2f}, model {r.model_bias:+.2f}" for d, r in final.iterrows()
        ]
    axes[-1].set_xlabel("width, d_model")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=1)
    return figure, f"Two bars a width, in nats, and their sum, one panel a sample size. {'; '.join(words)}."


@picture
def bias_against_loss(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Trajectories in the plane of excess loss and bias, means over seeds: widths are compared at equal loss."""
    panels, widths = _by_data(rows), sorted(rows["d_model"].unique())
    figure, axes = canvas(len(panels), height=2.3 * len(panels), sharex=True, sharey=True)
    for ax, (title, here) in zip(axes, panels, strict=True):
        ax.axhline(0, color=BLACK, linewidth=1)
        for width, line in zip(widths, LINES, strict=False):
            path = select(here, {"d_model": width}).groupby("step")[["excess_loss", "bias"]].mean()
            path = path[path["excess_loss"] < 1.0]  # the late part, in which every width can be seen
            ax.plot(path["excess_loss"], path["bias"], color=line.color, linestyle=line.linestyle, marker=line.marker,
                    label=f"d = {width}")  # fmt: skip
        ax.set(title=title, ylabel=BIAS)
    axes[0].legend(ncols=2)
    axes[-1].set_xlabel("excess loss, KL(what is seen‖pθ)  (nats);  training goes →")
    axes[-1].invert_xaxis()
    return figure, (
        "Entropy bias against excess loss during training, in nats, one panel a kind of data, one line a width; means "
        "over seeds. Where two lines coincide, width makes no difference at equal loss; where they end, training did."
    )


@picture
def variations(rows: pd.DataFrame, conditions: Mapping[str, Where], smallest_effect: float) -> tuple[Figure, str]:
    """One line a variation of the design: the bias with its interval, and where the sample alone would put it.

    Args:
        rows: final ones.
        conditions: label to the columns and values that select one row a seed; a label is drawn where its rows are.
        smallest_effect: half the width of the grey band, nats.
    """
    figure, (ax,) = canvas(height=0.6 + 0.27 * len(conditions))
    ax.axvline(0, color=BLACK, linewidth=1)
    ax.axvspan(-smallest_effect, smallest_effect, color="0.8", zorder=0)
    words = []
    for y, (label, where) in enumerate(conditions.items()):
        effect, sample = paired_contrast(rows, "bias", where), paired_contrast(rows, "sample_bias", where)
        finite = sample.mean != 0
        color, marker = (RED, "s") if finite else (BLUE, "o")
        error = [[effect.mean - effect.low], [effect.high - effect.mean]]
        ax.errorbar(effect.mean, y, xerr=error, color=color, marker=marker, capsize=3)
        if finite:
            ax.plot(sample.mean, y, "|", color=BLACK, markersize=12, markeredgewidth=2)
        words.append(
            f"{label} {effect.mean:+.3f} (sample {sample.mean:+.3f})" if finite else f"{label} {effect.mean:+.3f}"
        )
    ax.set_yticks(range(len(conditions)), list(conditions))
    ax.invert_yaxis()
    ax.set_xlabel(BIAS)
    return (
        figure,
        f"Entropy bias after training, means over seeds in nats, by variation of the design: {'; '.join(words)}.",
    )
