"""A transformer whose layers weigh their paths: the residual stream and each head of attention.

What we have seen of the paper says that a routing mechanism treats the residual and the heads as weighted paths; its
formula is not known to us. This is our reading. In each layer the sum  x + Σ_h o_h  of a standard transformer, with
o_h = A_h v_h W_O^h, becomes

    x ← (1 + H) · (w_0 x + Σ_h w_h o_h),    w = softmax(ρ) over the 1 + H paths.

The factor 1 + H makes uniform weights the standard transformer, number for number; without it (`rescaled=False`) the
stream shrinks at every layer. Each head carries 1/H of W_O's bias. ρ is one vector a layer (`static`), or a linear
function of what attention reads at the position (`token`).

Shapes as in models/transformer.py; paths are numbered 0 (residual), 1 … H (heads).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from entropylens.models.layouts import Layout
from entropylens.models.transformer import Attention, Block, Trace, Transformer, TransformerConfig

Router = Literal["static", "token"]
Start = Literal["uniform", "random"]


@dataclass(frozen=True)
class RoutedConfig(TransformerConfig):
    """The shape of a routed model: a `TransformerConfig`, and how its paths are weighted.

    Attributes:
        router: `static` weights, the same at all positions, or weights that depend on the `token` and its context.
        router_start: all paths alike, or logits from N(0, 1).
        router_lr: learning rate of the router relative to that of all else, under Adam: the logits are router_lr · ρ,
            and Adam moves a parameter at the same pace however it is scaled (under SGD the factor is router_lr²). With
            0 the loss does not reach the router: it stays as it starts, but for weight decay.
        rescaled: whether the sum is multiplied by 1 + H.

    Raises:
        ValueError: if the fields do not fit together, or the variant has no attention.
    """

    router: Router = "static"
    router_start: Start = "uniform"
    router_lr: float = 1.0
    rescaled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, chosen, choices in [("router", self.router, Router), ("router_start", self.router_start, Start)]:
            if chosen not in get_args(choices):
                raise ValueError(f"unknown {name} {chosen!r}; choose from {', '.join(get_args(choices))}")
        if self.variant not in ("full", "attention_only"):
            raise ValueError(f"a routed model weighs the paths of attention, which variant {self.variant!r} lacks")
        if not self.router_lr >= 0:
            raise ValueError(f"router_lr must be 0 or above, got {self.router_lr}")

    def build(self, generator: torch.Generator | None = None) -> RoutedTransformer:
        """A model of this shape."""
        return RoutedTransformer(self, generator)


class PathRouter(nn.Module):
    """w = softmax(router_lr · ρ), with ρ = logits (1, 1 + H), and x @ weight (d, 1 + H) on top of it for `token`."""

    def __init__(self, config: RoutedConfig) -> None:
        super().__init__()
        self.lr, n_paths = config.router_lr, 1 + config.n_heads
        self.logits = nn.Parameter(torch.zeros(1, n_paths))
        self.weight = nn.Parameter(torch.zeros(config.d_model, n_paths)) if config.router == "token" else None

    def forward(self, x: Tensor) -> Tensor:
        """What attention reads, (*, R or N, d), to path weights (*, R or N, 1 + H), or (*, 1, 1 + H) if static."""
        logits = self.logits if self.weight is None else x @ self.weight + self.logits
        return torch.softmax(self.lr * logits if self.lr else logits.detach(), dim=-1)

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Random logits of variance 1, whatever the learning rate is; twice that at a normalised input for `token`."""
        scale = 1 / (self.lr or 1.0)
        self.logits.normal_(std=scale, generator=generator)
        if self.weight is not None:
            self.weight.normal_(std=scale * self.weight.shape[-2] ** -0.5, generator=generator)


