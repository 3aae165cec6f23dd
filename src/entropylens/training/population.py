"""Train M models, alike in shape but not in seed, target, data or optimizer, as one tensor program on the trie.

A member's parameters are one row of a matrix (M, P). The model's own code runs on all rows at once: its
parameters become views (M, …) of the matrix, and every operation in `models/` broadcasts over leading dimensions.
Losses of different members share no parameter, so the gradient of their sum holds each member's own.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from tqdm import tqdm

from entropylens.models.layouts import Layout, TrieLayout
from entropylens.models.transformer import Trace, Transformer, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.training.data import Data, Tables, batches, generator
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer, State
from entropylens.training.recording import Activity, Entry, Log, activity, measured, stack, watched
from entropylens.training.sharpness import Probe, SharpnessLog

COMPILE_FROM = 3e8
"""Parameters × members × steps. torch.compile costs about 20 s a shape and saves a third to a half of a step: what is
smaller than this (under a core-minute) does without."""


@dataclass(frozen=True)
class Member:
    """One model to be trained. The seed draws its initial parameters, its sample and its batches."""

    seed: int
    target: Tensor
    data: Data = field(default_factory=Data)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True)
class Run:
    """What training left behind. K snapshots, M members, S sentences."""

    config: TransformerConfig
    members: Sequence[Member]
    snapshot_steps: list[int]
    log_probs: Tensor
    """(K, M, S) float64: log pθ of every sentence at every snapshot, nats."""
    losses: Tensor
    """(steps, M): the training loss before each update, nats a sentence."""
    parameters: Tensor
    """(M, P) after the last step."""
    diverged_at: list[int | None]
    """The number of updates after which the loss was not finite any more, if it ever was not."""
    seconds: float
    compiled: bool
    log: Log | None = None
    """Of every step, if it was asked for."""
    sharpness: SharpnessLog | None = None
    """Of every k-th step, if it was asked for."""
    checkpoints: dict[int, State] = field(default_factory=dict)
    """Number of updates to the state after them, where it was asked for."""

    def model(self, member: int) -> Transformer:
        """One trained model, as a plain module of its own."""
        return rebuild(self.config, self.parameters[member])


def rebuild(config: TransformerConfig, parameters: Tensor) -> Transformer:
    """A model from its row of a population's parameters, (P,), in their number type."""
    model = config.build().to(parameters.dtype)
    # A copy: the module's parameters become views of the vector, and may be changed without harm to the row.
    torch.nn.utils.vector_to_parameters(parameters.clone(), model.parameters())
    return model


class Population:
    """The models of several members, stacked.

    Args:
        config: their common shape.
        seeds: one a member; a member starts from the same parameters whoever else is in the population.
        device: where they live.
        dtype: float32 or float64. Initial values are drawn in float32 and widened, so both start from the same point.
    """

    def __init__(
        self,
        config: TransformerConfig,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        models = [config.build(generator(seed, "init")) for seed in seeds]
        self.config, self._one = config, models[0]
        self._shapes = {name: p.shape for name, p in models[0].named_parameters()}
        rows = [torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in models]
        self.parameters = torch.stack(rows).to(device=device, dtype=dtype)

    def log_conditionals(self, parameters: Tensor, layout: Layout, trace: Trace | None = None) -> Tensor:
        """Log p(next symbol | prefix) of every member, (M, N, V), in nats."""
        pieces = parameters.split([shape.numel() for shape in self._shapes.values()], dim=1)
        views = {
            name: piece.unflatten(1, shape) for piece, (name, shape) in zip(pieces, self._shapes.items(), strict=True)
        }
        result: Tensor = functional_call(self._one, views, (layout, trace))
        return result

    def losses(self, parameters: Tensor, layout: Layout, table: Tensor) -> Tensor:
        """Cross-entropy of each member, (M,), for weights on the trie (M, N, V): nats a sentence."""
        return -(table * self.log_conditionals(parameters, layout)).sum((-2, -1))


def pick_device(name: str) -> str:
    """`auto` is a GPU if PyTorch sees one, else the CPU; other names stay."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


@cache
def compiler_works() -> bool:
    """Whether torch.compile works here, found out by compiling something small; a failure is told in a warning."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return False
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.ones(4))
    except Exception as error:  # whatever a compiler can stumble over, the work goes on without it
        warnings.warn(f"torch.compile does not work here, going on without: {error}", stacklevel=2)
        return False
    return True


def make_step(
    population: Population,
    layout: Layout,
    optimizer: PopulationOptimizer,
    compiled: bool,
    entries: list[Entry] | None = None,
    watch: Callable[[Layout, Tensor], Activity] = activity,
) -> Callable[[Tensor], Tensor]:
    """A function that takes a table (M, N, V), does one update in place, and returns the losses (M,) before it.

    Where there is a list of `entries`, it also adds what there is to be logged of the step, by the trace `watch`.
    """
    theta, logged = optimizer.theta, entries is not None
    losses: Callable[..., Any] = lambda theta, table: population.losses(theta, layout, table)  # noqa: E731
    update: Callable[..., Any] = optimizer.apply
    if logged:
        losses, update = watched(population.log_conditionals, layout, watch), measured(optimizer)
    if compiled:
        losses, update = torch.compile(losses, fullgraph=True, dynamic=False), torch.compile(update, dynamic=False)

    def step(table: Tensor) -> Tensor:
        theta.requires_grad_(True)
        loss, counts = losses(theta, table) if logged else (losses(theta, table), None)
        (grad,) = torch.autograd.grad(loss.sum(), theta)
        theta.requires_grad_(False)
        norms = update(grad, optimizer.columns())
        if entries is not None:
            entries.append((counts, *norms))
        return loss.detach()  # type: ignore[no-any-return]

    return step


