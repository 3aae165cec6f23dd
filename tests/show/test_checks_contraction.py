"""What the checks of chapter 10 say to likely mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from entropylens.measures.operators import Map
from entropylens.show.checks import TryAgainError
from entropylens.show.checks_contraction import check_power, check_residual, check_tsallis


def right_tsallis(rows: Tensor, q: float) -> Tensor:
    return torch.special.entr(rows).sum(-1) if q == 1 else (1 - rows.pow(q).sum(-1)) / (q - 1)


def right_power(push: Map, pull: Map, h: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        h = pull(push(h))
        h = h / h.norm()
    return push(h).norm()


def test_right_answers_are_praised(capsys: pytest.CaptureFixture[str]) -> None:
    check_tsallis(right_tsallis)
    check_power(right_power)
    check_residual(lambda: 0.3 * torch.eye(2))
    assert capsys.readouterr().out.count("✓") == 3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda rows, q: -right_tsallis(rows, q), "sign"),
        (lambda rows, q: 1 - rows.pow(q).sum(-1), "divide by q"),
        (lambda rows, q: (1 - rows.pow(q).sum(-1)) / (q - 1), "0/0"),
        (lambda rows, q: rows.pow(q).sum(-1).log() / (1 - q), "Rényi"),
    ],
)
def test_mistakes_about_the_entropy_are_named(wrong: Callable[[Tensor, float], Tensor], says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_tsallis(wrong)


def _without_norm(push: Map, pull: Map, h: Tensor, steps: int) -> Tensor:
    for _ in range(10 * steps):
        h = pull(push(h))
    return h.norm()


def _squared(push: Map, pull: Map, h: Tensor, steps: int) -> Tensor:
    return right_power(push, pull, h, steps) ** 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (_squared, "square"),
        (_without_norm, "grew|Divide"),
        (lambda *_: torch.tensor(1e3), "should be"),
    ],
)
def test_mistakes_about_the_norm_are_named(wrong: Callable[[Map, Map, Tensor, int], Tensor], says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_power(wrong)


@pytest.mark.parametrize(
    ("w_v", "says"),
    [(torch.eye(2), "½ at most"), (-0.3 * torch.eye(2), "sign"), (torch.ones(3), "shape")],
)
def test_mistakes_about_the_residual_are_named(w_v: Tensor, says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_residual(lambda: w_v)
