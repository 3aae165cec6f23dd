"""From an experiment's name to its rows: what `entropylens compute` does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entropylens.experiments.experiment import Experiment
from entropylens.results.claims import load_claims
from entropylens.results.reference import ForeignFileError, load_reference, publish
from entropylens.results.store import Rows, Store
from entropylens.results.sweep import Task, compute, estimate, tasks, train_population
from entropylens.training.parallel import cores
from entropylens.training.population import pick_device


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    root: Path
    experiment: Experiment
    profile: str
    device: str
    fresh: bool = False

    @property
    def folder(self) -> Path:
        """Where artefacts are kept, outside git; with `fresh`, where new ones are made first."""
        return self.root / "_store" / (".fresh" if self.fresh else "")

    def tasks(self) -> list[Task]:
        """The populations, with their keys."""
        return tasks(self.experiment, self.profile, self.folder, self.root, pick_device(self.device))


def plan(order: Order) -> str:
    """What would be computed, and how long that takes, roughly."""
    todo = order.tasks()
    store = Store(order.folder)
    rows = sum(store.has(t.kind, t.rows_key) for t in todo)
    trained = sum(store.has("trained", t.training_key) for t in todo)
    models = sum(len(t.spec.members) for t in todo)
    return (
        f"{order.experiment.name}, {order.profile}: {len(todo)} populations, {models} models; "
        f"{rows} measured, {trained} trained; about {estimate(todo) / 60:.1f} core-minutes to go"
    )


def execute(order: Order, jobs: int | None = None, scheduler: str | None = None) -> str:
    """Compute what is missing; publish the full profile's rows in `results/`; return a line that says so."""
    todo, start = order.tasks(), time.perf_counter()
    new = [t for t in todo if not Store(t.folder).has("trained", t.training_key)]
    rows = compute(todo, jobs, order.experiment.name, scheduler)
    tensors = [order.experiment.publishes(train_population(t)[0]) for t in todo] if order.experiment.publishes else []
    seconds = time.perf_counter() - start
    cost = _cost(new, todo, rows, seconds, jobs or cores()) if new else _known_cost(order)
    if order.fresh:  # only what was computed to the end replaces what there was
        for task in todo:
            for kind, key in (("trained", task.training_key), (task.kind, task.rows_key)):
                Store(order.root / "_store").adopt(order.folder, kind, key)
        shutil.rmtree(order.folder, ignore_errors=True)
    n_rows = sum(len(part.frame) for part in rows)
    told = f"{n_rows} rows"
    if new and scheduler is None:
        told += f" after {cost['training']:.0f} s of training and {cost['other']:.0f} s of all else, on all cores used"
    if order.profile != "full":
        return f"{told} are in the store"
    claims = load_claims(order.root / "book" / "claims.yml")
    rules = {c: rule.hash for c in order.experiment.claims if (rule := claims[c].rule) is not None}
    path = publish(order.root, order.experiment, order.profile, rows, rules, tensors, cost)
    return f"{told}: {path.relative_to(order.root)}"


def _known_cost(order: Order) -> dict[str, Any]:
    """What was published when the populations were trained; nothing if that cannot be read."""
    try:
        reference = load_reference(order.root, order.experiment.name)
    except ForeignFileError:
        return {}
    return dict(reference.provenance.get("cost", {})) if reference else {}


def _cost(new: Sequence[Task], todo: Sequence[Task], rows: Sequence[Rows], seconds: float, jobs: int) -> dict[str, Any]:
    """Core-seconds of the populations trained just now, and of everything else: store, measuring, waiting, start-up."""
    keys = {t.training_key for t in new}
    training = sum(r.record["seconds"] for t, r in zip(todo, rows, strict=True) if t.training_key in keys)
    jobs = min(jobs, max(1, len(new)))
    return {
        "populations": len(new),
        "jobs": jobs,
        "training": round(training, 1),
        "other": round(jobs * seconds - training, 1),
    }
