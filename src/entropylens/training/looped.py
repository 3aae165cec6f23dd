"""Train M looped transformers, alike in shape but not in seed or optimizer, as one tensor program on induction data.

As in `training.population`, a member's parameters are a row of a matrix (M, P), and the model's own code runs on all
rows at once. Sequences are the members' own: symbols (M, B, n).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from entropylens.models.entropies import normalised_tsallis
from entropylens.models.loop_kernel import ORDER
from entropylens.models.looped import LoopedConfig, LoopedTransformer, LoopTrace
from entropylens.tasks.induction import NO_ANSWER, Batch, InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer
from entropylens.training.regularizers import Regularizer
from entropylens.training.steering import Steering

YOUNGER: dict[str, Any] = {
    "steering": None,
    "task": {"hops": 1},
    "config": {"gate": "learned", "gate_of": "own", "start": "zero"},
}
"""Fields that are younger than the first published rows, and their usual values, with which nothing is told of them."""


@dataclass(frozen=True)
class LoopedMember:
    """One model to be trained: the seed draws its initial parameters and its sequences."""

    seed: int
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adamw"))


@dataclass(frozen=True)
class LoopedSpec:
    """A population of looped transformers in words.

    Attributes:
        config: the common shape.
        task: what all learn.
        members: what differs.
        steps: updates.
        batch_size: sequences a step and member.
        lengths: of training sequences: each step draws one of them, the same for all members.
        warm_up: share of the steps in which longer sequences come in one after the other (a curriculum).
        regularizer: what is added to the cross-entropy; its terms are logged. None adds and logs nothing.
        steering: of attention's temperature; logged are the `factor` of logits and the relative entropy, `open`. The
            parameters that are kept have the factor in them.
        clip: the largest norm of a member's gradient; longer ones are scaled to it. None: as long as they are.
        dtype: of parameters; they are drawn in float32.
        snapshots: numbers of updates after which parameters are kept; the last is always.
        design: a label, on which training does not depend.
    """

    config: LoopedConfig
    task: InductionTask
    members: tuple[LoopedMember, ...]
    steps: int
    batch_size: int = 32
    lengths: tuple[int, ...] = (16, 24, 32, 48, 64)
    warm_up: float = 0.25
    regularizer: Regularizer | None = None
    steering: Steering | None = None
    clip: float | None = None
    dtype: Literal["float32", "float64"] = "float32"
    snapshots: tuple[int, ...] = ()
    design: str = "main"

    def __post_init__(self) -> None:
        kept = self.kept
        if self.steps < 1 or not self.members or not self.lengths or self.batch_size < 1:
            raise ValueError(
                f"needs members, lengths, a sequence and a step, got {len(self.members)}, {self.lengths}, "
                f"{self.batch_size} and {self.steps}"
            )
        if kept[0] < 0 or kept[-1] > self.steps:
            raise ValueError(f"snapshots are taken after 0 … {self.steps} steps, got {self.snapshots}")
        if not 0 <= self.warm_up <= 1 or not (self.clip is None or self.clip > 0):
            raise ValueError(f"needs a warm-up of 0 … 1 and a clip above 0, got {self.warm_up} and {self.clip}")
        for length in self.lengths:
            self.task.check_length(length)

    @property
    def kept(self) -> list[int]:
        """The numbers of updates after which parameters are kept."""
        return sorted({*self.snapshots, self.steps})

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same training."""
        asked = asdict(self)
        del asked["design"]
        for part, younger in ((asked, YOUNGER), (asked["task"], YOUNGER["task"]), (asked["config"], YOUNGER["config"])):
            for name, usual in younger.items():
                if part[name] == usual:
                    del part[name]
        return json.dumps(asked, sort_keys=True)

    def work(self) -> float:
        """Floating-point operations, roughly; what an estimate of seconds is scaled by."""
        c, n = self.config, sum(self.lengths) / len(self.lengths)
        per_token = 2 * c.d_model * (3 * c.d_model + 2 * c.n_neurons + 4 * n) + 3e3
        slower = 2.0 if self.dtype == "float64" or (self.regularizer and self.regularizer.row != "last") else 1.0
        return 3.0 * slower * per_token * c.n_loops * n * self.batch_size * len(self.members) * self.steps


