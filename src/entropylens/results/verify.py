"""Do the published rows come out again? What `entropylens verify` does.

Some populations of the full profile are computed anew, and their rows compared with the published ones. On the platform
(processor model, PyTorch version, compilers) that made them they must agree within `TOLERANCE`; elsewhere, where
rounding differs and training amplifies it, no verdict may change when the new rows take the place of the old. Whether
the *code* has changed anything is seen on any machine, if the code that made the rows runs there, too (`beside`). For
rows of a GPU, where there is none, both run the quick profile, which takes the same paths through the code in fewer
steps.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from entropylens.experiments.experiment import Experiment
from entropylens.results.beside import resolve_commit, rows_of
from entropylens.results.claims import decide, load_claims
from entropylens.results.files import ForeignFileError, write_atomically
from entropylens.results.reference import Reference, load_reference
from entropylens.results.store import Rows
from entropylens.results.sweep import Task, compute, measuring_code, tasks
from entropylens.training.population import pick_device

TOLERANCE = 1e-6
"""Largest difference of a measured number, nats or a share, between two computations on one platform."""
PLATFORM = ("cpu", "device", "torch", "kernel", "compiled")
"""What must be alike in two records for their numbers to agree that closely."""
ATTEST_SHARE, ATTEST_CELLS = 0.05, 10
"""An attestation takes at least this share of the cells, and at least so many; a cell is one trained model."""


@dataclass(frozen=True)
class Check:
    """One population, computed again."""

    population: str
    n_cells: int
    same_platform: bool
    """As that of the rows it is compared with."""
    difference: float
    """The largest of any number in its rows; infinite if the rows do not even have the same cells."""
    changed_verdicts: tuple[str, ...]
    code: str = ""
    """Hash of the measuring code that made the new rows."""
    beside: str = ""
    """The commit whose rows they were compared with; empty if with the published ones."""
    quick: bool = False
    """Whether it is a population of the quick profile, on a CPU, that stands in for those of a GPU."""
    judged: bool = True
    """Whether a rule reads these rows: elsewhere than on their platform, verdicts are all that is compared."""

    @property
    def agrees(self) -> bool:
        """Whether it came out again."""
        return self.difference <= TOLERANCE if self.same_platform else not self.changed_verdicts

    def __str__(self) -> str:
        how = "same platform" if self.same_platform else "another platform"
        how = f"beside {self.beside[:9]}" if self.beside else how
        how += ", quick profile on a CPU" if self.quick else ""
        verdicts = f", verdicts changed: {', '.join(self.changed_verdicts)}" if self.changed_verdicts else ""
        mark = "agrees" if self.agrees else "DIFFERS"
        mark = (
            mark if self.same_platform or self.judged else "nothing to compare, since no rule reads these rows; differs"
        )
        return f"{self.population} ({self.n_cells} cells, {how}): {mark}, by at most {self.difference:.2g}{verdicts}"


def verify(
    root: Path,
    experiments: Sequence[Experiment],
    *,
    sample: int | None = None,
    budget: float | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    beside: str | None = None,
    device: str | None = None,
) -> dict[str, list[Check]]:
    """Compute random populations of each experiment again and compare; all of them at once, so that no core waits.

    Args:
        root: of the project.
        experiments: with published rows.
        sample: how many populations of each at most; None takes one, or what the budget allows.
        budget: core-seconds for each, as the published populations took them; at least one population is computed.
        seed: chooses them; None chooses others each time.
        jobs: processes.
        beside: a commit whose code made the published rows, or was attested for them: its rows, computed here and now,
            take the place of the published ones, so that it does not matter which platform made those. Where they were
            made on a GPU that is not here, all populations of the quick profile stand in for them.
        device: to compute on, `cpu` or `cuda`; None: where the published rows were made.

    Raises:
        LookupError: if nothing is published, or the grid has changed so that no published population is in it.
        ValueError: if the commit's code is another one, or does not run; if the rows were made on a GPU, there is none,
            and no commit to compare with.
    """
    commit = resolve_commit(beside, root) if beside is not None else ""
    references = {experiment.name: _published(root, experiment, device, bool(commit)) for experiment in experiments}
    with tempfile.TemporaryDirectory() as folder:
        chosen, theirs = {}, {}
        for experiment in experiments:
            name, known = experiment.name, references[experiment.name].provenance["populations"]
            seconds = {population: record["seconds"] for population, record in known.items()}
            if _lacks_gpu(root, experiment, device):
                chosen[name] = tasks(experiment, "quick", Path(folder), root)
            else:
                todo = _published_tasks(root, experiment, references[name], Path(folder), device)
                chosen[name] = _choose(todo, seconds, sample, budget, seed)
            theirs[name] = _beside(commit, root, references[name], name, chosen[name], jobs) if commit else None
        label = f"verifying {', '.join(chosen) if len(chosen) < 4 else f'{len(chosen)} experiments'}"
        parts = iter(compute([task for tasks_of in chosen.values() for task in tasks_of], jobs, label=label))
    checks: dict[str, list[Check]] = {}
    for experiment in experiments:
        told = functools.partial(_check, root, experiment, references[experiment.name])
        found = [told(task, next(parts), theirs[experiment.name]) for task in chosen[experiment.name]]
        checks[experiment.name] = [dataclasses.replace(check, beside=commit) for check in found]
    return checks


def _lacks_gpu(root: Path, experiment: Experiment, device: str | None) -> bool:
    """Whether a GPU is asked for, or made the published rows, and there is none here."""
    return (device or device_of(root, experiment)) != "cpu" and pick_device("auto") == "cpu"


def _published(root: Path, experiment: Experiment, device: str | None, compared_with_commit: bool) -> Reference:
    reference = load_reference(root, experiment.name)
    if reference is None:
        raise LookupError(
            f"no published rows of {experiment.name!r}: entropylens compute {experiment.name} --profile full"
        )
    if _lacks_gpu(root, experiment, device) and not compared_with_commit:
        raise ValueError(
            f"the rows of {experiment.name!r} were made on a GPU, which this machine lacks; with --beside COMMIT, the "
            "code that made them is compared with today's on a CPU"
        )
    return reference


def _published_tasks(
    root: Path, experiment: Experiment, reference: Reference, folder: Path, device: str | None
) -> list[Task]:
    known, device = reference.provenance["populations"], device or device_of(root, experiment)
    todo = [t for t in tasks(experiment, reference.profile, folder, root, device) if t.population in known]
    if not todo:
        raise LookupError(f"no published population of {experiment.name!r} is in today's grid: compute it again")
    return todo


def device_of(root: Path, experiment: Experiment) -> str:
    """Where the published rows of an experiment were made, `cpu` or `cuda`; without any that can be read, `cpu`."""
    try:
        reference = load_reference(root, experiment.name)
    except ForeignFileError:
        return "cpu"
    records = reference.provenance["populations"].values() if reference else ()
    return "cuda" if any(record["device"] == "cuda" for record in records) else "cpu"


def attest(root: Path, experiment: Experiment, checks: Sequence[Check]) -> str:
    """Stamp the published rows with today's code if the checks allow it; return today's hash.

    Raises:
        ValueError: if a check differs, or compares two platforms, if they cover too few cells, or if the code is not
            the one that was checked.
    """
    reference = load_reference(root, experiment.name)
    assert reference is not None
    cells = sum(_n_cells(rows) for _, rows in reference.rows.groupby("population"))
    needed = max(ATTEST_CELLS, int(np.ceil(ATTEST_SHARE * cells)))
    covered = sum(c.n_cells for c in checks)
    if not all(c.agrees and c.same_platform for c in checks):
        raise ValueError("not attested: not all agrees, on one platform (the one that made the rows, or --beside)")
    if covered < needed:
        raise ValueError(f"not attested: {covered} cells were computed again; {needed} of {cells} are needed")
    code = measuring_code(experiment)
    if any(c.code != code for c in checks):
        raise ValueError("not attested: the code was edited while it was checked")
    stamp = {"code": code, "populations": [c.population for c in checks], "cells": covered, "beside": checks[0].beside}
    if any(c.quick for c in checks):
        stamp["profile"] = "quick, on a CPU"
    path = root / "results" / f"{experiment.name}.json"
    write_atomically(path, json.dumps({**reference.provenance, "attested": stamp}, indent=1, sort_keys=True) + "\n")
    return code


def _choose(
    todo: Sequence[Task], seconds: Mapping[str, float], sample: int | None, budget: float | None, seed: int | None
) -> list[Task]:
    """A random choice of populations, at most `sample` of them, that fits the budget or is the cheapest one."""
    order = random.Random(seed).sample(list(todo), len(todo))
    if budget is None:
        return order[: sample or 1]
    fitting: list[Task] = []
    for task in order:
        if seconds[task.population] <= budget and len(fitting) != sample:
            budget -= seconds[task.population]
            fitting.append(task)
    return fitting or [min(order, key=lambda t: seconds[t.population])]


def _beside(
    commit: str, root: Path, reference: Reference, experiment: str, chosen: Sequence[Task], jobs: int | None
) -> dict[str, pd.DataFrame]:
    """What the code of the published rows gives here, population by population."""
    known = [
        reference.provenance["measuring_code"],
        *filter(None, [reference.provenance.get("attested", {}).get("code")]),
    ]
    profile = chosen[0].record["profile"]
    populations = [task.population for task in chosen]
    frames = rows_of(commit, root, experiment, profile, populations, known, jobs, chosen[0].device)
    if set(frames) != {t.population for t in chosen}:
        raise ValueError(f"the grid of {experiment!r} at {commit[:9]} lacks some of the populations")
    return frames


def _check(
    root: Path,
    experiment: Experiment,
    reference: Reference,
    task: Task,
    new: Rows,
    beside: Mapping[str, pd.DataFrame] | None,
) -> Check:
    frame, here, name = new.frame, reference.rows["population"] == task.population, task.population
    rest, old = reference.rows[~here], reference.rows[here].drop(columns="population").reset_index(drop=True)
    if beside is not None:
        old = beside[name]
    record = reference.provenance["populations"].get(name, {})
    same = beside is not None or all(record.get(key) == new.record.get(key) for key in PLATFORM)
    # Published rows have the columns of all populations; two computations of one have to have the same.
    alike = beside is None or set(old.columns) == set(frame.columns)
    mixed = [
        dataclasses.replace(reference, rows=pd.concat([rest, rows.assign(population=name)])) for rows in (old, frame)
    ]
    quick = task.record["profile"] != reference.profile  # of which no verdict is told
    changed = () if quick else _changed_verdicts(root, experiment, *mixed)
    difference = _difference(old, frame) if alike else np.inf
    if beside is None and record.get("cpu_features") != new.record["cpu_features"]:
        # Older records name the processor only, and others may share the name: numbers tell whether it is the same.
        same = same and "cpu_features" not in record and difference <= TOLERANCE
    return Check(
        name,
        _n_cells(frame),
        same,
        difference,
        changed,
        new.record["measuring_code"],
        quick=quick,
        judged=bool(experiment.claims),
    )


def _n_cells(rows: pd.DataFrame) -> int:
    """Trained models: every one has exactly one final row."""
    return int(rows["final"].sum()) if "final" in rows else len(rows)


def _difference(old: pd.DataFrame, new: pd.DataFrame) -> float:
    # Published rows are those of all populations, with the columns of all; one of them may do without some.
    if not set(new.columns) <= set(old.columns) or len(old) != len(new):
        return np.inf
    new = new.reindex(columns=old.columns)
    numbers = old.select_dtypes("number").columns
    others = old.columns.difference(numbers)
    # What is missing in all rows of a population is a number to pandas, and words where other populations have them.
    words = [frame[others].astype(object).where(frame[others].notna(), "").astype(str) for frame in (old, new)]
    if not (words[0].to_numpy() == words[1].to_numpy()).all():
        return np.inf
    try:
        a, b = old[numbers].to_numpy(float), new[numbers].to_numpy(float)
    except ValueError:  # words where there were numbers
        return np.inf
    with np.errstate(invalid="ignore"):  # two infinities of a sign do not differ, and two missing numbers do not
        apart = np.where(np.isnan(a) == np.isnan(b), np.nan_to_num(np.abs(a - b), nan=0.0), np.inf)
    return float(apart.max(initial=0.0))


def _changed_verdicts(root: Path, experiment: Experiment, old: Reference, new: Reference) -> tuple[str, ...]:
    claims = load_claims(root / "book" / "claims.yml")
    with_rule = [claims[name] for name in experiment.claims if claims[name].rule is not None]
    return tuple(c.id for c in with_rule if decide(c, old.rows).verdict != decide(c, new.rows).verdict)
