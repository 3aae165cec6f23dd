"""The explorer of trained models: one at a time, what it learned against what it was taught, and its way there."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import anywidget
import numpy as np
import pandas as pd
import torch
import traitlets
from numpy.typing import NDArray
from torch import Tensor

from entropylens.show.explorers import source, style
from entropylens.show.figures_bias import data_label
from entropylens.show.figures_ffn import NAMES
from entropylens.tasks.language import Language
from entropylens.training.data import finite_sample
from entropylens.training.spec import TargetSpec

DECADES = 7.0
"""Probabilities are shown from 1 down to 10⁻⁷; what is rarer lies on the edge."""
_NUMBERS = ("sample_bias", "target_entropy")
COURSES = ("entropy", "kl", "excess_loss")
"""What is told of every snapshot: H(pθ), KL(p_tgt‖pθ), and KL(p̂‖pθ), by which the training loss exceeds H(p̂); nats."""


class Control(NamedTuple):
    """What a reader can choose: a column of the rows, and how a value is told, "d = {}" for example."""

    column: str
    words: str = "{}"


class ModelExplorer(anywidget.AnyWidget):
    """Controls over a grid of models, and a slider over training steps.

    A scatter of pθ against p_tgt at the end; the entropy bias at the chosen step, split into two parts; H(pθ) over all.
    """

    _esm = source("models_course.js", "models.js")
    _css = style()
    name = traitlets.Unicode().tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    choices: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """For each control its name, its values, and how they are told; the models follow their product, in this order."""
    models: traitlets.List[dict[str, float]] = traitlets.List().tag(sync=True)
    """One dictionary a model: numbers in nats, and its rows of `learned`, `target` and `seen` (−1: no sample)."""
    steps: traitlets.List[int] = traitlets.List().tag(sync=True)
    """K numbers of updates, after which all models were measured; 0 is the untrained one, the last the end."""
    courses = traitlets.Bytes().tag(sync=True)
    """(models, 3, K) float32: `COURSES` of every model."""
    learned = traitlets.Bytes().tag(sync=True)
    """(distinct models, S): log pθ at the end, one byte each, see `as_bytes`."""
    target = traitlets.Bytes().tag(sync=True)
    """(targets, S): log p_tgt, likewise."""
    seen = traitlets.Bytes().tag(sync=True)
    """(samples, S): how often a sample has a sentence, 255 at most."""
    letters = traitlets.Unicode().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    decades = traitlets.Float(DECADES).tag(sync=True)
    selected = traitlets.Dict().tag(sync=True)
    """Control to the chosen value, and the `step`; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, str]:
        chosen = {key: str(value) for key, value in proposal["value"].items()}
        allowed = {key: values for key, values, _ in self.choices} | {"step": [str(step) for step in self.steps]}
        for key, value in chosen.items():
            if value not in allowed.get(key, ()):
                raise traitlets.TraitError(f"no {key} = {value}; choose from {allowed}")
        return {**self.selected, **chosen}


def bias_explorer(rows: pd.DataFrame, log_probs: Tensor, seeds: int = 2) -> ModelExplorer:
    """Chapter 3's: width × data × seed of the main design; arguments as of `model_explorer`."""
    final = rows[rows["final"]].reset_index(drop=True)
    data = [data_label(r, n) for r, n in zip(final["regime"], final["n_samples"], strict=True)]
    shown = final.assign(data=data)[final["main"] & (final["seed"] < seeds)]
    controls = {"width": Control("d_model", "d = {}"), "data": Control("data"), "seed": Control("seed", "seed {}")}
    return model_explorer("bias", rows, shown, log_probs, controls, {"width": "64", "data": "sample of 2000"})


def variant_explorer(rows: pd.DataFrame, log_probs: Tensor, seeds: int = 2) -> ModelExplorer:
    """Chapter 4's: variant × size × match × seed of the main design; arguments as of `model_explorer`."""
    final = rows[rows["final"]].reset_index(drop=True)
    shown = final[final["main"] & (final["seed"] < seeds)]
    shown = shown.sort_values("variant", key=lambda v: v.map(list(NAMES).index)).replace({"variant": NAMES})
    controls = {
        "variant": Control("variant"), "size": Control("size", "size {}"), "equal": Control("match", "equal {}"),
        "seed": Control("seed", "seed {}"),
    }  # fmt: skip
    return model_explorer("variant", rows, shown, log_probs, controls, {"size": "64", "equal": "parameters"})


