"""What language models are like whose sentences nobody can enumerate: unbiased estimates with intervals, in nats.

A model's own entropy is an expectation over its own texts, x ∼ pθ. Two estimates have it as their mean:

    −log pθ(x)                    the surprise of what was drawn
    Σ_t H(pθ(· | x_<t))           the entropy of each step, met on the way

The second is the first with each symbol's surprise replaced by its expectation given what came before (as Rao and
Blackwell do): as unbiased, and more precise wherever we looked, though no theorem says so of a sum. Neither needs a
target. What a target, or a text, allows besides:

    forced entropy    E_{x∼p} Σ_t H(pθ(· | x_<t))      how sure the model is where the *text* has led it
    cross-entropy     E_{x∼p} Σ_t −log pθ(x_t | x_<t)  how right it is there; H(p) + KL(p‖pθ) of a source p
    overconfidence    the second less the first        above 0: it is surer than it is right

Multiply all log-probabilities by β and normalise again: the cross-entropy's derivative in β, at 1, is the
overconfidence. Training that has come to rest, on whatever it was trained on, has driven it to zero *there*; hence the
forced entropy is then the cross-entropy, which is above the entropy of the source by KL(p‖pθ). See `scale`.

Shapes: M models, W windows, T symbols of each, V symbols of the alphabet. Models are read where their parameters lie;
what is found is float64, and on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from entropylens.models.transformer import TransformerConfig
from entropylens.models.windows import StepLayout
from entropylens.training.text import TextPopulation

CHUNK = 4096
"""Symbols of each model that are looked at in one pass: what keeps (M, W, T, V) small."""


class Interval(NamedTuple):
    """A mean and half the width of its 95 % interval, (…) each."""

    mean: Tensor
    half: Tensor

    def covers(self, value: Tensor | float) -> Tensor:
        """Whether the interval holds a value, (…) bool."""
        return (self.mean - value).abs() <= self.half


def interval(values: Tensor) -> Interval:
    """Student's t over independent windows, (…, W) to (…).

    Raises:
        ValueError: for fewer than two windows, of whose spread nothing is known.
    """
    n = values.shape[-1]
    if n < 2:
        raise ValueError(f"an interval needs two windows or more, got {n}")
    values = values.double()
    quantile = float(stats.t.ppf(0.975, n - 1))
    return Interval(values.mean(-1), quantile * values.std(-1) / n**0.5)


class Forced(NamedTuple):
    """What models say of given windows, (M, W, T) each, nats."""

    surprise: Tensor
    """−log pθ(x_t | x_<t) of the symbol that is there."""
    entropy: Tensor
    """Of pθ(· | x_<t)."""
    confidence: Tensor
    """Of the likeliest symbol, its probability."""
    right: Tensor
    """1 where the likeliest symbol is there, else 0."""
    expected: Tensor
    """E_{v∼p} −log pθ(v | x_<t) where conditionals p are given, else the surprise again."""


@torch.no_grad()
def forced(
    population: TextPopulation,
    parameters: Tensor,
    windows: Tensor,
    conditionals: Callable[[Tensor], Tensor] | None = None,
) -> Forced:
    """Let models read windows (W, T), or each its own (M, W, T), and say what they expect at every position.

    Args:
        population: of the models.
        parameters: theirs, (M, P).
        windows: symbols.
        conditionals: windows (W, T) to the source's own p(· | x_<t), (W, T, V): it takes the place of the one symbol
            that was drawn, which leaves the mean where it is and takes a part of the noise.
    """
    found = []
    for part in parts_of(windows, parameters.device):
        log_q = population.log_probs(parameters, part).double()
        q, at = log_q.exp(), part[..., None].expand(len(parameters), *part.shape[-2:], 1)
        surprise = -log_q.gather(-1, at)[..., 0]
        confidence, likeliest = q.max(-1)
        expected = surprise if conditionals is None else -(conditionals(part.cpu()).to(q) * log_q).sum(-1)
        right = (likeliest == at[..., 0]).double()
        found.append([x.cpu() for x in (surprise, -(q * log_q).sum(-1), confidence, right, expected)])
    return Forced(*(torch.cat(values, dim=1) for values in zip(*found, strict=True)))


class Sampled(NamedTuple):
    """Models' own texts."""

    symbols: Tensor
    """(M, W, T)."""
    surprise: Tensor
    """(M, W, T) −log pθ(x_t | x_<t), nats; its sum over t is the first of the two estimates."""
    entropy: Tensor
    """(M, W, T) of pθ(· | x_<t), nats; its sum over t is the second."""


