"""A decoder-only transformer, as small and plain as possible, with ablations after the paper's.

Glossary of shapes
------------------
*        nothing for one model; M for a population whose parameters are stacked along a leading dimension. No line
         below mentions it: every operation addresses its dimensions from the right, so `@` serves both.
R, N     rows and positions of the layout (models/layouts.py): 21 and 781 on the trie of 5 symbols and length 5
d, H, D  d_model, n_heads, D = d / H
f        d_ff, the number of FFN neurons, 4·d, as a summary of the paper has it, unless said otherwise
V        symbols; the token V is BOS

What we have seen of the paper does not say depth, heads, norm, positions or initialisation, nor what exactly its
variants are: depth, heads, norm and variant are fields of `TransformerConfig`, the others are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entropylens.models.layouts import Layout, one_hot
from entropylens.tasks.language import Language

Variant = Literal["full", "attention_only", "ffn_only", "no_mixing"]
Norm = Literal["pre", "post", "none"]


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a model.

    Attributes:
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: must divide d_model.
        d_ff: FFN neurons a layer; None means 4 · d_model.
        variant: `full`; `attention_only` has no FFN; `ffn_only` replaces attention by a fixed uniform average over the
            positions so far, so that information still flows; `no_mixing` sees its own symbol and position only.
        norm: layer normalisation before each branch (and before the logits), after each sum, or nowhere.

    Raises:
        ValueError: if the fields do not fit together.
    """

    language: Language = field(default_factory=Language)
    d_model: int = 16
    n_layers: int = 2
    n_heads: int = 2
    d_ff: int | None = None
    variant: Variant = "full"
    norm: Norm = "pre"

    def __post_init__(self) -> None:
        for name, value in {"d_model": self.d_model, "n_layers": self.n_layers, "n_heads": self.n_heads}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads = {self.n_heads} does not divide d_model = {self.d_model}")
        if self.d_ff is not None and self.d_ff < 1:
            raise ValueError(
                f"d_ff must be at least 1, got {self.d_ff}; a model without FFN is variant='attention_only'"
            )
        for name, chosen, choices in [("variant", self.variant, Variant), ("norm", self.norm, Norm)]:
            if chosen not in get_args(choices):
                raise ValueError(f"unknown {name} {chosen!r}; choose from {', '.join(get_args(choices))}")

    @property
    def n_neurons(self) -> int:
        """FFN neurons a layer."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    def build(self, generator: torch.Generator | None = None) -> Transformer:
        """A model of this shape; see `Transformer`."""
        return Transformer(self, generator)


@dataclass
class Trace:
    """What one forward pass went through; one entry a layer, absent branches leave their list empty."""

    entering: list[Tensor] = field(default_factory=list)
    """(*, N, d) what the residual path hands to each layer's first sum: the stream, if routed times its weight."""
    residual: list[Tensor] = field(default_factory=list)
    """(*, N, d) the residual stream after each layer."""
    attention: list[Tensor] = field(default_factory=list)
    """(*, N, H, T) attention weights: on the trie nearest ancestor first, on sentences by position."""
    heads: list[Tensor] = field(default_factory=list)
    """(*, N, H, D) A v, what each head has gathered before W_O."""
    mixed: list[Tensor] = field(default_factory=list)
    """(*, N, d) what attention (or the average) adds to the stream."""
    drives: list[Tensor] = field(default_factory=list)
    """(*, N, f) what reaches each neuron of the FFN, before its ReLU."""
    neurons: list[Tensor] = field(default_factory=list)
    """(*, N, f) ReLU activations of the FFN."""
    recalled: list[Tensor] = field(default_factory=list)
    """(*, N, d) what the FFN adds to the stream."""
    paths: list[Tensor] = field(default_factory=list)
    """(*, N or 1, 1 + H) the weights of the residual path and of each head, in a routed model (models/routed.py)."""

    every_position: ClassVar[bool] = True
    """Whether entries are wanted at all N positions also where R rows would do."""

    def take(self, name: str, x: Tensor) -> Tensor:
        """Keep an entry; the pass goes on with what is returned (here x itself: an intervention returns another).

        It has gone on already when it tells of `attention` and `paths`.
        """
        getattr(self, name).append(x)
        return x

    @staticmethod
    def norms(entries: list[Tensor]) -> Tensor:
        """Euclidean norms at every position, (n_layers, *, N), of `residual`, `mixed` or `recalled`."""
        return torch.stack([x.norm(dim=-1) for x in entries])


class Linear(nn.Module):
    """X @ W + b with W (d_in, d_out), drawn from N(0, 1/d_in), and b (1, d_out) = 0."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_in, d_out) * d_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(1, d_out))

    def forward(self, x: Tensor) -> Tensor:
        """(*, N, d_in) to (*, N, d_out)."""
        return x @ self.weight + self.bias


class Norm1d(nn.Module):
    """Layer normalisation with gain and bias (1, d); with `on=False`, the identity without parameters."""

    def __init__(self, d: int, on: bool) -> None:
        super().__init__()
        self.on = on
        if on:
            self.gain = nn.Parameter(torch.ones(1, d))
            self.bias = nn.Parameter(torch.zeros(1, d))

    def forward(self, x: Tensor) -> Tensor:
        """(*, N, d) to (*, N, d)."""
        return F.layer_norm(x, x.shape[-1:]) * self.gain + self.bias if self.on else x


class Attention(nn.Module):
    """Multi-head causal attention: A = softmax(q kᵀ / √D), out = (A v) W_O."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = Linear(d_model, 3 * d_model)
        self.out = Linear(d_model, d_model)

    def forward(self, x: Tensor, layout: Layout, trace: Trace | None) -> Tensor:
        """(*, R or N, d) to (*, N, d)."""
        mixed: Tensor = self.out(self.gather(x, layout, trace).flatten(-2))
        return mixed

    def gather(self, x: Tensor, layout: Layout, trace: Trace | None) -> Tensor:
        """A v of each head: (*, R or N, d) to (*, N, H, D)."""
        heads, weights = layout.attend(self.qkv(x).unflatten(-1, (3, self.n_heads, -1)))
        if trace is None:
            return heads
        trace.take("attention", weights)
        return trace.take("heads", heads)


