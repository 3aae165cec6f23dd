"""The figures of chapter 11 on landscapes: slices of both losses around models, and how rugged they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, SHADES, WIDTH, Line, canvas, picture
from entropylens.show.figures_energy import TITLES, of_kind

LOSSES = {"plain": ("cross-entropy", LINES[0]), "all": ("with all three terms", LINES[1])}
"""That are looked at: `of`."""
TRAINED = {"plain": "cross-entropy alone", "all": "all three terms"}
"""What models were trained with."""
PLACES = {"trained": "trained", "initial": "before"}
SHADE_STEPS, CONTOURS, TICKS = 16, 6, (-0.5, 0, 0.5)


@picture
def slices(rows: pd.DataFrame, setup: str) -> tuple[Figure, str]:
    """Both losses along a random direction, a panel for what models were trained with; thin lines are further models.

    Slices are not averaged, as the ups and downs of several would cancel each other.

    Args:
        rows: of `loss_landscape`, all.
        setup: a key of `TITLES`.
    """
    figure, axes = canvas(len(TRAINED), height=5.4, sharex=True, sharey=True)
    here, words = _trained(of_kind(rows, "line", "radius", "loss"), setup), []
    for ax, (loss, trained) in zip(axes, TRAINED.items(), strict=True):
        for of, (name, line) in LOSSES.items():
            table = here[(here["loss_name"] == loss) & (here["of"] == of)].pivot_table("loss", "seed", "radius")
            table = table.replace([np.inf, -np.inf], np.nan).dropna(how="all")
            _models(ax, table, line, name)
            means = pd.DataFrame({"mean": table.loc[:, table.columns.isin((-1.0, 0.0, 1.0))].mean()})
            if told := marks.told(means, "radius {:g}"):
                words.append(f"{name}, trained with {trained} ({len(table)}): {told}")
        ax.set(title=f"around models trained with {trained}", ylabel="loss")
    axes[-1].set_xlabel("radius, over the parameters' own size")
    marks.legend(figure, axes)
    return figure, marks.alt(f"losses along a random direction, set-up {setup}", words)


@picture
def surface(rows: pd.DataFrame, setup: str) -> tuple[Figure, str]:
    """Each loss on a plane around the model that it trained, whose place has a cross.

    Shades are the same in both panels; black lines divide what a panel has, from its lowest to its highest, evenly.

    Args:
        rows: of `loss_landscape`, all.
        setup: a key of `TITLES`.
    """
    figure, words = Figure(figsize=(WIDTH, 3.8), layout="constrained"), []
    axes = figure.subplots(1, len(LOSSES), sharey=True)
    here = _trained(of_kind(rows, "surface", "radius", "other", "loss"), setup)
    grids = {of: _grid(here[(here["of"] == of) & (here["loss_name"] == of)]) for of in LOSSES}
    levels = _levels(grids.values())
    for ax, (of, (name, _)) in zip(axes, LOSSES.items(), strict=True):
        if min(grids[of].shape) > 1 and len(levels):
            words.append(f"{name}, {_shade(ax, grids[of], levels)}")
        ax.plot(0, 0, "x", color="white", markersize=8, markeredgewidth=2)
        ax.set(title=name, xlabel="first direction, radius", aspect="equal", xticks=TICKS, yticks=TICKS)
        ax.grid(visible=False)
    axes[0].set_ylabel("second direction, radius")
    if len(levels):
        shades = ScalarMappable(Normalize(levels[0], levels[-1]), SHADES)
        figure.colorbar(shades, ax=axes, location="bottom", aspect=40, label="loss")
    what = f"Each loss on a plane around the model that it trained, set-up {setup}"
    return figure, f"{what}. {'; '.join(words) or 'Nothing was measured'}."


@picture
def ruggedness(rows: pd.DataFrame) -> tuple[Figure, str]:
    """How rugged slices are: of each loss around models that it trained; before training, around the same models.

    Args:
        rows: of `loss_landscape`, all.
    """
    models, words = of_kind(rows, "model", "ruggedness"), []
    places = [(setup, around) for setup in TITLES for around in PLACES]
    figure, (ax,) = canvas(height=1.3 + 0.5 * len(places))
    for y, (setup, around) in enumerate(places):
        here = models[(models["setup"] == setup) & (models["around"] == around) & (models["design"] == "main")]
        for (of, (name, line)), aside in zip(LOSSES.items(), (-0.18, 0.18), strict=True):
            loss = of if around == "trained" else "plain"
            chosen = here[(here["of"] == of) & (here["loss_name"] == loss)]
            said, _ = marks.dot(ax, chosen["ruggedness"], y + aside, line, name)
            words += [f"{setup}, {PLACES[around]}: {name} {said}"] if said else []
    ax.set_yticks(range(len(places)), [f"{setup}, {PLACES[around]}" for setup, around in places])
    ax.set(ylim=(len(places) - 0.4, -0.6), xlim=(0, 1), xlabel="ruggedness: share of ups and downs beyond a funnel's")
    marks.legend(figure, [ax])
    return figure, marks.alt("ruggedness of slices, from 0 to 1, around trained models and before training", words)


def _trained(rows: pd.DataFrame, setup: str) -> pd.DataFrame:
    return rows[(rows["design"] == "main") & (rows["setup"] == setup) & (rows["around"] == "trained")]


def _models(ax: Axes, table: pd.DataFrame, line: Line, label: str) -> None:
    """A line a model (row) against x (column); the first one bold."""
    for number, (_, values) in enumerate(table.iterrows()):
        if number:
            ax.plot(table.columns, values, color=line.color, linestyle=line.linestyle, linewidth=0.8, alpha=0.6)
        else:
            ax.plot(table.columns, values, color=line.color, linestyle=line.linestyle, marker=line.marker,
                    markevery=max(1, len(values) // 8), label=label, zorder=3)  # fmt: skip


def _grid(rows: pd.DataFrame) -> pd.DataFrame:
    """The first model's loss, the second direction down and the first across."""
    first = rows[rows["seed"] == rows["seed"].min()]
    grid: pd.DataFrame = first.replace([np.inf, -np.inf], np.nan).pivot_table("loss", "other", "radius")
    return grid


def _levels(grids: Iterable[pd.DataFrame]) -> NDArray[np.float64]:
    """Between shades, from the lowest to the highest of all; none without any."""
    found = np.concatenate([grid.to_numpy(dtype=float).ravel() for grid in grids])
    values: NDArray[np.float64] = found[np.isfinite(found)]
    return np.linspace(values.min(), max(values.max(), values.min() + 1e-6), SHADE_STEPS + 1) if len(values) else values


def _shade(ax: Axes, grid: pd.DataFrame, levels: NDArray[np.float64]) -> str:
    """A grid in shades, with contour lines; in words, its middle and range."""
    at, values = (grid.columns.to_numpy(), grid.index.to_numpy()), np.ma.masked_invalid(grid.to_numpy(dtype=float))
    low, high = float(values.min()), float(values.max())
    ax.contourf(*at, values, levels, cmap=SHADES, norm=Normalize(levels[0], levels[-1]))
    if high > low:
        ax.contour(*at, values, np.linspace(low, high, CONTOURS + 2)[1:-1], colors=BLACK, linewidths=0.8)
    middle = grid.reindex(index=[0.0], columns=[0.0]).to_numpy()[0, 0]
    return (f"{middle:.2f} in the middle, " if np.isfinite(middle) else "") + f"from {low:.2f} to {high:.2f}"
