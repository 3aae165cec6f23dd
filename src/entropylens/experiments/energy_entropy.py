"""Does the energy-entropy loss train what cross-entropy does not? Which of its terms does what?

Arms are compared at learning rates of their own, chosen by the same trials (`tuning`). The loop is looked at in four
set-ups: as the paper's, as far as we can read it ("paper"); so, but with a hint and with clipped gradients, which would
explode otherwise ("clipped"); with a hint and the norm before the head, where they do not ("hint"); and so with four
loops, where cross-entropy trains it well ("short").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.looped_induction import LENGTHS, Arm, labels_of
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.attention import certainty
from entropylens.measures.induction import accuracy
from entropylens.measures.transitions import change
from entropylens.models.entropies import largest_tsallis
from entropylens.training.looped import LoopedPopulation, LoopedSpec, sharpened
from entropylens.training.regularizers import PAPER, Regularizer, Terms

STEPS, TRIAL_STEPS = 2000, 600
RATES = (3e-3, 1e-2, 3e-2)
DECAY = 0.1
"""The paper's weight decay."""
POINTS = 40
"""Of a training curve."""
JUMP, FALL = 0.2, 0.2
"""A model has learned if its accuracy in training rises by so much from one level to another; an energy falls if it
loses such a share of its level."""
CERTAIN_AT = 64
"""Tokens of the sequences in which the last one's attention is looked at."""
FACTORS = (0.5, 2.0, 4.0)
"""By which attention logits are multiplied at test time."""
FACTOR_LENGTHS = (64, 256, 1000)
TYPICAL = sum(LoopedSpec.lengths) / len(LoopedSpec.lengths)
"""Tokens of a training sequence, on average; at n tokens the factor "log n" is log n over the logarithm of this."""
SETUPS: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "paper": ("plain", {"n_loops": 25, "norm": "post"}, {}),
    "clipped": ("hint", {"n_loops": 25, "norm": "post"}, {"clip": 1.0}),
    "hint": ("hint", {"n_loops": 25, "norm": "pre"}, {}),
    "short": ("hint", {"n_loops": 4, "norm": "pre"}, {}),
}
"""Task, shape, and fields of `LoopedSpec`."""
LOSSES = {
    "plain": Regularizer(),
    "all": PAPER,
    "K": Regularizer(kinetic=PAPER.kinetic),
    "P": Regularizer(potential=PAPER.potential),
    "S": Regularizer(entropy=PAPER.entropy),
    "no K": replace(PAPER, kinetic=0.0),
    "no P": replace(PAPER, potential=0.0),
    "no S": replace(PAPER, entropy=0.0),
    "target": replace(PAPER, target=0.5),
    "maximised": Regularizer(entropy=-PAPER.entropy),
    "late": replace(PAPER, start=0.5),
    "early": replace(PAPER, stop=0.5),
}
"""Cross-entropy alone; the paper's loss; its terms alone; all but one; an entropy that is not 0; a high one, which is
what the contraction theorem recommends; terms switched on, or off, at half of the steps."""
DOSES = (0.1, 1.0, 10.0)


def arm(design: str, setup: str, loss: Regularizer, seeds: int, **changed: Any) -> TunedSpec:
    """A population of one loss, in a set-up of which a few things may be changed.

    Args:
        design: label of the rows.
        setup: a key of `SETUPS`.
        loss: the regularizer.
        seeds: how many.
        changed: `task`, a key of `SETTINGS`; and fields of `looped_induction.Arm`: `shape`, `optimizer`, `training`.
    """
    task, usual, trained = SETUPS[setup]
    shape, optimizer, training = (dict(changed.get(name, {})) for name in ("shape", "optimizer", "training"))
    spec = Arm(
        design, changed.get("task", task), seeds, usual | shape, {"weight_decay": DECAY} | optimizer,
        trained | {"regularizer": loss} | training,
    ).population(STEPS)  # fmt: skip
    return TunedSpec(replace(spec, snapshots=()), RATES, trial_steps=TRIAL_STEPS)


def main_design() -> Iterator[TunedSpec]:
    """What the rules are about: the paper's loss and plain cross-entropy in each set-up."""
    for setup in SETUPS:
        for loss in ("plain", "all"):
            yield arm("main", setup, LOSSES[loss], 10)


def terms() -> Iterator[TunedSpec]:
    """All other losses, and what else could do their work at no cost, where there is something to be learned."""
    rivals: list[dict[str, Any]] = [
        {"optimizer": {"weight_decay": 0.0}},
        {"training": {"clip": 1.0}},
        {"shape": {"step_size": 0.1}},
    ]
    for setup, seeds in (("short", 10), ("hint", 5)):
        for loss in list(LOSSES)[2:]:
            yield arm("terms", setup, LOSSES[loss], seeds)
        for rival in rivals:
            yield arm("rivals", setup, LOSSES["plain"], seeds, **rival)
    yield arm("rivals", "paper", LOSSES["plain"], 5, training={"clip": 1.0})


