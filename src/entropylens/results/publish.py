"""From an experiment's name to its rows: what `entropylens compute` does."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from entropylens.experiments.experiment import Experiment
from entropylens.results.claims import load_claims
from entropylens.results.reference import publish
from entropylens.results.store import Store
from entropylens.results.sweep import Task, compute, estimate, tasks
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
    todo = order.tasks()
    rows = compute(todo, jobs, order.experiment.name, scheduler)
    if order.fresh:  # only what was computed to the end replaces what there was
        for task in todo:
            for kind, key in (("trained", task.training_key), (task.kind, task.rows_key)):
                Store(order.root / "_store").adopt(order.folder, kind, key)
        shutil.rmtree(order.folder, ignore_errors=True)
    n_rows = sum(len(part.frame) for part in rows)
    if order.profile != "full":
        return f"{n_rows} rows are in the store"
    claims = load_claims(order.root / "book" / "claims.yml")
    rules = {c: rule.hash for c in order.experiment.claims if (rule := claims[c].rule) is not None}
    path = publish(order.root, order.experiment, order.profile, rows, rules)
    return f"{n_rows} rows are in {path.relative_to(order.root)}"
