"""Figures of chapter 2: what a small transformer does, seen from the prefix trie.

Shapes as in `models/transformer.py`: N prefixes, f neurons, V symbols. Contributions to logits and losses in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike
from torch import Tensor

from entropylens.show.figures import BLUE, LINES, RED, SHADES, WIDTH, canvas, listing, picture, plot_seeds
from entropylens.show.figures_language import icicle
from entropylens.tasks.language import Language


@picture
def ancestors(language: Language, node: int) -> tuple[Figure, str]:
    """A small trie, and what one of its nodes may attend to: itself and its ancestors.

    Args:
        language: small, such as 2 symbols and length 4.
        node: number of the prefix that looks back.
    """
    figure, (ax,) = canvas(height=2.7)
    v = language.vocab_size
    place = {}
    for depth, size in enumerate(language.level_sizes):
        for k in range(size):
            place[language.level_starts[depth] + k] = ((k + 0.5) / size, -float(depth))
    chain = [node]
    while chain[-1] > 0:
        chain.append((chain[-1] - 1) // v)
    for n, (x, y) in place.items():
        if n > 0:
            px, py = place[(n - 1) // v]
            ax.plot([px, x], [py, y], color="#BBBBBB", zorder=1)
        seen = n in chain
        word = language.text(language.prefix(n)) or "□"
        box = {"boxstyle": "round,pad=0.3", "facecolor": "#FFE9DC" if seen else "white",
               "edgecolor": RED if seen else "#BBBBBB", "linewidth": 1.6 if seen else 0.8}  # fmt: skip
        ax.text(x, y, word, ha="center", va="center", bbox=box, zorder=3, fontsize=9, weight="bold" if seen else None)
    for ancestor in chain[1:]:
        ax.add_patch(FancyArrowPatch(
            place[node], place[ancestor], connectionstyle="arc3,rad=-0.35", arrowstyle="-|>", mutation_scale=11,
            shrinkA=14, shrinkB=12, color=RED, linestyle="--", zorder=2,
        ))  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(-len(language.level_sizes) + 0.6, 0.4))
    ax.axis("off")
    words = listing([language.text(language.prefix(n)) or "the empty prefix" for n in chain])
    return (
        figure,
        f"""A tree of all prefixes of a language of {v} letters. Dashed arrows lead from the prefix
        {language.text(language.prefix(node))} back to its ancestors. It attends to {words}, and to nothing else.""",
    )


@picture
def attention_table(columns: Sequence[str], rows: Sequence[str], weights: Tensor) -> tuple[Figure, str]:
    """Attention weights of one context as a table.

    Args:
        columns: n names of the positions that are looked at.
        rows: names of the heads.
        weights: (heads, n), rows sum to 1.
    """
    figure, (ax,) = canvas(height=0.9 + 0.36 * len(rows))
    table = weights.numpy()
    image = ax.imshow(table, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for (i, j), w in np.ndenumerate(table):
        ax.text(j, i, f"{w:.2f}", ha="center", va="center", color="black" if w > 0.5 else "white", fontsize=9)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xlabel("what is looked at: a prefix of the context, by its last letter")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, label="weight", pad=0.02)
    tops = listing([f"{row} looks most at {columns[int(w.argmax())]}" for row, w in zip(rows, table, strict=True)])
    return figure, f"Table of attention weights, one row a head, each with sum 1: {tops}."


@picture
def contributions(writers: Sequence[str], margins: Mapping[str, ArrayLike]) -> tuple[Figure, str]:
    """What each part of the residual stream adds to the margin of the right answer.

    Args:
        writers: n names of the summands, in order.
        margins: kind of context to n margins in nats.
    """
    figure, (ax,) = canvas(height=0.8 + 0.42 * len(writers))
    thick = 0.8 / len(margins)
    for j, ((name, values), line) in enumerate(zip(margins.items(), LINES, strict=False)):
        at = np.arange(len(writers)) + (j - (len(margins) - 1) / 2) * thick
        ax.barh(at, np.asarray(values), thick * 0.92, color=line.color, hatch=["", "///", "..."][j],
                edgecolor="white", label=name)  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(writers)), writers)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("added to (logit of the right letter − mean of the others), nats")
    ax.legend()
    tops = [f"{name}: most from {writers[int(np.argmax(np.asarray(v)))]}" for name, v in margins.items()]
    return (
        figure,
        f"""Horizontal bars: what each summand of the residual stream adds to the margin of the right letter.
        {"; ".join(tops)}.""",
    )


@picture
def neuron_cards(language: Language, names: Sequence[str], activations: Tensor, promoted: Tensor) -> tuple[Figure, str]:
    """Where a neuron fires on the trie (left), and what it then adds to the logits (right).

    Args:
        language: whose trie.
        names: n titles.
        activations: (n, N), ReLU outputs.
        promoted: (n, V), logits that the neuron adds when it is as active as it ever gets, mean over symbols removed.
    """
    figure = Figure(figsize=(WIDTH, 0.5 + 1.45 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False, width_ratios=[3, 1])
    letters = [language.text((s,)) for s in range(language.vocab_size)]
    told = []
    for (trie, bars), name, active, logits in zip(axes, names, activations, promoted, strict=True):
        share = torch.where(active > 0, active / active.max().clamp_min(1e-9), torch.nan)
        image = icicle(trie, language, torch.split(share, language.level_sizes), Normalize(0, 1), "cividis_r")
        trie.set_yticks(range(language.length))
        trie.set_title(name)
        bars.bar(letters, logits.numpy(), color=[BLUE if x > 0 else RED for x in logits.tolist()])
        bars.axhline(0, color="black", linewidth=0.8)
        bars.grid(visible=False, axis="x")
        best = int(logits.argmax())
        told.append(f"{name} fires on {int((active > 0).sum())} contexts and promotes {letters[best]} most")
    axes[0, 1].set_title("then adds (nats)")
    axes[len(names) // 2, 0].set_ylabel("letters read so far")
    axes[-1, 1].set_xlabel("next letter")
    figure.colorbar(image, ax=axes[:, 0], location="bottom", aspect=40, pad=0.02,
                    label="activation, relative to its largest; grey: silent")  # fmt: skip
    return figure, f"Icicle pictures of the trie beside bars for the next letter: {listing(told)}."


@picture
def moments(beta2s: Sequence[float], steps: ArrayLike, jumps: Sequence[int]) -> tuple[Figure, str]:
    """The memory of Adam's second moment, and its steps while the gradients are ten times larger for a while.

    Args:
        beta2s: n values of β₂.
        steps: (n, steps) length of each step in learning rates.
        jumps: the two times at which the gradients' scale changes.
    """
    figure, (top, bottom) = canvas(2, height=5.6)
    ages = np.arange(0, 4000)
    for beta2, taken, line in zip(beta2s, np.asarray(steps), LINES, strict=False):
        label = rf"$\beta_2$ = {beta2:g}, memory {1 / (1 - beta2):.0f} steps"
        every = np.unique(np.geomspace(1, len(ages), 10).astype(int) - 1).tolist()
        top.plot(ages + 1, 1 - beta2 ** (ages + 1), color=line.color, linestyle=line.linestyle, marker=line.marker,
                 markevery=every, label=label)  # fmt: skip
        bottom.plot(np.arange(1, len(taken) + 1), taken, color=line.color, linestyle=line.linestyle,
                    marker=line.marker, markevery=len(taken) // 12, label=label)  # fmt: skip
    top.axhline(1 - math.exp(-1), color="black", linestyle=":", linewidth=1)
    top.set(xscale="log", xlabel="the last so many gradients …", ylabel=r"… hold this share of $v_t$")
    bottom.axhline(1, color="black", linestyle=":", linewidth=1)
    bottom.axvspan(*jumps, color="#DDDDDD", alpha=0.5, linewidth=0)
    bottom.text(sum(jumps) / 2, 0.97, "10 × larger", ha="center", va="top", transform=bottom.get_xaxis_transform(),
                fontsize=9)  # fmt: skip
    bottom.set(yscale="log", xlabel="step", ylabel="length of a step\n(learning rates)")
    bottom.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
    bottom.yaxis.set_minor_locator(NullLocator())
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return (
        figure,
        """Two panels, one line for each beta 2. Above: the share of the second moment that the most recent
        gradients hold; each line passes 63 percent at its memory. Below: the length of Adam's steps. When gradients
        become ten times larger, steps overshoot, more for larger beta 2; when they shrink again, steps collapse, and
        recover only after several memories.""",
    )


@picture
def approach(curves: Mapping[str, ArrayLike], lowest: float = math.inf) -> tuple[Figure, str]:
    """Training loss above its floor, seeds faint, mean with its interval.

    Args:
        curves: name to (seeds, steps) of loss − H(p_tgt), nats.
        lowest: the axis reaches down to it, and to the curves.
    """
    figure, (ax,) = canvas(height=3.1)
    for (name, table), line in zip(curves.items(), LINES, strict=False):
        values = np.maximum(np.asarray(table, dtype=float), 1e-5)
        plot_seeds(ax, np.arange(values.shape[1]) + 1, values, line, name)
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel=r"loss − $H(p_\mathrm{tgt})$  (nats)")
    low = min(float(np.maximum(np.asarray(t), 1e-5).min()) for t in curves.values())
    ax.set_ylim(min(low / 1.5, lowest), None)
    ax.legend(loc="lower left")
    return (
        figure,
        f"""Training loss above its floor, on logarithmic axes, for {listing(list(curves))}: several seeds as
        faint lines and their mean with a 95 percent interval. All fall towards zero excess.""",
    )
