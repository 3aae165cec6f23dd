"""Language models on text and on a source that is fitted to it: shapes, rates, training, and what all their rows tell.

A seed draws the initial parameters, the sample and the batches; the corpus, its parts and the source are the same for
all. So intervals over seeds are about models, and say nothing of other texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from entropylens.experiments.experiment import Trained
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import TransformerConfig
from entropylens.models.windows import Windows
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.parallel import count_steps
from entropylens.training.population import pick_device
from entropylens.training.text import TextData, TextMember, TextPopulation, TextSpec, train_text

RATES = {32: 1e-2, 64: 1e-2, 128: 4e-3, 256: 2e-3, 512: 1e-3}
"""Learning rates by width, from pilots with seeds from 1000 on."""

EVALUATED = 7
"""The seed of what all models of a source are read out with: the same windows for all. Member 7 draws its own texts
from the same stream of numbers, by its own probabilities: no number of the rows combines the two."""

Row = dict[str, object]


def adam(d_model: int, lr: float | None = None) -> OptimizerConfig:
    """Adam at the width's rate, or another one, which falls to a fiftieth by a cosine."""
    return OptimizerConfig("adamw", lr=RATES[d_model] if lr is None else lr, final_lr=0.02)


def shape(d_model: int, data: TextData, length: int, n_layers: int = 2) -> TransformerConfig:
    """A decoder-only transformer for a text: heads of 16 columns, of 64 from a width of 256 on."""
    n_heads = d_model // (64 if d_model >= 256 else 16)
    return TransformerConfig(Windows(data.vocab_size, length), d_model=d_model, n_layers=n_layers, n_heads=n_heads)


def members(seeds: int, optimizer: OptimizerConfig) -> tuple[TextMember, ...]:
    """Seeds from 0 on, alike but for that."""
    return tuple(TextMember(seed, optimizer) for seed in range(seeds))


def train(spec: TextSpec, device: str) -> Trained:
    """Train a population.

    Returns:
        losses (steps, M), parameters (K, M, P) and snapshot_steps (K) of `training.text.TextRun`.
    """
    torch.compiler.reset()  # as the first of its process: what was compiled for others is forgotten
    run = train_text(spec, device, count_steps)
    kept = {"losses": run.losses, "parameters": run.parameters, "snapshot_steps": torch.tensor(run.snapshot_steps)}
    return kept, run.seconds, run.compiled


def population_of(spec: TextSpec) -> TextPopulation:
    """A population of the specification's shape, to read with."""
    return TextPopulation(spec.config, [m.seed for m in spec.members])


def snapshots(trained: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Steps, and parameters after them, (M, P), on a GPU if there is one: reading, too, is faster there."""
    device = pick_device("auto")
    for step, theta in zip(trained["snapshot_steps"].tolist(), trained["parameters"], strict=True):
        yield step, theta.to(device)


def regime(data: TextData) -> str:
    """`finite` for a sample of the member's own; else `fresh` of a source, and `whole` of a text."""
    return "finite" if data.n_symbols is not None else "fresh" if data.origin == "source" else "whole"


def labels(spec: TextSpec, trained: Mapping[str, Tensor]) -> list[Row]:
    """What each member is, one entry a member: the design, its shape, its data, its optimizer and its seed."""
    config, data = spec.config, spec.data
    depth = config.n_loops if isinstance(config, LoopedConfig) else config.n_layers
    common: Row = {
        "design": spec.design,
        "main": spec.design == "main",
        "d_model": config.d_model,
        "n_layers": depth,
        "n_parameters": trained["parameters"].shape[-1],
        "origin": data.origin,
        "regime": regime(data),
        "n_symbols": data.n_symbols or 0,
        "steps": spec.steps,
        "seen": spec.steps * spec.batch_size * spec.length,
    }
    return [common | {"optimizer": m.optimizer.name, "lr": m.optimizer.lr, "seed": m.seed} for m in spec.members]


def some(spec: TextSpec, windows: int) -> int:
    """How many windows a model is read on: a model of a few updates, as in the quick profile, on a sixteenth."""
    return windows if spec.steps >= 100 else max(2, windows // 16)


def spread(steps: int, n: int = 5) -> tuple[int, ...]:
    """About evenly in log(step), the untrained model first."""
    return tuple(sorted({0, *(round(steps / 3**k) for k in range(n - 1)), steps}))


def shorter(spec: TextSpec, steps: int = 8, seeds: int = 2) -> TextSpec:
    """The same arm with two members and a few updates: what the quick profile has of it."""
    few = tuple(TextMember(m.seed, m.optimizer) for m in spec.members[:seeds])
    data = spec.data if spec.data.n_symbols is None else replace(spec.data, n_symbols=min(spec.data.n_symbols, 32768))
    return replace(spec, members=few, steps=steps, snapshots=(0,), data=data, compiled=False)


def rows_of(names: Sequence[Row], values: Mapping[str, Tensor]) -> list[Row]:
    """A row a member: its labels and its entry of each (M) tensor."""
    return [name | {key: float(tensor[i]) for key, tensor in values.items()} for i, name in enumerate(names)]
