"""How fast is the engine? Ratios measured side by side in one process, against plain code that does the same.

The work is one full-batch training step (loss, gradient, Adam) of M = 8 models with L = 2 layers on the exact language:

    naive         a plain PyTorch loop: each model alone, on all 3125 × 5 positions, torch.optim.Adam
    loop_on_trie  each model alone, but on the 781 prefixes: what is left is the gain from the population
    jax           the same trie and population in JAX, jit and vmap (if JAX is installed)
    floor         the matrix products that our step cannot avoid, and nothing else
    unlogged      our step itself, against one that logs (training/recording.py): the ratio is 1 / (1 + its cost)

At d = 8, a step of M = 8 looped models (bench_looped.py) is timed, too: T = 25 loops, 32 sequences of 64 tokens:

    naive         a plain PyTorch loop: each model alone, in tensor operations, torch.optim.AdamW
    one_by_one    each model alone, but by the kernel
    floor         exponentials and products, and nothing else

On a GPU (bench_devices.py), our steps there are timed against the same ones on the CPU: `cpu`.

Before anything is timed, the losses of the first steps are compared: they must agree to 5 digits. The contestants take
turns, so that a machine that slows down slows all of them; the ratio is that of the medians.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from entropylens import bench_looped
from entropylens.models.layouts import Layout, SentenceLayout, TrieLayout
from entropylens.models.transformer import Transformer, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet
from entropylens.training.data import generator
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer
from entropylens.training.population import Population, compiler_works, make_step
from entropylens.training.recording import Entry

WIDTHS = (8, 16, 32, 64)
VERSUS = ("naive", "loop_on_trie", "jax", "floor", "unlogged", "one_by_one")
MEMBERS, LAYERS, LR = 8, 2, 1e-3

Step = Callable[[], list[float]]
"""Trains one step and returns the losses of the members before it."""


@dataclass(frozen=True)
class Contest:
    """A step of ours and those that it is compared with; each is built from a configuration."""

    work: str
    """What the step does: `name` in the results."""
    config: Callable[[int], Any]
    """Of a d_model."""
    ours: Callable[..., Step]
    rivals: Mapping[str, Callable[..., Step]]
    checked: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for a step whose losses are compared, where it is not the one that is timed."""
    widths: Sequence[int] | None = None
    """Values of d_model that are measured; None: any."""
    compiles: bool = True
    """Whether our step is compiled, where a compiler works."""


@dataclass(frozen=True)
class Measurement:
    """One comparison; `ratio` is theirs / ours, for the floor ours / floor; seconds are ours, a step."""

    name: str
    d_model: int
    versus: str
    ratio: float
    seconds: float
    their_seconds: float
    rounds: int
    threads: int
    compiled: bool


def run_benchmarks(
    widths: Sequence[int] = WIDTHS,
    versus: Sequence[str] = VERSUS,
    seconds: float = 10.0,
    contests: Sequence[Contest] | None = None,
) -> Iterator[Measurement]:
    """Measure, yielding each comparison as it is done.

    Args:
        widths: values of d_model.
        versus: which of `VERSUS`; jax is left out silently where it is not installed.
        seconds: the least time spent on each comparison, after warming up.
        contests: what is timed; None: `CONTESTS`.

    Raises:
        RuntimeError: if a contestant's losses differ from ours in the first 5 digits: it does not do the same work.
    """
    for contest, width, names in planned(widths, versus, contests):
        config = contest.config(width)
        ours = contest.ours(config)
        for name in names:
            yield _compare(contest, config, ours, name, seconds)


def planned(
    widths: Sequence[int], versus: Sequence[str], contests: Sequence[Contest] | None = None
) -> list[tuple[Contest, int, list[str]]]:
    """What `run_benchmarks` will measure: contests, each with its d_model and the names of the rivals that are here."""
    there = [name for name in versus if name != "jax" or importlib.util.find_spec("jax")]
    asked = [
        (contest, width, [name for name in there if name in contest.rivals])
        for width in widths
        for contest in contests or CONTESTS
        if contest.widths is None or width in contest.widths
    ]
    return [plan for plan in asked if plan[-1]]


def as_rows(measurements: Sequence[Measurement]) -> list[dict[str, object]]:
    """For JSON."""
    return [asdict(m) for m in measurements]


def _compare(contest: Contest, config: Any, ours: Step, name: str, seconds: float) -> Measurement:
    rival = contest.rivals[name]
    theirs = rival(config)
    if name != "floor":
        checked = contest.checked
        _check_same(contest.ours(config, **checked), rival(config, **checked) if checked else theirs, name)
    a, b = _in_turns(ours, theirs, seconds)
    mine, other = statistics.median(a), statistics.median(b)
    ratio = mine / other if name == "floor" else other / mine
    threads, compiled = torch.get_num_threads(), contest.compiles and compiler_works()
    return Measurement(contest.work, config.d_model, name, ratio, mine, other, len(a), threads, compiled)