class UniformAverage(nn.Module):
    """Attention with all weights equal and no parameters."""

    def forward(self, x: Tensor, layout: Layout, trace: Trace | None) -> Tensor:  # noqa: ARG002 - as Attention
        """(*, R or N, d) to (*, N, d)."""
        return layout.average(x)


class _Relu(torch.autograd.Function):
    """ReLU whose backward pass reads its output, which the next product keeps anyway.

    torch.compile would otherwise keep a separate mask of booleans, and writing that costs more on a CPU than the
    product it belongs to (measured: 33 ms against 5 ms a layer at d = 64, M = 8).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y: Tensor = ctx.saved_tensors[0]
        return grad * y.sign()


class FeedForward(nn.Module):
    """W_2 ReLU(W_1 x): column j of `keys` is what neuron j answers to, row j of `values` what it then writes."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.keys = Linear(d_model, d_ff)
        self.values = Linear(d_ff, d_model)

    def forward(self, x: Tensor, trace: Trace | None) -> Tensor:
        """(*, N, d) to (*, N, d)."""
        drives = self.keys(x)
        if trace is not None:
            drives = trace.take("drives", drives)
        neurons: Tensor = _Relu.apply(drives)  # type: ignore[no-untyped-call]
        if trace is not None:
            neurons = trace.take("neurons", neurons)
        recalled: Tensor = self.values(neurons)
        return recalled


class Block(nn.Module):
    """One layer: x + mix(x), then x + ffn(x), with the norms where the configuration wants them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d, variant = config.d_model, config.variant
        self.mix: Attention | UniformAverage | None = None
        if variant != "no_mixing":
            self.mix = UniformAverage() if variant == "ffn_only" else Attention(d, config.n_heads)
        self.ffn = None if variant == "attention_only" else FeedForward(d, config.n_neurons)
        self.norm_mix = Norm1d(d, config.norm != "none" and self.mix is not None)
        self.norm_ffn = Norm1d(d, config.norm != "none" and self.ffn is not None)
        self.pre = config.norm == "pre"

    def forward(self, x: Tensor, layout: Layout, trace: Trace | None = None) -> Tensor:
        """(*, R or N, d) to (*, N, d); without mixing, rows stay rows."""
        if self.mix is not None:
            x = self.join(x, layout, trace)
            x = x if self.pre else self.norm_mix(x)
        if self.ffn is not None:
            recalled = self.ffn(self.norm_ffn(x) if self.pre else x, trace)
            if trace is not None:
                recalled = trace.take("recalled", recalled)
            x = x + recalled if self.pre else self.norm_ffn(x + recalled)
        return x if trace is None else trace.take("residual", x)

    def join(self, x: Tensor, layout: Layout, trace: Trace | None) -> Tensor:
        """Where the residual path and attention meet: x + mix(x)."""
        assert self.mix is not None
        mixed = self.mix(self.norm_mix(x) if self.pre else x, layout, trace)
        kept = layout.expand(x)
        if trace is not None:
            kept, mixed = trace.take("entering", kept), trace.take("mixed", mixed)
        joined: Tensor = kept + mixed
        return joined


class Transformer(nn.Module):
    """Token + position, n_layers blocks, logits.

    Args:
        config: the shape of the model.
        generator: draws the initial parameters, independently of any global state; None takes PyTorch's.
    """

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        d, v = config.d_model, config.language.vocab_size
        self.token = nn.Parameter(torch.randn(v + 1, d))
        self.position = nn.Parameter(torch.randn(config.language.length, d))
        self.blocks = nn.ModuleList(self.block() for _ in range(config.n_layers))
        self.norm = Norm1d(d, config.norm == "pre")
        self.unembed = Linear(d, v)
        if generator is not None:
            self._redraw(generator)

    def block(self) -> Block:
        """A new layer."""
        return Block(self.config)

    @torch.no_grad()
    def _redraw(self, generator: torch.Generator) -> None:
        self.token.normal_(generator=generator)
        self.position.normal_(generator=generator)
        for module in self.modules():
            if isinstance(module, Linear):
                module.weight.normal_(std=module.weight.shape[0] ** -0.5, generator=generator)

    def forward(self, layout: Layout, trace: Trace | None = None) -> Tensor:
        """Log-probabilities of the next symbol at every position of the layout, (*, N, V), in nats."""
        # Products with one-hot rows, not look-ups: their gradients are products too, hence deterministic.
        x = one_hot(layout.tokens, self.token.shape[-2], self.token) @ self.token
        x = x + one_hot(layout.positions, self.position.shape[-2], self.position) @ self.position
        if trace is not None and trace.every_position:
            x = layout.expand(x)  # such a trace is read position by position, even where no layer mixes them
        for block in self.blocks:
            x = block(x, layout, trace)
        return torch.log_softmax(self.unembed(self.norm(layout.expand(x))), dim=-1)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())
