"""The reader's runs in the published figures, for the panels of `show.tweak`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import unwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entropylens.show.figures import LINES, Line, Picture, picture
from entropylens.show.tweak import Draw, TweakedRun

MARKERS = ("*", "p", "h", "<", ">", "8", "d")
"""None is among those of published lines."""
Point = tuple[str | int, ArrayLike, ArrayLike]
"""A panel of a figure, by title or by number, and where in it: x and y, numbers or (n)."""


def over(
    published: Callable[..., Picture],
    *args: Any,
    at: Callable[[Any], Sequence[Point]],
    named: str = "your runs",
    **kwargs: Any,
) -> Draw:
    """Draw runs over a published figure.

    Args:
        published: a figure function of `show`.
        args: what it draws.
        at: where a run's result lies in it.
        named: what the marks are, if the figure does not make that plain.
        kwargs: what it draws.
    """

    @picture
    def drawn(runs: Sequence[TweakedRun]) -> tuple[Figure, str]:
        figure, alt = unwrap(published)(*args, **kwargs)
        artists, words = [], []
        for number, run in enumerate(runs):
            line, marker = LINES[number % len(LINES)], MARKERS[number % len(MARKERS)]
            for where, x, y in at(run.result):
                ax = panel(figure, where)
                artists.append(_mark(ax, x, y, line._replace(marker=marker), run.label))
                words.append(f"{run.label}: {_place(where, artists[-1])}")
        handles = {artist.get_label(): artist for artist in artists}
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", title=named, alignment="left")
        return figure, f"{alt} {named.capitalize()}: {'; '.join(words)}."

    return drawn


def panel(figure: Figure, where: str | int) -> Axes:
    """A panel of a figure.

    Raises:
        ValueError: if it has none of that title.
    """
    if isinstance(where, int):
        return figure.axes[where]
    titles = {ax.get_title(loc="left"): ax for ax in figure.axes}  # as `STYLE` places them
    if where not in titles:
        raise ValueError(f"no panel is called {where!r}; there are {', '.join(map(repr, titles))}")
    return titles[where]


def _mark(ax: Axes, x: ArrayLike, y: ArrayLike, line: Line, label: str) -> Any:
    """A point, or a curve, that stands out from those of the figure."""
    (artist,) = ax.plot(np.atleast_1d(x), np.atleast_1d(y), marker=line.marker, linestyle=line.linestyle,
                        color=line.color, markersize=10, markeredgecolor="black", linewidth=2.2,
                        markevery=max(1, np.size(x) // 6), zorder=5, label=label)  # fmt: skip
    return artist


def _place(where: str | int, artist: Any) -> str:
    """The last of its points, in words."""
    x, y = artist.get_xdata()[-1], artist.get_ydata()[-1]
    told = f"({x:.4g}, {y:.3g})" if np.isfinite([x, y]).all() else "nowhere"
    return told + (f" in {where}" if isinstance(where, str) else "")
