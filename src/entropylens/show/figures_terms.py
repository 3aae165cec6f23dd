"""The figures of chapter 11 on what it takes: sharp attention, and what the paper leaves open of its loss."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from entropylens.experiments.energy_entropy import DOSES, FACTOR_LENGTHS, FACTORS, LOSSES, RATES, arm, labels_of_tuned
from entropylens.experiments.looped_induction import LENGTHS, VOCABULARY
from entropylens.results.claims import Rule, judge
from entropylens.results.statistics import mean_interval
from entropylens.show import marks
from entropylens.show.figures import BLACK, LINES, canvas, picture, size_axis
from entropylens.show.figures_energy import (
    ALL,
    PLAIN,
    TITLES,
    WORDS,
    accuracy_of,
    by_loss,
    difference,
    of_kind,
)
from entropylens.training.regularizers import PAPER

ACCURACIES = [f"accuracy_{n}" for n in LENGTHS]
LENGTH = 64
"""Tokens at which choices and doses are compared."""
AS_IS = "as is"
CHANGES: dict[tuple[str, object], str] = {
    ("norm", "post"): "norm after the block", ("norm", "none"): "no norm", ("causal", False): "no mask",
    ("d_ff", 8): "8 neurons", ("position_scale", 0.0): "no positions", ("optimizer", "adam"): "Adam",
    ("task", "plain"): "no hint", ("task", "hint, last"): "last token scored",
    ("task", "unique, hint"): "one occurrence", ("row", "each"): "terms of every row",
    ("row", "mean"): "terms of the mean row",
}  # fmt: skip
"""Of what the paper leaves open."""
QUESTIONS = {
    "task": "the task",
    "row": "what p_t is",
    "norm": "where the norm stands",
    "d_ff": "the MLP's width",
    "causal": "a mask",
    "position_scale": "positions",
    "optimizer": "the optimiser",
}
"""What changes answer."""
SETUP_WORDS = {
    ("main", "paper"): ("the paper's, as we read it", "no hint, norm after, 25 loops"),
    ("published", "paper"): ("how long", "so, 20,000 steps"),
    ("main", "clipped"): ("the set-up", "hint, norm after, clipped, 25 loops"),
    ("main", "hint"): ("the set-up", "hint, norm before, 25 loops"),
    ("main", "short"): ("the set-up", "hint, norm before, 4 loops"),
}
"""Of designs and set-ups: the question, and the answer."""
ROWS = tuple(CHANGES["row", reading] for reading in ("each", "mean"))
"""What changes the terms only; cross-entropy alone is without them."""
USUAL = labels_of_tuned(arm("main", "short", LOSSES["all"], 1), RATES[0])[0]
"""What choices differ from."""
TERMS = {"K": ("lambda_K", PAPER.kinetic), "P": ("lambda_P", PAPER.potential), "S": ("lambda_S", PAPER.entropy)}


@picture
def sharpened(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy with logits multiplied at test time, cross-entropy alone, a panel a set-up, a line a length.

    Args:
        rows: of `energy_entropy`, all.
    """
    figure, axes = canvas(len(TITLES), height=1 + 2.1 * len(TITLES), sharex=True, sharey=True)
    words: list[str] = []
    for ax, (setup, title) in zip(axes, TITLES.items(), strict=True):
        for length, line in zip(FACTOR_LENGTHS, LINES, strict=False):
            here = _factors(rows, setup, length)
            constant, other = here[here["by"] == "constant"], here[here["by"] == "log n"]
            mean = marks.curve(ax, constant.pivot_table("accuracy", "seed", "factor"), line, f"{length} tokens")
            at = other[["factor", "accuracy"]].mean()
            ax.plot(*at, line.marker, color=line.color, markersize=10, fillstyle="none", markeredgewidth=1.6)
            told = [marks.told(mean, "× {:g}"), *([f"{at['accuracy']:.2f} by log n"] if at.notna().all() else [])]
            words += [f"{setup}, {length} tokens: {', '.join(filter(None, told))}"] if any(told) else []
        marks.guess(ax, 1 / VOCABULARY)
        ax.set(title=title, ylabel="accuracy, last token", ylim=(0, 1.05))
        size_axis(ax, sorted((1.0, *FACTORS)))
    axes[0].plot([], [], "o", color=BLACK, markersize=10, fillstyle="none", label="as log n")
    axes[-1].set_xlabel("factor of attention's logits at test time")
    marks.legend(figure, axes, ncols=3)
    return figure, marks.alt("accuracy of the last token by the factor of logits, cross-entropy alone", words)


