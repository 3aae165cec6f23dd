"""Figures of chapter 1: a language that fits on a page, and the entropy of samples from it.

Shapes as in `tasks/language.py`: S sentences, N prefixes. Probabilities are plain, entropies and surprises in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from entropylens.show.figures import EMPTY, LINES, RED, SHADES, canvas, listing, mean_and_interval, picture
from entropylens.tasks.language import Language, entropy

_GAP = 2


@picture
def surprise_curve() -> tuple[Figure, str]:
    """Surprise −log p, and what an event adds to the entropy, −p log p, both in nats, against p."""
    figure, (ax,) = canvas(height=2.6)
    p = np.linspace(0.002, 1, 400)
    for line, y, label in [
        (LINES[0], -np.log(p), r"surprise  $-\log p$"),
        (LINES[1], -p * np.log(p), r"its share of the entropy  $-p\,\log p$"),
    ]:
        ax.plot(p, y, color=line.color, linestyle=line.linestyle, label=label)
    for k in (2, 5, 25):
        ax.plot(1 / k, np.log(k), "o", color=LINES[0].color)
        ax.annotate(f"1 in {k}", (1 / k, np.log(k)), xytext=(6, 3), textcoords="offset points", fontsize=9)
    ax.set(xlabel="probability p of what happens", ylabel="nats", ylim=(0, 5), xlim=(0, 1))
    ax.legend()
    return (
        figure,
        """Two curves against the probability p. The surprise, minus log p, falls from very large values for
        rare events to zero for a certain one. The share of the entropy, minus p log p, is zero at both ends and has
        its maximum at p = 1/e.""",
    )


@picture
def sentence_page(language: Language, targets: Mapping[str, Tensor], most_nats: float = 20.0) -> tuple[Figure, str]:
    """Every sentence of the language as one cell, shaded by its surprise: one panel a target.

    Symbols 1, 3, 5 … of a sentence choose its column, symbols 2, 4 … its row, coarse before fine.

    Args:
        language: of a size that fits, such as 5 symbols and length 5.
        targets: name to probabilities (S,).
        most_nats: surprise at which the shade stays the lightest.
    """
    figure, axes = canvas(len(targets), height=0.35 + 2.15 * len(targets))
    shades = mpl.colormaps[SHADES].with_extremes(bad="white")
    image = None
    for ax, (name, p) in zip(axes, targets.items(), strict=True):
        possible = int((p > 0).sum())
        surprise = torch.where(p > 0, -p.clamp_min(1e-300).log(), torch.nan)
        ax.imshow(_mosaic(language, torch.ones_like(p)), cmap=mpl.colors.ListedColormap([EMPTY]), aspect="auto")
        image = ax.imshow(
            _mosaic(language, surprise), cmap=shades.with_extremes(bad=(1, 1, 1, 0)), vmin=0, vmax=most_nats,
            aspect="auto", interpolation="nearest",
        )  # fmt: skip
        _letter_axes(ax, language)
        ax.set_title(f"{name}: {possible} possible, H = {float(entropy(p)):.2f} nats")
    assert image is not None
    bar = figure.colorbar(image, ax=axes, location="bottom", extend="max", aspect=40, pad=0.02)
    bar.set_label(r"surprise $-\log p$ of the sentence (nats); grey: impossible")
    told = listing([f"{name} with {int((p > 0).sum())} possible sentences" for name, p in targets.items()])
    return (
        figure,
        f"""Mosaic of all {language.n_sentences} sentences, one small cell each, grouped in blocks by their
        first two letters and shaded by surprise, dark for likely: {told}. Impossible sentences are light grey.""",
    )


def _mosaic(language: Language, values: Tensor) -> NDArray[np.float64]:
    """Values of the sentences (S,) as a picture with gaps (NaN) between the blocks of the first two symbols."""
    v, sentences = language.vocab_size, language.sentences.numpy()
    column, row = np.zeros(len(sentences), int), np.zeros(len(sentences), int)
    for place in range(language.length):
        target = column if place % 2 == 0 else row
        target *= v
        target += sentences[:, place]
    column += column // (column.max() // v + 1) * _GAP
    row += row // (row.max() // v + 1)
    picture_of = np.full((row.max() + 1, column.max() + 1), np.nan)
    picture_of[row, column] = values.numpy()
    return picture_of


def _letter_axes(ax: Axes, language: Language) -> None:
    letters = [language.text((s,)) for s in range(language.vocab_size)]
    (bottom, top), (left, right) = sorted(ax.get_ylim()), ax.get_xlim()
    ax.set_xticks(left + (np.arange(len(letters)) + 0.5) * (right - left) / len(letters), letters)
    ax.set_yticks(bottom + (np.arange(len(letters)) + 0.5) * (top - bottom) / len(letters), letters)
    ax.tick_params(length=0)
    ax.set(xlabel="first letter", ylabel="second letter")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def icicle(ax: Axes, language: Language, values: Sequence[Tensor], norm: Normalize, shades: str) -> AxesImage:
    """The trie from the root down, one row a length, every node as wide as the sentences below it; NaN is grey.

    Args:
        ax: where.
        language: whose trie.
        values: of the prefixes of length 0, 1, …, each (V**length,).
        norm: from values to shades.
        shades: name of a colour map.
    """
    columns = int(language.vocab_size ** (len(values) - 1))
    table = np.stack([np.repeat(level.double().numpy(), columns // len(level)) for level in values])
    colours = mpl.colormaps[shades].with_extremes(bad=EMPTY)
    image = ax.imshow(
        table, cmap=colours, norm=norm, aspect="auto", extent=(0, 1, len(values) - 0.5, -0.5), interpolation="nearest"
    )
    ax.grid(visible=False)
    for depth in range(1, len(values)):
        ax.axhline(depth - 0.5, color="white", linewidth=2)
        if depth < 3:
            edges = np.arange(1, language.vocab_size**depth) / language.vocab_size**depth
            ax.vlines(edges, depth - 0.5, depth + 0.5, color="white", linewidth=1.2 / depth)
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return image


@picture
def trie(language: Language, p: Tensor, sentence: Tensor) -> tuple[Figure, str]:
    """The prefix trie shaded by the probability of each prefix, with the path of one sentence.

    Args:
        language: whose trie.
        p: probabilities of the sentences (S,).
        sentence: symbols (T,) of the sentence to follow.
    """
    figure, (ax,) = canvas(height=3.4)
    v = language.vocab_size
    levels = [p.reshape(v**t, -1).sum(-1) for t in range(language.length + 1)]
    surprises = [torch.where(m > 0, -m.clamp_min(1e-300).log(), torch.nan) for m in levels]
    image = icicle(ax, language, surprises, Normalize(0, 20), SHADES)
    ax.set_yticks(
        range(len(levels)),
        ["1 (empty)"] + [str(n) for n in language.level_sizes[1:]] + [f"{language.n_sentences}"],
    )
    node = 0
    for depth, symbol in enumerate(sentence.tolist(), 1):
        node, conditional = node * v + symbol, float(levels[depth][node * v + symbol] / levels[depth - 1][node])
        width = v**-depth
        ax.add_patch(Rectangle((node * width, depth - 0.5), width, 1, fill=False, edgecolor=RED, linewidth=1.6))
        right = node * width < 0.5
        ax.text(
            (node + 1) * width + 0.015 if right else node * width - 0.015, depth,
            f"{language.text(sentence[:depth])}: × {conditional:.3f}", ha="left" if right else "right", va="center",
            fontsize=9, bbox={"facecolor": "white", "edgecolor": RED, "linewidth": 0.6, "boxstyle": "round,pad=0.15"},
        )  # fmt: skip
    ax.set_ylabel("prefixes of length 0, 1, 2 …")
    bar = figure.colorbar(image, location="bottom", extend="max", aspect=40, pad=0.02)
    bar.set_label("surprise of the prefix (nats); grey: impossible")
    return (
        figure,
        f"""The trie drawn as six rows. The top row is one cell, the empty prefix; each row splits every cell
        of the row above into {v}, down to {language.n_sentences} sentences. A red path follows the sentence
        {language.text(sentence)} and shows the conditional probability of each of its letters.""",
    )


@picture
def sample_entropies(
    sizes: Sequence[int],
    entropies: Mapping[str, ArrayLike],
    targets: Mapping[str, Tensor],
    exact: Mapping[str, Sequence[float]],
) -> tuple[Figure, str]:
    """The main figure of chapter 1: entropy of samples against their size.

    Args:
        sizes: n sample sizes.
        entropies: target name to H(p̂) in nats, (seeds, n).
        targets: target name to probabilities (S,).
        exact: target name to E[H(p̂)] in nats, n numbers.
    """
    figure, axes = canvas(len(targets), height=1.2 + 2.4 * len(targets), sharex=True)
    at = np.asarray(sizes, dtype=float)
    fine = np.geomspace(at.min(), at.max(), 200)
    for ax, (name, p) in zip(axes, targets.items(), strict=True):
        truth, possible = float(entropy(p)), int((p > 0).sum())
        table = np.asarray(entropies[name])
        mean, half = mean_and_interval(table)
        dodge = at * np.exp(np.linspace(-0.09, 0.09, len(table)))[:, None]
        ax.plot(dodge, table, ".", color=LINES[0].color, alpha=0.35, markersize=4, label="_seeds")
        ax.plot([], [], ".", color=LINES[0].color, label=r"$H(\hat p)$, one sample each")
        ax.plot(at, exact[name], color=LINES[0].color, label=r"$E[H(\hat p)]$, computed exactly")
        ax.errorbar(at, mean, half, fmt="_", color="black", capsize=4, label="mean of the samples, 95 % interval")
        ax.plot(
            fine, truth - (possible - 1) / (2 * fine), color=RED, linestyle="--", linewidth=1.3,
            label=r"first order: $H(p)-(K-1)/2N$",
        )  # fmt: skip
        ax.axhline(truth, color="black", linestyle=":", label=r"$H(p)$, the source")
        ax.set(xscale="log", ylabel="entropy (nats)", ylim=(min(table.min(), mean.min()) - 0.3, truth + 0.25))
        ax.set_title(f"{name} (K = {possible} possible sentences)")
    axes[-1].set_xlabel("sentences in the sample, N")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return (
        figure,
        f"""Entropy in nats against sample size N on a logarithmic axis, for {listing(list(targets))}. Every
        sample lies below the dotted line of the source for small N; the mean follows the exactly computed expectation
        and approaches the source from below as N grows. The first-order guide is far too low for small N and joins
        the exact curve for large N.""",
    )


@picture
def trap(excess: ArrayLike, bias: ArrayLike, to_target: ArrayLike, gap: float, n_samples: int) -> tuple[Figure, str]:
    """Entropy bias of a smoothed lookup table against its excess training loss.

    Args:
        excess: training cross-entropy above its minimum H(p̂), nats.
        bias: H(q) − H(p), nats, of the same tables.
        to_target: KL(p‖q), nats, of the same tables; the smallest is marked.
        gap: H(p̂) − H(p), nats, below 0.
        n_samples: N of the sample.
    """
    figure, (ax,) = canvas(height=3.0)
    x, y, line = np.asarray(excess), np.asarray(bias), LINES[0]
    ax.plot(x, y, color=line.color, marker=line.marker, markevery=6)
    best = int(np.argmin(np.asarray(to_target)))
    ax.plot(x[best], y[best], "o", markersize=11, fillstyle="none", color="black")
    ax.annotate(r"smallest $\mathrm{KL}(p\Vert q)$", (x[best], y[best]), xytext=(12, -4), textcoords="offset points")
    ax.axhline(0, color="black", linestyle=":")
    ax.axhline(gap, color=RED, linestyle="--")
    ax.annotate(r"the target, $H(p)$", (1, 0), xycoords=("axes fraction", "data"), ha="right", xytext=(0, 4),
                textcoords="offset points")  # fmt: skip
    ax.annotate(rf"its sample of {n_samples}, $H(\hat p)$", (1, gap), xycoords=("axes fraction", "data"), ha="right",
                xytext=(0, 4), textcoords="offset points", color=RED)  # fmt: skip
    ax.annotate("fits better", (0.5, 0.55), (0.8, 0.55), xycoords="axes fraction", va="center",
                arrowprops={"arrowstyle": "->"})  # fmt: skip
    ax.set(xlabel="training loss above its minimum (nats)", ylabel=r"$H(q)-H(p)$ (nats)", xlim=(-0.02, None))
    return (
        figure,
        """One curve of entropy bias against excess training loss. From right to left the table fits its
        sample better; its entropy starts above the target's, crosses it, and ends at the sample's entropy, clearly
        below. A ring marks the table that is closest to the target; it lies above zero.""",
    )


@picture
def tilted_ranks(targets: Mapping[str, Tensor]) -> tuple[Figure, str]:
    """Probabilities of the sentences from the most likely down, one line a target (S,)."""
    figure, (ax,) = canvas(height=2.8)
    for (name, p), line in zip(targets.items(), LINES, strict=False):
        ranked = p[p > 0].sort(descending=True).values.numpy()
        at = np.arange(1, len(ranked) + 1)
        ax.plot(
            at, ranked, color=line.color, linestyle=line.linestyle, marker=line.marker,
            markevery=np.unique(np.geomspace(1, len(at), 8).astype(int) - 1).tolist(), label=name,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", ylim=(1e-8, 1.2))
    ax.set(xlabel="rank of the sentence", ylabel="probability")
    ax.legend(loc="lower left")
    return (
        figure,
        f"""Ranked probabilities of the sentences on logarithmic axes, for {listing(list(targets))}. The
        lower the entropy, the higher the curve starts and the steeper it falls; the ranking itself does not change.""",
    )
