"""Figures of chapter 12 on gates: what they are, what a smaller step buys near rest, and what models make of them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from torch import Tensor

from entropylens.measures.gating import signs
from entropylens.models.entropies import largest_tsallis
from entropylens.models.gates import Gate, opened
from entropylens.models.loop_kernel import ORDER
from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, Line, canvas, picture
from entropylens.show.figures_energy import difference

CONSTANTS = (1.0, 0.5, 0.25)
PLAIN, BY_ENTROPY, RIVAL, CONTROL = LINES[0], LINES[1], LINES[3], LINES[6]
WHOSE = {"own": "", "mean": ", mean over sequences", "shuffled": ", other sequences'"}
"""Whose gate tokens get, in words."""


@picture
def stability(eigenvalues: Tensor, title: str, steps: Sequence[float] = CONSTANTS) -> tuple[Figure, str]:
    """Eigenvalues λ of DF in the complex plane, and the discs |1 + cλ| < 1 in which a constant step c holds them.

    A disc has the radius 1/c and its centre at −1/c. All λ inside: errors die out under Z + c F, where the derivative
    stays what it is, as near a point of rest. At a state that moves on, it is what one step does to a small error.

    Args:
        eigenvalues: (k), real or complex.
        title: of which state.
        steps: constants c, above 0; from the largest to the smallest, one to seven.

    Raises:
        ValueError: without eigenvalues, for a step that is not above 0, or for none or too many.
    """
    if not eigenvalues.numel() or not 0 < len(steps) <= len(LINES) or min(steps) <= 0:
        raise ValueError(f"needs eigenvalues, and 1 to {len(LINES)} steps above 0")
    at = eigenvalues.detach().cpu().to(torch.complex128).numpy()
    sign = signs(eigenvalues.detach().cpu()).numpy()
    at = np.where(sign == 0, 0, at.real) + 1j * at.imag
    widest, close = max(1 / c for c in steps), abs(at).max() < 0.2 * min(1 / c for c in steps)
    figure, (ax,) = canvas(height=4.6 if not close else 3.9)
    axes = [ax] + ([ax.inset_axes((0.63, 0.31, 0.36, 0.62))] if close else [])
    for each in axes:
        _discs(each, at, steps)
        each.set_aspect("equal")
    high = max(widest, float(abs(at.imag).max())) * 1.08
    right = 1.7 * widest if close else max(0.25 * widest, 1.08 * float(at.real.max()))
    ax.set(xlim=(min(-2.08 * widest, 1.08 * float(at.real.min())), right), ylim=(-high, high))
    ax.set(xlabel="Re λ", ylabel="Im λ", title=title)
    if close:  # all λ are a dot there
        side = 1.2 * max(float(abs(at).max()), 1e-6)
        axes[1].set(xlim=(-side, side), ylim=(-side, side))
        axes[1].set_title("enlarged", fontsize=9)
        axes[1].locator_params(nbins=3)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    words = []
    for c in steps:
        after = abs(1 + c * at)
        words.append(f"c = {c:g}: {int((after < 1).sum())} inside the disc, largest |1 + cλ| {after.max():.3f}")
    return figure, (
        f"{title}: {len(at)} eigenvalues of DF, real parts from {at.real.min():.3g} to {at.real.max():.3g}; "
        f"{int((sign > 0).sum())} above 0, {int((sign == 0).sum())} are 0. {'; '.join(words)}."
    )


def _discs(ax: Axes, at: NDArray[np.complex128], steps: Sequence[float]) -> None:
    """A disc for each step, smaller ones on top, and the eigenvalues."""
    for c, line, shade in zip(steps, LINES[: len(steps)], np.linspace(0.78, 0.94, len(steps)), strict=True):
        ax.add_patch(Circle((-1 / c, 0), 1 / c, facecolor=str(shade), edgecolor="none", zorder=-1 / c))
        edge = {"edgecolor": line.color, "linestyle": line.linestyle, "linewidth": 1.6}
        ax.add_patch(Circle((-1 / c, 0), 1 / c, fill=False, label=f"|1 + cλ| < 1, c = {c:g}", zorder=2, **edge))
    ax.axhline(0, color="0.4", linewidth=0.8, zorder=1)
    ax.axvline(0, color="0.4", linewidth=0.8, zorder=1)
    kinds = {
        "λ, Re λ < 0": (at.real < 0, "o", "white"),
        "λ, Re λ ≥ 0: in no disc": (at.real >= 0, "X", BLACK),
    }
    for label, (these, marker, face) in kinds.items():
        if these.any():
            ax.plot(at[these].real, at[these].imag, marker, color=BLACK, markerfacecolor=face, markersize=6, zorder=3,
                    label=label)  # fmt: skip


@picture
def shapes(
    places: Sequence[int] = (4, 64), learned: Sequence[tuple[float, float]] = ((-2.0, 4.0), (2.0, -4.0))
) -> tuple[Figure, str]:
    """The gates of `models/gates.py` against the relative entropy h of a token's row.

    Args:
        places: over how many a row can look, two or more; the exponential gate, of entropy as it is, depends on it.
        learned: some a and b.

    Raises:
        ValueError: for a row of fewer than two places.
    """
    if min(places, default=2) < 2:
        raise ValueError(f"a row of entropy looks at two places or more, got {min(places)}")
    h = torch.linspace(0, 1, 41, dtype=torch.float64)

    def curve(gate: Gate, n: int, parameters: tuple[float, float] | None = None) -> Tensor:
        entropy = (h * largest_tsallis(n, ORDER))[:, None].expand(-1, n)  # unmasked: all n tokens look at n places
        chosen = None if parameters is None else torch.tensor([parameters], dtype=torch.float64)
        return opened(gate, entropy, False, chosen)[:, 0]

    curves = {"sharp, 1 − h": curve("sharp", 2), "diffuse, h": curve("diffuse", 2)}
    curves |= {f"exponential, exp(−S), n = {n}": curve("exponential", n) for n in places}
    for a, b in learned:
        name = f"by entropy, σ({a:g} {'+' if b >= 0 else '-'} {abs(b):g} h)".replace("-", "−")
        curves[name] = curve("learned", 2, (a, b))
    figure, (ax,) = canvas(height=3.8)
    words = []
    for i, (name, values) in enumerate(curves.items()):
        line = LINES[i % len(LINES)]
        ax.plot(h, values, color=line.color, marker=line.marker, linestyle=line.linestyle, markevery=8, label=name)
        words.append(f"{name}: {values[0]:.2f}, {values[20]:.2f}, {values[-1]:.2f}")
    ax.set(xlim=(0, 1), ylim=(-0.03, 1.03), ylabel="gate g: share of F that is added")
    ax.set_xlabel("relative entropy h of the row: 0 one place, 1 all places alike")
    figure.legend(loc="outside upper center", ncols=2)
    return figure, f"Gates at relative entropies 0, ½ and 1. {'; '.join(words)}."


# ---- what models make of them ----------------------------------------------------------------------------------------


def arm_of(row: Mapping[Hashable, Any]) -> str:
    """What moves the states of a row's model, in words: "plain", "fixed 0.5", "learned constant", "by entropy", …."""
    if row["gate"] == "none":
        return "plain" if row["step_size"] == 1 else f"fixed {row['step_size']:g}"
    gate = {"constant": "learned constant", "learned": "by entropy"}.get(row["gate"], str(row["gate"]))
    return gate + WHOSE[row["gate_of"]]


