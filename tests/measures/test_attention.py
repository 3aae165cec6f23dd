"""What is said of the last token's attention is what its rows hold."""

from __future__ import annotations

import pytest
import torch

from entropylens.experiments.looped_induction import SETTINGS
from entropylens.measures.attention import certainty
from entropylens.models.entropies import normalised_tsallis
from entropylens.models.looped import LoopedConfig, LoopTrace
from entropylens.tasks.induction import InductionTask, sample, solve
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, rebuild


def test_several_hops_are_refused() -> None:
    population = LoopedPopulation(LoopedConfig(16, n_loops=1), [0])
    with pytest.raises(ValueError, match="after one hop, got a task with hops=2"):
        certainty(population, population.parameters, InductionTask(16, "repeat", hops=2), 20, 8)


@pytest.mark.parametrize("name", ["plain", "hint, last", "unique", "trigger"])
def test_certainty_is_that_of_each_models_rows(name: str) -> None:
    setting = SETTINGS[name]
    population = LoopedPopulation(LoopedConfig(16, n_loops=3, hint=setting.hint, norm="pre"), [0, 1])
    found = certainty(population, population.parameters, setting.task, 20, 8)
    batch = sample(setting.task, 8, 20, generator(20, "certainty"))
    for m in range(2):
        model, trace = rebuild(population.config, population.parameters[m]), LoopTrace()
        with torch.no_grad():
            model(batch.tokens, trace)
        rows = torch.stack(trace.rows)[:, :, -1]  # (T, B, n)
        assert float(found.most[m]) == pytest.approx(float(rows.amax(-1).mean()), rel=1e-5)
        assert float(found.open[m]) == pytest.approx(float(normalised_tsallis(rows, 1.5).mean()), rel=1e-5)
        at = [int((tokens[:-1] == tokens[-1]).nonzero().max()) + 1 for tokens in batch.tokens]
        weights = torch.stack([rows[:, b, j] for b, j in enumerate(at)], dim=1)  # (T, B)
        assert float(found.answer[m]) == pytest.approx(float(weights.mean(-1).max()), rel=1e-5)
        answers, _ = solve(batch.tokens)
        assert [int(batch.tokens[b, j]) for b, j in enumerate(at)] == answers[:, -1].tolist()
