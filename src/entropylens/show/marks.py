"""Curves and dots of models: each faint, and over them their mean with its interval; and the words that tell them.

A mean has a 95 % Student interval where there are two models or more; what is not finite is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entropylens.measures.around import mean_over_runs
from entropylens.show.figures import BLACK, Line


def curve(
    ax: Axes, table: pd.DataFrame, line: Line, label: str, *, faint: bool = True, band: bool = True
) -> pd.DataFrame:
    """The mean over models (rows) against x (columns), models faint; returns mean, low and high by x."""
    found = table.to_numpy(dtype=float)
    values, at = np.where(np.isfinite(found), found, np.nan), table.columns.to_numpy(dtype=float)
    mean, low, high = mean_over_runs(values)
    if faint:
        ax.plot(at, values.T, color=line.color, alpha=0.3, linewidth=0.7)
    if band:
        ax.fill_between(at, low, high, color=line.color, alpha=0.2, linewidth=0)
    ax.plot(at, mean, color=line.color, linestyle=line.linestyle, marker=line.marker,
            markevery=max(1, len(at) // 8), label=label)  # fmt: skip
    return pd.DataFrame({"mean": mean, "low": low, "high": high}, index=at)


def dot(ax: Axes, values: ArrayLike, y: float, line: Line, label: str = "") -> tuple[str, float]:
    """Models' shares as faint marks, and their mean with its interval, which is cut off at 0 and 1.

    Returns:
        The mean and its interval in words, "" if there is none; and the mean.
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    mean, low, high = (float(np.clip(v[0], 0, 1)) for v in mean_over_runs(x[:, None]))
    if not len(x):
        return "", mean
    ax.plot(x, np.full(len(x), y), line.marker, color=line.color, markersize=3.5, alpha=0.35, zorder=2)
    ax.plot([low, high], [y, y], color=line.color, marker="|", zorder=3)
    ax.plot(mean, y, line.marker, color=line.color, markersize=6.5, zorder=4, label=label)
    return said(mean, low, high), mean


def names_down(ax: Axes, names: Sequence[str]) -> None:
    """A line a name, the first on top."""
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(max(1, len(names)) - 0.4, -0.6)


def legend(figure: Figure, axes: Sequence[Axes], ncols: int = 4) -> None:
    """Above the figure: each label once."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=ncols)


def said(mean: float, low: float, high: float) -> str:
    """A mean and its interval, if there is one."""
    return f"{mean:.2f}" + (f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else "")


def told(means: pd.DataFrame, place: str) -> str:
    """A mean for each x, without what is unmeasured; −0 is 0."""
    return ", ".join(f"{y:.2f} at {place.format(x or 0)}" for x, y in means["mean"].dropna().items())


def alt(what: str, words: Sequence[str], over: str = "models") -> str:
    """The alternative text of means that `words` tell one by one."""
    return f"{what[0].upper()}{what[1:]}; means over {over}. {'; '.join(words) or 'Nothing was measured'}."


def guess(ax: Axes, share: float) -> None:
    """A dotted line at what guessing gets."""
    ax.axhline(share, color=BLACK, linestyle=":", linewidth=1.2, label="chance")


def loops(count: int) -> str:
    """How many, in words."""
    return f"{count} loop{'' if count == 1 else 's'}"
