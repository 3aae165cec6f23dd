"""How the interventions are trained: find spikes in a training, go back to just before each, and go on in several ways.

The training is run once, logged, with checkpoints. In each model up to `PER_MODEL` spikes are chosen, those with the
most deaths around them, which favours the claim that deaths matter. From `LEAD` steps before a spike's onset the
training goes on in the branches of `WAYS`: one that changes nothing, and, beside it in the same program, others with
one thing changed. The same is done from a calm place of the same model, far from any event.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from entropylens.experiments.experiment import Trained
from entropylens.measures.event_rows import spike_rule
from entropylens.measures.events import Event, events
from entropylens.models.layouts import TrieLayout
from entropylens.training.branches import Branch, follow, silent_neurons
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer, State
from entropylens.training.parallel import count_steps
from entropylens.training.population import Member, Population, Run, pick_device, train
from entropylens.training.spec import PopulationSpec

LEAD, AFTER = 10, 60
"""Steps from the checkpoint to the onset, and from there to the end of a branch."""
PER_MODEL = 2
GRID = 50
"""Steps between the checkpoints of the first run."""
MARGIN = 30
"""Steps without an event before a spike's checkpoint; and twice as many, and after it, too, around a calm place."""
SHARE = 0.02
"""Share of the neurons that are killed at random: as many as the larger jumps have."""
WAYS = (
    "unchanged", "gates held", "leaky", "killed", "random killed", "to SGD, same step", "to SGD, tenth of it",
    "half rate", "quick second moment", "calm", "calm, killed", "calm, double rate",
)  # fmt: skip
"""Names of the branches, in the order of the stored numbers."""


@dataclass(frozen=True)
class Place:
    """Where branches begin.

    Attributes:
        member: of the population.
        step: number of updates done.
        calm: far from any event; else `LEAD` steps before a spike's onset.
    """

    member: int
    step: int
    calm: bool


def train_branches(spec: PopulationSpec, device: str) -> Trained:
    """Train a population, and its models' branches.

    Returns:
        Tensors, one row a branch: `member`, `step` at which it begins, `way` (index of `WAYS`), `doomed` (how many
        neurons die in the unchanged branch), and, one column a step, `losses` (B, LEAD + AFTER), nats, and `dead`,
        neurons. And of the first run its `run_losses` and `run_dead`, (steps, M).
    """
    torch.compiler.reset()
    started, members = time.perf_counter(), spec.build_members()
    run = train(
        spec.config, members, steps=spec.steps, device=pick_device(device), compiled=spec.compiled,
        progress=count_steps, logged=True, checkpoints=range(0, spec.steps, GRID), dtype=getattr(torch, spec.dtype),
    )  # fmt: skip
    assert run.log is not None
    found = places(run)
    rows = _branches(run, members, found) if found else {"member": torch.zeros(0, dtype=torch.int64)}
    kept = rows | {"run_losses": run.losses, "run_dead": run.log.dead.sum(-1)}
    return kept, time.perf_counter() - started, run.compiled


def places(run: Run) -> list[Place]:
    """Before the chosen spikes of each model, and at one calm place of each that has one."""
    assert run.log is not None
    found = []
    for member in range(len(run.members)):
        losses, dead = run.losses[:, member].double().numpy(), run.log.dead[:, member].sum(-1).double().numpy()
        rises = events(losses, spike_rule())
        chosen = sorted(_eligible(rises, len(losses)), key=lambda e: (-_deaths(dead, e), -e.height))[:PER_MODEL]
        found += [Place(member, e.onset - LEAD, calm=False) for e in sorted(chosen, key=lambda e: e.onset)]
        found += [Place(member, step, calm=True) for step in _calm(rises, len(losses))]
    return found


def _eligible(rises: Sequence[Event], steps: int) -> list[Event]:
    """Spikes with a quiet past, and room for what follows."""
    ends = [spike_rule().start, *(e.end for e in rises)]
    return [
        e
        for e, end in zip(rises, ends, strict=False)
        if e.recovered and e.onset - LEAD - MARGIN >= end and e.onset + AFTER <= steps
    ]


def _deaths(dead: np.ndarray[tuple[int], np.dtype[np.float64]], e: Event) -> float:
    return float(dead[e.onset - LEAD : e.peak + LEAD].max() - dead[e.onset - LEAD])


