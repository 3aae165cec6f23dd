"""The look of every figure in the book, and what all of them share.

A figure function is decorated with `picture` and returns a matplotlib figure and its alternative text; a notebook gets
a `Picture`, which shows itself and carries the text into the page. Figures are SVG, 5.4 inches wide at most, so that
letters stay legible on a phone; series differ in colour, marker and line, so that they stay apart in grey.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from entropylens.results.statistics import mean_interval

WIDTH = 5.4
"""Inches: 518 pixels on a page, and letters of about 10 pixels on a phone."""

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
"""Colours of Okabe and Ito, which the colour-blind can tell apart."""

SHADES = "cividis"
EMPTY = "#E6E6E6"
"""What is impossible, or never happens."""


class Line(NamedTuple):
    """How one series is drawn: never by colour alone."""

    color: str
    marker: str
    linestyle: Any


LINES = [
    Line(BLUE, "o", "-"), Line(RED, "s", "--"), Line(GREEN, "^", "-."), Line(PURPLE, "D", ":"),
    Line(ORANGE, "v", (0, (5, 1, 1, 1, 1, 1))), Line(SKY, "P", (0, (1, 3))), Line(BLACK, "X", (0, (8, 2))),
]  # fmt: skip

STYLE: Any = {
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.06,
    "svg.hashsalt": "entropylens",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure: `svg` is what is seen, `alt` is what is read out instead."""

    svg: str
    alt: str

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        kind = "image/svg+xml"
        return {kind: self.svg, "text/plain": self.alt}, {kind: {"alt": self.alt}}


P = ParamSpec("P")
_DRAWING = threading.RLock()
"""Held while drawing: matplotlib's settings are those of all threads, and a panel draws in one of its own."""


def picture(draw: Callable[P, tuple[Figure, str]]) -> Callable[P, Picture]:
    """Turn a function that returns a figure and its alternative text into one that returns a `Picture`."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Picture:
        with _DRAWING, mpl.rc_context(STYLE):
            figure, alt = draw(*args, **kwargs)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        return Picture(buffer.getvalue(), " ".join(alt.split()))

    return drawn


def canvas(rows: int = 1, height: float = 3.0, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the book's width with `rows` panels, one above the other; `height` in inches for all of them."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False, **kwargs)
    return figure, list(axes[:, 0])


def mean_and_interval(values: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the first axis (seeds), and half the width of Student's `level` confidence interval of that mean."""
    table = np.asarray(values, dtype=float)
    n = len(table)
    spread = table.std(axis=0, ddof=1) / np.sqrt(n)
    return table.mean(axis=0), student.ppf(0.5 + level / 2, n - 1) * spread


def plot_seeds(ax: Axes, x: ArrayLike, values: ArrayLike, line: Line, label: str) -> None:
    """Every seed as a faint line, their mean on top with its 95 % interval. `values` is (seeds, points)."""
    table = np.asarray(values, dtype=float)
    at = np.asarray(x, dtype=float)
    ax.plot(at, table.T, color=line.color, alpha=0.3, linewidth=0.7)
    mean, half = mean_and_interval(table)
    ax.fill_between(at, mean - half, mean + half, color=line.color, alpha=0.2, linewidth=0)
    every = max(1, len(at) // 8)
    ax.plot(at, mean, color=line.color, linestyle=line.linestyle, marker=line.marker, markevery=every, label=label)


def plot_means(
    ax: Axes, rows: pd.DataFrame, column: str, x: str, line: Line, label: str, shift: float = 1.0
) -> dict[float, float]:
    """A column against x: rows as faint marks, their means with 95 % intervals on top; returns x to mean.

    `shift` multiplies x, so that series do not hide each other on a logarithmic axis.
    """
    means = {}
    for value, group in rows.groupby(x):
        interval, place = mean_interval(group[column]), float(value) * shift  # type: ignore[arg-type]
        ax.plot([place] * len(group), group[column], line.marker, color=line.color, markersize=3, alpha=0.25)
        error = [[interval.mean - interval.low], [interval.high - interval.mean]]
        ax.errorbar(place, interval.mean, yerr=error, color=line.color, capsize=3)
        means[float(value)] = interval.mean  # type: ignore[arg-type]
    ax.plot([v * shift for v in means], list(means.values()), color=line.color, linestyle=line.linestyle,
            marker=line.marker, linewidth=1.2, label=label)  # fmt: skip
    return means


def size_axis(ax: Axes, sizes: Sequence[float]) -> None:
    """A logarithmic axis with a tick at each size."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
    ax.minorticks_off()


def listing(words: Sequence[str]) -> str:
    """Join words as in a sentence: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


@picture
def contrasts(tables: Mapping[str, pd.DataFrame], label: str, smallest: float) -> tuple[Figure, str]:
    """Exploratory contrasts with their intervals, one a line, in each of several measures of one unit.

    Args:
        tables: for each measure what `results.statistics.explore` returned, of the same contrasts.
        label: of the axis, with its unit.
        smallest: half the width of the grey band, in the same unit.
    """
    names = next(iter(tables.values()))["contrast"].tolist()
    figure, (ax,) = canvas(height=1.0 + 0.34 * len(names))
    ax.axvline(0, color=BLACK, linewidth=1)
    ax.axvspan(-smallest, smallest, color="0.88", zorder=0)
    words = []
    for i, ((measure, table), line) in enumerate(zip(tables.items(), LINES, strict=False)):
        effect, low, high = (table[column].to_numpy(float) for column in ("effect", "low", "high"))
        y = np.arange(len(names)) + 0.3 * (i - (len(tables) - 1) / 2)
        ax.errorbar(effect, y, xerr=[effect - low, high - effect], color=line.color, marker=line.marker, linestyle="",
                    capsize=3, label=measure)  # fmt: skip
        told = [f"{n} {e:+.3f} ({a:+.3f} to {b:+.3f})" for n, e, a, b in zip(names, effect, low, high, strict=True)]
        words.append(f"{measure}: {', '.join(told)}")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    figure.legend(loc="outside upper center", ncols=2)
    return figure, f"{label}, with 95 % intervals. {'; '.join(words)}."
