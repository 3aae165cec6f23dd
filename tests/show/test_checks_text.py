"""What the checks of chapter 14 say to likely mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.show.checks import TryAgainError
from entropylens.show.checks_text import check_estimate, check_overconfidence, check_reading


def entropies(log_q: Tensor) -> Tensor:
    return -(log_q.exp() * log_q).sum(-1)


def surprises(log_q: Tensor, there: Tensor) -> Tensor:
    return -log_q.gather(-1, there[..., None])[..., 0]


def estimate(log_q: Tensor) -> Tensor:
    return entropies(log_q).sum(-1).mean()


def overconfidence(log_q: Tensor, there: Tensor) -> Tensor:
    return (surprises(log_q, there) - entropies(log_q)).mean()


def reading(cross_entropy: float, forced: float) -> str:
    return "above" if forced >= cross_entropy else "unknown"


@pytest.mark.parametrize(
    ("check", "right"),
    [(check_estimate, estimate), (check_overconfidence, overconfidence), (check_reading, reading)],
)
def test_right_answers_are_praised(check: Any, right: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check(right)
    assert "Right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (check_estimate, lambda q: entropies(q).mean(), "sum over its steps"),
        (check_estimate, lambda q: entropies(q).sum(), "sum of all texts"),
        (check_estimate, lambda q: -estimate(q), "The sign"),
        (check_estimate, lambda q: estimate(q) / torch.tensor(2.0).log(), "in bits"),
        (check_estimate, lambda q: -q.amax(-1).sum(-1).mean(), "likeliest"),
        (check_estimate, lambda q: -q.mean(-1).sum(-1).mean(), "Weigh surprises"),
        (check_estimate, lambda q: estimate(q) + 1, "For these texts it is"),
        (check_overconfidence, lambda q, s: -overconfidence(q, s), "other way round"),
        (check_overconfidence, lambda q, s: surprises(q, s).mean(), "That is the cross-entropy"),
        (check_overconfidence, lambda q, _: entropies(q).mean(), "That is the entropy"),
        (check_overconfidence, lambda q, s: (surprises(q, s) - entropies(q)).sum(), "take the mean"),
        (check_overconfidence, lambda q, s: overconfidence(q, s) + 1, "Here the cross-entropy is"),
        (check_reading, lambda _c, _f: "below", "one of above, unknown"),
        (check_reading, lambda _c, _f: "above", "nobody knows"),
        (check_reading, lambda _c, _f: "unknown", "cannot be below"),
        (check_reading, lambda c, f: "above" if f > c else "unknown", "cannot be below"),
    ],
)
def test_wrong_answers_are_told_why(check: Any, wrong: Any, message: str) -> None:
    with pytest.raises(TryAgainError, match=message):
        check(wrong)


@pytest.mark.parametrize("check", [check_estimate, check_overconfidence, check_reading])
def test_what_was_not_attempted_is_no_failure(check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(*_: object) -> None:
        raise NotImplementedError

    check(answer)
    assert "Not attempted" in capsys.readouterr().out
