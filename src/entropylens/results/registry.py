"""The registry of claims, `book/claims.yml`: read, checked field by field, and refused by name where it is wrong."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from entropylens.results.files import ForeignFileError

SOURCES = {"P": "the paper", "S": "a summary of the paper", "P/S": "the paper, and a summary of it"}
"""Who was read: what the paper itself states, or what a secondary summary of it does."""

TESTS = ("mean", "absence", "rate")


@dataclass(frozen=True)
class Rule:
    """How rows become a verdict; everything here is fixed before the run."""

    metric: str
    """A column, oriented so that the claim predicts a positive contrast."""
    unit: str
    smallest_effect: float
    """The smallest effect of interest, in `unit`; for a rate, the rate that has to be exceeded."""
    arm: Mapping[str, object]
    """Which rows."""
    primary: Mapping[str, object]
    """The condition that decides."""
    versus: Mapping[str, object] | None = None
    """What the arm is compared with, seed by seed; None compares with zero."""
    second: Mapping[str, object] | None = None
    """A condition named beforehand in which the claim may fare differently."""
    test: str = "mean"
    """`mean`: the claim predicts a contrast above the smallest effect; `absence`: one within ± that (TOST); `rate`: the
    metric is 0 or 1, and its share of ones lies above (Clopper–Pearson)."""

    @property
    def hash(self) -> str:
        """Changes when anything in the rule does; `test`, younger than the first rules, only where it is not `mean`."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.test == "mean":
            del content["test"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Claim:
    """One entry of the registry."""

    id: str
    paper: str
    """Its key in book/references.bib."""
    claim: str
    """In our words."""
    says: str
    """What the paper says, in one sentence and with nothing added."""
    source: str
    """Who says that it does: a key of `SOURCES`."""
    chapter: str | None
    """The notebook's stem; None as long as there is none. A rule comes first: it is older than the rows."""
    confounds: list[str]
    """What could make it look true, or false, for another reason."""
    quantity: str | None = None
    """The rule's metric in words."""
    experiment: str | None = None
    """Whose reference rows the rule is applied to; no part of the rule, nor of its hash."""
    rule: Rule | None = field(default=None)
    """None as long as nobody has said what would decide: then the claim is untested."""


def find_registry(start: Path = Path()) -> Path:
    """Where book/claims.yml lies, seen from `start` (by default the working folder) or a folder above it.

    Raises:
        FileNotFoundError: there is none on the way up.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "book" / "claims.yml").is_file():
            return folder / "book" / "claims.yml"
    raise FileNotFoundError("no book/claims.yml here, nor in any folder above")


def load_claims(path: Path | None = None) -> dict[str, Claim]:
    """Read the registry, by default the one that `find_registry` finds.

    Raises:
        FileNotFoundError: there is no such file.
        ForeignFileError: naming the entry and the field that is missing, unknown, of the wrong kind, or given twice.
    """
    path = path or find_registry()
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf8"))
    except (yaml.YAMLError, *_TRIPS_YAML) as error:
        raise ForeignFileError(f"{path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list):
        raise ForeignFileError(f"{path.name}: a list of claims is expected")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not _words(entry.get("id")):
            raise ForeignFileError(f"{path.name}: entry {number} has no id")
        claim = _claim(entry, entry["id"])
        if claim.id in claims:
            raise ForeignFileError(f"{path.name}: {claim.id} is there twice")
        claims[claim.id] = claim
    return claims


_TRIPS_YAML = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises of its own accord, beside its own errors: for `!!int ""`, a 13th month, or [[[[…"""


def _claim(entry: dict[str, Any], name: str) -> Claim:
    rule = entry.get("rule")
    if rule is not None:
        if not isinstance(rule, dict):
            raise ForeignFileError(f"{name}: rule must be fields, not {rule!r}")
        rule = _build(Rule, rule, f"{name}, rule")
        _check_rule(rule, name)
    claim: Claim = _build(Claim, {**entry, "rule": rule}, name)
    for needed in ("experiment", "quantity") if rule else ():
        if getattr(claim, needed) is None:
            raise ForeignFileError(f"{name}: a claim with a rule needs {needed}")
    return claim


def _build(kind: Any, entry: Mapping[str, Any], name: str) -> Any:
    known = {f.name: f.default is MISSING for f in fields(kind)}
    if unknown := set(entry) - set(known):
        names, choices = ", ".join(sorted(map(str, unknown))), ", ".join(sorted(known))
        raise ForeignFileError(f"{name}: unknown {names}; a {kind.__name__.lower()} has {choices}")
    if missing := [f for f, needed in known.items() if needed and f not in entry]:
        raise ForeignFileError(f"{name}: missing {', '.join(map(repr, missing))}")
    for field_name, value in entry.items():
        good, wanted = _KINDS[field_name]
        optional = not known[field_name] or field_name == "chapter"
        if not (good(value) or (value is None and optional)):
            raise ForeignFileError(f"{name}: {field_name} must be {wanted}, not {value!r}")
    return kind(**entry)


def _check_rule(rule: Rule, name: str) -> None:
    if rule.test == "rate" and (rule.versus is not None or rule.smallest_effect >= 1):
        raise ForeignFileError(f"{name}, rule: a rate is compared with smallest_effect, below 1, and has no versus")


def _words(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _list_of_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_words, value))


def _conditions(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(v, str | int | float | bool) for name, v in value.items()
    )


_WORDS = (_words, "words")
_CONDITIONS = (_conditions, "columns and values")
_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("id", "paper", "claim", "says", "chapter", "experiment", "quantity", "metric", "unit"), _WORDS),
    **dict.fromkeys(("arm", "primary", "versus", "second"), _CONDITIONS),
    "source": (lambda value: isinstance(value, str) and value in SOURCES, f"one of {', '.join(SOURCES)}"),
    "confounds": (_list_of_words, "a list of words, and not empty"),
    "rule": (lambda value: isinstance(value, Rule), "fields"),
    "smallest_effect": (
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf,
        "a number above zero",
    ),
    "test": (lambda value: value in TESTS, f"one of {', '.join(TESTS)}"),
}
