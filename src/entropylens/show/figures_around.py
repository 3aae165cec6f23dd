"""Chapter 8's figures of what is around an event: in the logs, ahead of it, and after it if one thing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entropylens.experiments.branching import WAYS
from entropylens.experiments.spikes import NEAR
from entropylens.measures.around import mean_over_runs
from entropylens.show.figures import BLACK, WIDTH, Line, canvas, picture
from entropylens.show.figures_spikes import NAMES, OPTIMIZER_LINES, by_optimizer, optimizer_legend

CHANGES = [way for way in WAYS if way != "unchanged" and not way.startswith("calm")]
"""Ways in which a branch before a spike differs from the unchanged one."""
MOST = 3.0
"""A rise of more than so many times the unchanged branch's counts as that much."""
EVENTS = {"spike": "a spike", "jump": "a jump in deaths"}
TRACES = {"rise": "rise (nats)", "died": "died (%)", "sharp": "sharpness / edge"}
SCORES = {
    "sharpness": "sharpness", "lag": "lag of v̂", "deaths": "neurons that just died", "dead": "neurons dead",
    "gradient": "gradient's norm",
}  # fmt: skip
"""What may announce a spike: columns `auc_…`, in words."""


@picture
def aligned(around: pd.DataFrame, branches: pd.DataFrame) -> tuple[Figure, str]:
    """The main figure: logs around spikes and jumps, and what becomes of a spike when one thing is changed.

    Args:
        around: rows of the kind "around", one a model and offset, at one width, mark and variant.
        branches: rows of the kind "branch", of one width.
    """
    figure = Figure(figsize=(WIDTH, 8.6), layout="constrained")
    layout: list[Any] = [[f"{column} {event}" for event in EVENTS] for column in TRACES]
    axes = figure.subplot_mosaic([*layout, ["ways", "ways"]], height_ratios=[1, 1, 1, 2.6])
    words = []
    for event, title in EVENTS.items():
        rows = around[around["event"] == event]
        panels = [axes[f"{column} {event}"] for column in TRACES]
        words += [f"around {title}, {told}" for told in _surroundings(panels, rows)]
        panels[0].set_title(f"around {title}")
        panels[-1].set_xlabel("steps from its onset")
    for column, label in TRACES.items():
        left, right = (axes[f"{column} {event}"] for event in EVENTS)
        left.set_ylabel(label)
        right.sharey(left)
        left.set_xlim(*NEAR)
        right.sharex(left)
        right.tick_params(labelleft=False)
    clipped = branches.assign(beside=branches["beside"].clip(0, MOST))
    words += _dots(axes["ways"], clipped, CHANGES, "beside", ".2f")
    for x in (0, 1):
        axes["ways"].axvline(x, color=BLACK, linewidth=1.2, linestyle=":" if x else "-", zorder=1)
    axes["ways"].set(title="the spike, with one thing changed before it", xlim=(-0.1, None),
                     xlabel="its highest rise: 0 prevented, 1 as without the change")  # fmt: skip
    optimizer_legend(figure, around, branches)
    return figure, (
        "Loss, deaths and sharpness around events, and a spike's highest rise with one thing changed before it, "
        f"relative to the unchanged branch's; means over models with 95 % intervals. {'; '.join(words)}."
    )


def _surroundings(panels: Sequence[Axes], rows: pd.DataFrame) -> Iterator[str]:
    """Rise, deaths (%) and sharpness against the offset, a line an optimizer; says where they are highest."""
    for ax, column in zip(panels, TRACES, strict=True):
        ax.axvline(0, color="0.4", linewidth=1.2)
        if column == "sharp":
            ax.axhline(1, color=BLACK, linestyle=":", linewidth=1.2)
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
        ax.tick_params(labelbottom=ax is panels[-1])
    for here, o, line, _ in by_optimizer(rows, 1):
        rise, died, sharp = (_band(ax, here, column, line) for ax, column in zip(panels, TRACES, strict=True))
        told = [f"loss {_peak(rise, '+.3f', ' nats')}", f"dead {_peak(died, '+.2f', ' %')}"]
        before = sharp.get(-2, np.nan)
        told += [f"sharpness {before:.2f} of the edge at step −2"] if np.isfinite(before) else []
        yield f"{NAMES[o]}: {', '.join(told)}"