@dataclass(frozen=True)
class LoopedRun:
    """What training left behind."""

    spec: LoopedSpec
    losses: Tensor
    """(steps, M): cross-entropy before each update, nats a scored position."""
    accuracy: Tensor
    """(steps, M): share of the scored positions of the training batch that were right."""
    lengths: Tensor
    """(steps): tokens of each step's sequences."""
    terms: dict[str, Tensor]
    """(steps, M) each: the regularizer's, before its coefficients, and what steering logs; empty without."""
    parameters: Tensor
    """(K, M, P) after the updates of `snapshot_steps`."""
    snapshot_steps: list[int]
    seconds: float
    compiled: bool


class LoopedPopulation:
    """The models of several members, stacked.

    Args:
        config: their common shape.
        seeds: one a member; a member starts from the same parameters whoever else is in the population.
        device: where they live.
        dtype: float32 or float64; initial values are drawn in float32.
    """

    def __init__(
        self,
        config: LoopedConfig,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        models = [config.build(generator(seed, "init")) for seed in seeds]
        self.config, self._one = config, models[0]
        self._shapes = {name: p.shape for name, p in models[0].named_parameters()}
        rows = [torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in models]
        self.parameters = torch.stack(rows).to(device=device, dtype=dtype)

    def logits(self, parameters: Tensor, tokens: Tensor, trace: LoopTrace | None = None) -> Tensor:
        """Of every token, (M, P) and (M, B, n) to (M, B, n, V)."""
        result: Tensor = functional_call(self._one, self._views(parameters), (tokens, trace))
        return result

    def last(self, parameters: Tensor, tokens: Tensor) -> Tensor:
        """Logits of the last token alone, (M, P) and (M, B, n) to (M, B, V)."""
        result: Tensor = functional_call(self._one, self._views(parameters), (tokens,), {"last": True})
        return result[..., 0, :]

    def _views(self, parameters: Tensor) -> dict[str, Tensor]:
        pieces = parameters.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: piece.unflatten(1, shape) for piece, (name, shape) in zip(pieces, self._shapes.items(), strict=True)
        }


