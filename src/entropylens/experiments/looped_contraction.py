"""What the contraction theorem has to do with looped models that were trained: bounds, norms, rates, and entropy.

The models are those of `looped_induction`; nothing is trained again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment
from entropylens.experiments.looped_induction import design, labels_of, populations, quick
from entropylens.experiments.looping import train_models
from entropylens.measures.contraction_steps import sizes
from entropylens.measures.loops import branch_of, head_of
from entropylens.measures.operators import Map, local_rate, operator_norm
from entropylens.measures.trajectories import local_rates, lyapunov
from entropylens.models.entropies import normalised_tsallis
from entropylens.models.looped import LoopedTransformer
from entropylens.tasks.induction import InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedSpec, rebuild, sharpened

LENGTH, LONG = 64, 1000
"""Tokens of the sequence at which everything is measured, and of one at which bounds are looked at once more."""
LOOPS = 100
"""Loops that a trained model is run, to see whether it settles."""
HEAT = 0.5
"""Factor of the logits that raises the rows' entropy."""
Row = dict[str, object]


def measure(spec: LoopedSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """Rows of three kinds, all of which say which model it is; in double precision.

    "map", one a trained model and map, `final` true, at the last state of a sequence of `LENGTH`. Maps are "head", the
    theorem's F, attention alone; "block", the F that is trained, with its MLP and norm; "loop", Z + block. Each has
    `exact`, the operator norm of its derivative; `lowered`, by how much the logarithm of that falls if the logits are
    multiplied by `HEAT`; `radius`, the largest |eigenvalue| of the derivative, and `radius_lowered`; and of Z ← map(Z),
    iterated `LOOPS` times from 0: `decay`, by how much the logarithm of a step falls per loop in the second half;
    `settled`, whether steps end within rounding; `last_step`, its size; and the largest Lyapunov exponent, nats a loop.

    "snapshot", one a model, number of updates (`step`) and `loop` (the first, the last): `sizes` of the head at the
    state there, and `size` ‖Y‖_F, `w_v` ‖W_V‖_F and `strength` ‖W_Q‖ ‖W_K‖ / √d, of which the theorem says something.

    "long", one a trained model: the same at its last loop with `LONG` tokens, and the entropy of the `last` row.

    Raises:
        ValueError: for models whose loop is another than Z + block with one block.
    """
    c = spec.config
    if c.update != "plain" or c.n_blocks > 1 or not c.residual or c.step_size != 1:
        raise ValueError(f"what is measured here is the plain loop of one block, not that of {c}")
    steps, rows = trained["snapshot_steps"].tolist(), []
    for number, member in enumerate(spec.members):
        labels = labels_of(spec, member)
        for at, step in enumerate(steps):
            model = rebuild(spec.config, trained["parameters"][at, number].double())
            found = [
                {"kind": "snapshot", "step": step} | row for row in _bounds(model, spec.task, LENGTH, ("first", "last"))
            ]
            if step == spec.steps:
                found += [{"kind": "map", "final": True} | row for row in _maps(model, spec.task)]
                found += [{"kind": "long"} | row for row in _bounds(model, spec.task, LONG, ("last",))]
            rows += [labels | {"final": False} | row for row in found]
    return pd.DataFrame(rows)


@torch.no_grad()
def _states(model: LoopedTransformer, task: InductionTask, length: int) -> tuple[Tensor, list[Tensor]]:
    """Of one sequence X, (n, d), and the states of all loops."""
    x = model.embed(sample(task, 1, length, generator(length, "contraction")).tokens)
    z, states = torch.zeros_like(x), [torch.zeros_like(x)[0]]
    for loop in range(model.config.n_loops):
        z, _ = model.step(z, x, torch.zeros_like(x), loop)
        states.append(z[0])
    return x[0], states


def _bounds(model: LoopedTransformer, task: InductionTask, length: int, loops: Sequence[str]) -> Iterator[Row]:
    x, states = _states(model, task, length)
    for name in loops:
        loop = 0 if name == "first" else model.config.n_loops - 1
        head, y = head_of(model, loop), x + states[loop]
        strength = head.scale * math.prod(float(torch.linalg.matrix_norm(w, ord=2)) for w in (head.w_q, head.w_k))
        last = float(normalised_tsallis(head.rows(y)[-1], 1.0))
        yield {"loop": name, "length": length, "size": float(y.norm()), "w_v": float(head.w_v.norm()),
               "strength": strength, "last": last, **sizes(head, y)}  # fmt: skip


def _maps(model: LoopedTransformer, task: InductionTask) -> Iterator[Row]:
    x, states = _states(model, task, LENGTH)
    heated = _heated(model)
    for name, of in {"head": _of_head, "block": branch_of, "loop": _of_loop}.items():
        step, hot = of(model, x), of(heated, x)
        norm, radius = operator_norm(step, states[-1]), local_rate(step, states[-1])
        rates = local_rates(torch.stack(_iterate(step, x)), tolerance=1e-12)
        yield {
            "map": name,
            "exact": norm,
            "lowered": _fall(norm, operator_norm(hot, states[-1])),
            "radius": radius,
            "radius_lowered": _fall(radius, local_rate(hot, states[-1])),
            "decay": -float(rates.rate.log()),
            "settled": bool(rates.converged),
            "last_step": float(rates.steps[-1]),
            "lyapunov": lyapunov(step, torch.zeros_like(x), LOOPS // 2, warm_up=LOOPS // 2),
        }


def _fall(before: float, after: float) -> float:
    """By how much a logarithm falls; NaN where there is none."""
    return math.log(before / after) if before > 0 and after > 0 else math.nan


def _of_head(model: LoopedTransformer, x: Tensor) -> Map:
    head = head_of(model)
    return lambda z: head(z + x)


def _of_loop(model: LoopedTransformer, x: Tensor) -> Map:
    branch = branch_of(model, x)
    return lambda z: z + branch(z)


@torch.no_grad()
def _iterate(step: Map, x: Tensor) -> list[Tensor]:
    states = [torch.zeros_like(x)]
    for _ in range(LOOPS):
        states.append(step(states[-1]))
    return states


def _heated(model: LoopedTransformer) -> LoopedTransformer:
    """A copy whose logits are multiplied by `HEAT`."""
    parameters = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    return rebuild(model.config, sharpened(model.config, parameters[None], HEAT)[0])


def chosen() -> list[LoopedSpec]:
    """The loop of the paper on both tasks, and with the hint a single loop and four of them, which learn the task."""
    short = [a for a in design() if a.design == "loops" and a.setting == "hint" and a.shape["n_loops"] in (1, 4)]
    return populations([a for a in design() if a.design == "main"] + short)


EXPERIMENT = Experiment(
    name="looped_contraction",
    claims=("EER-6", "EER-7"),
    populations={"quick": quick, "full": chosen},
    measure=measure,
    train=train_models,
)
