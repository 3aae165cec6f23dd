"""What the checks of chapter 12 say to likely mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.show.checks import TryAgainError
from entropylens.show.checks_gates import check_gate, check_gates, check_halting


def right_gate(rows: Tensor) -> Tensor:
    entropy = 2 * (1 - rows.pow(1.5).sum(-1))
    most = 2 * (1 - torch.arange(1, len(rows) + 1).double() ** -0.5)
    return torch.where(most > 0, entropy / most.clamp(min=1e-9), 0.0)


def right_halting(openness: Tensor, threshold: float) -> Tensor:
    sure = openness < threshold
    return torch.where(sure.any(0), sure.int().argmax(0) + 1, len(openness))


def gates(first: float, second: float) -> Callable[[], Tensor]:
    return lambda: torch.tensor([first, second])


@pytest.mark.parametrize(
    ("check", "right"), [(check_gate, right_gate), (check_gates, gates(0.25, 0.75)), (check_halting, right_halting)]
)
def test_right_answers_are_praised(check: Any, right: Any, capsys: pytest.CaptureFixture[str]) -> None:
    check(right)
    assert "Right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (check_gate, lambda p: 2 * (1 - p.pow(1.5).sum(-1)) / (2 * (1 - 5**-0.5)), "sees only i of them"),
        (check_gate, lambda p: 1 - right_gate(p), "the other gate"),
        (check_gate, lambda p: 2 * (1 - p.pow(1.5).sum(-1)), "the entropy itself"),
        (check_gate, lambda p: torch.special.entr(p).sum(-1), "Shannon"),
        (check_gate, lambda p: right_gate(p) / torch.tensor([0.0, 1, 1, 1, 1]), "looks at one place"),
        (check_gate, lambda p: 0 * right_gate(p) + 7, "Of these rows it is"),
        (check_gates, lambda: torch.ones(3), "two gates"),
        (check_gates, gates(0.0, 1.0), "Gates are above 0"),
        (check_gates, gates(0.5, 0.6), "should be ½"),
        (check_gates, gates(0.5, 0.5), "A constant"),
        (check_gates, gates(0.75, 0.25), "drives itself away"),
        (check_gates, gates(0.3, 0.7), "not enough"),
        (check_halting, lambda h, t: right_halting(h, t) - 1, "Counted from 0"),
        (check_halting, lambda h, t: (h < t).int().argmax(0) + 1, "never is sure"),
        (check_halting, lambda h, t: 3 - (h < t).flip(0).int().argmax(0), "It halts at the first"),
        (check_halting, lambda h, t: right_halting(h, t + 1e-9), "it is to be below"),
        (check_halting, lambda h, t: right_halting(h, t if t else 1e-9), "At a threshold of 0"),
        (check_halting, lambda h, t: right_halting(h, t) * 0 + 9, "whose columns are sequences"),
        (check_halting, lambda h, t: right_halting(h, max(t, 0.5)), "At a threshold of 0"),
    ],
)
def test_wrong_answers_are_told_what_is_wrong(check: Any, wrong: Any, message: str) -> None:
    with pytest.raises(TryAgainError, match=message):
        check(wrong)