def named(rows: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Rows of models without steering, of these columns' values, with an `arm`, in the order of the experiment."""
    here = rows[rows["steering"] == "none"]
    for column, value in where.items():
        here = here[here[column] == value]
    return here.assign(arm=[arm_of(row) for row in here.to_dict("records")])


@picture
def compare(
    table: pd.DataFrame, columns: Mapping[str, str], usual: str, controls: Collection[str] = ()
) -> tuple[Figure, str]:
    """Arms side by side, a panel a quantity, a line an arm; the vertical line is the mean of the usual one.

    Args:
        table: one row a model, with its `arm`.
        columns: what is compared, and what its axis says.
        usual: the arm that the others are compared with.
        controls: arms that are drawn as controls.
    """
    names = list(dict.fromkeys(table["arm"]))
    figure, axes = canvas(len(columns), height=0.5 + len(columns) * (0.8 + 0.3 * len(names)))
    words = []
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for y, name in enumerate(names):
            values = table[table["arm"] == name][column].replace([np.inf, -np.inf], np.nan)
            said = difference(ax, values, y, _line(name, usual, controls), "", "{:.3g}")
            words += [f"{label}, {name}: {said}"] if said else []
            if name == usual and said:
                ax.axvline(values.mean(), color=RIVAL.color, linewidth=1.2, zorder=1, label=f"mean, {usual}")
        marks.names_down(ax, names)
        ax.set_xlabel(label)
    marks.legend(figure, axes[:1])
    return figure, marks.alt(f"Arms compared, against {usual}", words)


def _line(name: str, usual: str, controls: Collection[str]) -> Line:
    if name == usual:
        return RIVAL
    return CONTROL if name in controls else PLAIN if name == "plain" else BY_ENTROPY