@picture
def mediator(rows: pd.DataFrame) -> tuple[Figure, str]:
    """How much of the accuracy at 16 tokens is left at 256, against how certain attention is; a mark a model.

    Args:
        rows: of `energy_entropy`, all; models whose accuracy at 16 tokens exceeds twice that of guessing are drawn.
    """
    models = _kept(rows)
    figure, (ax,) = canvas(height=3.8)
    plain = models["loss_name"] == "plain"
    for label, line, here in ((WORDS["plain"], PLAIN, models[plain]), ("with any term", ALL, models[~plain])):
        ax.plot(here["most"], here["kept"], line.marker, color=line.color, fillstyle="none", label=label)
    words = f"{_spearman(models)}n = {len(models)}"
    ax.text(0.02, 0.98, words, transform=ax.transAxes, va="top", bbox={"facecolor": "white", "edgecolor": "none"})
    ax.set(xlim=(0, 1.02), xlabel=f"largest weight of the last row, {LENGTH} tokens", ylabel="accuracy, 256 over 16")
    ax.set_ylim(0, 1.25 * max([1.0, *models["kept"]]))
    marks.legend(figure, [ax])
    what = "Accuracy at 256 tokens over that at 16, against attention's largest weight, a mark a model"
    return figure, f"{what}: {words}, of which {int(plain.sum())} with cross-entropy alone."


@picture
def choices(rows: pd.DataFrame) -> tuple[Figure, str]:
    """What the three terms add to accuracy, seed by seed, where one thing is changed that the paper leaves open.

    Args:
        rows: of `energy_entropy`, all.
    """
    named, words = _named(rows), []
    known = dict.fromkeys([AS_IS, *CHANGES.values(), *named["change"]])
    names = [name for name in known if (named["change"] == name).any()]
    figure, (ax,) = canvas(height=1.2 + 0.34 * len(names))
    for y, name in enumerate(names):
        with_terms, without = _both(named, name)
        gain = (with_terms - without)[f"accuracy_{LENGTH}"].dropna()
        said = difference(ax, gain, y, PLAIN if name == AS_IS else LINES[2], "", "{:+.2f}")
        words += [f"{name} {said}"] if said else []
    ax.axvline(0, color=BLACK, linewidth=1, zorder=1)
    ax.set_xlabel(f"accuracy gained by all three terms, {LENGTH} tokens")
    marks.names_down(ax, names)
    marks.legend(figure, [ax])
    return figure, marks.alt(f"what all three terms add to {accuracy_of(LENGTH)}", words, over="pairs of a seed")


@picture
def doses(rows: pd.DataFrame) -> tuple[Figure, str]:
    """Accuracy with one term against its coefficient, a line a term; faint lines are models.

    Args:
        rows: of `energy_entropy`, all.
    """
    figure, (ax,) = canvas(height=3.6)
    column, words = f"accuracy_{LENGTH}", []
    models = of_kind(rows, "model", column)
    for term, line in zip(TERMS, LINES[1:], strict=False):
        mean = marks.curve(ax, _alone(models, term).pivot_table(column, "seed", "dose"), line, WORDS[term])
        words += [f"{WORDS[term]}: {told}"] if (told := marks.told(mean, "× {:g}")) else []
    for name, line, here in by_loss(models, "short"):
        if name == WORDS["plain"] and np.isfinite(without := float(here[column].replace(np.inf, np.nan).mean())):
            ax.axhline(without, color=line.color, linewidth=1.4, label=name, zorder=1)
            words.append(f"{name}: {without:.2f}")
    marks.guess(ax, 1 / VOCABULARY)
    size_axis(ax, list(DOSES))
    ax.set(xlabel="coefficient, over the paper's", ylabel=accuracy_of(LENGTH), ylim=(0, 1.03))
    marks.legend(figure, [ax], ncols=3)
    return figure, marks.alt(f"{accuracy_of(LENGTH)}, by the coefficient of a single term, set-up short", words)


