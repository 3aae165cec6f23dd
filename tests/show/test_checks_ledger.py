"""The checks of chapter 15: right answers pass, and likely mistakes are told by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest
from torch import Tensor

from entropylens.results.claims import decide
from entropylens.results.registry import Claim
from entropylens.show import checks_ledger as checks
from entropylens.show.checks import TryAgainError


def elsewhere(claim: Claim, rows: pd.DataFrame, primary: Mapping[str, object]) -> str:
    assert claim.rule is not None
    return decide(replace(claim, rule=replace(claim.rule, primary=primary, second=None)), rows).verdict


def with_second(claim: Claim, rows: pd.DataFrame, primary: Mapping[str, object]) -> str:
    assert claim.rule is not None
    second = {"data": "sample" if primary["data"] == "fresh" else "fresh"}
    return decide(replace(claim, rule=replace(claim.rule, primary=primary, second=second)), rows).verdict


def test_the_solution_elsewhere_passes(capsys: pytest.CaptureFixture[str]) -> None:
    checks.check_elsewhere(elsewhere)
    assert "explores" in capsys.readouterr().out


def test_a_second_condition_and_a_rule_as_it_was_are_found() -> None:
    with pytest.raises(TryAgainError, match="rule as it is"):
        checks.check_elsewhere(lambda claim, rows, _: decide(claim, rows).verdict)
    with pytest.raises(TryAgainError, match=r"rule as it is|second condition"):
        checks.check_elsewhere(with_second)
    with pytest.raises(TryAgainError, match="is supported, not 'refuted'"):
        checks.check_elsewhere(lambda *_: "refuted")


def limits(low: float, high: float, smallest: float) -> tuple[float, float]:
    ends = max(low / smallest, 0.0), max(high / smallest, 0.0)
    return (0.0, ends[0]) if low > smallest else (ends[1], math.inf) if high < smallest else ends


def test_the_range_of_a_verdict() -> None:
    checks.check_range(limits)
    with pytest.raises(TryAgainError, match="Divide them"):
        checks.check_range(lambda *ends: tuple(ends[-1] * end for end in limits(*ends)))
    with pytest.raises(TryAgainError, match="interval's ends"):
        checks.check_range(lambda low, high, smallest: (low / smallest, high / smallest))


def chance(p: Tensor) -> tuple[float, float]:
    return float(p.sum()), float(1 - (1 - p).prod())


def test_chances_of_error() -> None:
    checks.check_chance(chance)
    wrong = {
        "other way round": lambda p: chance(p)[::-1],
        "do not add up": lambda p: (p.sum(), p.sum()),
        "all are wrong": lambda p: (p.sum(), p.prod()),
        "mean chance": lambda p: (p.mean(), chance(p)[1]),
    }
    for told, answer in wrong.items():
        with pytest.raises(TryAgainError, match=told):
            checks.check_chance(answer)


@pytest.mark.parametrize("name", ["check_elsewhere", "check_range", "check_chance"])
def test_what_was_not_attempted_is_no_failure(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def later(*_: object) -> object:
        raise NotImplementedError

    getattr(checks, name)(later)
    assert "Not attempted" in capsys.readouterr().out
