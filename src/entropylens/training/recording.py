"""What is logged of every step of a training, inside the population's own program: deaths, gradients and updates.

All entries of a step belong to the same parameters θ_t: the loss, the activations and the gradient are those before the
update, and the update is what follows from them. So what comes first, a death or a spike, is not an artefact of when
each was looked at.

Shapes: M members, L layers, N contexts, V symbols, f neurons a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from entropylens.models.layouts import Layout
from entropylens.models.transformer import Trace
from entropylens.training.optimizers import PopulationOptimizer


@dataclass(frozen=True)
class Log:
    """One entry a step."""

    dead: Tensor
    """(steps, M, L) int16: neurons that fire in no context at all."""
    unreached: Tensor
    """(steps, M, L) int16: neurons that fire in no context that has weight in the step's loss, the dead included."""
    active: Tensor
    """(steps, M, L): share of neurons that fire, on average over contexts, weighted as by the step's loss."""
    grad_norm: Tensor
    """(steps, M) Euclidean norm of the gradient, nats per unit of a parameter."""
    update_norm: Tensor
    """(steps, M) Euclidean norm of the update; over `grad_norm` it is the effective step size."""
    second: Tensor
    """(steps, M) sum of the second moment v̂ that the update divides by, which knows the step's gradient; 0 for SGD.

    Where the squared `grad_norm` is above it, v̂ lags behind the gradient; in a steady state the two are equal.
    """


def silent(activations: Tensor, among: Tensor | None = None) -> Tensor:
    """Which neurons fire nowhere: ReLU activations (*, N, f) to bool (*, f).

    Args:
        activations: after the ReLU; a neuron fires where it is above zero.
        among: the contexts that count, bool (*, N); None counts all.
    """
    # The largest value, and not `any`: three times as fast on a CPU, where bools do not reduce by vector instructions.
    seen = activations if among is None else torch.where(among[..., None], activations, 0.0)
    return ~(seen.amax(-2) > 0)


def reached(edges: Tensor) -> Tensor:
    """The contexts that have any weight in the loss: weights on the trie (*, N, V) to bool (*, N)."""
    return (edges > 0).any(-1)


@dataclass
class Activity(Trace):
    """A trace that keeps of each layer how many neurons were silent, what share fired, and nothing else.

    Args:
        layout: where the model runs.
        contexts: the weight of each context in the loss, (M, N).
    """

    layout: Layout | None = None
    contexts: Tensor | None = None
    counts: list[Tensor] = field(default_factory=list)
    """(M, 3) a layer: dead, unreached, and the share active."""
    every_position = False

    def take(self, name: str, x: Tensor) -> Tensor:
        """Count the neurons that are silent in x, if x is their activations."""
        if name == "neurons":
            self.count(x)
        return x

    def count(self, neurons: Tensor) -> None:
        """Keep the counts of one layer's activations, (M, R or N, f)."""
        assert self.layout is not None
        assert self.contexts is not None
        here, weights = self.layout.expand(neurons.detach()), self.contexts
        fires = (here > 0).to(weights).mean(-1)
        active = (fires * weights).sum(-1) / weights.sum(-1)
        counts = [silent(here).sum(-1), silent(here, weights > 0).sum(-1)]
        self.counts.append(torch.stack([*(c.to(active) for c in counts), active], dim=-1))


def activity(layout: Layout, contexts: Tensor) -> Activity:
    """A trace that watches and does nothing else."""
    return Activity(layout=layout, contexts=contexts)


Entry = tuple[Tensor, Tensor, Tensor, Tensor]
"""What a step leaves: counts (M, L, 3), the norms of gradient and update, and the second moment's sum, (M)."""


def stack(entries: Sequence[Entry]) -> Log:
    """The log of all steps."""
    counts, gradients, updates, second = (torch.stack(parts).cpu() for parts in zip(*entries, strict=True))
    dead, unreached, active = counts.unbind(-1)
    return Log(dead.to(torch.int16), unreached.to(torch.int16), active, gradients, updates, second)


Losses = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Parameters (M, P) and weights on the trie (M, N, V) to losses (M) and counts (M, L, 2)."""


def watched(
    conditionals: Callable[[Tensor, Layout, Trace], Tensor],
    layout: Layout,
    watch: Callable[[Layout, Tensor], Activity],
) -> Losses:
    """Losses that count silent neurons on the way.

    Args:
        conditionals: `Population.log_conditionals`.
        layout: the trie.
        watch: makes the trace of a pass from the layout and the contexts' weights, (M, N).
    """

    def losses(theta: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        trace = watch(layout, table.sum(-1))
        loss = -(table * conditionals(theta, layout, trace)).sum((-2, -1))
        counts = torch.stack(trace.counts, dim=1) if trace.counts else table.new_zeros(len(table), 0, 3)
        return loss, counts

    return losses


def measured(optimizer: PopulationOptimizer) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """An update in place that returns the norms of gradient and update, and the second moment's sum, (M) each."""

    def update(grad: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = optimizer.theta.clone()
        optimizer.apply(grad, columns)
        moved = (optimizer.theta - before).norm(dim=1)
        return grad.norm(dim=1), moved, optimizer.second_moment(columns).sum(1)

    return update
