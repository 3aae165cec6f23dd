"""Populations side by side and one after the other: none is in another's way."""

from __future__ import annotations

import pytest
import torch

from entropylens.experiments.experiment import train_alone
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language
from entropylens.training.spec import MemberSpec, PopulationSpec, TargetSpec, train_spec


def spec(width: int) -> PopulationSpec:
    config = TransformerConfig(Language(2, 2), d_model=width, n_layers=1)
    member = MemberSpec(0, TargetSpec("autoregressive", 0))
    return PopulationSpec(config, (member,), steps=1, compiled=True)


@pytest.mark.weekly
@pytest.mark.usefixtures("compiler")
def test_a_process_can_compile_more_shapes_than_the_compiler_allows() -> None:
    with torch._dynamo.config.patch(recompile_limit=1):
        assert all(train_alone(spec(width), "cpu").compiled for width in (2, 4))
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):  # the limit is real: without care it is hit
            train_spec(spec(6))
    torch.compiler.reset()
