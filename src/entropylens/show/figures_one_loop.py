"""The figures of chapter 9 that are of single models: where a loop looks, what noise does to it, how it grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from entropylens.experiments.looped_induction import VOCABULARY
from entropylens.show import marks
from entropylens.show.figures import BLACK, BLUE, LINES, RED, WIDTH, canvas, picture


@picture
def attention(rows: Tensor, tokens: Tensor, target: int) -> tuple[Figure, str]:
    """Where the last token of one sequence looks, a line a loop; beside it the entropy of each line.

    Args:
        rows: (T, n), its attention row in each loop.
        tokens: (n,).
        target: the position that should be looked at: that of the answer, after the match.

    Raises:
        ValueError: if the token before the target is not the last one's, or the shapes do not fit.
    """
    rows, (n_loops, n) = rows.detach(), rows.shape
    if len(tokens) != n or not 0 < target < n or tokens[target - 1] != tokens[-1]:
        raise ValueError(
            f"needs {n} tokens, the last of which stands before the target; got {tokens.tolist()}, {target}"
        )
    figure = Figure(figsize=(WIDTH, 2.3 + 0.13 * n_loops), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.4, 1])
    image = left.imshow(rows.numpy(), cmap="Greys", aspect="auto", vmin=0, extent=(-0.5, n - 0.5, n_loops + 0.5, 0.5))
    left.grid(visible=False)
    _column(left, target - 1, n_loops, "match", BLUE, "--", "right")
    _column(left, target, n_loops, "answer", RED, "-", "left")
    shown = range((n - 1) % -(-n // 24), n, -(-n // 24))  # no more labels than there is room for, and the last
    left.set_xticks(list(shown), [str(int(tokens[i])) for i in shown], fontsize=8)
    left.set(xlabel="tokens", ylabel="loop")
    left.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    entropy = torch.special.entr(rows).sum(-1)
    right.plot(entropy.numpy(), np.arange(1, n_loops + 1), color=BLACK, marker="o", markersize=3)
    right.axvline(np.log(n), color=BLACK, linestyle=":", linewidth=1.2)
    right.annotate("log n", (np.log(n), 1), (0, 3), ("data", "axes fraction"), "offset points", ha="center", fontsize=9)
    right.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    right.set(xlabel="entropy (nats)", xlim=(-0.06 * np.log(n), 1.1 * np.log(n)))
    figure.colorbar(image, ax=[left, right], location="bottom", shrink=0.6, aspect=35, label="attention")
    seen = {name: f"{rows[0, i]:.2f} to {rows[-1, i]:.2f}" for name, i in (("answer", target), ("match", target - 1))}
    most = int((rows.argmax(-1) == target).sum())
    return figure, (
        f"Attention of the last of {n} tokens, {marks.loops(n_loops)}, from the first to the last: to the answer "
        f"{seen['answer']}, to the match {seen['match']}; the answer has most of it in {marks.loops(most)}. Entropy "
        f"from {entropy[0]:.2f} to {entropy[-1]:.2f} nats, and log n is {np.log(n):.2f}."
    )


def _column(ax: Axes, at: int, height: int, name: str, color: str, style: str, side: Any) -> None:
    """A frame around a token's column, its name above, which ends (side "right") or begins ("left") there."""
    frame: Any = {"fill": False, "edgecolor": color, "linestyle": style, "linewidth": 1.5, "clip_on": False}
    ax.add_patch(Rectangle((at - 0.5, 0.5), 1, height, zorder=3, **frame))
    x, away = (at + 0.5, -2) if side == "right" else (at - 0.5, 2)
    ax.annotate(name, (x, 1), (away, 3), ("data", "axes fraction"), "offset points", ha=side, color=color, fontsize=9)


@picture
def survival(table: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy of weights set by hand against the noise on them, a line a kind of noise and length; means over trials.

    Args:
        table: columns `noise` (relative), `kind`, `length`, `accuracy` and `trial`.
    """
    figure, (ax,) = canvas(height=3.8)
    words = []
    for i, (pair, here) in enumerate(table.groupby(["kind", "length"], sort=False)):
        label = f"{pair[0]}, {pair[1]} tokens"
        mean = marks.curve(
            ax, here.pivot_table("accuracy", "trial", "noise"), LINES[i % len(LINES)], label, faint=False
        )
        words.append(f"{label}: {marks.told(mean, 'noise {:g}')}")
    marks.guess(ax, 1 / VOCABULARY)
    least = table["noise"][table["noise"] > 0].min()
    if np.isfinite(least):  # logarithmic, but for 0
        ax.set_xscale("symlog", linthresh=least)
        ax.set_xlim(left=-0.2 * least if (table["noise"] == 0).any() else 0.8 * least)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="noise, relative to the weights", ylabel="accuracy, last token", ylim=(0, 1.03))
    marks.legend(figure, [ax], ncols=2)
    return figure, marks.alt("Accuracy of weights set by hand, against noise on them", words, "trials")


@picture
def states(norms: Mapping[str, Tensor]) -> tuple[Figure, str]:
    """The size of the state against loops, ‖Z_t‖, a line a kind of model; on a logarithmic axis if they differ much.

    Args:
        norms: for each label (T + 1,), or (S, T + 1) of several sequences, which are faint lines.
    """
    figure, (ax,) = canvas(height=3.4)
    words, ends = [], []
    for i, (label, values) in enumerate(norms.items()):
        table = pd.DataFrame(np.atleast_2d(values.detach().numpy()))
        mean = marks.curve(ax, table, LINES[i % len(LINES)], label)["mean"].dropna()
        if len(mean):
            ends.append(mean.iloc[-1])
            told = [f"{mean[t]:.3g} after {marks.loops(round(t))}" for t in mean.index[[0, len(mean) // 2, -1]]]
            words.append(f"{label}: {', '.join(told)}")
    if ends and max(ends) > 20 * min(ends) > 0:
        ax.set_yscale("log", nonpositive="mask")
        ax.yaxis.set_major_formatter("{x:g}")
    else:
        ax.set_ylim(bottom=0)
    ax.set(xlabel="loops", ylabel="‖Z_t‖")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    marks.legend(figure, [ax], ncols=2)
    return figure, marks.alt("Size of the state against loops", words, "sequences")