def _check_same(ours: Step, theirs: Step, name: str) -> None:
    for number in (1, 2, 3):
        for x, y in zip(ours(), theirs(), strict=True):
            if not abs(x - y) <= 1e-5 * abs(x):
                raise RuntimeError(f"{name} does other work than ours: at step {number} its loss is {y}, ours {x}")


def _in_turns(ours: Step, theirs: Step, seconds: float, fewest: int = 5) -> tuple[list[float], list[float]]:
    """Times of each, one call in turn, after two calls to warm up (and compile)."""
    times: tuple[list[float], list[float]] = ([], [])
    for step in (ours, theirs, ours, theirs):
        step()
    while len(times[0]) < fewest or sum(times[0]) + sum(times[1]) < seconds:
        for step, record in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            step()
            record.append(time.perf_counter() - start)
    return times


# ---- the contestants --------------------------------------------------------------------------------------------


def _models(config: TransformerConfig) -> list[Transformer]:
    return [Transformer(config, generator(seed, "init")) for seed in range(MEMBERS)]


def _target(language: Language) -> Tensor:
    return autoregressive_dirichlet(language, seed=0).float()


def ours(
    config: TransformerConfig, compiled: bool | None = None, logged: bool = False, device: torch.device | str = "cpu"
) -> Step:
    """A step as `training.population.train` does it."""
    population = Population(config, range(MEMBERS), device)
    optimizer = PopulationOptimizer([OptimizerConfig("adam", lr=LR)] * MEMBERS, population.parameters)
    layout = TrieLayout(config.language, device)
    table = config.language.edges(_target(config.language)).expand(MEMBERS, -1, -1).to(device)
    entries: list[Entry] | None = [] if logged else None
    step = make_step(population, layout, optimizer, compiler_works() if compiled is None else compiled, entries)
    return lambda: list(map(float, step(table).tolist()))


def _one_by_one(config: TransformerConfig, layout: Layout, loss: Callable[[Tensor], Tensor]) -> Step:
    models = _models(config)
    return bench_looped.one_after_another(
        [lambda model=model: loss(model(layout)) for model in models],  # type: ignore[misc]
        [torch.optim.Adam(m.parameters(), lr=LR) for m in models],
    )


def _naive(config: TransformerConfig) -> Step:
    sentences, target = config.language.sentences, _target(config.language)

    def loss(log_probs: Tensor) -> Tensor:
        by_position = log_probs.reshape(*sentences.shape, -1).gather(-1, sentences[..., None])
        return -(target * by_position.sum((-1, -2))).sum()

    return _one_by_one(config, SentenceLayout(sentences, config.language.vocab_size), loss)


def _loop_on_trie(config: TransformerConfig) -> Step:
    table = config.language.edges(_target(config.language))
    return _one_by_one(config, TrieLayout(config.language), lambda log_probs: -(table * log_probs).sum())


def _jax(config: TransformerConfig) -> Step:
    from entropylens.bench_jax import jax_step

    return jax_step(_models(config), _target(config.language), config, LR)


def _floor(config: TransformerConfig) -> Step:
    """Forward, input gradient and weight gradient of every product of the step, as `torch.bmm` into given memory."""
    d, n, rows = config.d_model, config.language.n_nodes, len(TrieLayout(config.language).tokens)
    shapes = [(rows, d, 3 * d)] + [(n, d, 3 * d)] * (LAYERS - 1)
    shapes += [(n, d, d), (n, d, config.n_neurons), (n, config.n_neurons, d)] * LAYERS
    products = []
    for n_rows, d_in, d_out in shapes:
        x, w, g = (torch.randn(MEMBERS, *s) for s in [(n_rows, d_in), (d_in, d_out), (n_rows, d_out)])
        for left, right in [(x, w), (g, w.transpose(1, 2)), (x.transpose(1, 2), g)]:
            products.append((left, right, torch.empty(MEMBERS, left.shape[1], right.shape[2])))

    def step() -> list[float]:
        for left, right, out in products:
            torch.bmm(left, right, out=out)
        return []

    return step


CONTESTS = (
    Contest(
        "full_batch_step",
        partial(TransformerConfig, Language(), n_layers=LAYERS),
        ours,
        {"naive": _naive, "loop_on_trie": _loop_on_trie, "jax": _jax, "floor": _floor},
    ),
    Contest(
        "logged_step",
        partial(TransformerConfig, Language(), n_layers=LAYERS),
        partial(ours, logged=True),
        {"unlogged": ours},
    ),
    # In float32, rounding errors grow over 25 loops: after a step, losses would differ in the fourth digit.
    Contest(
        "looped_step",
        lambda _width: bench_looped.CONFIG,
        bench_looped.ours,
        {"naive": bench_looped.naive, "one_by_one": bench_looped.one_by_one, "floor": bench_looped.floor},
        {"dtype": torch.float64},
        (bench_looped.CONFIG.d_model,),
        compiles=False,
    ),
)