def _band(ax: Axes, rows: pd.DataFrame, column: str, line: Line) -> pd.Series:
    """The mean over models against the offset, with its interval; returns the mean. Of sharpness the geometric mean."""
    near = rows[rows["offset"].between(*NEAR)]
    finite = near.assign(value=near[column].where(np.isfinite(near[column].to_numpy(dtype=float))))
    table = finite.pivot_table("value", "seed", "offset")
    of_logarithms, percent = column == "sharp", 100 if column == "died" else 1
    mean, low, high = (np.exp(x) if of_logarithms else percent * x for x in mean_over_runs(table.to_numpy(dtype=float)))
    at = table.columns.to_numpy(dtype=float)
    ax.fill_between(at, low, high, color=line.color, alpha=0.2, linewidth=0)
    ax.plot(at, mean, color=line.color, linestyle=line.linestyle, marker=line.marker, markevery=10, markersize=3.5,
            linewidth=1.3)  # fmt: skip
    return pd.Series(mean, at)


def _peak(mean: pd.Series, form: str, unit: str) -> str:
    if not mean.notna().any():
        return "unknown"
    return f"{mean.max():{form}}{unit} at most, at step {mean.idxmax():+.0f}".replace("-", "−")


@picture
def outcomes(branches: pd.DataFrame) -> tuple[Figure, str]:
    """How many neurons die in each kind of branch, before spikes and at calm places, in % of all.

    Args:
        branches: rows of the kind "branch", of one width.
    """
    figure, (ax,) = canvas(height=1.2 + 0.4 * len(WAYS))
    words = _dots(ax, branches.assign(died=100 * branches["died"]), WAYS, "died", ".2f")
    ax.axvline(0, color=BLACK, linewidth=1.2, zorder=1)
    ax.axhline(WAYS.index("calm") - 0.5, color=BLACK, linewidth=0.8)
    ax.set_xlabel("neurons that die in a branch (% of all)")
    optimizer_legend(figure, branches)
    return figure, f"Neurons that die in a branch, in % of all; means over models. {'; '.join(words)}."


@picture
def announcements(models: pd.DataFrame) -> tuple[Figure, str]:
    """How well each score announces a spike: the area under the curve, a dot an optimizer.

    Args:
        models: rows of the kind "model"; NaN where there was nothing to be announced.
    """
    scores = models.melt(["optimizer", "seed"], [f"auc_{score}" for score in SCORES], "score", "auc")
    scores["way"] = scores["score"].str.removeprefix("auc_").map(SCORES)
    scores = scores.dropna(subset="auc")
    figure, (ax,) = canvas(height=1.3 + 0.5 * len(SCORES))
    words = _dots(ax, scores, list(SCORES.values()), "auc", ".2f")
    ax.axvline(0.5, color=BLACK, linewidth=1.2, zorder=1)
    ax.set(xlim=(0, 1), xlabel="area under the curve: 0.5 is chance, 1 is perfect")
    optimizer_legend(figure, scores)
    return figure, f"Area under the curve of scores that announce a spike; means over models. {'; '.join(words)}."


def _dots(ax: Axes, rows: pd.DataFrame, ways: Sequence[str], column: str, form: str) -> list[str]:
    """Each way's mean over models with its interval, a mark an optimizer, models as faint marks; says the numbers.

    What a model has several of is averaged first. A mean of one model has no interval.
    """
    words: dict[str, list[str]] = {way: [] for way in ways}
    shown = [(o, here) for here, o, *_ in by_optimizer(rows, 1)]
    for i, (o, here) in enumerate(shown):
        line, aside = OPTIMIZER_LINES[o], 0.7 * ((i + 0.5) / len(shown) - 0.5)
        for y, way in enumerate(ways):
            values = here[here["way"] == way].groupby("seed")[column].mean().dropna()
            if len(values):
                words[way].append(f"{NAMES[o]} {_dot(ax, values, y + aside, line, form)}")
    ax.set_yticks(range(len(ways)), list(ways))
    ax.set_ylim(len(ways) - 0.4, -0.6)
    return [f"{way}: {', '.join(told)}" for way, told in words.items() if told]


def _dot(ax: Axes, values: ArrayLike, y: float, line: Line, form: str) -> str:
    x = np.asarray(values, dtype=float)
    mean, low, high = (float(v[0]) for v in mean_over_runs(x[:, None]))
    ax.plot(x, np.full(len(x), y), line.marker, color=line.color, markersize=3, alpha=0.25, zorder=2)
    ax.plot([low, high], [y, y], color=line.color, marker="|", zorder=3)
    ax.plot(mean, y, line.marker, color=line.color, markersize=5, zorder=4)
    return f"{mean:{form}}" + (f" ({low:{form}} to {high:{form}})" if np.isfinite(low) else "")
