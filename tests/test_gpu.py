"""A GPU gives the CPU's numbers, and its own again. `make gpu` runs what is marked `gpu`; the rest is the tests' logic.

Tolerances are relative to a loss, after a few updates: 1e-9 in double precision, 1e-4 in single, in which sums are
taken in another order and Adam's first updates are as large whatever the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.experiments import known_source, language_models
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import TransformerConfig
from entropylens.models.windows import Windows
from entropylens.tasks.induction import InductionTask
from entropylens.tasks.language import Language
from entropylens.training.data import Data
from entropylens.training.looped import LoopedMember, LoopedSpec, train_looped
from entropylens.training.regularizers import PAPER
from entropylens.training.spec import MemberSpec, PopulationSpec, TargetSpec, train_spec
from entropylens.training.text import TextData, TextMember, TextSpec, train_text

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no GPU")])]

TRIE = PopulationSpec(
    TransformerConfig(Language(3, 3), d_model=8),
    tuple(MemberSpec(seed, TargetSpec("autoregressive", seed), Data("fresh", batch_size=16)) for seed in range(3)),
    steps=6, dtype="float64", logged=True, compiled=False,
)  # fmt: skip
LOOPED = LoopedSpec(
    LoopedConfig(5, n_loops=3), InductionTask(5, "repeat", scored="all"), tuple(map(LoopedMember, range(3))),
    steps=8, batch_size=4, lengths=(9, 12), regularizer=PAPER, dtype="float64",
)  # fmt: skip
TEXT = TextSpec(
    TransformerConfig(Windows(TextData("source").vocab_size, 16), d_model=16), TextData("source"),
    tuple(map(TextMember, range(3))), steps=8, batch_size=4, length=16, compiled=False,
)  # fmt: skip

ENGINES: dict[str, tuple[Callable[..., Any], Any, float]] = {
    "trie": (train_spec, TRIE, 1e-9),
    "looped": (train_looped, LOOPED, 1e-9),
    "text": (train_text, TEXT, 1e-4),
}


def losses(engine: str, device: str) -> Tensor:
    """Of a training on a device, (steps, M), float64."""
    train, spec, _ = ENGINES[engine]
    return train(spec, device).losses.double()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_device_trains_as_the_cpu_does(engine: str, device: str) -> None:
    here, there = losses(engine, "cpu"), losses(engine, device)
    assert here[0].min() > here[-1].min() > 0  # something was learned
    torch.testing.assert_close(there, here, rtol=ENGINES[engine][2], atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_device_repeats_itself_to_the_last_bit(engine: str, device: str) -> None:
    assert torch.equal(losses(engine, device), losses(engine, device))


@pytest.mark.parametrize("engine", ENGINES)
def test_another_training_is_noticed(engine: str) -> None:
    train, spec, tolerance = ENGINES[engine]
    member = spec.members[0]
    slower = replace(member, optimizer=replace(member.optimizer, lr=0.98 * member.optimizer.lr))
    other = train(replace(spec, members=(slower, *spec.members[1:])), "cpu").losses.double()
    here = losses(engine, "cpu")
    assert not torch.allclose(other[:, 0], here[:, 0], rtol=tolerance, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_language_model_is_measured_as_on_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_source, "LENGTH", TEXT.length)
    kept, _, _ = language_models.train(TEXT, "cpu")
    rows = []
    for where in ("cpu", device):
        monkeypatch.setattr(language_models, "pick_device", lambda _, where=where: where)
        found = known_source.measure(TEXT, kept)
        rows.append(torch.tensor(found[found["kind"] == "model"][["cross_entropy", "forced", "scale"]].to_numpy(float)))
    torch.testing.assert_close(*rows, rtol=1e-4, atol=0)