def choices() -> Iterator[TunedSpec]:
    """What the paper leaves open, one thing changed at a time, for both losses."""
    changed: list[dict[str, Any]] = [
        {"shape": {"norm": "post"}},
        {"shape": {"norm": "none"}},
        {"shape": {"causal": False}},
        {"shape": {"d_ff": 8}},
        {"shape": {"position_scale": 0.0}},
        {"optimizer": {"name": "adam"}},
        {"task": "plain"},
        {"task": "hint, last"},
        {"task": "unique, hint"},
    ]
    for what in changed:
        for loss in ("plain", "all"):
            yield arm("choices", "short", LOSSES[loss], 5, **what)
    for row in ("each", "mean"):
        yield arm("choices", "short", replace(PAPER, row=row), 5)


def doses() -> Iterator[TunedSpec]:
    """Each term alone, at a tenth of the paper's coefficient, at that, and at ten times it."""
    for name in ("K", "P", "S"):
        one = LOSSES[name]
        for dose in DOSES:
            coefficients = {field: dose * getattr(one, field) for field in Terms._fields}
            if dose != 1:  # that is among `terms`
                yield arm("doses", "short", replace(one, **coefficients), 5)


def as_published() -> Iterator[TunedSpec]:
    """The paper's own settings, at its learning rate; and the beginning of its wider baseline, a hundredth of it."""
    for loss in ("plain", "all"):
        spec = arm("published", "paper", LOSSES[loss], 3, training={"steps": 20_000})
        yield replace(spec, rates=(1e-3,))
    wide = {"d_model": 64, "n_heads": 4}
    spec = arm("baseline", "paper", LOSSES["plain"], 1, shape=wide, optimizer={"weight_decay": 0.05},
               training={"steps": 200, "batch_size": 64})  # fmt: skip
    yield replace(spec, rates=(1e-4,))


def full() -> list[TunedSpec]:
    """The whole experiment."""
    return [*main_design(), *terms(), *choices(), *doses(), *as_published()]


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps; but for the main design, with a quarter of the loops."""

    def less(spec: TunedSpec) -> TunedSpec:
        t = spec.training
        loops = t.config.n_loops if spec.design == "main" else max(1, t.config.n_loops // 4)
        t = replace(t, members=t.members[:2], config=replace(t.config, n_loops=loops), lengths=(8, 16))
        return replace(spec, training=replace(t, steps=40, batch_size=8), seeds=spec.seeds[:1], trial_steps=10)

    return [less(spec) for spec in full()]


# ---- what is measured ------------------------------------------------------------------------------------------------


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of four kinds, all of which say which model it is.

    "model", one a trained model, `final` true: `accuracy_64` and the like, of the last token of sequences so long;
    `loss`, the mean cross-entropy at the end of training (nats a scored position), `diverged`, whether that is finite;
    `most`, `open` and `answer` of `attention.certainty` at 64 tokens. For `accuracy` in training and for the terms
    (`relative`), on the shortest sequences alone, since all of them change with the length: `…_step`, where their level
    changes (`transitions.change`), `…_before`, `…_after` and `…_explained`. `learned` (0 or 1): whether accuracy rises
    by `JUMP`; `ordered`: whether it does, and kinetic energy and entropy lose a `FALL` of their level or more before.

    "curve", in the main design and at the paper's own length, `POINTS` a model: the `step` after them, and means of
    `loss`, `accuracy` and of the three terms.

    "factor", in the main design: `accuracy` at `length` tokens with the logits of the trained model multiplied by
    `factor`; `by` tells what for: "constant", or "log n".

    "trial", where there were some: the `accuracy` of a trial, with its own `lr`, `seed` and `steps`; `chosen`, whether
    its rate was.
    """
    t, labels = spec.training, labels_of_tuned(spec, float(trained["lr"]))
    population, parameters = LoopedPopulation(t.config, [m.seed for m in spec.members]), trained["parameters"][-1]
    rows = [here | {"kind": "model", "final": True} | row
            for here, row in zip(labels, _models(spec, population, trained), strict=True)]  # fmt: skip
    if spec.design in ("main", "published"):
        rows += [labels[number] | {"kind": "curve", "final": False} | row for number, row in _curves(spec, trained)]
    if spec.design == "main":
        rows += [labels[number] | {"kind": "factor", "final": False} | row
                 for number, row in _factors(spec, population, parameters)]  # fmt: skip
    return pd.DataFrame(rows + [labels[0] | {"kind": "trial", "final": False} | row for row in _trials(spec, trained)])