def scores(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the scored positions, nats, and the share that is right, (M) each; logits (M, B, n, V)."""
    losses = F.cross_entropy(logits.flatten(0, -2), batch.answers.flatten(), ignore_index=NO_ANSWER, reduction="none")
    count = batch.scored.flatten(1).sum(-1).clamp(min=1)
    right = (logits.detach().argmax(-1) == batch.answers) & batch.scored
    return losses.view(len(count), -1).sum(-1) / count, right.flatten(1).sum(-1) / count


def rebuild(config: LoopedConfig, parameters: Tensor) -> LoopedTransformer:
    """A model from its row of a population's parameters, (P,), in their number type."""
    model = config.build().to(parameters.dtype)
    torch.nn.utils.vector_to_parameters(parameters.clone(), model.parameters())
    return model


def sharpened(config: LoopedConfig, parameters: Tensor, factor: float | Tensor) -> Tensor:
    """Parameters (M, P) with which all attention logits are multiplied by an inverse temperature, one number or (M)."""
    result, at = parameters.clone(), 0
    factor = factor[:, None, None] if isinstance(factor, Tensor) else factor
    for name, p in config.build().named_parameters():
        if name.endswith("qkv"):  # queries are the first d columns, of all heads
            result[:, at : at + p.numel()].unflatten(1, p.shape)[..., : config.d_model] *= factor
        at += p.numel()
    return result


def stack(batches: Sequence[Batch]) -> Batch:
    """Members' batches (B, n), as one (M, B, n)."""
    return Batch(*(torch.stack([getattr(b, name) for b in batches]) for name in ("tokens", "answers", "scored")))


def train_looped(spec: LoopedSpec, device: str = "cpu", progress: Callable[[int], None] | None = None) -> LoopedRun:
    """Train a population from its specification."""
    started = time.perf_counter()
    population = LoopedPopulation(spec.config, [m.seed for m in spec.members], device, getattr(torch, spec.dtype))
    theta, steering = population.parameters, spec.steering
    optimizer = PopulationOptimizer([m.optimizer for m in spec.members], theta, spec.steps)
    streams = [generator(m.seed, "batches") for m in spec.members]
    log_factor = steering.first(len(theta)).to(theta) if steering else None
    losses, accuracy, logged, snapshots = [], [], [], []
    lengths = drawn_lengths(spec)

    def keep(steps: int) -> None:
        if steps in spec.kept:
            now = theta.clone() if log_factor is None else sharpened(spec.config, theta, log_factor.exp())
            snapshots.append(now.cpu())

    keep(0)
    for number, length in enumerate(lengths):
        batch = stack([sample(spec.task, spec.batch_size, length, stream) for stream in streams])
        batch = Batch(*(getattr(batch, name).to(device) for name in ("tokens", "answers", "scored")))
        theta.requires_grad_(True)
        objective, loss, right, seen = _objective(spec, population, batch, number / spec.steps, log_factor)
        (grad,) = torch.autograd.grad(objective.sum(), theta)
        theta.requires_grad_(False)
        if spec.clip is not None:
            grad = clipped(grad, spec.clip)
        optimizer.apply(grad, optimizer.columns())
        if steering and log_factor is not None:
            log_factor = steering.next(log_factor, seen["open"], (number + 1) / spec.steps)
        losses.append(loss.detach())
        accuracy.append(right)
        logged.append(seen)
        keep(number + 1)
        if progress:
            progress(1)
    seen_of = {name: torch.stack([seen[name] for seen in logged]).cpu() for name in logged[0]}
    curves = torch.stack(losses).cpu(), torch.stack(accuracy).cpu(), torch.tensor(lengths), seen_of
    return LoopedRun(
        spec, *curves, torch.stack(snapshots), spec.kept,
        time.perf_counter() - started, compiled=False,
    )  # fmt: skip


def _objective(
    spec: LoopedSpec, population: LoopedPopulation, batch: Batch, share: float, log_factor: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """What a step descends, its cross-entropy, the share that is right, and what is logged of it, (M) each."""
    regularizer, theta = spec.regularizer, population.parameters
    strength = regularizer.strength(share) if regularizer else 0.0
    trace = regularizer.trace(differentiable=strength > 0) if regularizer else None
    if log_factor is not None:
        theta = sharpened(spec.config, theta, log_factor.exp())
        trace = trace or LoopTrace("last", differentiable=False)
    loss, right = scores(population.logits(theta, batch.tokens, trace), batch)
    objective, seen = loss, dict[str, Tensor]()
    if regularizer and trace:
        with torch.set_grad_enabled(strength > 0):  # else they are only logged
            terms = regularizer.terms(trace.states, trace.rows)
        objective = loss + strength * regularizer.weigh(terms) if strength else loss
        seen |= {name: value.detach() for name, value in terms._asdict().items()}
    if log_factor is not None and trace:
        rows = torch.stack(trace.rows).detach()[..., -1, :]
        seen |= {"factor": log_factor.exp(), "open": normalised_tsallis(rows, ORDER).mean((0, -1))}
    return objective, loss, right, seen


def clipped(grad: Tensor, most: float) -> Tensor:
    """Gradients (M, P), those longer than this scaled to it, as `torch.nn.utils.clip_grad_norm_` does for one model."""
    result: Tensor = grad * (most / (grad.norm(dim=-1, keepdim=True) + 1e-6)).clamp(max=1)
    return result


def drawn_lengths(spec: LoopedSpec) -> list[int]:
    """The length of each step's sequences, drawn from those that the curriculum has come to; the same for all seeds."""
    random, ordered = generator(0, "lengths"), sorted(spec.lengths)
    drawn = torch.rand(spec.steps, generator=random)
    ramp = max(1.0, spec.warm_up * spec.steps)
    open_now = [min(len(ordered), 1 + int(len(ordered) * step / ramp)) for step in range(spec.steps)]
    return [ordered[int(x * many)] for x, many in zip(drawn.tolist(), open_now, strict=True)]
