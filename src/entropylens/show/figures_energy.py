"""The figures of chapter 11 on trainings: what the energy-entropy loss does to a loop, and which of its terms."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entropylens.experiments.energy_entropy import FALL, LOSSES
from entropylens.experiments.looped_induction import LENGTHS, VOCABULARY
from entropylens.measures.around import mean_over_runs
from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, Line, canvas, picture, size_axis
from entropylens.training.looped import LoopedSpec

TITLES = {
    "paper": "paper: no hint, norm after the block, 25 loops",
    "clipped": "clipped: a hint, norm after, clipping, 25 loops",
    "hint": "hint: a hint, norm before the block, 25 loops",
    "short": "short: a hint, norm before the block, 4 loops",
}
"""Of set-ups."""
PLAIN, ALL, RIVAL = LINES[0], LINES[1], LINES[3]
MAIN = {"plain": ("cross-entropy alone", PLAIN), "all": ("with all three terms", ALL)}
WORDS = {
    "plain": "cross-entropy alone", "all": "all three terms", "K": "K alone", "P": "P alone", "S": "S alone",
    "no K": "without K", "no P": "without P", "no S": "without S", "target": "entropy target 0.5",
    "maximised": "entropy raised", "late": "switched on halfway", "early": "switched off halfway",
}  # fmt: skip
"""Of losses."""
RIVALS = ("no weight decay", "gradients clipped", "small step")
MOVES = ("accuracy", "kinetic", "entropy")
"""What a transition is made of."""
PANELS = {
    "accuracy": "accuracy", "kinetic": "kinetic / n", "potential": "potential / log n", "entropy": "entropy / largest",
}  # fmt: skip


@picture
def lengths(rows: pd.DataFrame, trained: Sequence[int] = LoopedSpec.lengths) -> tuple[Figure, str]:
    """Accuracy of the last token against length, a panel a set-up, a line a loss; faint lines are models.

    Args:
        rows: of `energy_entropy`, all.
        trained: lengths of training sequences, whose range is shaded.
    """
    figure, axes = canvas(len(TITLES), height=1 + 2.1 * len(TITLES), sharex=True, sharey=True)
    columns, words = [f"accuracy_{n}" for n in LENGTHS], []
    models = of_kind(rows, "model", *columns)
    for ax, (setup, title) in zip(axes, TITLES.items(), strict=True):
        for name, line, here in by_loss(models, setup):
            mean = marks.curve(ax, here[columns].set_axis(list(LENGTHS), axis=1), line, name)
            words.append(f"{setup}, {name}: {marks.told(mean, '{:g}') or 'nothing'}")
        marks.guess(ax, 1 / VOCABULARY)
        ax.axvspan(min(trained), max(trained), color="0.9", zorder=0, label="trained")
        ax.set(title=title, ylabel="accuracy, last token", ylim=(0, 1.03))
        size_axis(ax, list(LENGTHS))
    axes[-1].set_xlabel("tokens in the sequence")
    marks.legend(figure, axes, ncols=2)
    what = f"accuracy of the last token by length, trained at {min(trained)} to {max(trained)} tokens"
    return figure, marks.alt(what, words)


@picture
def losses(rows: pd.DataFrame, setup: str, length: int = 64) -> tuple[Figure, str]:
    """Accuracy with each loss, and with what may do the same at no cost; the vertical line is cross-entropy alone.

    Args:
        rows: of `energy_entropy`, all.
        setup: a key of `TITLES`.
        length: tokens, one of `LENGTHS`.
    """
    named, words = _named(rows, setup, f"accuracy_{length}"), []
    names = [name for name in (*WORDS.values(), *RIVALS) if (named["arm"] == name).any()]
    figure, (ax,) = canvas(height=1.6 + 0.34 * len(names))
    lines = {WORDS["plain"]: PLAIN, WORDS["all"]: ALL, **dict.fromkeys(RIVALS, RIVAL)}
    for y, name in enumerate(names):
        here = named[named["arm"] == name]
        said, mean = marks.dot(ax, here[f"accuracy_{length}"], y, lines.get(name, LINES[2]))
        words += [f"{name} {said}"] if said else []
        if name == WORDS["plain"] and said:
            ax.axvline(mean, color=PLAIN.color, linewidth=1.2, label="mean of cross-entropy alone", zorder=1)
    ax.axvline(1 / VOCABULARY, color=BLACK, linestyle=":", linewidth=1.2, label="chance")
    ax.set(title=TITLES[setup], xlim=(0, 1.02), xlabel=accuracy_of(length))
    marks.names_down(ax, names)
    marks.legend(figure, [ax])
    return figure, marks.alt(f"{accuracy_of(length)}, set-up {setup}", words)


@picture
def training(rows: pd.DataFrame, setup: str) -> tuple[Figure, str]:
    """Accuracy and the three terms in the course of training, with and without them; faint lines are models.

    Args:
        rows: of `energy_entropy`, all.
        setup: a key of `TITLES`.
    """
    figure, axes = canvas(len(PANELS), height=7.6, sharex=True)
    curves, words = of_kind(rows, "curve", "step", *PANELS), []
    for ax, (column, label) in zip(axes, PANELS.items(), strict=True):
        for name, line, here in by_loss(curves, setup):
            mean = marks.curve(ax, here.pivot_table(column, "seed", "step"), line, name).dropna(subset="mean")
            if len(mean):
                words.append(f"{label}, {name}: from {mean['mean'].iloc[0]:.2f} to {marks.said(*mean.iloc[-1])}")
        ax.set_ylabel(label)
        ax.set_ylim(bottom=0)
    axes[0].set(title=TITLES[setup], ylim=(0, 1.03))
    axes[-1].set_xlabel("training steps")
    marks.legend(figure, axes)
    return figure, marks.alt(f"training accuracy and terms against steps, set-up {setup}", words)


@picture
def order(rows: pd.DataFrame) -> tuple[Figure, str]:
    """How much earlier entropy and kinetic energy fall than accuracy rises, a line a loss, of models that learn.

    Args:
        rows: of `energy_entropy`, all; models whose entropy or kinetic energy does not fall have no mark for it.
    """
    falls = {"entropy": ("entropy falls", LINES[2]), "kinetic": ("kinetic energy falls", LINES[3])}
    columns = [f"{name}_{what}" for name in falls for what in ("step", "before", "after")]
    models, words = of_kind(rows, "model", "learned", "accuracy_step", *columns), []
    models = models[models["design"].isin(("main", "terms")) & (models["learned"] == 1)]
    found = {loss: models[models["loss_name"] == loss] for loss in LOSSES if (models["loss_name"] == loss).any()}
    figure, (ax,) = canvas(height=1.4 + 0.46 * len(found))
    for y, (loss, here) in enumerate(found.items()):
        told = []
        for (term, (label, line)), aside in zip(falls.items(), (-0.18, 0.18), strict=True):
            earlier = _earlier(here, term)
            said = difference(ax, earlier, y + aside, line, label, "{:+.0f}")
            told += [f"{label} {said} in {len(earlier)}"] if said else []
        words.append(f"{WORDS[loss]}, {len(here)} learned: {', '.join(told) or 'nothing falls'}")
    ax.axvline(0, color=BLACK, linewidth=1, zorder=1)
    ax.set_xlabel("steps by which it is earlier than accuracy's rise")
    marks.names_down(ax, [f"{WORDS[loss]} (n = {len(here)})" for loss, here in found.items()])
    marks.legend(figure, [ax])
    return figure, marks.alt("steps by which terms fall before accuracy rises", words)


def orders(rows: pd.DataFrame) -> pd.DataFrame:
    """How many models learn, how many are `ordered`, and whether that says anything of the single model.

    Args:
        rows: of `energy_entropy`, all.

    Returns:
        For each set-up and loss of the main design and the terms', the number of `models`, of those that `learned`, of
        those of which `both fall`, kinetic energy and entropy, by `FALL` of their level, and of those that do so and
        then learn, `ordered`. Of those that learn and of which both fall, how often both do before accuracy rises,
        `before own`, and, as a control, before that of another model of the same loss, `before others'`; NaN without.
    """
    models = of_kind(
        rows, "model", "learned", "ordered", *(f"{x}_{y}" for x, y in product(MOVES, ("step", "before", "after")))
    )
    models, table = models[models["design"].isin(("main", "terms"))], []
    for (setup, loss), here in models.groupby(["setup", "loss_name"], sort=False):
        kinetic, entropy = (here[f"{x}_after"] <= (1 - FALL) * here[f"{x}_before"] for x in MOVES[1:])
        fell = kinetic & entropy
        rise, *falls = (here[fell & (here["learned"] == 1)][f"{x}_step"].to_numpy() for x in MOVES)
        before = (falls[0][:, None] < rise) & (falls[1][:, None] < rise)  # this model's falls, that one's rise
        own = np.eye(len(rise), dtype=bool)
        shares = [float(before[at].mean()) if at.any() else np.nan for at in (own, ~own)]
        counts = [len(here), *(int(x.sum()) for x in (here["learned"], fell, here["ordered"]))]
        table.append([setup, WORDS.get(str(loss), str(loss)), *counts, *shares])
    columns = ["set-up", "loss", "models", "learned", "both fall", "ordered", "before own", "before others'"]
    return pd.DataFrame(table, columns=columns)


def arms(rows: pd.DataFrame, setup: str, length: int = 64) -> pd.DataFrame:
    """What `losses` draws, in numbers: by arm, the `mean` accuracy and its 95 % interval, `low` to `high`.

    Args:
        rows: of `energy_entropy`, all.
        setup: a key of `TITLES`.
        length: tokens, one of `LENGTHS`.
    """
    groups = _named(rows, setup, f"accuracy_{length}").groupby("arm")[f"accuracy_{length}"]
    found = {arm: [float(x[0]) for x in mean_over_runs(values.to_numpy()[:, None])] for arm, values in groups}
    return pd.DataFrame.from_dict(found, orient="index", columns=["mean", "low", "high"])


# ---- rows ------------------------------------------------------------------------------------------------------------


def of_kind(rows: pd.DataFrame, kind: str, *columns: str) -> pd.DataFrame:
    """Rows of a kind; columns that only such rows would bring are there without any.

    Args:
        rows: of an experiment, all.
        kind: what `kind` must be.
        columns: that are needed.
    """
    here = rows[rows["kind"] == kind]
    return here.reindex(columns=list(dict.fromkeys([*here.columns, *columns])))


def by_loss(rows: pd.DataFrame, setup: str) -> Iterator[tuple[str, Line, pd.DataFrame]]:
    """Of the main design, what a set-up has of cross-entropy alone, and of all terms: a name, its line, its rows."""
    for loss, (name, line) in MAIN.items():
        here = rows[(rows["design"] == "main") & (rows["setup"] == setup) & (rows["loss_name"] == loss)]
        if len(here):
            yield name, line, here


def _named(rows: pd.DataFrame, setup: str, column: str) -> pd.DataFrame:
    """Models of a set-up with nothing but the loss, or a rival of it, changed: their `arm_in_words`."""
    models = of_kind(rows, "model", column)
    models = models[models["design"].isin(("main", "terms", "rivals")) & (models["setup"] == setup)]
    return models.assign(arm=[arm_in_words(row) for row in models.to_dict("records")])


def arm_in_words(row: Mapping[Hashable, Any]) -> str:
    """The loss of a model, or what stands in for its terms."""
    if row["design"] != "rivals":
        return WORDS.get(row["loss_name"], "")
    return RIVALS[0 if row["weight_decay"] == 0 else 1 if np.isfinite(row["clip"]) else 2]


def _earlier(models: pd.DataFrame, term: str) -> pd.Series:
    """Steps from the fall of a term to the rise of accuracy, of models in which it falls."""
    falls = models[models[f"{term}_after"] < models[f"{term}_before"]]
    return falls["accuracy_step"] - falls[f"{term}_step"]


# ---- marks -----------------------------------------------------------------------------------------------------------


def difference(ax: Axes, values: ArrayLike, y: float, line: Line, label: str, form: str) -> str:
    """As `marks.dot`, for what may be below 0, or above 1: the mean and its interval in words, "" if there is none."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    if not len(x):
        return ""
    mean, low, high = (float(v[0]) for v in mean_over_runs(x[:, None]))
    ax.plot(x, np.full(len(x), y), line.marker, color=line.color, markersize=3.5, alpha=0.35, zorder=2)
    ax.plot([low, high], [y, y], color=line.color, marker="|", zorder=3)
    ax.plot(mean, y, line.marker, color=line.color, markersize=6.5, zorder=4, label=label)
    return form.format(mean) + (f" ({form.format(low)} to {form.format(high)})" if np.isfinite(low) else "")


def accuracy_of(length: int) -> str:
    """What is measured, as axes say it."""
    return f"accuracy, last of {length} tokens"
