"""What the search finds is exact, obeys the hypotheses, and is near what is known to be the worst."""

from __future__ import annotations

import pytest
import torch

from entropylens.measures.contraction import Norm, corrected, leaving, norm_of, printed
from entropylens.measures.contraction_search import Search, ascend, in_ball, over_ball, search


def ratio_of(found: Search, norm: Norm, q: float) -> float:
    i = found.best
    return float(norm_of(i.head, i.y) / printed(i.head, i.y, q, norm).total)


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
def test_what_is_found_obeys_the_hypotheses_and_is_exact(norm: Norm) -> None:
    found = search(3, 2, norm, q=1.5, starts=10, evaluations=1005, seed=3)
    assert found.evaluations == 1000
    assert found.ratios.shape == found.random.shape == (10,)
    assert found.random.max() < found.ratios.max()
    i = found.best
    assert max(float(i.x.norm()), float(i.z.norm())) <= 1 + 1e-12
    assert float(i.head.w_v.norm()) == pytest.approx(0.5)
    assert ratio_of(found, norm, 1.5) == pytest.approx(float(found.ratios.max()), rel=1e-12)
    assert norm_of(i.head, i.y) <= corrected(i.head, i.y, 1.5, norm).total
    again = search(3, 2, norm, q=1.5, starts=10, evaluations=1000, seed=3)
    assert torch.equal(found.ratios, again.ratios)
    assert not torch.equal(found.random, search(3, 2, norm, q=1.5, starts=10, evaluations=10, seed=4).random)


def test_with_spectral_norms_the_printed_bound_is_exceeded_almost_twofold() -> None:
    found = search(2, 2, "spectral", starts=50, evaluations=20_000)
    assert found.random.max() < 1 < 1.9 < found.ratios.max() < 2
    i = found.best
    assert 0.95 < norm_of(i.head, i.y) / corrected(i.head, i.y, 2.0, "spectral").total <= 1


def test_a_climb_does_not_pass_over_what_is_not_a_number() -> None:
    with pytest.raises(FloatingPointError, match="not a number in step 1 of 5"):
        ascend(lambda p: p[0][:, 0].log(), [torch.tensor([[1.0], [-1.0]])], 5)


@pytest.mark.parametrize("strength", [0.5, 1.0, 4.0])
def test_for_two_tokens_the_extremal_instance_is_the_worst_that_is_found(strength: float) -> None:
    found = search(2, 2, "spectral", strength=strength, starts=30, evaluations=9000)
    assert float(found.ratios.max()) == pytest.approx(4 * strength / (2 * strength + 1), rel=1e-3)
    sizes = [float(torch.linalg.matrix_norm(w, 2)) for w in (found.best.head.w_q, found.best.head.w_k)]
    assert sizes[0] * sizes[1] == pytest.approx(strength)


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0, None])
def test_with_frobenius_norms_no_violation_is_found(strength: float | None) -> None:
    """Not a theorem: this fails if a change makes the search find one, which would be news."""
    assert search(2, 2, "frobenius", strength=strength, starts=30, evaluations=6000).ratios.max() <= 1


def test_over_a_ball_the_maximum_of_a_known_function() -> None:
    """⟨a, Y⟩ − ‖Y − b‖² has its maximum inside of the ball, at b + a/2; ⟨a, Y⟩ alone on its surface."""
    a = torch.tensor([[1.0, -1.0], [0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
    b = torch.tensor([[0.0, 0.5], [0.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    value, y = over_ball(lambda y: (a * y).sum((-2, -1)) - (y - b).square().sum((-2, -1)), 3, 2, starts=4, steps=400)
    torch.testing.assert_close(y, b + a / 2, rtol=0, atol=1e-3)
    assert value == pytest.approx(float((a * b).sum() + a.square().sum() / 4), abs=1e-5)
    value, y = over_ball(lambda y: (a * y).sum((-2, -1)), 3, 2, starts=4)
    assert value == pytest.approx(2 * float(a.norm()), rel=1e-6)
    assert float(y.norm()) == pytest.approx(2)


def test_over_the_ball_the_farthest_image_is_at_least_the_one_known() -> None:
    i = leaving()
    farthest, y = over_ball(lambda y: i.head(y).norm(dim=(-2, -1)), 2, 1, starts=16)
    assert farthest >= float(i.head(i.y).norm()) - 1e-6
    assert float(i.head(y).norm()) == pytest.approx(farthest)


def test_states_inside_stay_as_they_are() -> None:
    y = torch.stack([torch.full((2, 2), 0.5), torch.full((2, 2), 5.0), torch.zeros(2, 2)]).double()
    torch.testing.assert_close(in_ball(y), torch.stack([y[0], y[1] / 5, y[2]]))


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"d": 0}, {"starts": 0}, {"evaluations": 5}, {"strength": 0.0}, {"strength": float("nan")}]
)
def test_searches_that_are_none(wrong: dict[str, float]) -> None:
    arguments = {"n": 2, "d": 2, "starts": 10, "evaluations": 100, **wrong}
    with pytest.raises(ValueError, match="needs tokens, width and starts of 1 or more"):
        search(norm="spectral", **arguments)
