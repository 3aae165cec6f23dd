"""Compute an experiment: populations are trained, then measured, and what the store has is not computed again.

Two keyed stages. The key of a trained population covers its specification and the code that trains; the key of its rows
covers that key and the code that measures. So a changed measure re-measures from stored weights, and an unrelated edit
does nothing. Whatever is finished is stored at once: a killed computation resumes at the population it was in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment, Measure, Spec, Train, train_population
from entropylens.models.trie_kernel import has_kernel
from entropylens.results.code import code_hash
from entropylens.results.environment import cpu_features, cpu_model, git_state, installed_version
from entropylens.results.files import digest
from entropylens.results.store import Record, Rows, Store
from entropylens.training.parallel import map_processes

TRAINING_CODE = "entropylens.training.spec"
FLOPS = 6e10
"""A processor core's speed on this work, operations a second: measured, for estimates only."""


@dataclass(frozen=True)
class Task:
    """One population of an experiment, with its keys."""

    experiment: str
    spec: Spec
    measure: Measure
    train: Train | None
    training_key: str
    rows_key: str
    folder: Path
    device: str
    record: Record

    @property
    def population(self) -> str:
        """Names the population in published rows, whatever the code: a hash of its specification and label."""
        return digest(self.spec.canonical(), self.spec.design)[:12]

    @property
    def kind(self) -> str:
        """The folder of the rows in the store."""
        return f"rows-{self.experiment}"


def measuring_code(experiment: Experiment) -> str:
    """The hash of the code that measures, and trains: it is imported."""
    return code_hash(experiment.measure.__module__)


def tasks(
    experiment: Experiment,
    profile: str,
    folder: Path,
    root: Path,
    device: str = "cpu",
    rules: Mapping[str, str] | None = None,
) -> list[Task]:
    """The populations of a profile, most expensive first.

    Args:
        experiment: the grid and the measure.
        profile: a key of `experiment.populations`.
        folder: of the store.
        root: of the project, for the commit.
        device: to train on.
        rules: claim id to the hash of its rule, kept with what is trained now.

    Raises:
        ValueError: for a profile that the experiment does not have.
    """
    if profile not in experiment.populations:
        choices = ", ".join(experiment.populations)
        raise ValueError(f"experiment {experiment.name!r} has no profile {profile!r}; choose from {choices}")
    specs, measures = sorted(experiment.populations[profile](), key=lambda s: -s.work()), measuring_code(experiment)
    # A model of a kind of its own brings its own code to the training, and so does an experiment that trains itself.
    own = [experiment.train.__module__] if experiment.train else []
    trains = {kind: code_hash(TRAINING_CODE, kind, *own) for kind in {type(spec.config).__module__ for spec in specs}}
    commit, dirty = git_state(root)
    record = {"experiment": experiment.name, "profile": profile, "commit": commit, "dirty": dirty}
    record |= {"measuring_code": measures, "rules": dict(rules or {})}
    found = []
    for spec in specs:
        code = trains[type(spec.config).__module__]
        training_key = digest(spec.canonical(), code, device)[:32]
        rows_key = digest(training_key, measures, spec.design)[:32]
        how = {**record, "training_code": code}
        found.append(
            Task(
                experiment.name, spec, experiment.measure, experiment.train, training_key, rows_key, folder, device, how
            )
        )
    return found


def trained_population(task: Task) -> tuple[Mapping[str, Tensor], Record]:
    """The trained population, from the store or by training it; see `artefact` for its tensors."""
    store = Store(task.folder)
    known = store.read_tensors("trained", task.training_key)
    if known is not None:
        return known.tensors, known.record
    train: Train = task.train or train_population
    tensors, seconds, compiled = train(task.spec, task.device)
    record = {**task.record, **_circumstances(seconds, task.device, compiled)}
    store.write_tensors("trained", task.training_key, tensors, record)
    return tensors, record


def compute_rows(task: Task) -> Rows:
    """The rows of one population, from the store or by measuring (and, where need be, training)."""
    store = Store(task.folder)
    known = store.read_rows(task.kind, task.rows_key)
    if known is not None:
        return known
    trained, how = trained_population(task)
    start = time.perf_counter()
    frame = task.measure(task.spec, trained)
    record = {
        **how,  # commit, date, seconds … tell of the training; what tells of the measuring is named so
        **{name: task.record[name] for name in ("experiment", "profile", "measuring_code")},
        "measured_at": {name: task.record[name] for name in ("commit", "dirty")},
        "measuring_seconds": round(time.perf_counter() - start, 4),
        "trained_for": how["experiment"],
        "population": task.population,
        "training_key": task.training_key,
    }
    store.write_rows(task.kind, task.rows_key, frame, record)
    # What was just written is read back: rows are the same whether they were computed now or before.
    written = store.read_rows(task.kind, task.rows_key)
    assert written is not None
    return written


def _circumstances(seconds: float, device: str, compiled: bool) -> Record:
    return {
        "seconds": round(seconds, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "cpu": cpu_model(),
        "cpu_features": cpu_features(),
        "threads": torch.get_num_threads(),
        "compiled": compiled,
        "kernel": device == "cpu" and has_kernel(torch.float32),
        "torch": installed_version("torch"),
        "numpy": installed_version("numpy"),
    }


def compute(
    todo: Sequence[Task], jobs: int | None = None, label: str = "computing", scheduler: str | None = None
) -> list[Rows]:
    """The rows of all tasks, in their order; in processes here or on a Dask cluster, one progress bar, resumable."""
    missing = {t.training_key: t for t in reversed(todo) if not Store(t.folder).has(t.kind, t.rows_key)}
    waiting = list(reversed(missing.values()))  # two that ask for the same training: the other one is measured below
    steps = sum(t.spec.steps for t in waiting if not Store(t.folder).has("trained", t.training_key))
    if waiting:
        Store(waiting[0].folder).prepare()
    if waiting and scheduler:
        from entropylens.results.cluster import compute_on_cluster

        compute_on_cluster(waiting, scheduler, label)
    elif waiting:
        map_processes(_compute_quietly, waiting, steps=steps, jobs=jobs, label=label)
    return [compute_rows(t) for t in todo]


def _compute_quietly(task: Task) -> None:
    """Rows stay in the store: what a process sends back would be copied for nothing."""
    compute_rows(task)


def is_missing(task: Task) -> bool:
    """Whether a population has to be trained: it is not stored, and neither are its rows."""
    store = Store(task.folder)
    return not store.has(task.kind, task.rows_key) and not store.has("trained", task.training_key)


def estimate(todo: Sequence[Task], known: Mapping[str, float] | None = None) -> float:
    """Core-seconds of training that are still to be spent, roughly.

    Args:
        todo: the tasks.
        known: population to the seconds that it once took; others are estimated from their operations.
    """
    new = {t.training_key: t for t in todo if is_missing(t)}
    return sum((known or {}).get(t.population, t.spec.work() / FLOPS) for t in new.values())
