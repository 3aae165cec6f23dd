"""The figures of chapter 9: what loops of one head learn of induction."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entropylens.experiments.looped_induction import LENGTHS, SETTINGS, VOCABULARY, Arm
from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, Line, canvas, listing, picture, size_axis
from entropylens.tasks.induction import chance
from entropylens.training.looped import LoopedSpec

LENGTH = 64
"""Tokens at which variations are compared."""
TWELVE = 12
"""Loops of the variations."""
LOOP_LINES = dict(zip((1, 2, 4, TWELVE, 25), LINES, strict=False))
TITLES = {
    "hint": "hint: an embedding also tells the token before", "plain": "plain: an embedding tells its token alone",
}  # fmt: skip
ACCURACY = f"accuracy, last of {LENGTH} tokens"
_AS_IS = Arm("loops", "hint", 1, {"n_loops": TWELVE}).population(steps=1)
USUAL = {
    **{name: getattr(_AS_IS.config, name) for name in ("d_model", "n_blocks", "norm", "causal", "position_scale")},
    **{name: getattr(_AS_IS.members[0].optimizer, name) for name in ("lr", "weight_decay")},
    "warm_up": _AS_IS.warm_up,
    "clip": np.inf,
    "dtype": _AS_IS.dtype,
}
"""What variations differ from."""


@picture
def learning(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Training accuracy against steps, a panel a task, a line a number of loops; faint lines are models.

    Args:
        rows: of `looped_induction`, all.
    """
    figure, axes = canvas(len(TITLES), height=6.0, sharex=True, sharey=True)
    curves, words = rows[rows["kind"] == "curve"], []
    for ax, (task, title) in zip(axes, TITLES.items(), strict=True):
        for loops, line, here in _by_loops(curves, task):
            mean = marks.curve(ax, here.pivot_table("accuracy", "seed", "step"), line, loops)
            if len(mean):
                half = mean.index[mean["mean"] > 0.5]
                first = f", above 0.5 first at step {half[0]:.0f}" if len(half) else ""
                words.append(f"{task}, {loops}: {marks.said(*mean.iloc[-1].clip(0, 1))} in the end{first}")
        marks.guess(ax, 1 / VOCABULARY)
        ax.set(title=title, ylabel="training accuracy", ylim=(0, 1.03))
    axes[-1].set_xlabel("training steps")
    marks.legend(figure, axes)
    return figure, marks.alt("Accuracy on training sequences against steps", words)


@picture
def lengths(rows: pd.DataFrame, trained: Sequence[int] = LoopedSpec.lengths) -> tuple[Figure, str]:
    """Accuracy of the last token against length, a panel a task, a line a number of loops; faint lines are models.

    Args:
        rows: of `looped_induction`, all.
        trained: lengths of training sequences, whose range is shaded.
    """
    figure, axes = canvas(len(TITLES), height=6.0, sharex=True, sharey=True)
    models, words = rows[rows["kind"] == "model"], []
    for ax, (task, title) in zip(axes, TITLES.items(), strict=True):
        for loops, line, here in _by_loops(models, task):
            table = here.set_index("seed")[[f"accuracy_{n}" for n in LENGTHS]].set_axis(list(LENGTHS), axis=1)
            mean = marks.curve(ax, table, line, loops)
            words.append(f"{task}, {loops}: {', '.join(f'{y:.2f}' for y in mean['mean'])}")
        marks.guess(ax, 1 / VOCABULARY)
        ax.axvspan(min(trained), max(trained), color="0.9", zorder=0, label="trained")
        ax.set(title=title, ylabel="accuracy, last token", ylim=(0, 1.03))
        size_axis(ax, list(LENGTHS))
    axes[-1].set_xlabel("tokens in the sequence")
    marks.legend(figure, axes)
    at = f"at {listing([str(n) for n in LENGTHS])} tokens, trained at {min(trained)} to {max(trained)}"
    return figure, marks.alt(f"Accuracy of the last token {at}", words)


@picture
def arms(rows: pd.DataFrame, n_loops: int = TWELVE) -> tuple[Figure, str]:
    """Accuracy where one thing is changed in the loop, a line a change; the first, and the vertical line, is without.

    Args:
        rows: of `looped_induction`, all; models with the hint and so many loops are drawn.
        n_loops: 12 or 25, for which there are changes.
    """
    models = rows[(rows["kind"] == "model") & (rows["task"] == "hint") & (rows["n_loops"] == n_loops)]
    as_is, usual = f"{marks.loops(n_loops)} (as is)", models[models["design"].isin(("main", "loops"))]
    steps = int((usual if len(usual) else models)["steps"].min()) if len(models) else 1
    named = models.assign(arm=[", ".join(_changes(row, steps)) or as_is for row in models.to_dict("records")])
    names = list(dict.fromkeys([as_is, *named["arm"]]))
    figure, (ax,) = canvas(height=1.3 + 0.34 * len(names))
    words = []
    for y, name in enumerate(names):
        here = named[named["arm"] == name]
        said, mean = marks.dot(ax, here[f"accuracy_{LENGTH}"], y, LOOP_LINES[n_loops] if name == as_is else LINES[-1])
        words += [f"{name} {said}"] if said else []
        if name == as_is and said:
            ax.axvline(mean, color=LOOP_LINES[n_loops].color, linewidth=1.2, label="mean as is", zorder=1)
    ax.axvline(1 / VOCABULARY, color=BLACK, linestyle=":", linewidth=1.2, label="chance")
    _dot_axis(figure, ax, names)
    return figure, marks.alt(f"{ACCURACY}, with the hint, one thing changed at a time", words)


