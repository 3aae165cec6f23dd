"""The ledger on a small registry whose results are planted: what is decided, told, and shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from entropylens.results.ledger import Entry, as_text, ledger, tally
from entropylens.results.reference import Reference
from entropylens.results.registry import Rule
from entropylens.show.ledger import forest_plot, ledger_table, summary

RULE: dict[str, Any] = {
    "metric": "x", "unit": "nats", "smallest_effect": 0.1, "arm": {"d": 64}, "primary": {"regime": "fresh"},
}  # fmt: skip
TOLD = (
    "id", "paper", "claim", "chapter", "verdict", "condition", "n_seeds", "effect", "unit", "ci_low", "ci_high",
    "profile", "stale",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three claims: one with two conditions, one with one, one that nobody has tested."""
    common = {"claim": "Big <is> more.", "says": "More.", "source": "P", "confounds": ["luck"]}
    tested = {**common, "paper": "ren2025lowentropy", "chapter": "03_x", "experiment": "fake", "quantity": "x"}
    entries = [
        {**tested, "id": "A", "rule": {**RULE, "second": {"regime": "finite"}}},
        {**tested, "id": "B", "rule": RULE},
        {**common, "id": "C", "paper": "lam2026energy", "chapter": None, "rule": None},
    ]
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").write_text(yaml.safe_dump(entries), encoding="utf8")
    return tmp_path


def reference(fresh: float = 0.0, finite: float = 0.5, n: int = 10, stale: bool = False, **rules: str) -> Reference:
    rng = np.random.default_rng(0)
    table = [
        {"seed": s, "d": 64, "regime": regime, "x": mean + rng.normal(0, 0.02)}
        for s in range(n)
        for regime, mean in (("fresh", fresh), ("finite", finite))
    ]
    hashes = {"A": Rule(**RULE, second={"regime": "finite"}).hash, "B": Rule(**RULE).hash, **rules}
    return Reference(pd.DataFrame(table), "full", stale, hashes, {}, Path("low_entropy.csv"))


def entries(root: Path, published: Reference | None) -> dict[str, Entry]:
    return {entry.claim.id: entry for entry in ledger(root, lambda _root, _name: published)}


def test_every_claim_is_listed_and_decided_where_it_can_be(root: Path) -> None:
    got = entries(root, reference())
    assert {name: entry.word for name, entry in got.items()} == {"A": "depends", "B": "refuted", "C": "untested"}
    assert tally(got.values()) == {"refuted": 1, "depends": 1, "untested": 1}
    assert summary(list(got.values())) == "3 claims: 1 refuted, 1 depends and 1 untested"


def test_the_objects_have_every_field(root: Path) -> None:
    a, b, c = (entry.as_dict() for entry in entries(root, reference()).values())
    assert all(set(TOLD) <= set(told) for told in (a, b, c))
    assert a["condition"] == "holds with regime = finite, not with regime = fresh"
    assert (b["verdict"], b["condition"], b["finding"], b["n_seeds"]) == ("refuted", None, "no effect", 10)
    assert b["ci_low"] < b["effect"] < b["ci_high"] < 0.1
    assert (b["unit"], b["profile"], b["stale"], b["rule_changed"]) == ("nats", "full", False, False)
    assert [c[name] for name in TOLD[5:]] == [None] * 8
    json.dumps([a, b, c], allow_nan=False)


def test_without_results_everything_is_untested(root: Path) -> None:
    got = entries(root, None)
    assert [entry.word for entry in got.values()] == ["untested"] * 3
    assert got["A"].as_dict()["chapter"] == "03_x"


def test_results_are_read_once_an_experiment(root: Path) -> None:
    asked = []
    ledger(root, lambda _root, name: asked.append(name))
    assert asked == ["fake"]


def test_old_code_and_a_changed_rule_are_told(root: Path) -> None:
    a, b, _ = entries(root, reference(stale=True, B="another rule")).values()
    assert a.warnings == ["stale: the code has changed since the rows were made"]
    assert b.warnings[1:] == ["the rule was changed after the run"]
    assert (b.as_dict()["stale"], b.as_dict()["rule_changed"]) == (True, True)


def test_rows_from_before_the_rule_are_rows_of_another_rule(root: Path) -> None:
    published = reference()
    del published.rule_hashes["B"]
    assert entries(root, published)["B"].as_dict()["rule_changed"] is True


def test_four_seeds_decide_nothing(root: Path) -> None:
    assert entries(root, reference(0.9, 0.9, n=4))["B"].word == "inconclusive"


def test_rows_that_a_rule_cannot_read_are_named(root: Path) -> None:
    published = dataclasses.replace(reference(), rows=reference().rows.rename(columns={"x": "y"}))
    with pytest.raises(ValueError, match="A, rows of fake: no column 'x'"):
        entries(root, published)


def test_the_text_has_a_line_a_claim(root: Path) -> None:
    head, a, b, c = as_text(entries(root, reference(stale=True)).values()).splitlines()
    assert head.split()[:3] == ["id", "verdict", "effect"]
    assert "holds with regime = finite" in a
    assert "no effect; stale" in b
    assert c.split() == ["C", "untested"]


def test_the_page_shows_claims_numbers_and_warnings(root: Path) -> None:
    got = list(entries(root, reference(stale=True)).values())
    page = ledger_table(got, "ren2025lowentropy").data
    assert page.count("Big &lt;is&gt; more.") == 2
    assert "◐ depends" in page
    assert "⚠ stale" in page
    assert 'href="03_x.ipynb"' in page
    assert page.count("<svg") == 2
    effect = got[1].as_dict()
    assert f"<b>{effect['effect']:+.3f}</b>".replace("-", "−") in page
    other = ledger_table(got, "lam2026energy").data
    assert "nothing yet" in other
    assert "<svg" not in other
    assert "no published results yet" in ledger_table(list(entries(root, None).values()), "ren2025lowentropy").data


def test_a_forest_plot_can_be_read_out_and_says_when_it_is_cut_off(root: Path) -> None:
    effect = entries(root, reference(fresh=0.25))["B"].verdict
    assert effect is not None
    usual, extreme = (forest_plot([effect.effect], smallest, "nats") for smallest in (0.1, 0.001))
    assert 'role="img"' in usual
    assert "+0.2" in usual.partition('aria-label="')[2].partition('"')[0]
    assert "±0.1 nats is too small to matter" in usual
    arrow = "l4 4l-4 4"
    assert (arrow in usual, arrow in extreme) == (False, True)
    assert "#" not in usual, "no colour: it must be readable in grey, in the light and in the dark"
