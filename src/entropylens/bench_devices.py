"""The benchmark on a GPU: a training step there against the same step on the CPU, as fast as each of them can.

Steps of tiny models hardly fill a GPU; those of language models do, and are what it is wanted for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from entropylens import bench, bench_looped
from entropylens.bench import LR, MEMBERS, Contest, Step
from entropylens.models.transformer import TransformerConfig
from entropylens.models.windows import Windows
from entropylens.tasks.language import Language
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer
from entropylens.training.text import TextPopulation

RIVAL = "cpu"
SYMBOLS, LENGTH, BATCH = 96, 64, 16
"""Of a language model's alphabet, its windows, and how many of them a step reads."""


def contests(device: torch.device | str) -> tuple[Contest, ...]:
    """The steps of the three engines on a device, against the CPU."""

    def contest(work: str, config: Callable[[int], Any], step: Callable[..., Step], **how: Any) -> Contest:
        return Contest(work, config, partial(step, device=device), {RIVAL: step}, **how)

    trie = partial(TransformerConfig, Language(), n_layers=bench.LAYERS)
    text = partial(TransformerConfig, Windows(SYMBOLS, LENGTH), n_layers=bench.LAYERS)
    return (
        contest("full_batch_step", trie, bench.ours),
        contest(
            "looped_step", lambda _width: bench_looped.CONFIG, bench_looped.ours,
            checked={"dtype": torch.float64}, widths=(bench_looped.CONFIG.d_model,), compiles=False,
        ),
        contest("text_step", text, text_step, compiles=False),
    )  # fmt: skip


def text_step(config: TransformerConfig, device: torch.device | str = "cpu") -> Step:
    """A step as `training.text.train_text` does it, not compiled, on the same windows each time."""
    population = TextPopulation(config, list(range(MEMBERS)), device)
    theta = population.parameters
    optimizer = PopulationOptimizer([OptimizerConfig("adamw", lr=LR)] * MEMBERS, theta)
    drawn = torch.randint(SYMBOLS, (MEMBERS, BATCH, LENGTH), generator=generator(0, "batches"))
    windows = drawn.to(device)

    def step() -> list[float]:
        theta.requires_grad_(True)
        loss = population.losses(theta, windows)
        (grad,) = torch.autograd.grad(loss.sum(), theta)
        theta.requires_grad_(False)
        optimizer.step(grad)
        return list(map(float, loss.tolist()))

    return step
