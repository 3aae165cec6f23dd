"""Is a looped transformer better than a deep one, at as many parameters, or at as much computation? And stacks.

A looped model has one block that is used several times; a deep one has a block for each time. With as many loops as
blocks, both compute as much, and the looped one has a fraction of the parameters. A deep one has as many parameters
where it is narrower, or has no MLP; it computes less then. All see the input again in each block (F(Z + X)), so that
the deep ones are the looped one without the sharing, and nothing else; that is close to a usual residual transformer.

A stack of k blocks, each used twice, is what "several looped layers" are. Of one pass through it, the product of the
blocks' norms bounds the norm, and the analysis of one layer extends if that says anything: if it is below 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.looped_arms import LOOPS, WIDTH, Row, batch_of, labels_of_arm, less, paths, wide
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures.loops import branch_of, head_of
from entropylens.measures.operators import Map, local_rate, operator_norm
from entropylens.models.looped import LoopedTransformer
from entropylens.training.looped import rebuild

JUDGED = "two hops"
"""The task of the rule: "reasoning" in the sense of the literature on loops. The other asks for two looks."""
PASSES = 2
"""Of a stack."""
PLACES = 16
"""Tokens of the sequence at which maps are looked at."""


@dataclass(frozen=True)
class Shape:
    """A kind of model."""

    d_model: int = WIDTH
    n_blocks: int = 1
    n_loops: int = LOOPS
    d_ff: int | None = None
    match: tuple[str, ...] = ()
    """What it has as much of as the model that it is compared with."""

    @property
    def fields(self) -> dict[str, object]:
        """Of a `LoopedConfig`."""
        return {name: getattr(self, name) for name in ("d_model", "n_blocks", "n_loops", "d_ff")}


SHAPES = {
    "looped": Shape(match=("parameters", "compute", "parameters, width")),
    "deep": Shape(n_blocks=LOOPS, match=("compute",)),
    "deep, narrow": Shape(WIDTH // 2, LOOPS, match=("parameters",)),
    "deep, no MLP": Shape(n_blocks=LOOPS, d_ff=0, match=("parameters, width",)),
    "looped, no MLP": Shape(d_ff=0),
    "one look": Shape(n_loops=1),
    "stack of 2": Shape(n_blocks=2, n_loops=2 * PASSES),
    "stack of 3": Shape(n_blocks=3, n_loops=3 * PASSES),
}
OTHERS = {"looped, no MLP": 10, "one look": 5, "stack of 2": 10, "stack of 3": 10}
"""That are not compared by a rule, or by another one; and how many seeds."""


def full() -> list[TunedSpec]:
    """The whole experiment, with cross-entropy alone."""
    compared = [wide("main", JUDGED, 10, shape.fields) for shape in SHAPES.values() if shape.match]
    others = [wide("main" if name.startswith("stack") else "others", JUDGED, seeds, SHAPES[name].fields)
              for name, seeds in OTHERS.items()]  # fmt: skip
    looks = [wide("others", "two looks", 5, shape.fields) for shape in SHAPES.values() if shape.match]
    return [*compared, *others, *looks]


def quick() -> list[TunedSpec]:
    """Every arm with two seeds and a few short steps."""
    return [less(spec) for spec in full()]


def measure(spec: TunedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows "model" of `looped_arms.paths`, with the `shape`, a key of `SHAPES`, and the model's number of `parameters`.

    A looped model is compared with several deep ones, and so has its row once for each: `match` says what is equal;
    `looped` tells both sides. `accuracy_late` and the like mean nothing of a deep model, whose blocks would be
    used again: they are left out.

    "map", one a trained model that loops and each map, `final` true: one pass through its blocks, of which `map` is
    "head", attention alone, "block", with the MLP and the norm, neither of them residual, or "loop", Z + block:
    `bound`, the logarithm of the product of the norms of the blocks' derivatives where the pass comes by; `exact`, that
    of the pass itself; `radius`, of the largest |eigenvalue| of that; and `promised`, whether the bound is below 0 (0
    or 1). At the state after the trained loops, in double precision.
    """
    name, shape = shape_of(spec)
    loops = shape.n_loops > shape.n_blocks
    kind = {"shape": name, "looped": loops, "parameters": spec.config.build().n_parameters}
    labels = [label | kind for label in labels_of_arm(spec, trained)]
    rows = [
        labels[number] | row | {"match": match}
        for number, row in paths(spec, trained) if row["kind"] == "model"
        for match in shape.match or ("none",)
    ]  # fmt: skip
    if not loops:
        rows = [{name: value for name, value in row.items() if name not in LATE} for row in rows]
    elif spec.training.task.hops > 1:
        for number, theta in enumerate(trained["parameters"][-1]):
            model = rebuild(spec.config, theta.double())
            rows += [labels[number] | {"kind": "map", "final": True} | row for row in _maps(model, spec)]
    return pd.DataFrame(rows)


LATE = ("late_decay", "loops_to_rest", "at_rest", "cycles", "growth", "accuracy_late", "accuracy_best", "push_late",
        "loops_to_answer", "wander")  # fmt: skip


def _maps(model: LoopedTransformer, spec: TunedSpec) -> Iterator[Row]:
    x, state = _end(model, spec)
    for name, of in MAPS.items():
        steps = [of(model, x, number) for number in range(model.config.n_blocks)]
        bound, here = 0.0, state
        for step in steps:
            bound += _log(operator_norm(step, here))
            here = step(here).detach()

        def along(z: Tensor, steps: list[Map] = steps) -> Tensor:
            for step in steps:
                z = step(z)
            return z

        exact, radius = operator_norm(along, state), local_rate(along, state)
        logs: Row = {"bound": bound, "exact": _log(exact), "radius": _log(radius)}
        yield {"map": name, "promised": float(bound < 0)} | logs


@torch.no_grad()
def _end(model: LoopedTransformer, spec: TunedSpec) -> tuple[Tensor, Tensor]:
    """X of one sequence, and its state after the trained loops, (n, d) each."""
    x = model.embed(batch_of(spec).tokens[:1, :PLACES])
    return x[0], model.run(x)[0]


def _head(model: LoopedTransformer, x: Tensor, number: int) -> Map:
    head = head_of(model, number)
    return lambda z: head(z + x)


def _loop(model: LoopedTransformer, x: Tensor, number: int) -> Map:
    branch = branch_of(model, x, number)
    return lambda z: z + branch(z)


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def shape_of(spec: TunedSpec) -> tuple[str, Shape]:
    """The entry of `SHAPES` that a population is."""
    return next(
        (name, shape)
        for name, shape in SHAPES.items()
        if all(getattr(spec.config, field) == value for field, value in shape.fields.items())
    )


MAPS: dict[str, Callable[[LoopedTransformer, Tensor, int], Map]] = {"head": _head, "block": branch_of, "loop": _loop}


EXPERIMENT = Experiment(
    name="looped_or_deep",
    claims=("EER-10", "EER-f1"),
    populations={"quick": quick, "full": full},
    measure=measure,
    train=train_tuned,
)
