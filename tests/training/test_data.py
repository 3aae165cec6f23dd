"""The three regimes: what a member sees at each step, as weights on sentences."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from entropylens.tasks.language import Language
from entropylens.training.data import Data, Tables, batches, finite_sample, generator
from tests._reference import brute_edges, random_distribution

LANGUAGE = Language(3, 3)
TARGET = random_distribution(27, 0, zeros=0.4)


def take(n: int, data: Data, seed: int = 0) -> Tensor:
    """(n, S): the first n steps."""
    return torch.stack([w.clone() for w in islice(batches(LANGUAGE, TARGET, data, seed), n)])


REGIMES = {
    "exact": Data(),
    "finite": Data("finite", n_samples=12),
    "minibatch": Data("finite", n_samples=12, batch_size=4),
    "fresh": Data("fresh", batch_size=6),
}


@pytest.mark.parametrize("name", REGIMES)
def test_every_step_is_a_distribution_fixed_by_the_seed(name: str) -> None:
    weights = take(9, REGIMES[name], seed=5)
    assert weights.shape == (9, 27)
    torch.testing.assert_close(weights.sum(-1), torch.ones(9).double())
    assert (weights >= 0).all()
    assert float(weights[:, TARGET == 0].abs().max()) == 0
    torch.manual_seed(123)
    assert torch.equal(weights, take(9, REGIMES[name], seed=5))
    if name != "exact":
        assert not torch.equal(weights, take(9, REGIMES[name], seed=6))


def test_exact_is_the_target() -> None:
    assert torch.equal(take(3, Data()), TARGET.expand(3, -1))


def test_finite_stays_with_one_sample() -> None:
    sample = finite_sample(LANGUAGE, TARGET, 12, seed=0)
    counts = np.bincount(sample.numpy(), minlength=27)
    np.testing.assert_array_equal(take(4, REGIMES["finite"]), np.tile(counts / 12, (4, 1)))


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (12, 12), (12, 1), (11, 4)])
def test_an_epoch_takes_each_sample_once(n: int, batch: int) -> None:
    per_epoch = n // batch
    counts = np.bincount(finite_sample(LANGUAGE, TARGET, n, seed=0).numpy(), minlength=27)
    drawn = (take(3 * per_epoch, Data("finite", n_samples=n, batch_size=batch)) * batch).reshape(3, per_epoch, 27)
    torch.testing.assert_close(drawn, drawn.round(), rtol=0, atol=1e-12)
    epochs = drawn.sum(1).round().long().numpy()
    assert (epochs <= counts).all(), "drawn more often than it is in the sample"
    assert (epochs.sum(1) == per_epoch * batch).all()
    if 1 < per_epoch < n:
        assert not torch.equal(drawn[0], drawn[1]), "the same order in every epoch"


def test_fresh_batches_follow_the_target() -> None:
    n, size = 3000, 6
    weights = take(n, Data("fresh", batch_size=size))
    torch.testing.assert_close(weights * size, (weights * size).round(), rtol=0, atol=1e-12)
    deviation = (weights.mean(0) - TARGET) / (TARGET * (1 - TARGET) / (n * size)).sqrt().clamp_min(1e-12)
    assert float(deviation.abs().max()) < 4.5
    assert len(weights.unique(dim=0)) > 100
    assert float(weights.var(0).sum()) == pytest.approx(float((TARGET * (1 - TARGET)).sum()) / size, rel=0.05)


@pytest.mark.parametrize(("uniform", "expected"), [(0.0, 1), (0.25, 3), (1 - 2**-53, 4)])
def test_fresh_draws_at_the_borders_stay_in_the_support(
    uniform: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a uniform number falls on a border between sentences, one of probability 0 is never drawn."""
    monkeypatch.setattr(torch, "rand", lambda n, **like: torch.full((n,), uniform, dtype=like["dtype"]))
    target = torch.zeros(27, dtype=torch.float64)
    target[[1, 3, 4]] = torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64)
    drawn = next(batches(LANGUAGE, target, Data("fresh", batch_size=2), 0))
    assert drawn.nonzero().flatten().tolist() == [expected]


def test_fresh_samples_of_a_point_mass() -> None:
    for where in (0, 26):
        target = torch.eye(27, dtype=torch.float64)[where]
        assert torch.equal(next(batches(LANGUAGE, target, Data("fresh", batch_size=50), 0)), target)


def test_each_purpose_has_its_own_stream() -> None:
    def draws(seed: int, purpose: str) -> tuple[float, ...]:
        return tuple(torch.rand(3, generator=generator(seed, purpose)).tolist())

    streams = [draws(s, p) for s in (0, 1, 2**40) for p in ("init", "sample", "batches")]
    assert len(set(streams)) == 9
    assert draws(1, "init") == draws(1, "init")


def test_minibatches_do_not_change_the_sample() -> None:
    full = take(1, Data("finite", n_samples=12))[0]
    assert torch.equal(take(1, Data("finite", n_samples=12, batch_size=12))[0], full)


def test_tables_renew_the_moving_members_only() -> None:
    order = ["fresh", "exact", "minibatch", "finite"]
    expected = [take(4, REGIMES[name], seed=i) for i, name in enumerate(order)]
    streams = [batches(LANGUAGE, TARGET, REGIMES[name], i) for i, name in enumerate(order)]
    tables = Tables(LANGUAGE, streams, [True, False, True, False], torch.zeros(1, dtype=torch.float64))
    for step in range(4):
        for member in range(4):
            edges = brute_edges(expected[member][step].tolist(), 3, 3)
            np.testing.assert_allclose(tables.table[member], edges, rtol=0, atol=1e-14)
        tables.advance()


@pytest.mark.parametrize(("fields", "message"), [
    ({"regime": "infinite"}, "unknown regime 'infinite'; choose from exact, finite, fresh"),
    ({"regime": "finite"}, "needs.*n_samples"),
    ({"regime": "finite", "batch_size": 3}, "needs.*n_samples"),
    ({"regime": "fresh"}, "needs.*batch_size"),
    ({"regime": "fresh", "batch_size": 3, "n_samples": 9}, "allows"),
    ({"regime": "exact", "batch_size": 3}, "allows none"),
    ({"regime": "exact", "n_samples": 3}, "allows none"),
    ({"regime": "finite", "n_samples": 0}, "at least 1"),
    ({"regime": "fresh", "batch_size": -2}, "at least 1"),
    ({"regime": "finite", "n_samples": 5, "batch_size": 6}, "a batch of 6 cannot come from a sample of 5"),
])  # fmt: skip
def test_bad_regimes_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Data(**fields)


@pytest.mark.parametrize("number", [2.5, "many", 0, -1])
def test_counts_are_whole_numbers(number: object) -> None:
    with pytest.raises(ValueError, match="whole numbers, at least 1"):
        Data("finite", n_samples=number)  # type: ignore[arg-type]