def _calm(rises: Sequence[Event], steps: int) -> list[int]:
    """The middle of the longest stretch without an event, if it is long enough; none or one step."""
    starts = [spike_rule().start, *(e.end for e in rises)]
    stops = [*(e.onset for e in rises), steps]
    begin, end = max(zip(starts, stops, strict=True), key=lambda pair: pair[1] - pair[0])
    return [(begin + end) // 2] if end - begin >= 4 * MARGIN and (begin + end) // 2 + LEAD + AFTER <= steps else []


def _branches(run: Run, members: Sequence[Member], found: Sequence[Place]) -> dict[str, Tensor]:
    state = _arrive(run, members, found)
    here = [members[p.member] for p in found]
    doomed, dying = _unchanged(run, here, state)
    plans = [(i, way) for i, place in enumerate(found) for way in _ways(place, here[i].optimizer)]
    branches = [_branch(run, found[i], i, way, here[i].optimizer, dying[i]) for i, way in plans]
    futures = follow(run.config, here, state, branches, LEAD + AFTER, len(run.losses), run.compiled)
    return {
        "member": torch.tensor([found[i].member for i, _ in plans]),
        "step": torch.tensor([found[i].step for i, _ in plans]),
        "way": torch.tensor([WAYS.index(way) for _, way in plans]),
        "doomed": torch.tensor([int(doomed[i]) for i, _ in plans]),
        "losses": futures.losses.T.contiguous(),
        "dead": futures.log.dead.sum(-1).T.contiguous(),
    }


def _arrive(run: Run, members: Sequence[Member], found: Sequence[Place]) -> State:
    """The states at all places, by going on from the last checkpoint before each."""
    state = State.join([run.checkpoints[p.step // GRID * GRID][[p.member]] for p in found])
    arrived: dict[int, State] = {}

    def keep(number: int, _: Population, optimizer: PopulationOptimizer) -> None:
        for i, place in enumerate(found):
            if place.step % GRID == number:
                arrived[i] = optimizer.state()[[i]]

    here = [members[p.member] for p in found]
    same = [Branch(i) for i in range(len(found))]
    steps = 1 + max(p.step % GRID for p in found)
    follow(run.config, here, state, same, steps, len(run.losses), run.compiled, keep)
    return State.join([arrived[i] for i in range(len(found))])


def _unchanged(run: Run, here: Sequence[Member], state: State) -> tuple[Tensor, Tensor]:
    """Of the training as it was: how many neurons die on the way, (places), and which, bool (places, L, f)."""
    masks: list[Tensor] = []
    layout = TrieLayout(run.config.language, state.theta.device)

    def look(_: int, population: Population, optimizer: PopulationOptimizer) -> None:
        masks.append(silent_neurons(population, optimizer.theta, layout))

    same = [Branch(i) for i in range(len(here))]
    follow(run.config, here, state, same, LEAD + AFTER, len(run.losses), run.compiled, look)
    dying = torch.stack(masks).any(0) & ~masks[0]
    return dying.sum((-2, -1)), dying.cpu()


def _ways(place: Place, optimizer: OptimizerConfig) -> list[str]:
    if place.calm:
        return [way for way in WAYS if way.startswith("calm")]
    has = {"quick second moment": optimizer.name != "sgd"}
    return [way for way in WAYS if not way.startswith("calm") and has.get(way, True)]


def _branch(run: Run, place: Place, row: int, way: str, optimizer: OptimizerConfig, dying: Tensor) -> Branch:
    """A way to go on; what is killed at random is drawn from a seed of the place."""
    assert run.log is not None
    step, member = min(place.step, len(run.losses) - 1), place.member
    same_step = float(run.log.update_norm[step, member] / run.log.grad_norm[step, member])
    random = torch.rand(dying.shape, generator=generator(10_000 * member + place.step, "killed"))
    some = random.flatten().argsort()[: max(1, round(SHARE * dying.numel()))]
    by_chance = torch.zeros(dying.numel(), dtype=torch.bool).index_fill(0, some, True).view_as(dying)
    made = {
        "gates held": Branch(row, held=dying),
        "leaky": Branch(row, leak=0.01),
        "killed": Branch(row, killed=dying),
        "random killed": Branch(row, killed=by_chance),
        "calm, killed": Branch(row, killed=by_chance),
        "to SGD, same step": Branch(row, OptimizerConfig("sgd", lr=same_step)),
        "to SGD, tenth of it": Branch(row, OptimizerConfig("sgd", lr=same_step / 10)),
        "half rate": Branch(row, replace(optimizer, lr=optimizer.lr / 2)),
        "calm, double rate": Branch(row, replace(optimizer, lr=2 * optimizer.lr)),
        "quick second moment": Branch(row, replace(optimizer, beta2=0.9)),
    }
    return made.get(way, Branch(row))