class RoutedBlock(Block):
    """A layer in which the residual path and the heads meet with weights."""

    def __init__(self, config: RoutedConfig) -> None:
        super().__init__(config)
        self.router = PathRouter(config)
        self.factor = 1 + config.n_heads if config.rescaled else 1

    def join(self, x: Tensor, layout: Layout, trace: Trace | None) -> Tensor:
        """(1 + H) · (w_0 x + Σ_h w_h o_h)."""
        attention = cast(Attention, self.mix)
        read = self.norm_mix(x) if self.pre else x
        w = self.router(read)
        w = w if self.router.weight is None else layout.expand(w)
        residual, heads = (self.factor * w).split([1, attention.n_heads], dim=-1)  # (*, N or 1, 1), (*, N or 1, H)
        gathered = (heads[..., None] * attention.gather(read, layout, trace)).flatten(-2)  # (*, N, d)
        mixed = gathered @ attention.out.weight + heads.mean(-1, keepdim=True) * attention.out.bias
        kept = residual * layout.expand(x)
        if trace is not None:
            trace.take("paths", w)
            kept, mixed = trace.take("entering", kept), trace.take("mixed", mixed)
        joined: Tensor = kept + mixed
        return joined


class RoutedTransformer(Transformer):
    """A transformer of `RoutedBlock`s. Apart from the router it starts as the standard one of the same seed does."""

    config: RoutedConfig

    def block(self) -> RoutedBlock:
        """A new layer."""
        return RoutedBlock(self.config)

    def _redraw(self, generator: torch.Generator) -> None:
        super()._redraw(generator)
        if self.config.router_start == "random":
            for block in self.blocks:
                cast(RoutedBlock, block).router.draw(generator)


@torch.no_grad()
def relabel(model: RoutedTransformer, paths: Tensor) -> RoutedTransformer:
    """The same function of its input under other path weights, whichever: what makes the weights a convention.

    A head's weight can be moved into its W_O. The residual's weight scales the whole stream from there on, which
    pre-norm layers do not see, once later branches write by as much more. So w_0 may be anything in (0, 1).

    Args:
        model: with pre-norm, a static router and router_lr > 0.
        paths: the weights that are wanted, (n_layers, 1 + H), positive, each row summing to 1.

    Returns:
        A new model. Its log-probabilities differ by about 1e-4, since layer normalisation adds 1e-5 to a variance.

    Raises:
        ValueError: if the model or the weights are not such.
    """
    config = model.config
    if config.norm != "pre" or config.router != "static" or not config.router_lr:
        raise ValueError("relabel needs a model with pre-norm and a static router that learns")
    shape = (config.n_layers, 1 + config.n_heads)
    if paths.shape != shape or not bool((paths > 0).all()) or float((paths.sum(-1) - 1).abs().max()) > 1e-6:
        raise ValueError(f"paths are positive weights of shape {shape} whose rows sum to 1")
    new = config.build().to(model.token.dtype)
    new.load_state_dict(model.state_dict())
    blocks = [cast(RoutedBlock, block) for block in new.blocks]
    old = torch.cat([block.router(model.token) for block in blocks])  # (L, 1 + H)
    after = (paths / old)[:, 0].cumprod(0)  # (L) how many times larger the stream is after each layer
    start = 1 / min(1.0, float(after.min()))  # never smaller than it was, or the 1e-5 would count for more
    new.token.mul_(start)
    new.position.mul_(start)
    for layer, block in enumerate(blocks):
        _relabel_layer(block, old[layer], paths[layer], start * after[layer])
    return new


def _relabel_layer(block: RoutedBlock, old: Tensor, new: Tensor, scale: Tensor) -> None:
    """Weights (1 + H) old to new, with a stream that is `scale` times as large after the layer."""
    attention = cast(Attention, block.mix)
    block.router.logits.copy_(new.log() / block.router.lr)
    by_head = scale * old[1:] / new[1:]  # (H)
    rows = attention.out.weight.shape[0] // attention.n_heads
    attention.out.weight.mul_(by_head.repeat_interleave(rows)[:, None])
    attention.out.bias.mul_(scale * old[1:].sum() / new[1:].sum())
    if block.ffn is not None:
        block.ffn.values.weight.mul_(scale)
        block.ffn.values.bias.mul_(scale)
