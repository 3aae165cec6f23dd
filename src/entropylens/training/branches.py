"""Several futures of the same model: a training taken up from a checkpoint, each time with one thing changed.

What a spike of the loss would have been without a death, or a death without the optimizer, cannot be read off a log.
A branch changes one thing at a checkpoint and lets the training go on; the branch that changes nothing is its control,
and runs beside it in the same program.

What can be changed: the optimizer, and the neurons. A neuron that is *held* keeps, context by context, the gate that it
has at the checkpoint, open or shut: it goes on computing gate · drive, learns, and cannot die. At the checkpoint the
model is still the same function. A neuron that is *killed* gives 0 from then on. A *leak* lets a share of what the ReLU
holds back through, in all neurons, and changes the function at once.

Shapes: B branches, P parameters, L layers, N contexts, f neurons a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from entropylens.models.layouts import Layout, TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer, State
from entropylens.training.population import Member, Population, make_step, tables_of
from entropylens.training.recording import Activity, Entry, Log, silent, stack


@dataclass(frozen=True)
class Branch:
    """One way to go on.

    Attributes:
        member: the model, as a row of the state.
        optimizer: to go on with; None leaves it as it was.
        held: bool (L, f), neurons whose gates stay as they are; None for none.
        killed: bool (L, f), neurons that give 0 from now on; None for none.
        leak: share of a negative drive that passes a ReLU.
    """

    member: int
    optimizer: OptimizerConfig | None = None
    held: Tensor | None = None
    killed: Tensor | None = None
    leak: float = 0.0


@dataclass(frozen=True)
class Futures:
    """What became of the branches."""

    losses: Tensor
    """(steps, B): before each update, nats a sentence; the first is at the checkpoint, with the change in force."""
    log: Log
    state: State
    """After the last update."""


@dataclass
class Changed(Activity):
    """A trace under which some neurons are held, killed or leaky, and which counts what is silent.

    Args:
        gates: a layer each, (B, R or N, f): 1 where a neuron's gate is open at the checkpoint, else 0.
        held: a layer each, bool (B, 1, f).
        killed: a layer each, bool (B, 1, f).
        leak: (B, 1, 1).
    """

    gates: Sequence[Tensor] = ()
    held: Sequence[Tensor] = ()
    killed: Sequence[Tensor] = ()
    leak: Tensor | None = None
    drive: Tensor | None = None

    def take(self, name: str, x: Tensor) -> Tensor:
        """Hand on other activations than the ReLU's."""
        if name == "drives":
            self.drive = x
        if name != "neurons":
            return x
        assert self.drive is not None
        assert self.leak is not None
        layer = len(self.counts)
        x = x - self.leak * torch.relu(-self.drive)
        x = torch.where(self.held[layer], self.gates[layer] * self.drive, x)
        x = torch.where(self.killed[layer], torch.zeros_like(x), x)
        self.count(x.abs())  # a held or leaky neuron that gives something below zero is not silent
        return x


@dataclass
class Neurons(Trace):
    """A trace that keeps activations where the model computes them, (*, R or N, f) a layer, and nothing else."""

    every_position = False
    kept: list[Tensor] = field(default_factory=list)

    def take(self, name: str, x: Tensor) -> Tensor:
        """Keep x if it is the activations."""
        if name == "neurons":
            self.kept.append(x)
        return x


def follow(
    config: TransformerConfig,
    members: Sequence[Member],
    state: State,
    branches: Sequence[Branch],
    steps: int,
    total: int,
    compiled: bool = False,
    each: Callable[[int, Population, PopulationOptimizer], None] | None = None,
) -> Futures:
    """Go on from a state in all branches at once.

    Args:
        config: the shape of the models.
        members: of the training that left the state, one a row of it; on data that stay the same from step to step.
        state: where each member is taken up; they may have come to different steps.
        branches: what to do from there.
        steps: updates to be done.
        total: updates that the training was planned for, over which learning rates decay.
        compiled: whether to use torch.compile.
        each: is called before every update, with its number from 0.

    Raises:
        ValueError: for no branches or steps, data that are drawn anew at each step, or a branch of a member that there
            is not.
    """
    if not branches or steps < 1 or any(m.data.batch_size is not None for m in members):
        raise ValueError("needs branches, steps ≥ 1, and data that stay the same from step to step")
    if any(not 0 <= b.member < len(members) for b in branches):
        raise ValueError(f"there are members 0 … {len(members) - 1}; got {sorted({b.member for b in branches})}")
    rows = [b.member for b in branches]
    mine = [replace(members[b.member], optimizer=b.optimizer or members[b.member].optimizer) for b in branches]
    theta = state.theta[rows].clone()
    population = Population(config, [m.seed for m in mine], theta.device, theta.dtype)
    optimizer = PopulationOptimizer([m.optimizer for m in mine], theta, total)
    optimizer.restore(_carried(state[rows], [members[r].optimizer for r in rows], [m.optimizer for m in mine]))
    layout = TrieLayout(config.language, theta.device)
    table = tables_of(config.language, mine, theta).table
    changed = _changes(population, theta, layout, branches)
    entries: list[Entry] = []
    step = make_step(population, layout, optimizer, compiled, entries, changed)
    losses = []
    for number in range(steps):
        if each is not None:
            each(number, population, optimizer)
        losses.append(step(table))
    return Futures(torch.stack(losses).cpu(), stack(entries), optimizer.state())


def silent_neurons(population: Population, theta: Tensor, layout: TrieLayout) -> Tensor:
    """Which neurons fire in no context at all, bool (M, L, f)."""
    return torch.stack([silent(x) for x in _neurons(population, theta, layout)], dim=1)


@torch.no_grad()
def _neurons(population: Population, theta: Tensor, layout: Layout) -> list[Tensor]:
    trace = Neurons()
    population.log_conditionals(theta, layout, trace)
    return trace.kept


def _changes(
    population: Population, theta: Tensor, layout: Layout, branches: Sequence[Branch]
) -> Callable[[Layout, Tensor], Changed]:
    """What makes the trace of a step, with the gates of now."""
    gates = [(x > 0).to(theta) for x in _neurons(population, theta, layout)]
    f = population.config.n_neurons
    none = torch.zeros(len(gates), f, dtype=torch.bool)

    def layers(chosen: Sequence[Tensor | None]) -> list[Tensor]:
        every = torch.stack([none if c is None else c for c in chosen], dim=1)  # (L, B, f)
        return list(every[:, :, None].to(theta.device))

    held, killed = layers([b.held for b in branches]), layers([b.killed for b in branches])
    leak = torch.tensor([b.leak for b in branches]).to(theta)[:, None, None]
    return lambda there, contexts: Changed(
        layout=there, contexts=contexts, gates=gates, held=held, killed=killed, leak=leak
    )


def _carried(state: State, before: Sequence[OptimizerConfig], after: Sequence[OptimizerConfig]) -> State:
    """The state as another optimizer takes it over: v̂ = v / (1 − β₂ᵗ) is carried over; SGD starts without momentum."""
    first, second = state.first.clone(), state.second.clone()
    for row, (old, new) in enumerate(zip(before, after, strict=True)):
        t = float(state.updates[row])
        if new.name == "sgd" and old.name != "sgd":
            first[row] = 0.0
        if {old.name, new.name} <= {"adam", "adamw"} and new.beta2 != old.beta2 and t:
            second[row] *= math.expm1(t * math.log(new.beta2)) / math.expm1(t * math.log(old.beta2))
    return replace(state, first=first, second=second)
