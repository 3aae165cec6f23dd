"""Chapter 11's explorer: the published trainings, two losses at a time, and what differs between their seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import anywidget
import numpy as np
import pandas as pd
import traitlets
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from entropylens.experiments.energy_entropy import POINTS
from entropylens.experiments.looped_induction import LENGTHS, VOCABULARY
from entropylens.results.statistics import CONFIDENCE
from entropylens.show.explorers import source, style
from entropylens.show.figures_energy import PANELS, RIVALS, TITLES, WORDS, arm_in_words
from entropylens.training.looped import LoopedSpec

MEASURES = {"accuracy": "accuracy", "loss": "cross-entropy"} | {key: PANELS[key] for key in list(PANELS)[1:]}
"""Of training, columns of the rows and what they are called: a share, nats a scored symbol, and the relative terms."""
SETUPS = {
    "paper": "paper",
    "published": "paper, {steps:,} steps",
    "clipped": "clipped",
    "hint": "hint",
    "short": "short",
}
"""Of the rows, or the design that has the paper's own steps; what they are called."""
USUAL = {"loss": WORDS["all"], "beside": WORDS["plain"]}
"""What is compared where a set-up has nothing of what was chosen."""
NOTHING = 2**16 - 1
"""The code of what was not kept."""


class Scale(NamedTuple):
    """Of codes: 0 is `low`, and `NOTHING` − 1 `high`; between them even, in the logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    def encode(self, values: ArrayLike) -> NDArray[np.uint16]:
        """Values as codes, of the same shape; what is not finite as `NOTHING`."""
        x = np.asarray(values, dtype=float)
        low, high, at = (np.log(each) for each in (self.low, self.high, x)) if self.log else (self.low, self.high, x)
        share = (at - low) / max(high - low, 1e-12)
        return np.where(np.isfinite(x), np.rint((NOTHING - 1) * np.clip(share, 0, 1)), NOTHING).astype("<u2")


SHARE = Scale(0.0, 1.0)


class RegularisationExplorer(anywidget.AnyWidget):
    """Two losses of a set-up: over training and over lengths, their seeds, means, and what differs between them."""

    _esm = source("regularisation.js")
    _css = style()
    name = traitlets.Unicode("regularisation").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    setups: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    """The name of each, what it is called, and in words; a list, as pages do not keep the order of a dictionary."""
    measures: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """The name of each, what it is called, the two ends of its `Scale`, and whether that is logarithmic."""
    arms: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """Each with `setup`, `loss` in words, its `seeds`, `steps`, learning `rate`, the number of its first model, and of
    its first model among those of which a course was kept, or None."""
    lengths: traitlets.List[int] = traitlets.List(list(LENGTHS)).tag(sync=True)
    ends = traitlets.Bytes().tag(sync=True)
    """(models, lengths) codes of `SHARE`: accuracy after training, of the last token."""
    levels = traitlets.Bytes().tag(sync=True)
    """(models, measures, 3): codes before and after a change of level, and the steps before it; two bytes each.

    On the shortest sequences of training alone; of cross-entropy the end of training is known, and `NOTHING` before."""
    courses = traitlets.Bytes().tag(sync=True)
    """(models of which it was kept, measures, `points`) codes: means of as many stretches of training."""
    points = traitlets.Int(POINTS).tag(sync=True)
    quantiles: traitlets.List[float] = traitlets.List().tag(sync=True)
    """Of Student's t for 2, 3, … seeds: half a 95 % interval in standard errors."""
    symbols = traitlets.Int(VOCABULARY).tag(sync=True)
    usual: traitlets.Dict[str, str] = traitlets.Dict(USUAL).tag(sync=True)
    """What is compared where a set-up has nothing of what was chosen."""
    trained: traitlets.List[int] = traitlets.List([min(LoopedSpec.lengths), max(LoopedSpec.lengths)]).tag(sync=True)
    """The shortest and the longest sequences of training, tokens."""
    selected: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """`setup`, the losses `loss` and `beside`, the `measure`, the `point` of training, from 1, and a `length`."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        given = dict(proposal["value"])
        chosen = {**self.selected, **given}
        here = [arm["loss"] for arm in self.arms if arm["setup"] == chosen.get("setup")]
        for key, value in USUAL.items():  # a set-up may lack what was chosen in another
            if key not in given and chosen.get(key) not in here:
                chosen[key] = value
        known: dict[str, list[Any]] = {
            "setup": [key for key, *_ in self.setups], "loss": here, "beside": here, "length": self.lengths,
            "measure": [key for key, *_ in self.measures], "point": list(range(1, self.points + 1)),
        }  # fmt: skip
        for key, value in chosen.items():
            if isinstance(value, bool) or value not in known.get(key, ()):
                raise traitlets.TraitError(f"no {key} = {value}; choose from {known.get(key, list(known))}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        models = sum(len(arm["seeds"]) for arm in self.arms)
        return f"Explorer (needs JavaScript): {models} models, {len(self.arms)} arms in {len(self.setups)} set-ups"


def regularisation_explorer(rows: pd.DataFrame, **chosen: Any) -> RegularisationExplorer:
    """The explorer of the chapter's main designs, which adds about 100 kB to the page.

    Args:
        rows: of `energy_entropy`, all.
        chosen: of `RegularisationExplorer.selected`, what is not as it starts.

    Raises:
        traitlets.TraitError: for a choice that there is not.
    """
    models, curves = _models(rows), rows[rows["kind"] == "curve"]
    scales = _scales(models, curves)
    groups = [here for _, here in models.groupby(["group", "arm"], sort=False)]
    kept = [curves[curves["population"] == here["population"].iloc[0]] for here in groups]
    sizes = ([len(here) for here in groups], [curve["seed"].nunique() for curve in kept])
    first, with_course = (np.cumsum([0, *each]).tolist() for each in sizes)
    arms = [
        _facts(here) | {"model": model, "course": course if len(curve) else None}
        for here, curve, model, course in zip(groups, kept, first, with_course, strict=False)
    ]
    steps = int(models.loc[models["group"] == "published", "steps"].max())
    return RegularisationExplorer(
        setups=[[key, words.format(steps=steps), _title(key)] for key, words in SETUPS.items()],
        measures=[[key, words, *scales[key]] for key, words in MEASURES.items()],
        arms=arms,
        ends=SHARE.encode(models[[f"accuracy_{n}" for n in LENGTHS]]).tobytes(),
        levels=_levels(models, scales).tobytes(),
        courses=np.concatenate([_course(curve, scales) for curve in kept if len(curve)]).tobytes(),
        quantiles=stats.t.ppf((1 + CONFIDENCE) / 2, np.arange(1, models["seed"].nunique())).tolist(),
        selected={"setup": "short", **USUAL, "measure": "entropy", "point": 4, "length": 64} | chosen,
    )


def _models(rows: pd.DataFrame) -> pd.DataFrame:
    """What is offered: by `group`, a key of `SETUPS`, by `arm` in words, and by seed."""
    models = rows[(rows["kind"] == "model") & rows["design"].isin(("main", "terms", "rivals", "published"))]
    models = models.assign(
        group=models["setup"].where(models["design"] != "published", "published"),
        arm=[arm_in_words(row) for row in models.to_dict("records")],
    )
    order = {"group": list(SETUPS), "arm": [*WORDS.values(), *RIVALS]}
    return models.sort_values(
        [*order, "seed"], key=lambda column: column.map(order[column.name].index) if column.name in order else column
    )


def _scales(models: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Scale]:
    """By measure; those of energies that may explode are logarithmic."""
    kinetic = pd.concat([curves["kinetic"], models["kinetic_before"], models["kinetic_after"]])
    most = float(max(curves["loss"].max(), models["loss"].max()))
    own = {"loss": Scale(0.0, most), "kinetic": Scale(float(kinetic.min()), float(kinetic.max()), log=True)}
    return dict.fromkeys(MEASURES, SHARE) | own


def _facts(here: pd.DataFrame) -> dict[str, Any]:
    """What is told of all seeds of an arm alike."""
    first = here.iloc[0]
    return {
        "setup": first["group"], "loss": first["arm"], "seeds": here["seed"].tolist(), "steps": int(first["steps"]),
        "rate": f"{first['lr']:g}",
    }  # fmt: skip


def _levels(models: pd.DataFrame, scales: Mapping[str, Scale]) -> NDArray[np.uint16]:
    """(models, measures, 3), see `RegularisationExplorer.levels`."""
    columns = []
    for key, scale in scales.items():
        if key == "loss":
            last = models["steps"] - models["steps"] // POINTS
            columns.append([np.full(len(models), NOTHING), scale.encode(models["loss"]), last])
        else:
            columns.append(
                [*(scale.encode(models[f"{key}_{at}"]) for at in ("before", "after")), models[f"{key}_step"]]
            )
    return np.moveaxis(np.asarray(columns), -1, 0).astype("<u2")


def _course(curve: pd.DataFrame, scales: Mapping[str, Scale]) -> NDArray[np.uint16]:
    """(seeds, measures, points) codes of an arm's curves."""
    tables = [scale.encode(curve.pivot_table(key, "seed", "step", dropna=False)) for key, scale in scales.items()]
    return np.stack(tables, axis=1)


def _title(key: str) -> str:
    """A set-up in words."""
    return TITLES["paper" if key == "published" else key].partition(": ")[-1]
