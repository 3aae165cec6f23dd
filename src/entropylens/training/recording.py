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


@dataclass(frozen=True)
class Log:
    """One entry a step."""

    dead: Tensor
    """(steps, M, L) int16: neurons that fire in no context at all."""
    unreached: Tensor
    """(steps, M, L) int16: neurons that fire in no context that has weight in the step's loss, the dead included."""
    grad_norm: Tensor
    """(steps, M) Euclidean norm of the gradient, nats per unit of a parameter."""
    update_norm: Tensor
    """(steps, M) Euclidean norm of the update; over `grad_norm` it is the effective step size."""


def silent(activations: Tensor, among: Tensor | None = None) -> Tensor:
    """Which neurons fire nowhere: ReLU activations (*, N, f) to bool (*, f).

    Args:
        activations: after the ReLU; a neuron fires where it is above zero.
        among: the contexts that count, bool (*, N); None counts all.
    """
    fires = activations > 0
    return ~(fires if among is None else fires & among[..., None]).any(-2)


def reached(edges: Tensor) -> Tensor:
    """The contexts that have any weight in the loss: weights on the trie (*, N, V) to bool (*, N)."""
    return (edges > 0).any(-1)


@dataclass
class Activity(Trace):
    """A trace that keeps of each layer how many neurons were silent, and nothing else.

    Args:
        layout: where the model runs.
        among: the contexts that carry weight, (M, N).
    """

    layout: Layout | None = None
    among: Tensor | None = None
    counts: list[Tensor] = field(default_factory=list)
    """(M, 2) a layer: dead, and unreached."""
    every_position = False

    def take(self, name: str, x: Tensor) -> Tensor:
        """Count the neurons that are silent in x, if x is their activations."""
        if name == "neurons":
            assert self.layout is not None
            here = self.layout.expand(x.detach())
            self.counts.append(torch.stack([silent(here).sum(-1), silent(here, self.among).sum(-1)], dim=-1))
        return x


Entry = tuple[Tensor, Tensor, Tensor]
"""What a step leaves: counts (M, L, 2), and the norms of gradient and update, (M)."""


def stack(entries: Sequence[Entry]) -> Log:
    """The log of all steps."""
    counts, gradients, updates = (torch.stack(parts).cpu() for parts in zip(*entries, strict=True))
    dead, unreached = counts.to(torch.int16).unbind(-1)
    return Log(dead, unreached, gradients, updates)


Losses = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Parameters (M, P) and weights on the trie (M, N, V) to losses (M) and counts (M, L, 2)."""


def watched(conditionals: Callable[[Tensor, Layout, Trace], Tensor], layout: Layout) -> Losses:
    """Losses that count silent neurons on the way.

    Args:
        conditionals: `Population.log_conditionals`.
        layout: the trie.
    """

    def losses(theta: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        activity = Activity(layout=layout, among=reached(table))
        loss = -(table * conditionals(theta, layout, activity)).sum((-2, -1))
        counts = torch.stack(activity.counts, dim=1) if activity.counts else table.new_zeros(len(table), 0, 2)
        return loss, counts

    return losses


def measured(
    apply: Callable[[Tensor, Tensor], None], theta: Tensor
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """An update of theta (M, P) in place that returns the norms of the gradient and of itself, (M) each."""

    def update(grad: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        before = theta.clone()
        apply(grad, columns)
        return grad.norm(dim=1), (theta - before).norm(dim=1)

    return update