def model_explorer(
    name: str,
    rows: pd.DataFrame,
    shown: pd.DataFrame,
    log_probs: Tensor,
    controls: Mapping[str, Control],
    start: Mapping[str, str],
) -> ModelExplorer:
    """An explorer of models that a grid of controls tells apart.

    Args:
        name: of the explorer in the page's address.
        rows: of an experiment, all snapshots; `population` and `seed` say which belong to one training.
        shown: final ones of them, one for every combination of the controls' values, numbered as in `log_probs`; each
            adds about 5 kB to the page.
        log_probs: (final rows, S), log pθ in nats.
        controls: name to column, from the slowest to the fastest.
        start: the values that are chosen at first; where there is no such value, the first one is.

    Raises:
        ValueError: if a combination is missing, or there twice, or if models were measured at different steps.
    """
    values = {key: sorted(shown[c.column].unique()) if shown[c.column].dtype.kind == "i" else
              list(dict.fromkeys(shown[c.column])) for key, c in controls.items()}  # fmt: skip
    columns = [c.column for c in controls.values()]
    place = {tuple(row[:-1]): row[-1] for row in shown[columns].assign(place=shown.index).itertuples(index=False)}
    wanted = list(product(*values.values()))
    if len(place) != len(shown) or set(place) != set(wanted):
        raise ValueError(f"{len(shown)} rows do not fill the grid of {len(wanted)} combinations of {columns} once each")
    order = [place[combination] for combination in wanted]
    # Some trainings belong to several combinations: what they learned is on the page once.
    learned, which = np.unique(as_bytes(log_probs[order].double().numpy()), axis=0, return_inverse=True)
    data, models = _Data(), []
    for row, number in zip(shown.loc[order].to_dict("records"), which.ravel(), strict=True):
        numbers = {key: round(float(row[key]), 6) for key in _NUMBERS}
        places = {"learned": int(number), "target": data.target(row), "seen": data.sample(row)}
        models.append({**numbers, **places})
    words = {key: [str(v) for v in of] for key, of in values.items()}
    steps, courses = _courses(rows, shown.loc[order])
    language = data.language
    return ModelExplorer(
        name=name,
        choices=[[key, words[key], c.words] for key, c in controls.items()],
        models=models,
        steps=steps,
        courses=courses.tobytes(),
        learned=learned.tobytes(),
        target=np.stack(list(data.targets.values())).tobytes(),
        seen=np.stack(list(data.samples.values())).tobytes() if data.samples else b"",
        letters=language.text(tuple(range(language.vocab_size))),
        length=language.length,
        selected={key: start[key] if start.get(key) in of else of[0] for key, of in words.items()}
        | {"step": str(steps[-1])},
    )


def _courses(rows: pd.DataFrame, shown: pd.DataFrame) -> tuple[list[int], NDArray[np.float32]]:
    """The steps of all snapshots, (K), and `COURSES` of the shown models at them, (models, 3, K)."""
    named = shown[["population", "seed"]].drop_duplicates()
    trainings = dict(list(rows.merge(named).sort_values("step").groupby(["population", "seed"])))
    mine = [trainings[key] for key in shown[["population", "seed"]].itertuples(index=False, name=None)]
    steps: list[int] = mine[0]["step"].tolist()
    if any(one["step"].tolist() != steps for one in mine):
        raise ValueError(f"not all models were measured at the steps {steps}, each once")
    return steps, np.stack([one[list(COURSES)].to_numpy().T for one in mine]).astype("<f4")


def as_bytes(log_p: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Logarithms (nats) as bytes: 255 is probability 1, 0 is 10^-DECADES or less, evenly between."""
    share = 1 + log_p / (DECADES * np.log(10))
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), dtype=np.uint8)


class _Data:
    """Targets and samples of rows, drawn as for training, each once."""

    def __init__(self) -> None:
        self.language = Language()
        self.targets: dict[TargetSpec, NDArray[np.uint8]] = {}
        self.samples: dict[tuple[TargetSpec, int], NDArray[np.uint8]] = {}

    def target(self, row: Mapping[Any, Any]) -> int:
        """The number of a row's target."""
        spec = self._spec(row)
        if spec not in self.targets:
            self.targets[spec] = as_bytes(spec.build(self.language).log().numpy())
        return list(self.targets).index(spec)

    def sample(self, row: Mapping[Any, Any]) -> int:
        """The number of a row's sample; −1 if it has none."""
        if not row["n_samples"]:
            return -1
        spec = self._spec(row)
        key = (spec, int(row["n_samples"]))
        if key not in self.samples:
            drawn = finite_sample(self.language, spec.build(self.language), key[1], spec.seed)
            counts = torch.bincount(drawn, minlength=self.language.n_sentences)
            self.samples[key] = counts.clamp(max=255).to(torch.uint8).numpy()
        return list(self.samples).index(key)

    @staticmethod
    def _spec(row: Mapping[Any, Any]) -> TargetSpec:
        tilt = None if np.isnan(row["tilt"]) else float(row["tilt"])
        return TargetSpec(str(row["family"]), int(row["seed"]), entropy=tilt)
