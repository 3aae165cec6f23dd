"""The figures of chapter 4: variants of the transformer, at equal width and at equal parameters."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropylens.results.statistics import select
from entropylens.show.figures import BLACK, LINES, ORANGE, Line, canvas, picture, plot_means, size_axis
from entropylens.show.figures_bias import BIAS

VARIANT_LINES: dict[str, Line] = dict(zip(("full", "attention_only", "ffn_only", "no_mixing"), LINES, strict=False))
NAMES = {"full": "full", "attention_only": "attention only", "ffn_only": "FFN only", "no_mixing": "no mixing"}


def _means(ax: Axes, here: pd.DataFrame, column: str, x: str, line: Line, label: str, shift: float = 1.0) -> list[str]:
    """A column against x; returns the means in words."""
    return [f"{at:g}: {mean:+.2f}" for at, mean in plot_means(ax, here, column, x, line, label, shift).items()]


@picture
def variants(rows: pd.DataFrame, smallest_effect: float, column: str = "bias") -> tuple[Figure, str]:
    """The main figure: a column after training against size, a line a variant, a panel each for both matches."""
    final = select(rows[rows["final"]], {"main": True})
    figure, axes = canvas(2, height=5.6, sharex=True, sharey=True)
    words = []
    for ax, match in zip(axes, ("parameters", "width"), strict=True):
        here = select(final, {"match": match})
        ax.axhline(0, color=BLACK, linewidth=1)
        if column == "bias":
            ax.axhspan(-smallest_effect, smallest_effect, color="0.8", zorder=0)
            ax.axhline(here["sample_bias"].mean(), color=ORANGE, linestyle=":", linewidth=2.2, label="H(p̂)")
        for i, (variant, line) in enumerate(VARIANT_LINES.items()):
            shift = 2 ** (0.08 * (i - 1.5))
            told = _means(ax, select(here, {"variant": variant}), column, "size", line, NAMES[variant], shift)
            words.append(f"equal {match}, {NAMES[variant]}: {', '.join(told)}")
        ax.set(title=f"at equal {match}", ylabel=BIAS if column == "bias" else "memorisation  (nats)")
        size_axis(ax, sorted(here["size"].unique()))
        if column == "bias":  # linear near zero, where the question is, and logarithmic above, where the control lies
            ax.set_yscale("symlog", linthresh=0.2, linscale=1.5)
            ax.set_yticks([-0.1, 0, 0.1, 0.2, 0.5, 1, 2], ["−0.1", "0", "0.1", "0.2", "0.5", "1", "2"])
    axes[1].set_xlabel("size: d_model of the full model")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    what = "Entropy minus that of the target" if column == "bias" else "Memorisation of the sample"
    return figure, f"{what}, in nats, by size of the model; means over seeds. {'; '.join(words)}."


@picture
def against_loss(rows: pd.DataFrame, sizes: tuple[int, ...]) -> tuple[Figure, str]:
    """Bias against excess loss during training, a panel a size, a line a variant, at equal parameters; means."""
    main = select(rows, {"main": True, "match": "parameters"})
    figure, axes = canvas(len(sizes), height=2.5 * len(sizes), sharex=True, sharey=True)
    for ax, size in zip(axes, sizes, strict=True):
        ax.axhline(0, color=BLACK, linewidth=1)
        for variant, line in VARIANT_LINES.items():
            path = select(main, {"size": size, "variant": variant}).groupby("step")[["excess_loss", "bias"]].mean()
            path = path[path["excess_loss"] < 1.5]
            ax.plot(path["excess_loss"], path["bias"], color=line.color, linestyle=line.linestyle, marker=line.marker,
                    label=NAMES[variant])  # fmt: skip
        ax.set(title=f"size {size}", ylabel=BIAS)
    axes[0].legend()
    axes[-1].set_xlabel("excess loss, KL(p̂‖pθ)  (nats);  training goes →")
    axes[-1].invert_xaxis()
    return figure, (
        "Entropy bias against excess loss during training, in nats, one panel a size, one line a variant of equal "
        "parameters; means over seeds. Where lines coincide, variants differ in how far they get, and not in what they "
        "prefer on the way."
    )


@picture
def doses(rows: pd.DataFrame, smallest_effect: float) -> tuple[Figure, str]:
    """Bias after training against the number of FFN neurons, one line a kind of data.

    Args:
        rows: final ones, with a column `dose`, d_ff / d_model.
        smallest_effect: half the width of the grey band, nats.
    """
    figure, (ax,) = canvas(height=3.2)
    ax.axhline(0, color=BLACK, linewidth=1)
    ax.axhspan(-smallest_effect, smallest_effect, color="0.8", zorder=0)
    words = []
    for (regime, title), line in zip(
        {"fresh": "fresh data", "finite": "a sample of 2000"}.items(), LINES, strict=False
    ):
        here = select(rows, {"regime": regime})
        told = _means(ax, here.assign(place=here["dose"] + 0.5), "bias", "place", line, title)
        words.append(f"{title}: {', '.join(told)}")
        if regime == "finite":
            ax.axhline(here["sample_bias"].mean(), color=ORANGE, linestyle=":", linewidth=2.2, label="H(p̂)")
    steps = sorted(rows["dose"].unique())
    ax.set_xscale("log")
    ax.set_xticks([step + 0.5 for step in steps], [f"{step:g}·d" if step else "none" for step in steps])
    ax.minorticks_off()
    ax.set(xlabel="FFN neurons a layer", ylabel=BIAS)
    ax.legend()
    return (
        figure,
        f"Entropy bias after training, nats, by FFN neurons plus a half, in multiples of d: {'; '.join(words)}.",
    )
