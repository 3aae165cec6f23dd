"""The rows that the book publishes: `results/<experiment>.csv` and, beside it, how they were made, `<experiment>.json`.

They are the full profile's rows of all populations of an experiment, with a column `population`. The JSON holds the
checksum of the CSV, the hash of the measuring code (which covers the training code), the hashes of the rules that were
in force, what the computation cost, and a record a population. Where an experiment publishes tensors, too (log pθ, for
later chapters), they are in `<experiment>.safetensors`: one row for each final row of the CSV, in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from entropylens.experiments import EXPERIMENTS
from entropylens.experiments.experiment import Experiment
from entropylens.results.files import ForeignFileError, digest, read_json, write_together
from entropylens.results.registry import find_registry
from entropylens.results.store import Rows
from entropylens.results.sweep import measuring_code


@dataclass(frozen=True)
class Reference:
    """Published rows."""

    rows: pd.DataFrame
    profile: str
    stale: bool
    """Whether the code that measures, or trains, has changed since and nobody attested that it makes no difference."""
    rule_hashes: dict[str, str]
    """Claim id to the hash of its rule when the rows were made."""
    provenance: dict[str, Any]
    path: Path
    """Of the CSV."""

    def tensors(self) -> dict[str, Tensor]:
        """What is published beside the rows, one entry for each final row, in their order.

        Raises:
            LookupError: if the experiment publishes none.
            ForeignFileError: if the file is missing, damaged, or not the one that belongs to the rows.
        """
        path = self.path.with_suffix(".safetensors")
        if "tensors_checksum" not in self.provenance:
            raise LookupError(f"experiment {path.stem!r} publishes rows only, no tensors")
        try:
            data = path.read_bytes()
            if digest(data) == self.provenance.get("tensors_checksum"):
                return load_tensors(data)
        except (OSError, SafetensorError):
            pass
        raise ForeignFileError(f"results/{path.name} is missing, or not what {path.stem}.json describes: {_AGAIN}")


_AGAIN = "compute it again"


def publish(
    root: Path,
    experiment: Experiment,
    profile: str,
    parts: Sequence[Rows],
    rules: Mapping[str, str],
    tensors: Sequence[Mapping[str, Tensor]] = (),
    cost: Mapping[str, Any] | None = None,
) -> Path:
    """Write the rows of all populations, in their order, as the experiment's reference; return the CSV's path.

    Args:
        root: of the project.
        experiment: whose rows they are.
        profile: at which they were made.
        parts: rows, a population each.
        rules: claim id to hash.
        tensors: what the experiment publishes, a population each.
        cost: of this computation, in seconds.
    """
    frames = [rows.frame.assign(population=rows.record["population"]) for rows in parts]
    text = pd.concat(frames, ignore_index=True).to_csv(index=False, lineterminator="\n")
    provenance = {
        "experiment": experiment.name,
        "profile": profile,
        "checksum": digest(text),
        # As it was when the computation began: files may have been edited while it ran.
        "measuring_code": parts[0].record["measuring_code"],
        "rules": dict(rules),
        "cost": dict(cost or {}),
        "populations": {rows.record["population"]: rows.record for rows in parts},
    }
    path = root / "results" / f"{experiment.name}.csv"
    files: dict[Path, str | bytes] = {path: text}
    if tensors:
        data = save_tensors({name: torch.cat([t[name] for t in tensors]) for name in tensors[0]})
        provenance["tensors_checksum"] = digest(data)
        files[path.with_suffix(".safetensors")] = data
    files[path.with_suffix(".json")] = json.dumps(provenance, indent=1, sort_keys=True) + "\n"
    write_together(files)
    return path


def load_reference(root: Path, experiment: str, code: str | None = None) -> Reference | None:
    """The published rows of an experiment, or None if there are none.

    Args:
        root: of the project.
        experiment: its name.
        code: today's hash of the measuring code; None computes it (of an experiment that no longer exists: "").

    Raises:
        ForeignFileError: if a file is missing its partner, damaged, or not ours; the message says which.
    """
    path = root / "results" / f"{experiment}.csv"
    record = path.with_suffix(".json")
    if not path.exists() and not record.exists():
        return None
    try:
        text, provenance = path.read_text(encoding="utf-8"), read_json(record)
        rows = pd.read_csv(StringIO(text))
    except (OSError, ValueError) as error:
        raise ForeignFileError(
            f"{path.parent.name}/{experiment}: cannot be read ({' '.join(str(error).split())})"
        ) from None
    if provenance.get("checksum") != digest(text) or not _is_ours(provenance):
        raise ForeignFileError(f"{path.parent.name}/{path.name} is not what {record.name} describes: {_AGAIN}")
    if code is None:
        code = measuring_code(EXPERIMENTS[experiment]) if experiment in EXPERIMENTS else ""
    return Reference(
        rows=rows,
        profile=provenance["profile"],
        stale=code not in (provenance["measuring_code"], provenance.get("attested", {}).get("code")),
        rule_hashes=provenance["rules"],
        provenance=provenance,
        path=path,
    )


def _is_ours(provenance: Mapping[str, Any]) -> bool:
    """Whether there is all that others read in it, and of the right kind."""
    fields: dict[str, type] = {"profile": str, "measuring_code": str, "rules": dict, "populations": dict}
    populations = provenance.get("populations")
    return (
        all(isinstance(provenance.get(name), kind) for name, kind in fields.items())
        and all(isinstance(provenance.get(name, {}), dict) for name in ("attested", "cost"))
        and isinstance(populations, dict)
        and all(map(_is_a_record, populations.values()))
    )


def _is_a_record(population: object) -> bool:
    return (
        isinstance(population, dict)
        and isinstance(population.get("seconds"), int | float)
        and isinstance(population.get("device"), str)
    )


def published(experiment: str) -> Reference:
    """The published rows of an experiment, for a chapter: found from the working folder.

    Raises:
        LookupError: if there are none; the message says how to compute them.
    """
    reference = load_reference(find_registry().parents[1], experiment)
    if reference is None:
        command = f"entropylens compute {experiment} --profile full"
        raise LookupError(f"no rows of {experiment!r} are published yet; compute them with: {command}")
    return reference
