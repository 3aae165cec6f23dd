"""Train M language models, alike in shape but not in seed or optimizer, as one tensor program on windows of text.

As in `training.population`, a member's parameters are a row of a matrix (M, P), and the model's own code runs on all
rows at once. Windows are the members' own: symbols (M, B, T). A window's first symbol is predicted from BOS alone.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from entropylens.models.layouts import Layout
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.models.windows import WindowLayout, inputs
from entropylens.tasks.corpus import Corpus, documentation, folded, joined, read_corpus, subset
from entropylens.tasks.source import MarkovSource
from entropylens.training.data import generator
from entropylens.training.looped import LoopedPopulation, clipped
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer
from entropylens.training.population import COMPILE_FROM, Population, compiler_works

Origin = Literal["text", "source"]
ORDER = 3
"""Of the source: a symbol depends on the two before it."""

AHEAD = 64
"""Batches of the fresh source that are drawn at a time."""

Shape = TransformerConfig | LoopedConfig


@dataclass(frozen=True)
class TextData:
    """What windows are taken from.

    Attributes:
        origin: `text`, the corpus's training documents; or `source`, the Markov chain that is fitted to them after
            folding (`tasks.corpus.folded`), whose entropy is known.
        n_symbols: a member's own sample of so many, which it sees again and again; None: the whole text, or fresh
            windows of the source at each step.
        corpus: `documentation`, which ships with this package, or the path of a text file.

    Raises:
        ValueError: for another origin, or less than a symbol.
    """

    origin: Origin = "text"
    n_symbols: int | None = None
    corpus: str = "documentation"

    def __post_init__(self) -> None:
        if self.origin not in get_args(Origin):
            raise ValueError(f"unknown origin {self.origin!r}; choose from {', '.join(get_args(Origin))}")
        if self.n_symbols is not None and self.n_symbols < 1:
            raise ValueError(f"a sample has one symbol or more, got {self.n_symbols}")

    @property
    def vocab_size(self) -> int:
        """V."""
        return corpus_of(self.corpus).vocab_size if self.origin == "text" else source_of(self.corpus).vocab_size


@functools.cache
def corpus_of(name: str) -> Corpus:
    """The corpus of that name: `documentation`, or the path of a text file."""
    return documentation() if name == "documentation" else read_corpus(name)


@functools.cache
def source_of(name: str) -> MarkovSource:
    """The source that is fitted to the training documents of a corpus, folded."""
    small = folded(corpus_of(name))
    return MarkovSource.fit([document.symbols for document in small.train], small.vocab_size, ORDER)


@dataclass(frozen=True)
class TextMember:
    """One model to be trained: the seed draws its initial parameters, its sample and its batches."""

    seed: int
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adamw"))


@dataclass(frozen=True)
class TextSpec:
    """A population of language models in words.

    Attributes:
        config: the common shape; of a looped model, the vocabulary has BOS in it, V + 1.
        data: what all are trained on.
        members: what differs.
        steps: updates.
        batch_size: windows a step and member.
        length: T, symbols of a window.
        clip: the largest norm of a member's gradient; longer ones are scaled to it. None: as long as they are.
        snapshots: numbers of updates after which parameters are kept; the last is always.
        compiled: whether to use torch.compile; None decides by the amount of work. Looped models are not compiled.
        design: a label, on which training does not depend.

    Raises:
        ValueError: if the fields do not fit together.
    """

    config: Shape
    data: TextData
    members: tuple[TextMember, ...]
    steps: int
    batch_size: int = 16
    length: int = 64
    clip: float | None = 1.0
    snapshots: tuple[int, ...] = ()
    compiled: bool | None = None
    design: str = "main"

    def __post_init__(self) -> None:
        kept, n = self.kept, self.data.n_symbols
        if self.steps < 1 or not self.members or self.batch_size < 1 or self.length < 2:
            raise ValueError(
                f"needs members, a step, a window and two symbols of it, got {len(self.members)}, {self.steps}, "
                f"{self.batch_size} and {self.length}"
            )
        if kept[0] < 0 or kept[-1] > self.steps:
            raise ValueError(f"snapshots are taken after 0 … {self.steps} steps, got {self.snapshots}")
        if not (self.clip is None or self.clip > 0):
            raise ValueError(f"needs a clip above 0, got {self.clip}")
        if n is not None and n < (self.batch_size + 1) * self.length:
            raise ValueError(
                f"a sample of {n} symbols has less than the {self.batch_size + 1} windows of {self.length} that are "
                "needed to cut a batch anywhere"
            )
        if isinstance(self.config, TransformerConfig) and self.config.language.length != self.length:
            raise ValueError(f"the model has {self.config.language.length} positions, a window has {self.length}")

    @property
    def kept(self) -> list[int]:
        """The numbers of updates after which parameters are kept."""
        return sorted({*self.snapshots, self.steps})

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same training; and that of the same text."""
        asked = asdict(self)
        del asked["design"]
        asked["digest"] = corpus_of(self.data.corpus).digest
        return json.dumps(asked, sort_keys=True)

    def work(self) -> float:
        """Floating-point operations, roughly: what an estimate of seconds is scaled by."""
        c = self.config
        depth, wide = (c.n_loops, 3e3) if isinstance(c, LoopedConfig) else (c.n_layers, 6e3)
        layer = 2 * c.d_model * (4 * c.d_model + 2 * c.n_neurons + self.length) + wide
        per_symbol = depth * layer + 2 * c.d_model * 2 * 100
        return 3.0 * per_symbol * self.batch_size * self.length * len(self.members) * self.steps