def by_choice(rows: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """What a rule on the gain by all terms would say, for each choice that the paper leaves open: exploratory.

    Args:
        rows: of `energy_entropy`, all, and of `energy_readings`.
        rule: its metric is the accuracy at some length; its contrast is taken for the three terms against none.

    Returns:
        One row a choice, told by `question` and `choice`: the number `n` of pairs of a seed; accuracy at 64 tokens
        with cross-entropy alone, `without`, and what the terms `add` to it; the `effect` on the rule's metric, with
        its 95 % interval, `low` to `high`; and what the rule `says` of that.
    """
    named, table = _named(rows), []
    found = [(*words, _setup(rows, *place), AS_IS) for place, words in SETUP_WORDS.items()]
    found += [(QUESTIONS[name], words, named, words) for (name, _), words in CHANGES.items()]
    found += [(QUESTIONS["row"], f"{CHANGES['row', row]}, the paper's set-up", _reading(rows, row), AS_IS)
              for row in ("each", "mean")]  # fmt: skip
    for question, choice, models, change in found:
        with_terms, without = _both(models, change)
        gain = (with_terms - without).dropna()
        if len(gain) > 1:
            effect, here = mean_interval(gain[rule.metric]), (without, gain)
            told = [float(x[f"accuracy_{LENGTH}"].mean()) for x in here] + [effect.mean, effect.low, effect.high]
            table.append([question, choice, len(gain), *told, judge(effect, rule.smallest_effect)])
    columns = ["question", "choice", "n", "without", "adds", "effect", "low", "high", "says"]
    return pd.DataFrame(table, columns=columns)


def mediation(rows: pd.DataFrame) -> dict[str, float]:
    """What `mediator` tells: Spearman's ρ, `mediator`, NaN of fewer than three models, and `mediator_n`, their number.

    Args:
        rows: of `energy_entropy`, all.
    """
    models = _kept(rows)
    rho = spearmanr(models["most"], models["kept"]).statistic if len(models) > 2 else math.nan
    return {"mediator": float(rho), "mediator_n": len(models)}


# ---- rows ------------------------------------------------------------------------------------------------------------


def _factors(rows: pd.DataFrame, setup: str, length: int) -> pd.DataFrame:
    """Accuracy at a length by `factor`, with cross-entropy alone; 1 is among the constant ones."""
    found = of_kind(rows, "factor", "by", "factor", "length", "accuracy")
    models = of_kind(rows, "model", f"accuracy_{length}")
    as_is = models.assign(by="constant", factor=1.0, length=length, accuracy=models[f"accuracy_{length}"])
    here = pd.concat([found, as_is], ignore_index=True)
    here = here[(here["design"] == "main") & (here["setup"] == setup) & (here["loss_name"] == "plain")]
    return here[(here["length"] == length) & np.isfinite(here["accuracy"].astype(float))]


def _kept(rows: pd.DataFrame) -> pd.DataFrame:
    """Models that are right at 16 tokens twice as often as guessing, and what of that is `kept` at 256."""
    models = of_kind(rows, "model", "most", "accuracy_16", "accuracy_256")
    models = models[models["design"].isin(("main", "terms", "rivals", "choices", "doses"))]
    models = models[models["accuracy_16"] > 2 / VOCABULARY]
    models = models.assign(kept=models["accuracy_256"] / models["accuracy_16"])
    return models.replace([np.inf, -np.inf], np.nan).dropna(subset=["most", "kept"])


def _spearman(models: pd.DataFrame) -> str:
    """Of `most` and `kept`; nothing where models are too few, or do not vary."""
    if len(models) < 3 or (models[["most", "kept"]].nunique() < 2).any():
        return ""
    return f"Spearman's ρ = {spearmanr(models['most'], models['kept']).statistic:.2f}, "


def _change(row: Mapping[Hashable, Any]) -> str:
    """In words, what a model differs in from the usual."""
    changed = [name for name in dict.fromkeys(name for name, _ in CHANGES) if row[name] != USUAL[name]]
    return ", ".join(CHANGES.get((name, row[name]), f"{name}: {row[name]}") for name in changed) or AS_IS


def _setup(rows: pd.DataFrame, design: str, setup: str) -> pd.DataFrame:
    """Models of a design and set-up, in which nothing is changed."""
    models = of_kind(rows, "model", *ACCURACIES)
    return models[(models["design"] == design) & (models["setup"] == setup)].assign(change=AS_IS)


def _reading(rows: pd.DataFrame, row: str) -> pd.DataFrame:
    """The paper's set-up with all terms by another reading of p_t, and with cross-entropy alone."""
    one, other = (_setup(rows, design, "paper") for design in ("main", "readings"))
    return pd.concat([one[one["loss_name"] == "plain"], other[other["row"] == row]])


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """The short set-up, as it is and with one thing changed: models, and in words their `change`."""
    changed = of_kind(rows, "model", *ACCURACIES)
    changed = changed[changed["design"] == "choices"]
    words = [_change(row) for row in changed.to_dict("records")]
    return pd.concat([_setup(rows, "main", "short"), changed.assign(change=words)])


def _both(models: pd.DataFrame, change: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By seed, accuracies with all terms, and those with cross-entropy alone, which knows nothing of what p_t is."""
    plain, other = models["loss_name"] == "plain", AS_IS if change in ROWS else change
    chosen = models[(models["change"] == change) & ~plain], models[(models["change"] == other) & plain]
    with_terms, without = (here.groupby("seed")[ACCURACIES].mean() for here in chosen)
    return with_terms, without


def _alone(models: pd.DataFrame, term: str) -> pd.DataFrame:
    """Models of one term, and their `dose`, over the paper's."""
    column, coefficient = TERMS[term]
    known = (models["design"] == "doses") | ((models["design"] == "terms") & (models["setup"] == "short"))
    others = [name for name, _ in TERMS.values() if name != column]
    here = models[known & (models[column] > 0) & (models[others] == 0).all(axis=1)]
    return here.assign(dose=(here[column] / coefficient).round(6))
