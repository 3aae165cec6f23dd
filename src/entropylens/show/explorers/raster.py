"""Chapter 8's raster: a training neuron by neuron, how often each of them fires, and when it dies and revives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from numpy.typing import NDArray
from torch import Tensor

from entropylens.measures.event_rows import jump_rule, spike_rule
from entropylens.measures.events import events
from entropylens.measures.neurons import context_weights, firing_rates, silent
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace
from entropylens.show.explorers import source, style
from entropylens.show.explorers.traces import KINDS
from entropylens.training.parallel import count_steps
from entropylens.training.population import Population, Run, train
from entropylens.training.spec import PopulationSpec

LEVELS = 15
"""A neuron's share of inputs in so many equal steps; 0 is kept for the dead, so that a level takes four bits."""
COLUMNS = 250
"""Moments at which neurons are looked at, where there are steps enough."""


@dataclass(frozen=True)
class Watched:
    """A population that was looked at on its way, neuron by neuron."""

    spec: PopulationSpec
    run: Run
    """With its log."""
    every: int
    """Steps from one look to the next; the first is at the untrained model."""
    levels: NDArray[np.uint8]
    """(T, M, L, f): 0 for a neuron that fires in no context; 1 to `LEVELS` for how often it fires, see `as_levels`."""


def watch(spec: PopulationSpec, device: str = "cpu", columns: int = COLUMNS) -> Watched:
    """Train a population with every step logged, and look at its neurons about `columns` times on the way.

    It is the training of `train_spec`, to the last bit: it is looked at afterwards, from checkpoints.

    Raises:
        ValueError: if the models have no neurons.
    """
    if spec.config.variant == "attention_only":
        raise ValueError("a model of attention alone has no neurons that could be watched")
    every = max(1, spec.steps // columns)
    run = train(
        spec.config, spec.build_members(), steps=spec.steps, device=device, dtype=getattr(torch, spec.dtype),
        compiled=spec.compiled, progress=count_steps, logged=True, checkpoints=range(0, spec.steps, every),
    )  # fmt: skip
    population = Population(spec.config, [m.seed for m in spec.members], device, getattr(torch, spec.dtype))
    layout = TrieLayout(spec.config.language, device)
    edges = spec.config.language.edges(torch.stack([m.target for m in run.members]))
    contexts = context_weights(edges).to(population.parameters)
    looks = [_look(population, layout, contexts, run.checkpoints[at].theta) for at in sorted(run.checkpoints)]
    return Watched(spec, run, every, np.stack(looks))


@torch.no_grad()
def _look(population: Population, layout: TrieLayout, contexts: Tensor, theta: Tensor) -> NDArray[np.uint8]:
    """Levels of all neurons, (M, L, f), at parameters (M, P); contexts are weights (M, N)."""
    trace = Trace()
    population.log_conditionals(theta, layout, trace)
    layers = [as_levels(firing_rates(x, contexts), silent(x)) for x in trace.neurons]
    return torch.stack(layers, dim=1).cpu().numpy()


def as_levels(rates: Tensor, dead: Tensor) -> Tensor:
    """Shares of inputs (*) as uint8: level l is a share above (l − 1)/`LEVELS`, up to l/`LEVELS`; the dead have 0.

    A neuron that fires only where no input ever comes is not dead: it has 1.
    """
    levels = torch.ceil(LEVELS * rates.double() - 1e-6).clamp(1, LEVELS)  # rounding must not carry 1/3 over its edge
    return torch.where(dead, 0, levels).to(torch.uint8)


class RasterExplorer(anywidget.AnyWidget):
    """Loss, raster and dead neurons over one training, with a cursor on the steps and another on the neurons."""

    _esm = source("events.js", "raster.js")
    _css = style()
    name = traitlets.Unicode("raster").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    trainings: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    """For each its short name and its words."""
    steps = traitlets.Int().tag(sync=True)
    every = traitlets.Int().tag(sync=True)
    """Steps of a column."""
    contexts = traitlets.Int().tag(sync=True)
    shades = traitlets.Int(LEVELS).tag(sync=True)
    layers: traitlets.List[int] = traitlets.List().tag(sync=True)
    """Neurons of each layer, from the first on."""
    kinds: traitlets.List[str] = traitlets.List(list(KINDS)).tag(sync=True)
    models: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """A training's `loss` (nats, the highest of each column; up to where it `diverged`, a step or None), `most` and
    `end` (dead neurons: most after step 100, and at the end), `order` (which neuron of its layer each row is, from 0),
    and `events`: number of the kind, onset, height (nats, or neurons)."""
    levels = traitlets.Bytes().tag(sync=True)
    """(trainings, neurons, ⌈T/2⌉): two columns a byte, the earlier in the lower half; rows as in `order`."""
    selected = traitlets.Dict().tag(sync=True)
    """`training`, `step` and `row` (from 1); in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        chosen = {**self.selected, **proposal["value"]}
        allowed = {
            "training": [name for name, _ in self.trainings],
            "step": range(0, self.steps, self.every),
            "row": range(1, sum(self.layers) + 1),
        }
        for key, value in chosen.items():
            if value not in allowed.get(key, ()):
                raise traitlets.TraitError(f"no {key} = {value}; choose from {allowed}")
        return chosen


def raster_explorer(watched: Watched, names: Sequence[tuple[str, str]]) -> RasterExplorer:
    """The explorer of a population; each member adds half a byte a column and neuron to the page.

    Args:
        watched: what was looked at.
        names: of each member a short name and its words, "Adam at rate 0.03", for example.

    Raises:
        ValueError: if there is not one name a member.
    """
    columns, members, n_layers, f = watched.levels.shape
    if len({short for short, _ in names}) != members:
        raise ValueError(f"{members} trainings cannot have the names {[short for short, _ in names]}")
    orders = [[by_death(watched.levels[:, m, layer].T) for layer in range(n_layers)] for m in range(members)]
    rows = [[watched.levels[:, m, i, o].T for i, o in enumerate(orders[m])] for m in range(members)]
    return RasterExplorer(
        trainings=[list(pair) for pair in names],
        steps=watched.spec.steps,
        every=watched.every,
        contexts=watched.spec.config.language.n_nodes,
        layers=[f] * n_layers,
        models=[_facts(watched, m) | {"order": np.concatenate(orders[m]).tolist()} for m in range(members)],
        levels=halves(np.array(rows).reshape(members, n_layers * f, columns)).tobytes(),
        selected={"training": names[0][0], "step": 0, "row": 1},
    )


def by_death(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """An order of neurons, (f), from their levels (f, T): who dies for good comes first, the earliest on top.

    Then those that were dead for a time, the longest first; and last, those that never die, the rarest to fire first.
    """
    alive = levels > 0
    dies = np.where(alive.any(1), alive.shape[1] - np.argmax(alive[:, ::-1], axis=1), 0)
    return np.lexsort([levels.sum(1, dtype=np.int64), alive.sum(1), dies])


def halves(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Levels below 16, (*, T), two a byte, (*, ⌈T/2⌉); the earlier is the lower half."""
    even = np.pad(levels, [(0, 0)] * (levels.ndim - 1) + [(0, levels.shape[-1] % 2)])
    return np.asarray(even[..., 0::2] | (even[..., 1::2] << 4), dtype=np.uint8)


def _facts(watched: Watched, member: int) -> dict[str, Any]:
    """What is told of a training; its events are found in every step, as the chapter's are."""
    run, every = watched.run, watched.every
    assert run.log is not None
    loss = run.losses[:, member].double().numpy()
    dead = run.log.dead[:, member].sum(-1).double().numpy()
    at = run.diverged_at[member]
    last = len(loss) if at is None else min(at, len(loss))
    rises, jumps = events(loss, spike_rule()), events(dead[:last], jump_rule(int(np.prod(watched.levels.shape[2:]))))
    told = [e for e in rises if e.recovered is not None]  # of one at the very end nobody knows whether it comes back
    found = [("spike" if e.recovered else "collapse", e) for e in told] + [("jump", e) for e in jumps]
    shown = [[KINDS.index(kind), e.onset, e.height] for kind, e in sorted(found, key=lambda pair: pair[1].onset)]
    after = dead[100:last] if last > 100 else np.zeros(1)  # which is not told then
    return {
        "loss": [float(f"{loss[at : min(at + every, last)].max():.5g}") for at in range(0, last, every)],
        "diverged": at,
        "most": int(after.max()),
        "end": int(after[-1]),
        "events": [[kind, onset, float(f"{height:.3g}") if np.isfinite(height) else None]
                   for kind, onset, height in shown],
    }  # fmt: skip
