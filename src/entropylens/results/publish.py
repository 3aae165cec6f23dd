"""From an experiment's name to its rows: what `entropylens compute` does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entropylens.experiments.experiment import Experiment
from entropylens.results.claims import load_claims
from entropylens.results.files import ForeignFileError
from entropylens.results.reference import load_reference, publish
from entropylens.results.store import Rows, Store
from entropylens.results.sweep import Task, compute, estimate, is_missing, tasks, trained_population
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
        return tasks(self.experiment, self.profile, self.folder, self.root, pick_device(self.device), self.rules())

    def rules(self) -> dict[str, str]:
        """Claim id to the hash of its rule, as it stands now; nothing outside a project with a registry."""
        path = self.root / "book" / "claims.yml"
        if not path.exists():
            return {}
        claims = load_claims(path)
        return {c: rule.hash for c in self.experiment.claims if (rule := claims[c].rule) is not None}


def plan(order: Order) -> str:
    """What would be computed, and how long that takes, roughly."""
    todo = order.tasks()
    store = Store(order.folder)
    rows = sum(store.has(t.kind, t.rows_key) for t in todo)
    trained = sum(store.has("trained", t.training_key) for t in todo)
    models = sum(len(t.spec.members) for t in todo)
    known = {name: record["seconds"] for name, record in _known(order).get("populations", {}).items()}
    return (
        f"{order.experiment.name}, {order.profile}: {len(todo)} populations, {models} models; "
        f"{rows} measured, {trained} trained; about {estimate(todo, known) / 60:.1f} core-minutes to go"
    )


def execute(order: Order, jobs: int | None = None, scheduler: str | None = None) -> str:
    """Compute what is missing; publish the full profile's rows in `results/`; return a line that says so."""
    todo, start = order.tasks(), time.perf_counter()
    new = {t.training_key for t in todo if is_missing(t)}
    rows = compute(todo, jobs, order.experiment.name, scheduler)
    tensors = [order.experiment.publishes(trained_population(t)[0]) for t in todo] if order.experiment.publishes else []
    used = 0 if scheduler else min(jobs or cores(), max(1, len(new)))
    cost = _cost(rows, new, used, time.perf_counter() - start)
    if order.fresh:  # only what was computed to the end replaces what there was
        for task in todo:
            for kind, key in (("trained", task.training_key), (task.kind, task.rows_key)):
                Store(order.root / "_store").adopt(order.folder, kind, key)
        shutil.rmtree(order.folder, ignore_errors=True)
    told = f"{sum(len(part.frame) for part in rows)} rows"
    if new and cost["other"] is not None:
        told += f" after {cost['training']:.0f} s of training and {cost['other']:.0f} s of all else, on all cores used"
    if order.profile != "full":
        return f"{told} are in the store"
    known = _known(order)
    if cost["other"] is None and known.get("cost", {}).get("training") == cost["training"]:
        cost = known["cost"]  # of the session that trained them all
    rules = _rules_of(rows, {**order.rules(), **known.get("rules", {})})
    path = publish(order.root, order.experiment, order.profile, rows, rules, tensors, cost)
    return f"{told}: {path.relative_to(order.root)}"


def _known(order: Order) -> dict[str, Any]:
    """What is published about the experiment; nothing if that cannot be read."""
    try:
        reference = load_reference(order.root, order.experiment.name)
    except ForeignFileError:
        return {}
    return reference.provenance if reference else {}


def _rules_of(rows: Sequence[Rows], otherwise: Mapping[str, str]) -> dict[str, str]:
    """Claim id to the hash of the rule that was in force when the models were trained.

    A claim on models that were trained for another one, or before rules were kept with them, has the hash that was
    published first. So a rule that is changed afterwards cannot pass for an old one by computing again from the store.
    """
    kept = [rows_.record.get("rules", {}) for rows_ in rows]
    found = {claim: {rules.get(claim) for rules in kept} for claim in otherwise}
    return {claim: next(iter(h)) if len(h) == 1 and None not in h else otherwise[claim] for claim, h in found.items()}


def _cost(rows: Sequence[Rows], new: set[str], jobs: int, seconds: float) -> dict[str, Any]:
    """Core-seconds: of training, each model once and where it was trained for this experiment; and of all else.

    `other` (processes, store, measuring, waiting) is None unless all was trained just now, by `jobs` processes here.
    """
    trained = {
        r.record["training_key"]: r.record for r in rows if r.record.get("trained_for") == r.record["experiment"]
    }
    training = sum(record["seconds"] for record in trained.values())
    whole = jobs > 0 and bool(trained) and set(trained) <= new
    return {
        "jobs": jobs or None,
        "training": round(training, 1),
        "other": round(jobs * seconds - training, 1) if whole else None,
    }