def train(
    config: TransformerConfig,
    members: Sequence[Member],
    *,
    steps: int,
    snapshots: Iterable[int] = (),
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool | None = None,
    progress: str | Callable[[int], None] | None = None,
    logged: bool = False,
    sharpness_every: int = 0,
    checkpoints: Iterable[int] = (),
) -> Run:
    """Train a population and keep log pθ at chosen steps.

    Args:
        config: the common shape of the models.
        members: what differs.
        steps: number of updates.
        snapshots: numbers of updates after which log pθ is kept; 0 is the untrained model, `steps` is always kept.
        device: cpu, cuda or a torch.device.
        dtype: float32 or float64.
        compiled: whether to use torch.compile; None decides by `COMPILE_FROM` (not by timing, which would make the last
            bits of a result depend on the machine's mood).
        progress: label of a progress bar on stderr (ENTROPYLENS_PROGRESS=0 in the environment hides it), or a function
            that is told the number of steps done since it was last called.
        logged: whether `Run.log` is kept, of every step.
        sharpness_every: before every so many updates, the first included, the loss's sharpness is measured; 0: never.
        checkpoints: numbers of updates after which the state is kept.

    Raises:
        ValueError: without members, for a target that is no distribution on the language, or for snapshots or
            checkpoints out of range.

    A member whose loss stops being finite is named in a warning and in `Run.diverged_at`; the others go on unharmed.
    """
    kept, stops = sorted({*snapshots, steps}), set(checkpoints)
    if not members or steps < 1 or not {*kept, *stops} <= set(range(steps + 1)):
        raise ValueError(
            f"needs members, steps ≥ 1, and snapshots and checkpoints in 0 … {steps}; got {len(members)} members, "
            f"snapshots {kept}, checkpoints {sorted(stops)}"
        )
    language = config.language
    _check_targets(language, members)
    population = Population(config, [m.seed for m in members], device, dtype)
    if compiled is None:
        compiled = population.parameters.numel() * steps >= COMPILE_FROM and compiler_works()
    theta, layout = population.parameters, TrieLayout(language, device)
    optimizer = PopulationOptimizer([m.optimizer for m in members], theta, steps)
    tables = tables_of(language, members, theta)
    entries: list[Entry] = []
    step = make_step(population, layout, optimizer, compiled, entries if logged else None)
    probe = Probe(population.losses, optimizer, TrieLayout(language, device, differentiable_twice=True))
    states = {0: optimizer.state()} if 0 in stops else {}

    def snapshot() -> Tensor:
        with torch.no_grad():
            conditionals = population.log_conditionals(theta, layout).double()
        return language.sentence_log_probs(torch.log_softmax(conditionals, dim=-1)).cpu()

    start, log_probs, losses = time.perf_counter(), [snapshot()] if kept[0] == 0 else [], []
    for number in _bar(range(1, steps + 1), progress):
        if sharpness_every and (number - 1) % sharpness_every == 0:
            probe(number - 1, tables.table)
        losses.append(step(tables.table))
        if number in kept:
            log_probs.append(snapshot())
        if number in stops:
            states[number] = optimizer.state()
        tables.advance()
        if callable(progress):
            progress(1)
    table = torch.stack(losses).cpu()
    return Run(
        config, members, kept, torch.stack(log_probs), table, theta.cpu(),
        _first_divergence(table, log_probs[-1]), time.perf_counter() - start, compiled,
        stack(entries) if logged else None, probe.log() if sharpness_every else None, states,
    )  # fmt: skip


def tables_of(language: Language, members: Sequence[Member], like: Tensor) -> Tables:
    """The weights on the trie that members are trained with, in the number type of `like` and on its device."""
    streams = [batches(language, m.target, m.data, m.seed) for m in members]
    return Tables(language, streams, [m.data.batch_size is not None for m in members], like)


def _check_targets(language: Language, members: Sequence[Member]) -> None:
    for member in members:
        if member.target.dim() != 1:
            raise ValueError(f"a member has one target, (S,); got shape {tuple(member.target.shape)}")
        language.check(member.target)


def _first_divergence(losses: Tensor, final: Tensor) -> list[int | None]:
    """From the losses (steps, M) before each update, and the log-probabilities (M, S) after the last."""
    bad = torch.cat([~losses.isfinite(), final.isnan().any(-1)[None]])
    diverged = [int(column.nonzero()[0]) if column.any() else None for column in bad.T]
    for member, at in enumerate(diverged):
        if at is not None:
            warnings.warn(f"member {member} diverged: its loss is not finite from step {at} on", stacklevel=3)
    return diverged


def bar_hidden(label: str | None) -> bool:
    """Whether a progress bar should not be drawn: it has no label, or the environment forbids it."""
    return not label or os.environ.get("ENTROPYLENS_PROGRESS") == "0"


def _bar(steps: range, progress: str | Callable[[int], None] | None) -> Iterable[int]:
    label = None if callable(progress) else progress
    return tqdm(steps, desc=label, unit="step", disable=bar_hidden(label), leave=False, mininterval=0.5)