def relative(spec: TunedSpec, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Curves (steps, M): `loss`, `accuracy`, and the three terms relative to what the step's length allows.

    `kinetic` over the number of tokens n, `potential` over log n, and `entropy` over its largest value at n tokens, NaN
    with a target, from which the logged term is the distance. With rows other than the last one, whose tokens see fewer
    than n, terms are smaller by themselves.
    """
    asked = spec.training.regularizer
    assert asked is not None
    n = trained["lengths"].double()[:, None]
    entropy = trained["entropy"] / largest_tsallis(n, asked.q)
    return {
        "loss": trained["losses"],
        "accuracy": trained["accuracy"],
        "kinetic": trained["kinetic"] / n,
        "potential": trained["potential"] / n.log(),
        "entropy": torch.full_like(entropy, torch.nan) if asked.target else entropy,
    }


def _models(spec: TunedSpec, population: LoopedPopulation, trained: Mapping[str, Tensor]) -> list[dict[str, object]]:
    t, parameters, curves = spec.training, trained["parameters"][-1], relative(spec, trained)
    table: dict[str, Tensor] = {
        f"accuracy_{n}": accuracy(population, parameters, t.task, n, _enough(many, t.steps))
        for n, many in LENGTHS.items()
    }
    table["loss"] = curves["loss"][-(t.steps // POINTS) :].mean(0)
    table["diverged"] = (~table["loss"].isfinite()).int()
    table |= certainty(population, parameters, t.task, CERTAIN_AT, 32)._asdict()
    at = (trained["lengths"] == trained["lengths"].min()).nonzero()[:, 0]
    changes = {name: change(curve[at]) for name, curve in curves.items() if name != "loss"}
    for name, found in changes.items():
        table |= {f"{name}_{field}": value for field, value in vars(found).items()}
        table[f"{name}_step"] = at[found.step]
    up, falls = changes["accuracy"], [changes[name] for name in ("kinetic", "entropy")]
    learned = up.after - up.before >= JUMP
    first = torch.stack([(x.after <= (1 - FALL) * x.before) & (x.step < up.step) for x in falls]).all(0)
    table |= {"learned": learned.int(), "ordered": (learned & first).int()}
    return [{name: values[number].item() for name, values in table.items()} for number in range(len(parameters))]


def _curves(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[tuple[int, dict[str, object]]]:
    width = spec.training.steps // POINTS
    means = {name: curve.unfold(0, width, width).mean(-1) for name, curve in relative(spec, trained).items()}
    for point in range(POINTS):
        for number in range(len(spec.members)):
            told: dict[str, object] = {k: float(f"{values[point, number]:.4g}") for k, values in means.items()}
            yield number, told | {"step": (point + 1) * width}


def _trials(spec: TunedSpec, trained: Mapping[str, Tensor]) -> Iterator[dict[str, object]]:
    if len(spec.rates) == 1:
        return
    for lr, values in zip(spec.rates, trained["trials"].tolist(), strict=True):
        for seed, value in zip(spec.seeds, values, strict=True):
            chosen = int(lr == float(trained["lr"]))
            yield {"lr": lr, "seed": seed, "steps": spec.trial_steps, "accuracy": value, "chosen": chosen}


def _enough(sequences: int, steps: int) -> int:
    """Shorter trainings than the full ones are measured on fewer sequences."""
    return max(1, sequences * min(steps, STEPS) // STEPS)


def _factors(
    spec: TunedSpec, population: LoopedPopulation, parameters: Tensor
) -> Iterator[tuple[int, dict[str, object]]]:
    """Accuracy with attention made sharper, or less sharp, at test time only: a model's number and a row."""
    t = spec.training
    for length in FACTOR_LENGTHS:
        factors = [("constant", factor) for factor in FACTORS] + [("log n", math.log(length) / math.log(TYPICAL))]
        for by, factor in factors:
            changed = sharpened(t.config, parameters, factor)
            found = accuracy(population, changed, t.task, length, _enough(LENGTHS[length], t.steps))
            for number, value in enumerate(found.tolist()):
                yield number, {"length": length, "by": by, "factor": factor, "accuracy": value}


def labels_of_tuned(spec: TunedSpec, lr: float) -> list[dict[str, object]]:
    """Which models they are: what `looped_induction` tells of one, set-up and loss, and the rate that was chosen.

    `setup` is the task, the loops and the norm, whatever else is changed: look at `design`, too.
    """
    t = spec.training
    asked, shared = t.regularizer, labels_of(t, t.members[0])
    assert asked is not None
    place = (shared["task"], {name: shared[name] for name in ("n_loops", "norm")})
    more = {
        "setup": next((name for name, setup in SETUPS.items() if setup[:2] == place), "other"),
        "loss_name": next((name for name, loss in LOSSES.items() if loss == asked), "other"),
        "lambda_K": asked.kinetic,
        "lambda_P": asked.potential,
        "lambda_S": asked.entropy,
        "target": asked.target,
        "row": asked.row,
        "d_ff": t.config.n_neurons,
        "n_heads": t.config.n_heads,
        "step_size": t.config.step_size,
        "optimizer": t.members[0].optimizer.name,
        "batch_size": t.batch_size,
        "lr": lr,
    }
    return [shared | more | {"seed": member.seed} for member in t.members]


EXPERIMENT = Experiment(
    name="energy_entropy",
    claims=("EER-2", "EER-4"),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
