"""The figures of chapter 9: what loops of one head learn of induction, and what a loop does.

A mean over models has a 95 % Student interval where there are two models or more; what is not finite is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor

from entropylens.experiments.looped_induction import LENGTHS, SETTINGS, VOCABULARY, Arm
from entropylens.measures.around import mean_over_runs
from entropylens.show.figures import BLACK, BLUE, LINES, RED, WIDTH, Line, canvas, listing, picture, size_axis
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
}
"""What variations differ from."""


# ---- many trainings --------------------------------------------------------------------------------------------------


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
            mean = _curve(ax, here.pivot_table("accuracy", "seed", "step"), line, loops)
            if len(mean):
                half = mean.index[mean["mean"] > 0.5]
                first = f", above 0.5 first at step {half[0]:.0f}" if len(half) else ""
                words.append(f"{task}, {loops}: {_said(*mean.iloc[-1])} in the end{first}")
        _chance(ax)
        ax.set(title=title, ylabel="training accuracy", ylim=(0, 1.03))
    axes[-1].set_xlabel("training steps")
    _legend(figure, axes)
    return figure, _alt("Accuracy on training sequences against steps", words)


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
            mean = _curve(ax, table, line, loops)
            words.append(f"{task}, {loops}: {', '.join(f'{y:.2f}' for y in mean['mean'])}")
        _chance(ax)
        ax.axvspan(min(trained), max(trained), color="0.9", zorder=0, label="trained")
        ax.set(title=title, ylabel="accuracy, last token", ylim=(0, 1.03))
        size_axis(ax, list(LENGTHS))
    axes[-1].set_xlabel("tokens in the sequence")
    _legend(figure, axes)
    at = f"at {listing([str(n) for n in LENGTHS])} tokens, trained at {min(trained)} to {max(trained)}"
    return figure, _alt(f"Accuracy of the last token {at}", words)


@picture
def arms(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy where one thing is changed in the loop, a line a change; the first, and the vertical line, is without.

    Args:
        rows: of `looped_induction`, all; models with the hint and twelve loops are drawn.
    """
    models = rows[(rows["kind"] == "model") & (rows["task"] == "hint") & (rows["n_loops"] == TWELVE)]
    as_is, usual = f"{_loops(TWELVE)} (as is)", models[models["design"] == "loops"]
    steps = int((usual if len(usual) else models)["steps"].min()) if len(models) else 1
    named = models.assign(arm=[", ".join(_changes(row, steps)) or as_is for row in models.to_dict("records")])
    names = list(dict.fromkeys([as_is, *named["arm"]]))
    figure, (ax,) = canvas(height=1.3 + 0.34 * len(names))
    words = []
    for y, name in enumerate(names):
        here = named[named["arm"] == name]
        said, mean = _dot(ax, here[f"accuracy_{LENGTH}"], y, LOOP_LINES[TWELVE] if name == as_is else LINES[-1])
        words += [f"{name} {said}"] if said else []
        if name == as_is and said:
            ax.axvline(mean, color=LOOP_LINES[TWELVE].color, linewidth=1.2, label="mean as is", zorder=1)
    ax.axvline(1 / VOCABULARY, color=BLACK, linestyle=":", linewidth=1.2, label="chance")
    _dot_axis(figure, ax, names)
    return figure, _alt(f"{ACCURACY}, with the hint, one thing changed at a time", words)


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
            said, _ = _dot(ax, here[f"accuracy_{LENGTH}"], y + aside, LOOP_LINES[n_loops], _loops(n_loops))
            words += [f"{task}: {_loops(n_loops)} {said}"] if said else []
    _dot_axis(figure, ax, list(SETTINGS))
    return figure, _alt(f"{ACCURACY}, on each task", words)


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
        mean = _curve(ax, here.pivot_table(f"accuracy_{LENGTH}", "seed", "d_model"), line, f"{task}, {_loops(n_loops)}")
        words += [f"{task}, {_loops(n_loops)}: {_told(mean, 'd = {:g}')}"] if len(mean) else []
    _chance(ax)
    size_axis(ax, sorted(models["d_model"].unique()))
    ax.set(xlabel="width, d_model", ylabel=ACCURACY, ylim=(0, 1.03))
    _legend(figure, [ax], ncols=2)
    return figure, _alt(f"{ACCURACY}, against width", words)


def _by_loops(rows: pd.DataFrame, task: str) -> Iterator[tuple[str, Line, pd.DataFrame]]:
    """Models of the paper's width that differ in nothing but loops: how many, their line, their rows."""
    here = rows[rows["design"].isin(("main", "loops")) & (rows["task"] == task) & (rows["d_model"] == USUAL["d_model"])]
    for n_loops in sorted(here["n_loops"].unique()):
        yield _loops(n_loops), LOOP_LINES.get(n_loops, LINES[-1]), here[here["n_loops"] == n_loops]


