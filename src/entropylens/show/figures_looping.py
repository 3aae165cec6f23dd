"""The figures of chapter 12 on trainings: halting and steering by entropy, looped models and deep ones, and stacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entropylens.experiments.looped_arms import WIDE
from entropylens.experiments.looped_induction import HOPS, SETTINGS
from entropylens.experiments.looped_or_deep import MAPS, SHAPES
from entropylens.measures.around import mean_over_runs
from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, WIDTH, Line, canvas, listing, picture, size_axis
from entropylens.show.figures_energy import accuracy_of, difference, of_kind
from entropylens.tasks.induction import chance
from entropylens.training.steering import MOST

SETUP = "two looks"
"""In which halting and steering are looked at."""
HALTED = {
    "accuracy": ("by entropy", LINES[0]), "accuracy_fixed": ("all equally late", LINES[1]),
    "accuracy_random": ("drawn by lot", LINES[2]),
}  # fmt: skip
"""When sequences stop."""
STEERED = {"feedback": LINES[0], "line": LINES[1], "none": LINES[-1]}
TRACKED = {"open": "relative entropy", "factor": "factor of logits", "accuracy": "training accuracy"}
TASK = WIDE[SETUP].task
TITLES = {setup.task: name for name, setup in WIDE.items()}
"""By task, the set-up, as the reader knows it."""
LENGTH = {setup.task: max(setup.lengths) for setup in WIDE.values()}
"""By task, tokens at which shapes are compared: of the longest sequences of training."""
RIVAL_OF = {match: name for name, shape in SHAPES.items() if name != "looped" for match in shape.match}
"""By what is equal, the deep shape that the looped one is compared with."""
STACKS = [name for name, shape in SHAPES.items() if shape.n_loops > shape.n_blocks and shape.d_ff is None]
LOGS = {
    "bound": ("bound: product of norms", LINES[1]), "exact": ("norm of the pass", LINES[0]),
    "radius": ("largest |λ| of the pass", LINES[2]),
}  # fmt: skip
NOTED = (12_000, 16_000, 24_000, 36_000, 48_000)
"""Numbers of parameters with a tick."""


@picture
def halting(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy if sequences halt by entropy, and with as many loops otherwise; below, how it differs, model by model.

    Args:
        rows: of `gated_loops`, all; plain models of the main design are drawn, faint lines are models.
    """
    here, words = _plain(rows, "halting", "threshold", "loops", *HALTED), []
    here = here[here["steering"] == "none"].dropna(subset=["loops", *HALTED])
    figure, axes = canvas(2, height=6.4)
    loops, means = here.groupby("threshold")["loops"].mean(), {}
    for column, (label, line) in HALTED.items():
        means[column] = np.column_stack(mean_over_runs(here.pivot_table(column, "seed", "threshold").to_numpy(float)))
        axes[0].plot(loops, means[column][:, 0], line.marker, color=line.color, linestyle=line.linestyle, label=label)
        for _, model in here.groupby("seed"):
            axes[0].plot(model["loops"], model[column], color=line.color, alpha=0.3, linewidth=0.7)
    for y, (threshold, count) in enumerate(loops.items()):
        at, told = here[here["threshold"] == threshold], []
        for column, aside in (("accuracy_fixed", -0.18), ("accuracy_random", 0.18)):
            label, line = HALTED[column]
            gain = difference(axes[1], at["accuracy"] - at[column], y + aside, line, "", "{:+.3f}")
            told.append(f"{means[column][y, 0]:.2f} {label}, difference {gain}")
        said = f"{marks.said(*means['accuracy'][y].clip(0, 1))} by entropy, {', '.join(told)}"
        words.append(f"threshold {threshold:g}, {count:.2f} loops: {said}")
    axes[0].set(xlabel="loops until a sequence halts, on average", ylabel=accuracy_of(LENGTH[TASK]))
    axes[1].axvline(0, color=BLACK, linewidth=1, zorder=1)
    axes[1].set(title="by entropy, minus the others", xlabel="difference of accuracy, same model",
                ylabel="threshold (loops)")  # fmt: skip
    marks.names_down(axes[1], [f"{threshold:g} ({count:.1f})" for threshold, count in loops.items()])
    marks.legend(figure, axes)
    return figure, marks.alt("accuracy if sequences halt below a threshold of relative entropy, or otherwise", words)