@picture
def tasks(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy on every task, a mark a number of loops; the dotted line is the best constant guess.

    Args:
        rows: of `looped_induction`, all.
    """
    models = rows[(rows["kind"] == "model") & rows["design"].isin(("task", "loops"))]
    figure, (ax,) = canvas(height=1.3 + 0.5 * len(SETTINGS))
    guess = [chance(setting.task, LENGTH) for setting in SETTINGS.values()]
    at, words = np.arange(len(SETTINGS)), []
    ax.vlines(guess, at - 0.45, at + 0.45, color=BLACK, linestyle=":", linewidth=1.4, label="chance")
    for y, task in enumerate(SETTINGS):
        for n_loops, aside in ((4, -0.18), (TWELVE, 0.18)):
            here = models[(models["task"] == task) & (models["n_loops"] == n_loops)]
            said, _ = marks.dot(ax, here[f"accuracy_{LENGTH}"], y + aside, LOOP_LINES[n_loops], marks.loops(n_loops))
            words += [f"{task}: {marks.loops(n_loops)} {said}"] if said else []
    _dot_axis(figure, ax, list(SETTINGS))
    return figure, marks.alt(f"{ACCURACY}, on each task", words)


@picture
def widths(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy against width, a line a task and number of loops; faint lines are seeds.

    Args:
        rows: of `looped_induction`, all.
    """
    models = rows[(rows["kind"] == "model") & rows["design"].isin(("width", "loops"))]
    figure, (ax,) = canvas(height=3.6)
    words = []
    lines = (("hint", 4, LOOP_LINES[4]), ("plain", 4, LINES[-1]), ("hint", TWELVE, LOOP_LINES[TWELVE]))
    for task, n_loops, line in lines:
        here = models[(models["task"] == task) & (models["n_loops"] == n_loops)]
        mean = marks.curve(
            ax, here.pivot_table(f"accuracy_{LENGTH}", "seed", "d_model"), line, f"{task}, {marks.loops(n_loops)}"
        )
        words += [f"{task}, {marks.loops(n_loops)}: {marks.told(mean, 'd = {:g}')}"] if len(mean) else []
    marks.guess(ax, 1 / VOCABULARY)
    size_axis(ax, sorted(models["d_model"].unique()))
    ax.set(xlabel="width, d_model", ylabel=ACCURACY, ylim=(0, 1.03))
    marks.legend(figure, [ax], ncols=2)
    return figure, marks.alt(f"{ACCURACY}, against width", words)


def _by_loops(rows: pd.DataFrame, task: str) -> Iterator[tuple[str, Line, pd.DataFrame]]:
    """Models of the paper's width that differ in nothing but loops: how many, their line, their rows."""
    here = rows[rows["design"].isin(("main", "loops")) & (rows["task"] == task) & (rows["d_model"] == USUAL["d_model"])]
    for n_loops in sorted(here["n_loops"].unique()):
        yield marks.loops(n_loops), LOOP_LINES.get(n_loops, LINES[-1]), here[here["n_loops"] == n_loops]


def _changes(row: Mapping[Hashable, Any], steps: int) -> Iterator[str]:
    """In words, what a model differs in from the usual, and from the usual number of steps."""
    words = {
        "d_model": "d = {:g}", "norm": "norm: {}", "causal": "no mask", "position_scale": "positions × {:g}",
        "lr": "rate {:g}", "weight_decay": "weight decay {:g}", "warm_up": "curriculum {:g}", "n_blocks": "{:g} blocks",
        "clip": "gradients clipped at {:g}", "dtype": "in {}",
    }  # fmt: skip
    for name, word in words.items():
        if row[name] != USUAL[name]:
            none = {"position_scale": "no positions", "warm_up": "no curriculum"}.get(name, word)
            yield (word if row[name] else none).format(row[name])
    if row["steps"] != steps:
        yield f"{row['steps'] / steps:.3g} × the steps"


def _dot_axis(figure: Figure, ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), list(names))
    ax.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.02), xlabel=ACCURACY)
    marks.legend(figure, [ax])
