"""The figures of chapter 13: what Hamiltonian loops conserve, where one goes, and what that is good for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from entropylens.experiments.looped_induction import VOCABULARY
from entropylens.measures.hamiltonian import INTEGRATORS
from entropylens.measures.navigation import Budget, Plane
from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, SHADES, WIDTH, Line, canvas, picture

INTEGRATOR_LINES = dict(zip(INTEGRATORS, LINES, strict=False))
SHADE_STEPS, CONTOURS = 16, 9


@picture
def energies(tables: Mapping[str, pd.DataFrame], sequence: int = 0) -> tuple[Figure, str]:
    """How far H is from where it began, against time, a panel a potential and a line an integrator and step length.

    The axis is the same in all panels: linear up to the largest error of leapfrog, and logarithmic beyond.

    Args:
        tables: for each potential, by its title, what `measures.hamiltonian.errors` returned.
        sequence: that is drawn.
    """
    figure, axes = canvas(len(tables), height=1.2 + 2.2 * len(tables), sharex=True, sharey=True)
    words, small = [], 0.0
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        here, lengths = table[table["sequence"] == sequence], sorted(set(table["step"]))
        for (name, h), line in here.groupby(["integrator", "step"], sort=False):
            style, faint = INTEGRATOR_LINES[str(name)], 0.45 if lengths.index(h) < len(lengths) - 1 else 1
            ax.plot(line["time"], line["error"], color=style.color, linestyle=style.linestyle, alpha=faint,
                    marker=style.marker, markevery=max(1, len(line) // 6), label=f"{name}, {h:g}")  # fmt: skip
            last, most = line["error"].iloc[-1], line["error"].abs().max()
            words.append(f"{title}, {name} with steps of {h:g}: at most {most:.3g}, {last:+.3g} in the end")
        small = max(small, float(here.loc[here["integrator"] == "leapfrog", "error"].abs().max()))
        ax.axhline(0, color=BLACK, linewidth=0.8)
        ax.set(title=title, ylabel="H − its first value")
    axes[0].set_yscale("symlog", linthresh=small if np.isfinite(small) and small > 0 else 1.0)
    axes[-1].set_xlabel("time (steps × their length)")
    marks.legend(figure, axes, ncols=2)
    return figure, f"What H has gained or lost, against time. {'; '.join(words)}."


@picture
def order(drifts: pd.DataFrame) -> tuple[Figure, str]:
    """The largest error of H over a fixed time against the step length; grey lines are of orders 1 and 2.

    Args:
        drifts: of `measures.hamiltonian.drift`; faint lines are sequences.
    """
    figure, (ax,) = canvas(height=3.8)
    words, ends = [], {}
    for name, line in INTEGRATOR_LINES.items():
        table = drifts[drifts["integrator"] == name].pivot_table("drift", "sequence", "step")
        if table.empty:
            continue
        mean = table.mean()
        ax.plot(table.columns, table.T, color=line.color, alpha=0.3, linewidth=0.7)
        ax.plot(table.columns, mean, color=line.color, linestyle=line.linestyle, marker=line.marker, label=name)
        words.append(f"{name}: {', '.join(f'{y:.3g} at {h:g}' for h, y in mean.items())}")
        ends[name] = mean
    for power, name in ((1, "symplectic Euler"), (2, "leapfrog")):
        if name in ends:
            _power(ax, ends[name].index.to_numpy(float), float(ends[name].iloc[0]), power)
    ax.set(xscale="log", yscale="log", xlabel="step length h", ylabel="largest error of H")
    ticks = sorted(set(drifts["step"]))
    ax.set_xticks(ticks, [f"{h:g}" for h in ticks])
    ax.minorticks_off()
    marks.legend(figure, [ax], ncols=3)
    return figure, f"Largest error of H against the step length, means over sequences. {'; '.join(words)}."


def _power(ax: Axes, h: Any, first: float, power: int) -> None:
    """A grey line of this order a little below a series that begins there, with its name behind it."""
    y = 0.7 * first * (h / h[0]) ** power
    ax.plot(h, y, color="0.55", linewidth=1.2, zorder=1)
    ax.annotate(f"order {power}", (h[-1], y[-1]), (8, 0), textcoords="offset points", va="center",
                color="0.35", fontsize=9, annotation_clip=False)  # fmt: skip


@picture
def budget(parts: Mapping[str, Budget]) -> tuple[Figure, str]:
    """What friction, the pull and the loops' finite length have made of H so far, a panel a model; means over tokens.

    Args:
        parts: for each model, by its title, what `measures.navigation.budget` returned.
    """
    figure, axes = canvas(len(parts), height=1.2 + 1.9 * len(parts), sharex=True)
    words = []
    for ax, (title, each) in zip(axes, parts.items(), strict=True):
        sums = {name: part.flatten(1).mean(1).cumsum(0) for name, part in zip(each._fields, each, strict=True)}
        sums |= {"H": sum(sums.values(), torch.zeros(()))}
        for (name, values), line in zip(sums.items(), (*LINES[:3], LINES[6]), strict=True):
            so_far = np.concatenate([[0.0], values.numpy()])
            ax.plot(so_far, color=line.color, linestyle=line.linestyle, marker=line.marker,
                    markevery=max(1, len(so_far) // 8), label=name)  # fmt: skip
        ends = {name: float(values[-1]) for name, values in sums.items()}
        noise = 1e-9 * max(map(abs, ends.values()))  # rounding is not worth telling, and is another on each machine
        told = ", ".join(f"{name} {end if abs(end) > noise else 0.0:+.3g}" for name, end in ends.items())
        words.append(f"{title}, after {marks.loops(len(each.step))}: {told}")
        ax.set(title=title, ylabel="change so far")
    axes[-1].set_xlabel("loops")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    marks.legend(figure, axes)
    return figure, f"What has changed H so far, against loops; means over tokens. {'; '.join(words)}."


@picture
def plane(found: Plane, label: str = "energy of the token", right: torch.Tensor | None = None) -> tuple[Figure, str]:
    """One token's trajectory in the plane of its two principal axes, over its own energy there.

    The circle is where it begins, the cross where it ends, the triangle where the energy is least in the picture. Black
    lines are contours.

    Args:
        found: what `measures.navigation.plane` returned.
        label: of the shades.
        right: (K, K) bool, where on the grid the answer that is read out is right; hatched.
    """
    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
    ax = figure.subplots()
    at, heights, path = found.at.numpy(), found.energy.numpy(), found.path.numpy()
    low, high = float(heights.min()), float(heights.max())
    if high - low > 1e-9 * max(abs(low), abs(high)):
        shades = ax.contourf(at, at, heights, np.linspace(low, high, SHADE_STEPS + 1), cmap=SHADES)
        levels = np.linspace(low, high, CONTOURS + 2)[1:-1]
        ax.contour(at, at, heights, levels, colors=BLACK, linewidths=0.6, negative_linestyles="solid")
        figure.colorbar(shades, ax=ax, location="bottom", aspect=40, shrink=0.8, label=label, ticks=MaxNLocator(6))
    for color, width in ((BLACK, 3.2), ("white", 1.6)):  # a black edge keeps the line visible on every shade
        ax.plot(*path.T, color=color, linewidth=width, marker="o", markersize=1.2 + 0.8 * width, zorder=3)
    lowest = np.unravel_index(heights.argmin(), heights.shape)[::-1]  # rows are the second axis
    for point, mark, size in ((path[0], "o", 10), (path[-1], "X", 11), (at[list(lowest)], "v", 10)):
        ax.plot(*point, mark, color="white", markeredgecolor=BLACK, markersize=size, zorder=4, clip_on=False)
    words = f"; it is least at {_place(at[list(lowest)])}"
    if right is not None:
        words += _hatch(ax, found, right)
    ax.set(xlabel="first principal axis", ylabel="second principal axis", aspect="equal")
    ax.grid(visible=False)
    return figure, (
        f"A token's trajectory over {marks.loops(len(path) - 1)} in the plane of its two principal axes, which holds "
        f"{found.share:.0%} of its variance, from {_place(path[0])} to {_place(path[-1])}; the token's energy there is "
        f"from {low:.3g} to {high:.3g}, and off the plane the trajectory's differs by at most {found.gap:.3g}{words}."
    )


def _hatch(ax: Axes, found: Plane, right: torch.Tensor) -> str:
    """Where the answer is right, hatched; in words its share of the picture, and whether the path ends there."""
    at, mask = found.at.numpy(), right.numpy()
    if mask.any():
        with mpl.rc_context({"hatch.color": "white", "hatch.linewidth": 0.7}):
            ax.contourf(at, at, mask.astype(float), [0.5, 1.5], colors="none", hatches=["///"])
    if 0 < mask.mean() < 1:
        ax.contour(at, at, mask.astype(float), [0.5], colors="white", linewidths=2)
    column, row = (int(np.abs(at - x).argmin()) for x in found.path[-1].numpy())
    return (
        f"; the answer is right in {mask.mean():.0%} of the picture, hatched, "
        f"{'with' if mask[row, column] else 'without'} the end of the trajectory"
    )


def _place(point: ArrayLike) -> str:
    x, y = np.asarray(point)
    return f"({x:.2f}, {y:.2f})"


@picture
def accuracy(
    table: pd.DataFrame,
    trained: int | None = None,
    chance: float = 1 / VOCABULARY,
    size: str = "‖z‖, last token",
    band: bool = True,
) -> tuple[Figure, str]:
    """Accuracy, and the size of the state, against loops, a line an update; faint lines are models.

    Args:
        table: columns `update` (how a line is called), `seed`, `loops`, `accuracy` and `size`: those of
            `measures.navigation.by_loop`, of several models.
        trained: the number of loops in training, at which a vertical line is drawn.
        chance: what guessing gets.
        size: what that column is.
        band: whether intervals are drawn; of two models they say nothing.
    """
    figure, (above, below) = canvas(2, height=5.6, sharex=True)
    words = []
    for i, (name, here) in enumerate(table.groupby("update", sort=False)):
        line = LINES[i % len(LINES)]
        right, grown = (_against_loops(ax, here, column, line, str(name), band) for ax, column in
                       ((above, "accuracy"), (below, "size")))  # fmt: skip
        if len(right):
            best, last = right.idxmax(), right.index[-1]
            size_there = (
                f"with a state of size {grown[last]:.3g}" if last in grown else "with a state that is not finite"
            )
            words.append(
                f"{name}: {right[best]:.2f} at best, after {marks.loops(round(best))}, and {right[last]:.2f} "
                f"{size_there} after {round(last)}"
            )
    marks.guess(above, chance)
    for ax in (above, below):
        if trained is not None:
            ax.axvline(trained, color="0.55", linewidth=1.2, zorder=1, label="trained")
        ax.set_xscale("symlog", base=2, linthresh=1)
        ax.set_xlim(left=-0.2)
        ax.xaxis.set_major_formatter("{x:g}")
    above.set(ylabel="accuracy, last token", ylim=(0, 1.03))
    below.set(ylabel=size, xlabel="loops", yscale="log")
    marks.legend(figure, [above, below], ncols=2)
    return figure, marks.alt(f"Accuracy of the last token, and size of the state ({size}), against loops", words)


def _against_loops(ax: Axes, rows: pd.DataFrame, column: str, line: Line, label: str, band: bool) -> Any:
    """The mean over models, by loops; sizes of 0 are not drawn on their logarithmic axis."""
    values = rows[rows["size"] > 0] if column == "size" else rows
    return marks.curve(ax, values.pivot_table(column, "seed", "loops"), line, label, band=band)["mean"].dropna()