@picture
def tracking(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Attention's entropy, the factor that steers it, and accuracy in the course of training; faint lines are models.

    Args:
        rows: of `gated_loops`, all; what was wanted is drawn where it is steered.
    """
    figure, axes = canvas(len(TRACKED), height=6.6, sharex=True)
    here, words = _plain(rows, "steering", "step", "wanted", "miss", "steered_from", "steered_to", *TRACKED), []
    for how, aim in (("feedback", "open"), ("line", "factor")):
        of, told = here[here["steering"] == how], []
        for ax, (column, label) in zip(axes, TRACKED.items(), strict=True):
            mean = marks.curve(ax, of.pivot_table(column, "seed", "step"), STEERED[how], how)
            if len(mean):
                end = mean.iloc[-1] if column == "factor" else mean.iloc[-1].clip(0, 1)
                told.append(f"{label} from {mean['mean'].iloc[0]:.2f} to {marks.said(*end)}")
            if column == aim:
                ax.plot(of.groupby("step")["wanted"].mean(), color=BLACK, linestyle=":", label="wanted", zorder=4)
        if told:
            words.append(f"{how}, {_schedule(of, aim)}: {', '.join(told)}{_reached(of)}")
    for limit in (1 / MOST, MOST):
        axes[1].axhline(limit, color="0.45", linewidth=1, label="limit of the factor")
    axes[1].set_yscale("log", base=2)
    axes[1].set_yticks(ticks := [1 / MOST, 0.5, 1, 2, MOST], [f"{tick:g}" for tick in ticks])
    axes[1].set_ylim(0.8 / MOST, 1.25 * MOST)
    for ax, label in zip(axes, TRACKED.values(), strict=True):
        ax.set_ylabel(label)
    axes[0].set_ylim(0, 1.03)
    axes[2].set(xlabel="training steps", ylim=(0, 1.03))
    marks.legend(figure, axes)
    return figure, marks.alt("what is steered in training, from the first to the last steps", words)


@picture
def steered(rows: pd.DataFrame, smallest: float) -> tuple[Figure, str]:
    """Accuracy of models that are steered by feedback, along a line, or not; on the right, seed by seed, what it gains.

    Args:
        rows: of `gated_loops`, all.
        smallest: half the width of the grey band: the smallest effect.
    """
    column, words = f"accuracy_{LENGTH[TASK]}", []
    found = _plain(rows, "contrast", column, "side", "rival")
    by = found["rival"].where(found["side"] == "rival", found["side"])
    table = found.assign(by=by).pivot_table(column, "seed", "by").reindex(columns=list(STEERED))
    models = _plain(rows, "model", "learned", "edge")
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    for y, (how, line) in enumerate(STEERED.items()):
        said, _ = marks.dot(left, table[how], y, line)
        if said:
            of = models[models["steering"] == how]
            edge = ", at the lowest or highest rate tried" if of["edge"].eq(1).any() else ""
            words.append(f"{how} {said}, {_share(of['learned'].dropna() == 1)} learned{edge}")
    for y, how in enumerate(("line", "none")):
        said = difference(right, table["feedback"] - table[how], y, STEERED[how], "", "{:+.3f}")
        words += [f"feedback − {how} {said}"] if said else []
    left.set(xlabel=f"accuracy, last of {LENGTH[TASK]}", xlim=(0, 1.02))
    right.set_xlabel("difference, seed by seed")
    right.locator_params(axis="x", nbins=4)
    _zero(right, smallest)
    marks.names_down(left, list(STEERED))
    marks.names_down(right, ["feedback\n− line", "feedback\n− none"])
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right")
    return figure, marks.alt(f"{accuracy_of(LENGTH[TASK])}; smallest effect {smallest:g}", words)


@picture
def shapes(rows: pd.DataFrame, task: str) -> tuple[Figure, str]:
    """Accuracy against the number of parameters, a mark a shape but stacks; of nearly as many, some are moved right.

    Args:
        rows: of `looped_or_deep`, all.
        task: a key of `LENGTH`.
    """
    column, words, place = f"accuracy_{LENGTH[task]}", [], 0.0
    models = _finite(rows, "model", column).dropna(subset=column)
    models = models[models["task"] == task].drop_duplicates(["shape", "seed"])
    figure, (ax,) = canvas(height=4.2)
    sizes = models.groupby("shape")["parameters"].max().sort_values(kind="stable")
    lines = dict(zip([shape for shape in SHAPES if not shape.startswith("stack")], LINES, strict=False))
    sizes = sizes[sizes.index.isin(lines)]
    for shape, size in sizes.items():
        here, place = models[models["shape"] == shape], max(float(size), 1.06 * place)
        said = _upright(ax, place, here[column], lines[str(shape)], str(shape))
        words.append(f"{shape}, {size:g} parameters: {said}")
    marks.guess(ax, chance((SETTINGS | HOPS)[task].task, LENGTH[task]))
    size_axis(ax, [n for n in NOTED if len(sizes) and n < 1.1 * sizes.max()])
    ax.set(title=TITLES[task], xlabel="parameters", ylabel=accuracy_of(LENGTH[task]), ylim=(0, 1.03))
    marks.legend(figure, [ax])
    return figure, marks.alt(f"{accuracy_of(LENGTH[task])}, {TITLES[task]}, by shape", words)


@picture
def against(rows: pd.DataFrame, task: str, smallest: float) -> tuple[Figure, str]:
    """By how much a looped model is better than a deep one, seed by seed, a line for each thing that is equal.

    Args:
        rows: of `looped_or_deep`, all.
        task: a key of `LENGTH`.
        smallest: half the width of the grey band: the smallest effect.
    """
    column, words = f"accuracy_{LENGTH[task]}", []
    models = _finite(rows, "model", column, "match")
    models = models[models["task"] == task]
    figure, (ax,) = canvas(height=1.4 + 0.5 * len(RIVAL_OF))
    for y, (match, rival) in enumerate(RIVAL_OF.items()):
        here = models[models["match"] == match]
        looped, deep = (here[here["looped"] == side].groupby("seed")[column].mean() for side in (True, False))
        said = difference(ax, looped - deep, y, LINES[list(SHAPES).index(rival)], "", "{:+.3f}")
        words += [f"equal {match}, looped − {rival}: {said}"] if said else []
    _zero(ax, smallest)
    ax.set(title=TITLES[task], xlabel=f"looped − deep: {accuracy_of(LENGTH[task])}")
    marks.names_down(ax, [f"{rival}\n(equal {match})" for match, rival in RIVAL_OF.items()])
    marks.legend(figure, [ax])
    return figure, marks.alt(
        f"what looping adds to {accuracy_of(LENGTH[task])}, {TITLES[task]}; smallest effect {smallest:g}",
        words, over="pairs of a seed",
    )  # fmt: skip


@picture
def stacks(rows: pd.DataFrame) -> tuple[Figure, str]:
    """One pass through 1, 2 or 3 blocks: what bounds its norm, the norm, and the largest eigenvalue, as logarithms.

    Args:
        rows: of `looped_or_deep`, all; left of 0 the bound promises contraction, or the norm shows it.
    """
    figure, axes = canvas(len(MAPS), height=6.8, sharex=True)
    found, words = _finite(rows, "map", "map", "promised", *LOGS), []
    for ax, name in zip(axes, MAPS, strict=True):
        for y, shape in enumerate(STACKS):
            here, told = found[(found["map"] == name) & (found["shape"] == shape)], []
            for (column, (label, line)), aside in zip(LOGS.items(), (-0.25, 0, 0.25), strict=True):
                said = difference(ax, here[column], y + aside, line, label, "{:+.2f}")
                told += [f"{column} {said}"] if said else []
            below = f"bound below 0 in {_share(here['promised'].dropna() == 1)}"
            words += [f"{name}, {shape}: {', '.join([*told, below])}"] if told else []
        ax.axvline(0, color=BLACK, linewidth=1, zorder=1)
        ax.set_title(f"map: {name}")
        marks.names_down(ax, STACKS)
    axes[-1].set_xlabel("natural logarithm; a norm below 0 contracts")
    marks.legend(figure, axes, ncols=2)
    return figure, marks.alt("logarithms of one pass through the blocks: bound, exact norm, spectral radius", words)


# ---- rows and words --------------------------------------------------------------------------------------------------


def _finite(rows: pd.DataFrame, kind: str, *columns: str) -> pd.DataFrame:
    """As `of_kind`; what is not finite is missing."""
    return of_kind(rows, kind, *columns).replace([np.inf, -np.inf], np.nan)


def _plain(rows: pd.DataFrame, kind: str, *columns: str) -> pd.DataFrame:
    """Of a kind, rows of plain updates of the main design."""
    here = _finite(rows, kind, *columns)
    usual = (here["design"] == "main") & (here["setup"] == SETUP)
    return here[usual & (here["gate"] == "none") & (here["step_size"] == 1)]


def _schedule(rows: pd.DataFrame, aim: str) -> str:
    """Which was chosen, and how far from it the models are on average."""
    chosen = [f"{a:g} to {b:g}" for a, b in rows[["steered_from", "steered_to"]].drop_duplicates().to_numpy(float)]
    miss = mean_over_runs(rows.groupby("seed")["miss"].mean().to_numpy(float)[:, None])
    return f"{TRACKED[aim]} wanted {listing(chosen)}, missed by {marks.said(*(float(x[0]) for x in miss))}"


def _reached(rows: pd.DataFrame) -> str:
    """In how many models the factor comes to a limit; rows are means of some steps, with four digits."""
    by = rows.groupby("seed")["factor"].agg(["min", "max"]).dropna()
    high, low = by["max"] > 0.99 * MOST, by["min"] < 1.01 / MOST
    return f"; its factor reaches {MOST:g} in {_share(high)}, {1 / MOST:g} in {_share(low)}"


def _share(of: pd.Series) -> str:
    return f"{int(of.sum())} of {len(of)}"


# ---- marks -----------------------------------------------------------------------------------------------------------


def _upright(ax: Axes, x: float, values: ArrayLike, line: Line, label: str) -> str:
    """As `marks.dot`, with the value upwards; values are finite."""
    y = np.asarray(values, dtype=float)
    mean, low, high = (float(np.clip(v[0], 0, 1)) for v in mean_over_runs(y[:, None]))
    ax.plot(np.full(len(y), x), y, line.marker, color=line.color, markersize=3.5, alpha=0.35, zorder=2)
    ax.plot([x, x], [low, high], color=line.color, marker="_", zorder=3)
    ax.plot(x, mean, line.marker, color=line.color, markersize=6.5, zorder=4, label=label)
    return marks.said(mean, low, high)


def _zero(ax: Axes, smallest: float) -> None:
    """No difference, and those that are smaller than the smallest effect."""
    ax.axvline(0, color=BLACK, linewidth=1, zorder=1)
    ax.axvspan(-smallest, smallest, color="0.88", zorder=0, label="below the smallest effect")