@dataclass(frozen=True)
class TextRun:
    """What training left behind."""

    spec: TextSpec
    losses: Tensor
    """(steps, M): cross-entropy of each batch before its update, nats a symbol."""
    parameters: Tensor
    """(K, M, P) after the updates of `snapshot_steps`."""
    snapshot_steps: list[int]
    seconds: float
    compiled: bool


class TextPopulation:
    """The models of several members, stacked.

    Args:
        config: their common shape.
        seeds: one a member; a member starts from the same parameters whoever else is in the population.
        device: where they live.
    """

    def __init__(self, config: Shape, seeds: list[int], device: torch.device | str = "cpu") -> None:
        self.config = config
        self._looped = LoopedPopulation(config, seeds, device) if isinstance(config, LoopedConfig) else None
        self._plain = None if isinstance(config, LoopedConfig) else Population(config, seeds, device)
        population = self._looped or self._plain
        assert population is not None
        self.parameters = population.parameters

    @property
    def vocab_size(self) -> int:
        """V, without BOS."""
        c = self.config
        return c.vocabulary - 1 if isinstance(c, LoopedConfig) else c.language.vocab_size

    def log_probs(self, parameters: Tensor, windows: Tensor, trace: Trace | None = None) -> Tensor:
        """Log pθ of each symbol at each place of windows (M, B, T) or (B, T), given those before: (M, B, T, V), nats.

        A looped model's probabilities are those of symbols, BOS left out; it takes no trace.
        """
        v = self.vocab_size
        if self._looped is None:
            flat: Tensor = self.log_conditionals(parameters, WindowLayout(windows, v), trace)
            return flat.view(*flat.shape[:-2], *windows.shape[-2:], v)
        seen = inputs(windows, v)
        seen = seen if seen.ndim == 3 else seen.expand(len(parameters), *seen.shape)
        scores: Tensor = self._looped.logits(parameters, seen)[..., :v]
        return scores.log_softmax(-1)

    def log_conditionals(self, parameters: Tensor, layout: Layout, trace: Trace | None = None) -> Tensor:
        """Log pθ of the next symbol at every position of a layout, (M, N, V), nats.

        Raises:
            ValueError: for looped models, which know windows only.
        """
        if self._plain is None:
            raise ValueError("looped models read windows, not layouts")
        return self._plain.log_conditionals(parameters, layout, trace)

    def losses(self, parameters: Tensor, windows: Tensor) -> Tensor:
        """Cross-entropy of each member on its windows (M, B, T), (M), nats a symbol."""
        return -self.log_probs(parameters, windows).gather(-1, windows[..., None]).mean((-3, -2, -1))