@torch.no_grad()
def sampled(
    population: TextPopulation, parameters: Tensor, n: int, length: int, generators: Sequence[torch.Generator]
) -> Sampled:
    """Draw n texts from each of M models, by a generator (on the CPU) of its own.

    Raises:
        ValueError: for looped models or those without attention, which do not remember what they have read; for more
            symbols than a model has positions, fewer than one text, or not one generator a model.
    """
    config = population.config
    if not isinstance(config, TransformerConfig) or config.variant == "ffn_only":
        raise ValueError("only models with attention, and not looped, are sampled step by step")
    if n < 1 or not 1 <= length <= config.language.length or len(generators) != len(parameters):
        raise ValueError(
            f"needs a text, 1 … {config.language.length} symbols of it and {len(parameters)} generators; "
            f"got {n}, {length} and {len(generators)}"
        )
    device = parameters.device
    uniform = torch.stack([torch.rand(length, n, generator=g, dtype=torch.float64) for g in generators], 1).to(device)
    layout = StepLayout(torch.full((len(parameters), n), population.vocab_size, device=device), config.n_layers)
    found = []
    for u in uniform:  # (M, n)
        log_q = population.log_conditionals(parameters, layout).double()
        cumulative = log_q.exp().cumsum(-1)
        symbol = torch.searchsorted(cumulative / cumulative[..., -1:], u[..., None], right=True)
        found.append((symbol[..., 0], -log_q.gather(-1, symbol)[..., 0], -(log_q.exp() * log_q).sum(-1)))
        layout.advance(symbol[..., 0])
    return Sampled(*(torch.stack(values, dim=-1).cpu() for values in zip(*found, strict=True)))


@torch.no_grad()
def scale(population: TextPopulation, parameters: Tensor, windows: Tensor, steps: int = 4) -> Tensor:
    """The factor β of log pθ with which each model predicts windows (W, T) best, (M): below 1, it was too sure.

    By Newton's method from β = 1: with z = log pθ and q ∝ exp(βz), the cross-entropy's derivative is E_q z − z(x_t),
    and its second one the variance of z under q, so that it has one minimum. Four steps are within 2e-3 of a β between
    0.7 and 3.
    """
    beta = torch.ones(len(parameters), dtype=torch.float64, device=parameters.device)
    for _ in range(steps):
        slope, bend = torch.zeros_like(beta), torch.zeros_like(beta)
        for part in parts_of(windows, parameters.device):
            z = population.log_probs(parameters, part).double()
            q = (beta[:, None, None, None] * z).softmax(-1)
            mean = (q * z).sum(-1)
            there = z.gather(-1, part[None, ..., None].expand(len(z), *part.shape, 1))[..., 0]
            slope += (mean - there).sum((-2, -1))
            bend += ((q * z * z).sum(-1) - mean * mean).sum((-2, -1))
        beta = (beta - slope / bend.clamp(min=1e-12)).clamp(0.1, 10.0)
    return beta.cpu()


def reliability(confidence: Tensor, right: Tensor, bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """How often the likeliest symbol is right, by how likely it was said to be: shares, confidences and accuracies.

    Args:
        confidence: of any shape, 0 … 1; NaN, of a model that has diverged, falls into no bin.
        right: 1 or 0, of the same shape.
        bins: of equal width, from 0 to 1.

    Returns:
        (bins) each: the share of predictions that fall into a bin, their mean confidence, and the share of them that is
        right; NaN where there are none. The expected calibration error is Σ share · |confidence − accuracy|.
    """
    known = ~confidence.isnan()
    confidence, right = confidence[known].double(), right[known].double()
    place = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(place, minlength=bins).double()
    means = [torch.bincount(place, values, bins) / count for values in (confidence, right)]
    return count / count.sum(), means[0], means[1]


def parts_of(windows: Tensor, device: torch.device | str) -> Iterator[Tensor]:
    """Some windows at a time, on a device."""
    for part in windows.split(max(1, CHUNK // windows.shape[-1]), dim=-2):
        yield part.to(device)
