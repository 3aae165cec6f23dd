"""The benchmark's contestants for looped models: a training step of M of them on the same induction data.

    naive       a plain PyTorch loop: each model alone, its block in tensor operations, torch.optim.AdamW
    one_by_one  each model alone, but by models/loop_kernel.py: what is left is the gain from the population
    floor       the exponentials and the products that a step cannot avoid, and nothing else

All sequences are as long, and the same at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from entropylens.models.looped import LoopedConfig, LoopedTransformer, LoopTrace
from entropylens.tasks.induction import Batch, InductionTask, sample
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, scores, stack
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer

MEMBERS, SEQUENCES, LENGTH = 8, 32, 64
LR, DECAY = 1e-3, 0.1
CONFIG = LoopedConfig()
"""The paper's width and loops: d = 8, T = 25."""

Step = Callable[[], list[float]]


def ours(config: LoopedConfig = CONFIG, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Step:
    """A step as `training.looped.train_looped` does it."""
    population, batch = LoopedPopulation(config, range(MEMBERS), device, dtype), stack(_batches(config))
    batch = Batch(*(getattr(batch, name).to(device) for name in ("tokens", "answers", "scored")))
    theta, how = population.parameters, OptimizerConfig("adamw", lr=LR, weight_decay=DECAY)
    optimizer = PopulationOptimizer([how] * MEMBERS, theta)

    def step() -> list[float]:
        theta.requires_grad_(True)
        loss, _ = scores(population.logits(theta, batch.tokens), batch)
        (grad,) = torch.autograd.grad(loss.sum(), theta)
        theta.requires_grad_(False)
        optimizer.step(grad)
        return list(map(float, loss.tolist()))

    return step


def _batches(config: LoopedConfig) -> list[Batch]:
    task = InductionTask(config.vocabulary, "repeat", scored="all")
    return [sample(task, SEQUENCES, LENGTH, generator(seed, "batches")) for seed in range(MEMBERS)]


def one_after_another(losses: Sequence[Callable[[], Tensor]], optimizers: Sequence[torch.optim.Optimizer]) -> Step:
    """The plain PyTorch loop: each model's loss, gradient and update, before the next one's."""

    def step() -> list[float]:
        values = []
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            value = loss()
            value.backward()
            optimizer.step()
            values.append(value.item())
        return values

    return step


def _each_alone(
    config: LoopedConfig, dtype: torch.dtype, logits: Callable[[LoopedTransformer, Tensor], Tensor]
) -> Step:
    models = [config.build(generator(seed, "init")).to(dtype) for seed in range(MEMBERS)]

    def loss(model: LoopedTransformer, batch: Batch) -> Tensor:
        return F.cross_entropy(logits(model, batch.tokens).flatten(0, 1), batch.answers.flatten())

    return one_after_another(
        [partial(loss, model, batch) for model, batch in zip(models, _batches(config), strict=True)],
        [torch.optim.AdamW(m.parameters(), lr=LR, weight_decay=DECAY) for m in models],
    )


def naive(config: LoopedConfig = CONFIG, dtype: torch.dtype = torch.float32) -> Step:
    """One model after the other; a trace makes a block take the way of its definition."""
    return _each_alone(config, dtype, lambda model, tokens: model(tokens, LoopTrace()))


def one_by_one(config: LoopedConfig = CONFIG, dtype: torch.dtype = torch.float32) -> Step:
    """One model after the other, as fast as each can be."""
    return _each_alone(config, dtype, lambda model, tokens: model(tokens))


def floor(config: LoopedConfig = CONFIG) -> Step:
    """The exponentials and products of T loops, forward and backward, into given memory.

    A causal mask leaves n (n + 1) / 2 pairs of tokens. They are made by a rectangle of no more: n / 2 fewer for even n.
    """
    d, f, n = config.d_model, config.n_neurons, LENGTH
    seen = (n + 1) // 2 if config.causal else n
    random = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    work: list[Callable[[], object]] = []

    def product(left: Tensor, right: Tensor) -> Tensor:
        out = left @ right
        work.append(lambda: torch.bmm(left, right, out=out))
        return out

    for d_in, d_out in [(d, 3 * d), *([(d, f), (f, d)] if f else [])]:
        rows = SEQUENCES * n
        x, w, g = random(MEMBERS, rows, d_in), random(MEMBERS, d_in, d_out), random(MEMBERS, rows, d_out)
        for left, right in [(x, w), (g, w.mT), (x.mT, g)]:
            product(left, right)
    q, du = (random(MEMBERS * SEQUENCES, n, d) for _ in range(2))
    k, v = (random(MEMBERS * SEQUENCES, seen, d) for _ in range(2))
    logits = product(q, k.mT)
    p, ds = logits.exp(), product(du, v.mT)
    work.append(lambda: torch.exp(logits, out=p))
    for left, right in [(p, v), (p.mT, du), (ds, k), (ds.mT, q)]:
        product(left, right)

    def step() -> list[float]:
        for _ in range(config.n_loops):
            for do in work:
                do()
        return []

    return step
