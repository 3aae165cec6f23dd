"""book/claims.yml: complete, sound, and refused by name where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from entropylens.results.registry import Rule, load_claims

REGISTRY = Path(__file__).parents[2] / "book" / "claims.yml"
IDS = [
    *(f"LE-{i}" for i in ("1a", "1b", "2", "3", "4a", "4b", "4c", "4d", "5", "q1", "q2", "q3", "q4", "n1", "n2", "n3")),
    *(f"EER-{i}" for i in (*range(1, 11), "f1", "f2", "f3")),
]


def entry(**change: Any) -> dict[str, Any]:
    basis = yaml.safe_load(REGISTRY.read_text(encoding="utf8"))[0]
    rule = change.pop("rule", {})
    return basis | {"id": "T-1"} | change | {"rule": None if rule is None else basis["rule"] | rule}


def load(tmp_path: Path, *entries: object) -> Any:
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump(list(entries)), encoding="utf8")
    return load_claims(path)


def test_every_claim_of_both_papers_is_there_in_order() -> None:
    claims = load_claims(REGISTRY)
    assert list(claims) == IDS
    assert {c.paper for c in claims.values()} == {"ren2025lowentropy", "lam2026energy"}
    bibliography = (REGISTRY.parent / "references.bib").read_text(encoding="utf8")
    assert all(c.paper in bibliography for c in claims.values())


def test_a_chapter_exists_and_has_a_rule() -> None:
    """A rule may be older than its chapter, and is older than its rows."""
    notebooks = {p.stem for p in (REGISTRY.parents[1] / "notebooks").glob("*.ipynb")}
    for claim in load_claims(REGISTRY).values():
        assert claim.chapter is None or claim.chapter in notebooks
        assert claim.chapter is None or claim.rule is not None, claim.id


def test_no_rule_was_changed_after_the_run_that_it_judges() -> None:
    claims = load_claims(REGISTRY)
    for path in (REGISTRY.parents[1] / "results").glob("*.json"):
        for name, stored in json.loads(path.read_text(encoding="utf-8"))["rules"].items():
            rule = claims[name].rule
            assert rule is not None, f"{name} has rows in results/{path.name} and no rule"
            assert rule.hash == stored, f"{name}: results/{path.name} was made under another rule"


def test_a_rule_has_a_hash_that_notices_any_change() -> None:
    basis: dict[str, Any] = {
        "metric": "x",
        "unit": "nats",
        "smallest_effect": 0.1,
        "arm": {"d": 64},
        "primary": {"r": 1},
    }
    changes: list[dict[str, Any]] = [
        {}, {"smallest_effect": 0.2}, {"metric": "y"}, {"unit": "bits"}, {"arm": {"d": 32}}, {"primary": {"r": 2}},
        {"versus": {"d": 8}}, {"second": {"r": 2}}, {"test": "absence"}, {"test": "rate"},
    ]  # fmt: skip
    assert len({Rule(**basis | change).hash for change in changes}) == len(changes)
    assert Rule(**basis).hash == Rule(**basis).hash


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelled field": ({"chapterr": "x"}, "T-1: unknown chapterr; a claim has .*chapter"),
    "a misspelled field of a rule": ({"rule": {"metrik": "x"}}, "T-1, rule: unknown metrik; a rule has .*metric"),
    "no words": ({"says": " "}, "T-1: says must be words, not ' '"),
    "a number for words": ({"claim": 3}, "T-1: claim must be words, not 3"),
    "an unknown source": ({"source": "Q"}, "T-1: source must be one of P, S, P/S, not 'Q'"),
    "no confounds": ({"confounds": []}, "T-1: confounds must be a list of words, and not empty"),
    "words for confounds": ({"confounds": "luck"}, "T-1: confounds must be a list"),
    "an effect of zero": ({"rule": {"smallest_effect": 0}}, "T-1, rule: smallest_effect must be a number above zero"),
    "an effect in words": ({"rule": {"smallest_effect": "small"}}, "T-1, rule: smallest_effect must be a number"),
    "an effect that is true": ({"rule": {"smallest_effect": True}}, "T-1, rule: smallest_effect must be a number"),
    "a list for a condition": ({"rule": {"primary": ["fresh"]}}, "T-1, rule: primary must be columns and values"),
    "a condition of lists": ({"rule": {"arm": {"d": [8, 64]}}}, "T-1, rule: arm must be columns and values"),
    "an unknown test": ({"rule": {"test": "median"}}, "T-1, rule: test must be one of mean, absence, rate"),
    "a rate of more than one": ({"rule": {"test": "rate", "smallest_effect": 2}}, "T-1, rule: a rate is compared"),
    "a rule without an experiment": ({"experiment": None}, "T-1: a claim with a rule needs experiment"),
    "a rule in no words": ({"quantity": None}, "T-1: a claim with a rule needs quantity"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_registry_is_refused_by_name(tmp_path: Path, what: str) -> None:
    change, message = DAMAGE[what]
    with pytest.raises(ValueError, match=message):
        load(tmp_path, entry(**change))


@pytest.mark.parametrize("field", ["claim", "paper", "says", "source", "chapter", "confounds"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    damaged = entry()
    del damaged[field]
    with pytest.raises(ValueError, match=f"T-1: missing '{field}'"):
        load(tmp_path, damaged)


def test_a_claim_may_do_without_a_rule(tmp_path: Path) -> None:
    assert load(tmp_path, entry(rule=None, chapter=None, experiment=None, quantity=None))["T-1"].rule is None


def test_other_damage_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="T-1 is there twice"):
        load(tmp_path, entry(), entry())
    with pytest.raises(ValueError, match="entry 2 has no id"):
        load(tmp_path, entry(), {"claim": "x"})
    with pytest.raises(ValueError, match="T-1: rule must be fields, not 'x'"):
        load(tmp_path, entry() | {"rule": "x"})
    (tmp_path / "claims.yml").write_text("id: x\n")
    with pytest.raises(ValueError, match="a list of claims is expected"):
        load_claims(tmp_path / "claims.yml")