def _changes(row: Mapping[Hashable, Any], steps: int) -> Iterator[str]:
    """In words, what a model differs in from the usual, and from the usual number of steps."""
    words = {
        "d_model": "d = {:g}", "norm": "norm: {}", "causal": "no mask", "position_scale": "positions × {:g}",
        "lr": "rate {:g}", "weight_decay": "weight decay {:g}", "warm_up": "curriculum {:g}", "n_blocks": "{:g} blocks",
    }  # fmt: skip
    for name, word in words.items():
        if row[name] != USUAL[name]:
            none = {"position_scale": "no positions", "warm_up": "no curriculum"}.get(name, word)
            yield (word if row[name] else none).format(row[name])
    if row["steps"] != steps:
        yield f"{row['steps'] / steps:.3g} × the steps"


# ---- one model -------------------------------------------------------------------------------------------------------


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
        f"Attention of the last of {n} tokens, {_loops(n_loops)}, from the first to the last: to the answer "
        f"{seen['answer']}, to the match {seen['match']}; the answer has most of it in {_loops(most)}. Entropy "
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
        mean = _curve(ax, here.pivot_table("accuracy", "trial", "noise"), LINES[i % len(LINES)], label, faint=False)
        words.append(f"{label}: {_told(mean, 'noise {:g}')}")
    _chance(ax)
    least = table["noise"][table["noise"] > 0].min()
    if np.isfinite(least):  # logarithmic, but for 0
        ax.set_xscale("symlog", linthresh=least)
        ax.set_xlim(left=-0.2 * least if (table["noise"] == 0).any() else 0.8 * least)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="noise, relative to the weights", ylabel="accuracy, last token", ylim=(0, 1.03))
    _legend(figure, [ax], ncols=2)
    return figure, _alt("Accuracy of weights set by hand, against noise on them", words, "trials")


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
        mean = _curve(ax, table, LINES[i % len(LINES)], label)["mean"].dropna()
        if len(mean):
            ends.append(mean.iloc[-1])
            told = [f"{mean[t]:.3g} after {_loops(round(t))}" for t in mean.index[[0, len(mean) // 2, -1]]]
            words.append(f"{label}: {', '.join(told)}")
    if ends and max(ends) > 20 * min(ends) > 0:
        ax.set_yscale("log", nonpositive="mask")
        ax.yaxis.set_major_formatter("{x:g}")
    else:
        ax.set_ylim(bottom=0)
    ax.set(xlabel="loops", ylabel="‖Z_t‖")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, [ax], ncols=2)
    return figure, _alt("Size of the state against loops", words, "sequences")


# ---- what they share -------------------------------------------------------------------------------------------------


def _curve(ax: Axes, table: pd.DataFrame, line: Line, label: str, *, faint: bool = True) -> pd.DataFrame:
    """The mean over models (rows) against x (columns), models faint; returns mean, low and high by x."""
    found = table.to_numpy(dtype=float)
    values, at = np.where(np.isfinite(found), found, np.nan), table.columns.to_numpy(dtype=float)
    mean, low, high = mean_over_runs(values)
    if faint:
        ax.plot(at, values.T, color=line.color, alpha=0.3, linewidth=0.7)
    ax.fill_between(at, low, high, color=line.color, alpha=0.2, linewidth=0)
    ax.plot(at, mean, color=line.color, linestyle=line.linestyle, marker=line.marker,
            markevery=max(1, len(at) // 8), label=label)  # fmt: skip
    return pd.DataFrame({"mean": mean, "low": low, "high": high}, index=at)


def _dot(ax: Axes, values: ArrayLike, y: float, line: Line, label: str = "") -> tuple[str, float]:
    """Models as faint marks and their mean with its interval; says it, "" if there is none, and returns the mean."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    mean, low, high = (float(v[0]) for v in mean_over_runs(x[:, None]))
    if not len(x):
        return "", mean
    ax.plot(x, np.full(len(x), y), line.marker, color=line.color, markersize=3.5, alpha=0.35, zorder=2)
    ax.plot([low, high], [y, y], color=line.color, marker="|", zorder=3)
    ax.plot(mean, y, line.marker, color=line.color, markersize=6.5, zorder=4, label=label)
    return _said(mean, low, high), mean


def _dot_axis(figure: Figure, ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), list(names))
    ax.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.02), xlabel=ACCURACY)
    _legend(figure, [ax])


def _chance(ax: Axes) -> None:
    ax.axhline(1 / VOCABULARY, color=BLACK, linestyle=":", linewidth=1.2, label="chance")


def _legend(figure: Figure, axes: Sequence[Axes], ncols: int = 4) -> None:
    """Above the figure: each label once."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=ncols)


def _loops(count: int) -> str:
    return f"{count} loop{'' if count == 1 else 's'}"


def _said(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f}" + (f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else "")


def _told(means: pd.DataFrame, place: str) -> str:
    """A mean for each x, without what is unmeasured."""
    return ", ".join(f"{y:.2f} at {place.format(x)}" for x, y in means["mean"].dropna().items())


def _alt(what: str, words: Sequence[str], over: str = "models") -> str:
    return f"{what[0].upper()}{what[1:]}; means over {over}. {'; '.join(words) or 'Nothing was measured'}."
