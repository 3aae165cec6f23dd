"""What the checks of chapter 11 say to likely mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from entropylens.show.checks import TryAgainError
from entropylens.show.checks_energy import check_kinetic, check_potential, check_ruggedness

Answer = Callable[[Tensor], Tensor]


def right_kinetic(states: Tensor) -> Tensor:
    return (states[1:] - states[:-1]).pow(2).sum() / (2 * (len(states) - 1))


def right_potential(p: Tensor) -> Tensor:
    return (-p.log()).min(dim=-1).values.mean()


def right_ruggedness(values: Tensor) -> Tensor:
    total = values.diff().abs().sum()
    return 1 - (values[0] + values[-1] - 2 * values.min()) / total


@pytest.mark.parametrize(
    ("check", "right"),
    [(check_kinetic, right_kinetic), (check_potential, right_potential), (check_ruggedness, right_ruggedness)],
)
def test_right_answers_are_praised(
    check: Callable[[Answer], None], right: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    check(right)
    assert "Right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (check_kinetic, lambda z: 2 * right_kinetic(z), "Without the half"),
        (check_kinetic, lambda z: right_kinetic(z) * 4 / 5, "T steps between them"),
        (check_kinetic, lambda z: right_kinetic(z) * 4, "sum over loops"),
        (check_kinetic, lambda z: z.diff(dim=0).pow(2).mean() / 2, "mean over numbers"),
        (check_kinetic, lambda z: z.diff(dim=0).flatten(1).norm(dim=1).mean() / 2, "Square the norms"),
        (check_kinetic, lambda z: z[1:].pow(2).sum() / 8, "how large states are"),
        (check_kinetic, lambda z: z.sum(), "Of these states it is"),
        (check_potential, lambda p: torch.special.entr(p).sum(-1).mean(), "an entropy"),
        (check_potential, lambda p: 3 * right_potential(p), "sum over loops"),
        (check_potential, lambda p: -right_potential(p), "sign is wrong"),
        (check_potential, lambda p: (-p.log()).min(), "each loop has its own"),
        (check_potential, lambda p: p.amax(-1).mean(), "Take their −log first"),
        (check_potential, lambda p: -p.amax(-1).mean().log(), "logarithm in each loop"),
        (check_ruggedness, lambda v: 1 - right_ruggedness(v), "Return the rest"),
        (check_ruggedness, lambda v: right_ruggedness(v) * v.diff().abs().sum(), "Divide by all"),
        (check_ruggedness, lambda v: 1 - (v[0] - v.min()) / v.diff().abs().sum(), "the way down alone"),
        (check_ruggedness, lambda v: right_ruggedness(v).round(), "all ups and downs are"),
        (check_ruggedness, lambda v: torch.tensor(6 / 15).double() + 0 * v[0], "is a funnel: 0"),
    ],
)  # fmt: skip
def test_mistakes_are_told(check: Callable[[Answer], None], wrong: Answer, message: str) -> None:
    with pytest.raises(TryAgainError, match=message):
        check(wrong)