def batches(spec: TextSpec, seed: int) -> Iterator[Tensor]:
    """A member's windows, (B, T), step after step without end.

    Of the fresh source: new ones. Of a sample of it: each once an epoch, in a new order. Of a text: it is cut into
    windows from a new place in each epoch, and they are seen in a new order. What does not fill a batch is left out.

    Raises:
        ValueError: for a text that does not fill a batch, wherever it is cut.
    """
    data = spec.data
    random = generator(seed, "batches")
    if data.origin == "source":
        source, n = source_of(data.corpus), data.n_symbols
        while n is None:  # many at once: a step of the source costs about as much for a window as for thousands
            yield from source.sample(AHEAD * spec.batch_size, spec.length, random).split(spec.batch_size)
        sample = source.sample(n // spec.length, spec.length, generator(seed, "sample"))
        while True:
            yield from _shuffled(sample, spec.batch_size, random)
    stream, needed = text_of(data, seed), (spec.batch_size + 1) * spec.length
    if len(stream) < needed:
        raise ValueError(f"the text has {len(stream)} symbols; {needed} are needed to cut a batch anywhere")
    while True:
        start = int(torch.randint(spec.length, (), generator=random))
        many = (len(stream) - start) // spec.length
        cut = stream[start : start + many * spec.length].view(many, spec.length)
        yield from _shuffled(cut, spec.batch_size, random)


def text_of(data: TextData, seed: int) -> Tensor:
    """The text that a member learns from, (n,): all training documents, or its own draw of them."""
    documents = corpus_of(data.corpus).train
    return joined(documents if data.n_symbols is None else subset(documents, data.n_symbols, seed))


def _shuffled(windows: Tensor, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(len(windows), generator=random)
    for start in range(0, len(windows) - batch_size + 1, batch_size):
        yield windows[order[start : start + batch_size]]


def epoch(data: TextData, batch_size: int, length: int) -> int:
    """Updates in which a text is seen once."""
    n = len(text_of(data, 0)) if data.n_symbols is None else data.n_symbols
    return (n // length - 1) // batch_size


def train_text(spec: TextSpec, device: str = "cpu", progress: Callable[[int], None] | None = None) -> TextRun:
    """Train a population from its specification.

    Raises:
        ValueError: if the model's vocabulary is not that of the data.
    """
    started = time.perf_counter()
    population = TextPopulation(spec.config, [m.seed for m in spec.members], device)
    if population.vocab_size != spec.data.vocab_size:
        raise ValueError(f"the model has {population.vocab_size} symbols, its data {spec.data.vocab_size}")
    theta = population.parameters
    optimizer = PopulationOptimizer([m.optimizer for m in spec.members], theta, spec.steps)
    streams = [batches(spec, m.seed) for m in spec.members]
    compiled = _is_compiled(spec, theta)
    of = torch.compile(population.losses, fullgraph=True, dynamic=False) if compiled else population.losses
    losses, snapshots = [], [theta.cpu().clone()] if 0 in spec.kept else []
    for number in range(1, spec.steps + 1):
        windows = torch.stack([next(stream) for stream in streams]).to(device)
        theta.requires_grad_(True)
        loss = of(theta, windows)
        (grad,) = torch.autograd.grad(loss.sum(), theta)
        theta.requires_grad_(False)
        optimizer.step(grad if spec.clip is None else clipped(grad, spec.clip))
        losses.append(loss.detach())
        if number in spec.kept:
            snapshots.append(theta.cpu().clone())
        if progress:
            progress(1)
    seconds = time.perf_counter() - started
    return TextRun(spec, torch.stack(losses).cpu(), torch.stack(snapshots), spec.kept, seconds, compiled)


def _is_compiled(spec: TextSpec, theta: Tensor) -> bool:
    if isinstance(spec.config, LoopedConfig):
        return False  # its kernel is compiled already
    asked = theta.numel() * spec.steps >= COMPILE_FROM if spec.compiled is None else spec.compiled
    return asked and compiler_works()
