"""The page that tells what executing the book has cost: tables in Markdown, made while Sphinx builds.

They come from the records beside the executed copies and from those of the published results. No notebook reads them,
so that a notebook's cost is not among the things that make another one stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from entropylens.book import provenance
from entropylens.book.markup import literal
from entropylens.book.project import Project
from entropylens.results.files import read_json

MARKER = "%execution-tables%"
"""In book/execution.md; replaced by the tables."""

_NOTEBOOKS = ("notebook", "seconds", "cells", "device", "date", "made with")
_EXPERIMENTS = ("experiment", "seconds", "populations", "profile", "date", "made with")


@dataclass
class Makings:
    """The distinct circumstances on a page, so that a table refers to them by number."""

    known: list[str] = field(default_factory=list)

    def number(self, *facts: str) -> str:
        """Return the number of these circumstances, counting from 1."""
        words = literal(", ".join(facts))
        if words not in self.known:
            self.known.append(words)
        return f"({self.known.index(words) + 1})"

    def listing(self) -> str:
        """Return all of them as a numbered list."""
        return "\n".join(f"{number}. {words}" for number, words in enumerate(self.known, 1))


def tables(project: Project, profile: str, notebooks: Sequence[Path]) -> str:
    """Return the tables, that of experiments only if there are published results.

    Args:
        project: the book.
        profile: whose executed copies are published.
        notebooks: the chapters, in the book's order.
    """
    makings = Makings()
    rows = [_notebook(project, profile, path, makings) for path in notebooks]
    seconds = sum(record.seconds for path in notebooks if (record := provenance.read(project, profile, path)))
    parts = [
        f"## Notebooks, profile {profile}",
        f"All of them together took {_duration(seconds)}; several are executed at a time.",
        _table(_NOTEBOOKS, rows),
    ]
    results = sorted((project.root / "results").glob("*.json"))
    if experiments := [row for path in results if (row := _experiment(path, makings))]:
        parts += [
            "## Experiments",
            "Their results are stored, and not computed again for each build. Seconds are summed over processes; a "
            "model that was trained for another experiment counts there.",
            _table(_EXPERIMENTS, experiments),
        ]
    return "\n\n".join([*parts, "## Made with", makings.listing()])


def _notebook(project: Project, profile: str, path: Path, makings: Makings) -> list[str]:
    link = f"[{literal(path.stem)}](../notebooks/{quote(path.name)})"
    record = provenance.read(project, profile, path)
    if record is None:
        return [link, "not executed", *[""] * (len(_NOTEBOOKS) - 2)]
    cells = read_json(project.executed(path, profile))["cells"]
    executed = sum(cell.get("execution_count") is not None for cell in cells)
    versions = f"Python {record.python}, PyTorch {record.torch}, entropylens {record.entropylens}"
    machine = f"{record.cpu}, {record.threads} thread(s), GPU: {record.gpu}"
    made = makings.number(versions, _commit(record.commit, record.dirty), machine)
    return [link, f"{record.seconds:.1f}", str(executed), literal(record.device), literal(_day(record.date)), made]


def _experiment(path: Path, makings: Makings) -> list[str] | None:
    """Return a row from an experiment's provenance, or None for a file that is not one."""
    try:
        record = read_json(path)
        populations: list[Mapping[str, Any]] = list(record["populations"].values())
        name = str(record["experiment"])
        own = {
            p.get("training_key", i): p["seconds"]  # what two populations share was trained once
            for i, p in enumerate(populations)
            if p.get("trained_for", name) == name
        }
        seconds = sum(own.values()) + sum(p.get("measuring_seconds", 0.0) for p in populations)
        days = sorted({_day(p["date"]) for p in populations})
        made = dict.fromkeys(makings.number(*_circumstances(p)) for p in populations)
        profile, first, last = str(record["profile"]), days[0], days[-1]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    date = first if first == last else f"{first} to {last}"
    return [literal(name), f"{seconds:.0f}", str(len(populations)), literal(profile), literal(date), ", ".join(made)]


def _circumstances(population: Mapping[str, Any]) -> list[str]:
    """Return what is known about how a population was computed, as words."""
    told = {"python": "Python {}", "torch": "PyTorch {}", "device": "device {}", "cpu": "{}", "threads": "{} thread(s)"}
    facts = [words.format(population[key]) for key, words in told.items() if key in population]
    return [*facts, _commit(str(population["commit"]), bool(population["dirty"]))]


def _day(date: str) -> str:
    """Return the day of an ISO date, with hyphens at which no line breaks."""
    return date[:10].replace("-", "\N{NON-BREAKING HYPHEN}")


def _commit(commit: str, dirty: bool) -> str:
    return f"commit {commit[:10]}" + (" and uncommitted changes" if dirty else "")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
