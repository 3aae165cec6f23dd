"""What the parts of a language model do while it reads: which neurons fire, and what cutting attention or an FFN costs.

Shapes: M models, W windows of T symbols, L layers, f neurons of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from entropylens.measures.estimates import parts_of
from entropylens.measures.paths import Intervention
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.models.windows import WindowLayout
from entropylens.training.text import TextPopulation

Cut = Literal["even", "deaf", "ffn"]
"""A layer's attention looks at all positions so far alike; its heads hand on nothing; its FFN adds nothing."""


@dataclass
class Firing(Trace):
    """A trace that counts in how many contexts each neuron fires, over all passes that it sees."""

    contexts: int = 0
    counts: list[Tensor] = field(default_factory=list)
    """(M, f) a layer."""
    _layer: int = 0
    every_position = False

    def take(self, name: str, x: Tensor) -> Tensor:
        """Count where neurons (M, N, f) are above zero; forget everything else."""
        if name == "neurons":
            fired = (x > 0).sum(-2)
            if self._layer == len(self.counts):
                self.counts.append(fired)
            else:
                self.counts[self._layer] += fired
            self._layer += 1
        return x

    def begin(self, contexts: int) -> None:
        """A pass over so many contexts is going to follow."""
        self.contexts, self._layer = self.contexts + contexts, 0


@torch.no_grad()
def firing(population: TextPopulation, parameters: Tensor, windows: Tensor) -> Tensor:
    """The share of the contexts in windows (W, T) in which each neuron fires, (L, M, f) float64.

    A neuron that fired in none of n contexts fires, at 95 % confidence, in fewer than 3 of n.
    """
    trace = Firing()
    for part in parts_of(windows, parameters.device):
        trace.begin(part.shape[-2] * part.shape[-1])
        population.log_probs(parameters, part, trace)
    return torch.stack(trace.counts).double().cpu() / trace.contexts


class CutLayout(WindowLayout):
    """Windows in which one layer's attention does not attend.

    Args:
        windows: (*, B, T).
        vocab_size: V.
        layer: which, from 0.
        even: whether its heads average all positions so far, or hand on nothing.
    """

    def __init__(self, windows: Tensor, vocab_size: int, layer: int, even: bool) -> None:
        super().__init__(windows, vocab_size)
        self._left, self._even = layer, even

    def attend(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """As usual, but once."""
        self._left -= 1
        if self._left != -1:
            return super().attend(qkv)
        values = qkv[..., 2, :, :]
        mixed = self.average(values.flatten(-2)).view_as(values) if self._even else torch.zeros_like(values)
        return mixed, qkv.new_empty(0)


@torch.no_grad()
def cut_costs(population: TextPopulation, parameters: Tensor, windows: Tensor) -> dict[tuple[int, Cut], Tensor]:
    """By how much each model's cross-entropy on windows (W, T) grows when a layer is cut, (M) float64, nats a symbol.

    Returns:
        For each layer, from 0, and each cut.
    """
    config, v = population.config, population.vocab_size
    assert isinstance(config, TransformerConfig)
    cuts = [(layer, cut) for layer in range(config.n_layers) for cut in get_args(Cut)]
    total = {cut: torch.zeros(len(parameters), dtype=torch.float64) for cut in cuts}
    for part in parts_of(windows, parameters.device):
        at = part.flatten()[None, :, None].expand(len(parameters), -1, 1)
        whole = population.log_conditionals(parameters, WindowLayout(part, v)).gather(-1, at)
        for layer, cut in cuts:
            trace = Intervention({("recalled", layer): parameters.new_zeros(())}) if cut == "ffn" else None
            layout = WindowLayout(part, v) if cut == "ffn" else CutLayout(part, v, layer, cut == "even")
            left = population.log_conditionals(parameters, layout, trace).gather(-1, at)
            total[layer, cut] += (whole - left).double().sum((-2, -1)).cpu()
    return {cut: cost / windows.numel() for cut, cost in total.items()}
