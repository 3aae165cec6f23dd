"""Which way the information goes in a model: past attention along the residual, through attention, or through the FFN.

Three kinds of evidence, for every path of every layer:

* its *weight*, where the model has a router (models/routed.py): the paper's kind, a proxy;
* its *norm*: how long is what it adds to the sum, weight included, on average over contexts;
* its *cut*: by how many nats a sentence KL(p_tgt‖pθ) grows when what it adds is replaced by nothing (`zero`) or by its
  mean over contexts (`mean`), or when a layer's attention looks at all positions alike (`even`). The rest of the model
  runs on with what it then gets. This is the effect itself. A cut may be negative: what overfits can be better without.

The mean over contexts is always the target's own: a context of length t counts p_tgt(context) / T.

Shapes: N contexts, d = d_model, H heads, D = d / H. Layers are counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from entropylens.models.layouts import TrieLayout
from entropylens.models.routed import RoutedBlock
from entropylens.models.transformer import Attention, Block, Trace, Transformer

Edits = Mapping[tuple[str, int], Tensor]
"""A list of `Trace` and a layer, and what its entry is replaced by (broadcast to its shape)."""


EDITABLE = {"entering", "heads", "mixed", "neurons", "recalled", "residual"}


class Intervention(Trace):
    """A trace that hands the forward pass something else than what it computed.

    It can replace what a later step goes on with: `entering`, `heads`, `mixed`, `neurons`, `recalled` and `residual`.

    Raises:
        ValueError: for another entry; attention and path weights have been used when the trace is told of them.
    """

    def __init__(self, edits: Edits) -> None:
        super().__init__()
        if unknown := {name for name, _ in edits} - EDITABLE:
            raise ValueError(f"{sorted(unknown)} cannot be replaced; choose from {', '.join(sorted(EDITABLE))}")
        self._edits = edits

    def take(self, name: str, x: Tensor) -> Tensor:
        """Keep an entry, or what replaces it."""
        edit = self._edits.get((name, len(getattr(self, name))))
        return super().take(name, x if edit is None else edit.expand_as(x))


class Paths:
    """A model on a target, ready to be looked into and cut.

    Args:
        model: with attention; float64 keeps the cuts exact.
        layout: the trie of its language.
        target: p_tgt, (S,) float64, nats as everywhere.

    Raises:
        ValueError: for a model without attention.
    """

    def __init__(self, model: Transformer, layout: TrieLayout, target: Tensor) -> None:
        if model.config.variant not in ("full", "attention_only"):
            raise ValueError(f"paths are those of attention, which variant {model.config.variant!r} lacks")
        self.model, self.layout = model, layout
        self.edges = layout.language.edges(target).to(model.token)
        self.contexts = self.edges.sum(-1) / layout.language.length
        """(N) how much each context counts; sums to 1."""
        self.trace = Trace()
        with torch.no_grad():
            self.log_q = model(layout, self.trace)
            """(N, V) log p(next symbol | context) of the untouched model."""

    def mean(self, x: Tensor) -> Tensor:
        """(N, …) or, the same everywhere, (1, …): the mean over contexts, (…)."""
        result: Tensor = torch.tensordot(self.contexts, x.expand(len(self.contexts), *x.shape[1:]), 1)
        return result

    @torch.no_grad()
    def cut(self, edits: Edits) -> float:
        """By how much KL(p_tgt‖pθ) grows when entries of the trace are replaced, nats a sentence.

        Raises:
            ValueError: for an entry that cannot be replaced, or a layer that there is not.
        """
        if beyond := [layer for _, layer in edits if not 0 <= layer < self.model.config.n_layers]:
            raise ValueError(f"layer {beyond[0]} does not exist; there are {self.model.config.n_layers}")
        log_q = self.model(self.layout, Intervention(edits))
        return float((self.edges * (self.log_q - log_q)).sum())

    # ---- what a path is replaced by ----------------------------------------------------------------------------------

    def averaged(self, name: str, layer: int) -> Edits:
        """A path adds its mean over contexts, whatever the context."""
        return {(name, layer): self.mean(getattr(self.trace, name)[layer])}

    def nothing(self, name: str, layer: int) -> Edits:
        """A path adds nothing."""
        return {(name, layer): torch.zeros((), dtype=self.edges.dtype)}

    @torch.no_grad()
    def even(self, layer: int) -> Edits:
        """Every head looks at its context's positions all alike, instead of where q and k point."""
        block = cast(Block, self.model.blocks[layer])
        attention = cast(Attention, block.mix)
        before = self.stream(layer)
        values = attention.qkv(block.norm_mix(before) if block.pre else before).chunk(3, dim=-1)[2]
        return {("heads", layer): self.layout.average(values).unflatten(-1, (attention.n_heads, -1))}

    def headless(self, layer: int, head: int) -> Edits:
        """One head hands on its mean over contexts, the others what they have gathered."""
        gathered = self.trace.heads[layer].clone()
        gathered[:, head] = self.mean(gathered[:, head])
        return {("heads", layer): gathered}

    # ---- what is in the trace ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def stream(self, layer: int) -> Tensor:
        """(N, d) what a layer reads, before any path weight."""
        if layer > 0:
            return self.trace.residual[layer - 1]
        tokens, positions = self.model.token[self.layout.tokens], self.model.position[self.layout.positions]
        return self.layout.expand(tokens + positions)

    @torch.no_grad()
    def added(self, layer: int) -> dict[str, Tensor]:
        """(N, d) what each path adds to the sum of residual and attention, weights included; and the FFN afterwards.

        A head's part is A v W_O of its own rows and 1/H of the bias.
        """
        t, block = self.trace, cast(Block, self.model.blocks[layer])
        attention, factor = cast(Attention, block.mix), block.factor if isinstance(block, RoutedBlock) else 1
        parts = {"residual": t.entering[layer], "attention": t.mixed[layer]}
        if t.recalled:
            parts["ffn"] = t.recalled[layer]
        h = attention.n_heads
        rows = attention.out.weight.unflatten(0, (h, -1))  # (H, D, d)
        heads = torch.einsum("nhk,hkd->nhd", t.heads[layer], rows) + attention.out.bias / h
        for head in range(h):
            weight = factor * t.paths[layer][:, 1 + head, None] if t.paths else 1.0
            parts[f"head {head + 1}"] = weight * heads[:, head]
        return parts

    def looks(self, layer: int) -> dict[str, float]:
        """Where a layer looks, on average over heads and over contexts of one symbol or more.

        `entropy` of the attention weights, nats; `entropy_even`, what looking at all positions alike would have; the
        shares of `bos` and of the position it`self`.
        """
        weights, depth = self.trace.attention[layer].mean(1), self.depth
        entropies = -torch.special.xlogy(self.trace.attention[layer], self.trace.attention[layer]).sum(-1).mean(1)
        counted = self.contexts * (depth > 0)
        counted = counted / counted.sum()
        bos = weights.gather(1, depth[:, None])[:, 0]
        found = {"entropy": entropies, "entropy_even": (depth + 1).to(weights).log(), "bos": bos, "self": weights[:, 0]}
        return {name: float((counted * values).sum()) for name, values in found.items()}

    @property
    def depth(self) -> Tensor:
        """(N) symbols in each context."""
        sizes = torch.tensor(self.layout.language.level_sizes)
        return torch.repeat_interleave(torch.arange(len(sizes)), sizes)
