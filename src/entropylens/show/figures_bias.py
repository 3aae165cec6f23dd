"""The figures of chapter 3: the entropy bias of trained models, over steps, widths and data regimes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropylens.results.statistics import mean_interval, select
from entropylens.show.figures import BLACK, LINES, ORANGE, SKY, canvas, listing, picture, plot_seeds

REGIME_TITLES = {
    "exact": "exact: the target itself",
    "fresh": "fresh: new samples at each step",
    "finite": "finite: one sample, again and again",
}


@picture
def final_bias(rows: pd.DataFrame, smallest_effect: float) -> tuple[Figure, str]:
    """The main figure: H(pθ) − H(p_tgt) after training against width, one panel a regime, each seed a dot."""
    final = rows[rows["final"]]
    regimes = list(final["regime"].unique())
    figure, axes = canvas(len(regimes), height=2.3 * len(regimes), sharex=True, sharey=True)
    words = []
    for ax, regime in zip(axes, regimes, strict=True):
        here = select(final, {"regime": regime})
        _target_band(ax, smallest_effect)
        means = _seeds_and_interval(ax, here)
        if regime == "finite":
            sample = here.groupby("seed")["sample_bias"].first()
            ax.axhline(sample.mean(), color=ORANGE, linestyle=":", linewidth=2, label="the sample's own entropy, H(p̂)")
        ax.set(title=REGIME_TITLES.get(regime, regime), ylabel="H(pθ) − H(p_tgt)  (nats)")
        ax.legend(loc="upper right")
        words.append(f"{regime}: " + ", ".join(f"d = {d} {m:+.2f}" for d, m in means.items()))
    _width_axis(axes[-1], final)
    return figure, (
        f"Entropy of trained models minus that of their target, in nats, against width, one panel a data regime. "
        f"Means over seeds: {'; '.join(words)}. Below zero would be the bias that is claimed."
    )


def _target_band(ax: Axes, smallest_effect: float) -> None:
    ax.axhline(0, color=BLACK, linewidth=1)
    ax.axhspan(-smallest_effect, smallest_effect, color="0.85", zorder=0, label="too small to matter")


def _seeds_and_interval(ax: Axes, here: pd.DataFrame) -> dict[int, float]:
    """Draw every seed and the mean with its interval at each width; return the means."""
    means = {}
    for width, group in here.groupby("d_model"):
        interval, line = mean_interval(group["bias"]), LINES[0]
        x = float(width)  # type: ignore[arg-type]
        ax.plot([x * 0.93] * len(group), group["bias"], "o", color=SKY, markersize=3, alpha=0.8)
        error = [[interval.mean - interval.low], [interval.high - interval.mean]]
        ax.errorbar(x, interval.mean, yerr=error, color=line.color, marker=line.marker, capsize=4)
        means[int(x)] = interval.mean
    ax.plot(list(means), list(means.values()), color=LINES[0].color, linewidth=1, alpha=0.6)
    return means


def _width_axis(ax: Axes, rows: pd.DataFrame) -> None:
    widths = sorted(rows["d_model"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(w) for w in widths])
    ax.minorticks_off()
    ax.set_xlabel("width, d_model")


@picture
def bias_over_steps(rows: pd.DataFrame, column: str = "bias") -> tuple[Figure, str]:
    """A column against training steps, one panel a regime, one line a width; faint lines are seeds."""
    regimes, widths = list(rows["regime"].unique()), sorted(rows["d_model"].unique())
    figure, axes = canvas(len(regimes), height=2.2 * len(regimes), sharex=True, sharey=True)
    for ax, regime in zip(axes, regimes, strict=True):
        if column == "bias":
            ax.axhline(0, color=BLACK, linewidth=1)
        for width, line in zip(widths, LINES, strict=False):
            table = select(rows, {"regime": regime, "d_model": width}).pivot_table(column, "seed", "step")
            plot_seeds(ax, 1 + table.columns.to_numpy(), table, line, f"d = {width}")
        label = "H(pθ) − H(p_tgt)  (nats)" if column == "bias" else "KL(p_tgt‖pθ)  (nats)"
        ax.set(title=REGIME_TITLES.get(regime, regime), ylabel=label, xscale="log")
        if column == "kl":
            ax.set_yscale("log")
    axes[0].legend(ncols=2)
    axes[-1].set_xlabel("training steps + 1 (the untrained model stands at 1)")
    what = "Entropy above the target's" if column == "bias" else "KL divergence from the target"
    start = rows[rows["step"] == 0].groupby("d_model")[column].mean()
    untrained = listing([f"{v:+.2f} at d = {d}" for d, v in start.items()])
    return figure, f"{what}, in nats, against steps, one panel a regime, one line a width. Untrained: {untrained}."


@picture
def decomposition(rows: pd.DataFrame) -> tuple[Figure, str]:
    """What the sample did and what the model added, as stacked bars over width, for the finite regime."""
    finite = select(rows[rows["final"]], {"regime": "finite"})
    final = finite.groupby("d_model")[["sample_bias", "model_bias", "bias"]].mean()
    figure, (ax,) = canvas(height=3.0)
    at = np.arange(len(final))
    sample, model = "sample: H(p̂) − H(p_tgt)", "model: H(pθ) − H(p̂)"
    ax.bar(at - 0.2, final["sample_bias"], 0.36, color=ORANGE, edgecolor=BLACK, hatch="//", label=sample)
    ax.bar(at + 0.2, final["model_bias"], 0.36, color=SKY, edgecolor=BLACK, label=model)
    ax.plot(at, final["bias"], "D", color=BLACK, label="sum: H(pθ) − H(p_tgt)")
    ax.axhline(0, color=BLACK, linewidth=1)
    ax.set_xticks(at, [f"d = {d}" for d in final.index])
    ax.set(ylabel="nats", xlabel="width, d_model")
    ax.legend()
    words = [f"d = {d}: sample {r.sample_bias:+.2f}, model {r.model_bias:+.2f}" for d, r in final.iterrows()]
    return figure, f"Two bars a width, in nats, and their sum. {'; '.join(words)}."


@picture
def bias_against_loss(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Trajectories in the plane of excess loss and bias, means over seeds: widths are compared at equal loss."""
    regimes, widths = list(rows["regime"].unique()), sorted(rows["d_model"].unique())
    least = rows.groupby(["regime", "d_model", "step"])["excess_loss"].mean().groupby(["regime", "d_model"]).min()
    largest = max(1.0, 1.5 * least.max())  # the late part, in which every width can be seen
    figure, axes = canvas(len(regimes), height=2.3 * len(regimes), sharex=True, sharey=True)
    for ax, regime in zip(axes, regimes, strict=True):
        ax.axhline(0, color=BLACK, linewidth=1)
        for width, line in zip(widths, LINES, strict=False):
            path = select(rows, {"regime": regime, "d_model": width}).groupby("step")[["excess_loss", "bias"]].mean()
            path = path[path["excess_loss"] < largest]
            ax.plot(path["excess_loss"], path["bias"], color=line.color, linestyle=line.linestyle, marker=line.marker,
                    label=f"d = {width}")  # fmt: skip
        ax.set(title=REGIME_TITLES.get(regime, regime), ylabel="H(pθ) − H(p_tgt)  (nats)")
    axes[0].legend(ncols=2)
    axes[-1].set_xlabel("excess loss, KL(what is seen‖pθ)  (nats);  training goes →")
    axes[-1].invert_xaxis()
    return figure, (
        "Entropy bias against excess loss during training, in nats, one panel a regime, one line a width; means over "
        "seeds. Where two lines coincide, width makes no difference at equal loss; where they end, training did."
    )
