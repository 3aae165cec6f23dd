"""What the checks of chapter 13 say to likely mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from entropylens.measures.hamiltonian import Path, Potential
from entropylens.show.checks import TryAgainError
from entropylens.show.checks_hamiltonian import check_floor, check_gain, check_later


def right_later(potential: Potential, path: Path, h: float, kicks: float = 0.5) -> Tensor:
    slopes = torch.stack([potential.gradient(z) for z in path.states])
    return path.energy + (path.velocities - kicks * h * slopes).pow(2).sum(-1) / 2


def right_floor(longest: float, kappa: float, tau: float, n: int) -> float:
    return -(longest**2) / kappa / 2 - tau * math.log(n)


def responses(mu: float, alpha: float, loops: int = 3000) -> Tensor:
    a, state, found = torch.tensor([[1 - alpha, mu], [-alpha, mu]]).double(), torch.ones(2).double(), []
    for _ in range(loops):
        found.append(state.clone())
        state = a @ state
    return torch.stack(found)  # (loops, 2), state and velocity


def right_gain(mu: float, alpha: float) -> Tensor:
    return responses(mu, alpha)[:, 0].abs().sum()


def test_right_answers_are_praised(capsys: pytest.CaptureFixture[str]) -> None:
    check_later(right_later)
    check_floor(right_floor)
    check_gain(right_gain)
    out = capsys.readouterr().out
    assert out.count("✓") == 3
    assert float(out.split("falls by ")[1].split(":")[0]) == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize(
    ("kicks", "says"),
    [(0.0, "only falls by 2"), (-0.5, "sign of the kick"), (1.0, "whole kick"), (0.3, "It should be")],
)
def test_mistakes_about_the_kick_are_named(kicks: float, says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_later(lambda potential, path, h: right_later(potential, path, h, kicks))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda potential, path, h: right_later(potential, path, h) - path.energy, "kinetic part"),
        (lambda potential, path, h: 2 * right_later(potential, path, h) - path.energy, "½ is missing"),
        (lambda potential, path, h: right_later(potential, path, h).sum(-1), "shape"),
    ],
)
def test_mistakes_about_the_energy_are_named(wrong: Callable[[Potential, Path, float], Tensor], says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_later(wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda r, k, *_: -(r**2) / 2 / k, "costs τ log n"),
        (lambda r, k, t, n: r**2 / 2 / k - t * math.log(n), "sign is wrong"),
        (lambda r, k, t, n: -(r**2) / 2 / k + t * math.log(n), "wrong sign"),
        (lambda r, k, t, n: -(r**2) / 2 / k - math.log(n) * (1 if t != 1 else t), "τ is missing"),
        (lambda r, k, t, n: -(r**2) / k - t * math.log(n), "the first only"),
        (lambda r, *_: -r, "Bound the sum"),
    ],
)
def test_mistakes_about_the_floor_are_named(wrong: Callable[[float, float, float, int], Tensor], says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_floor(wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda mu, alpha: responses(mu, alpha)[:, 0].sum(), "summed g_k"),
        (lambda mu, alpha: responses(mu, alpha)[:, 0].abs().max(), "largest"),
        (lambda mu, alpha: responses(mu, alpha)[:, 0].pow(2).sum(), "squares"),
        (lambda mu, alpha: responses(mu, alpha)[1:, 0].abs().sum(), "first is missing"),
        (lambda mu, alpha: responses(mu, alpha)[:, 1].abs().sum(), "velocities"),
        (lambda *_: torch.tensor(math.inf), "beyond all bounds"),
        (lambda mu, alpha: responses(mu, alpha, 4)[:, 0].abs().sum(), "until nothing is left"),
    ],
)
def test_mistakes_about_the_gain_are_named(wrong: Callable[[float, float], Tensor], says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_gain(wrong)
