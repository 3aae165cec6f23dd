"""What the engine must agree with, by the plainest route: loops over strings, and a transformer on whole sentences.

Nothing here looks at the trie, at a layout or at the model's code; only parameters are read, by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from torch import Tensor

from entropylens.models.routed import RoutedConfig
from entropylens.models.transformer import Transformer, TransformerConfig

Symbols = tuple[int, ...]


# ---- the language, as tuples -----------------------------------------------------------------------------------------


def all_sentences(v: int, t: int) -> list[Symbols]:
    """Every sentence, lexicographic."""
    return list(product(range(v), repeat=t))


def all_prefixes(v: int, t: int) -> list[Symbols]:
    """Every context, the shortest first."""
    return [prefix for length in range(t) for prefix in product(range(v), repeat=length)]


def brute_edges(weights: Sequence[float], v: int, t: int) -> np.ndarray:
    """(N, V): the mass of all sentences that begin with a prefix and a symbol."""
    mass = {(prefix, symbol): 0.0 for prefix in all_prefixes(v, t) for symbol in range(v)}
    for sentence, weight in zip(all_sentences(v, t), weights, strict=True):
        for i, symbol in enumerate(sentence):
            mass[sentence[:i], symbol] += weight
    return np.array([[mass[prefix, symbol] for symbol in range(v)] for prefix in all_prefixes(v, t)])


def brute_sentence_log_probs(conditionals: np.ndarray, v: int, t: int) -> np.ndarray:
    """(S,) the chain rule, one sentence after the other; conditionals are log p(symbol | prefix), (N, V)."""
    row = {prefix: i for i, prefix in enumerate(all_prefixes(v, t))}
    return np.array([sum(conditionals[row[s[:i]], s[i]] for i in range(t)) for s in all_sentences(v, t)])


def random_distribution(size: int, seed: int, *, zeros: float = 0.0) -> Tensor:
    """(size,) float64 with about a fraction `zeros` of empty entries."""
    rng = np.random.default_rng(seed)
    p = rng.exponential(size=size) ** 2 * (rng.random(size) >= zeros)
    p[rng.integers(size)] += 0.1
    return torch.from_numpy(p / p.sum())


# ---- a transformer on sentences --------------------------------------------------------------------------------------


@dataclass
class Forward:
    """What the brute-force forward pass went through: B sentences of T symbols, one entry a layer."""

    log_conditionals: Tensor = field(default_factory=lambda: torch.empty(0))
    """(B, T, V)."""
    embedded: Tensor = field(default_factory=lambda: torch.empty(0))
    residual: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)
    """(B, T, H, T), by position."""
    kept: list[Tensor] = field(default_factory=list)
    mixed: list[Tensor] = field(default_factory=list)
    neurons: list[Tensor] = field(default_factory=list)
    recalled: list[Tensor] = field(default_factory=list)


def forward(
    config: TransformerConfig,
    parameters: Mapping[str, Tensor],
    symbols: Tensor,
    edit: Callable[[str, int, Tensor], Tensor] = lambda _name, _layer, x: x,
    even: Sequence[int] = (),
) -> Forward:
    """The whole transformer, routed or not, written out for sentences (B, T).

    Args:
        config: its shape.
        parameters: by name.
        symbols: the sentences.
        edit: is given the name of a part ("kept", "gathered", "mixed", "recalled"), its layer and value, and returns
            what the pass goes on with.
        even: layers whose heads look at all positions alike.
    """
    result = Forward()

    def linear(x: Tensor, name: str) -> Tensor:
        return torch.einsum("bti,io->bto", x, parameters[f"{name}.weight"]) + parameters[f"{name}.bias"].reshape(-1)

    def normalise(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * parameters[f"{name}.gain"].reshape(-1) + parameters[f"{name}.bias"].reshape(-1)

    length = symbols.shape[1]
    inputs = [torch.full_like(symbols[:, 0], config.language.vocab_size), *symbols.unbind(1)[:-1]]
    x = torch.stack([parameters["token"][s] + parameters["position"][i] for i, s in enumerate(inputs)], dim=1)
    result.embedded = x
    for layer in range(config.n_layers):
        block = f"blocks.{layer}"
        if config.variant != "no_mixing":
            seen = normalise(x, f"{block}.norm_mix") if config.norm == "pre" else x
            if config.variant == "ffn_only":
                mixed = torch.stack([seen[:, : i + 1].mean(1) for i in range(length)], dim=1)
            else:
                gathered, weights = _attention(linear(seen, f"{block}.mix.qkv"), config.n_heads, layer in even)
                gathered = edit("gathered", layer, gathered)
                result.attention.append(weights)
                path_weights = _path_weights(config, parameters, block, seen)
                x = path_weights[..., :1] * x
                width, w_out = config.d_model // config.n_heads, parameters[f"{block}.mix.out.weight"]
                mixed = torch.zeros_like(x)
                for h in range(config.n_heads):
                    rows = slice(h * width, (h + 1) * width)
                    part = gathered[..., rows] @ w_out[rows]
                    part = part + parameters[f"{block}.mix.out.bias"].reshape(-1) / config.n_heads
                    mixed = mixed + path_weights[..., 1 + h, None] * part
            result.kept.append(x)
            result.mixed.append(mixed)
            x = edit("kept", layer, x) + edit("mixed", layer, mixed)
            x = normalise(x, f"{block}.norm_mix") if config.norm == "post" else x
        if config.variant != "attention_only":
            seen = normalise(x, f"{block}.norm_ffn") if config.norm == "pre" else x
            before = linear(seen, f"{block}.ffn.keys")
            neurons = torch.where(before > 0, before, 0.0)
            recalled = linear(neurons, f"{block}.ffn.values")
            result.neurons.append(neurons)
            result.recalled.append(recalled)
            x = x + edit("recalled", layer, recalled)
            x = normalise(x, f"{block}.norm_ffn") if config.norm == "post" else x
        result.residual.append(x)
    logits = linear(normalise(x, "norm") if config.norm == "pre" else x, "unembed")
    result.log_conditionals = logits - logits.exp().sum(-1, keepdim=True).log()
    return result


def _path_weights(config: TransformerConfig, parameters: Mapping[str, Tensor], block: str, seen: Tensor) -> Tensor:
    """(B, T, 1 + H) or (1 + H): what the paths of a layer are multiplied by; ones without a router."""
    if not isinstance(config, RoutedConfig):
        return torch.ones(1 + config.n_heads, dtype=seen.dtype)
    logits = parameters[f"{block}.router.logits"].reshape(-1)
    if config.router == "token":
        logits = logits + torch.einsum("bti,io->bto", seen, parameters[f"{block}.router.weight"])
    raised = ((config.router_lr or 1.0) * logits).exp()
    return raised / raised.sum(-1, keepdim=True) * (1 + config.n_heads if config.rescaled else 1)


def _attention(qkv: Tensor, n_heads: int, even: bool) -> tuple[Tensor, Tensor]:
    """(B, T, 3 d), queries, then keys, then values, each head after head; one head and one position at a time."""
    length, d = qkv.shape[1], qkv.shape[2] // 3
    width, heads, weights = d // n_heads, [], []
    for h in range(n_heads):
        q, k, v = (qkv[..., part * d + h * width : part * d + (h + 1) * width] for part in range(3))
        out, rows = [], []
        for i in range(length):
            raised = torch.stack([(q[:, i] * k[:, j]).sum(-1) / width**0.5 for j in range(i + 1)], dim=-1).exp()
            raised = torch.ones_like(raised) if even else raised
            share = raised / raised.sum(-1, keepdim=True)
            out.append(sum(share[:, [j]] * v[:, j] for j in range(i + 1)))
            rows.append(torch.cat([share, share.new_zeros(len(share), length - i - 1)], dim=-1))
        heads.append(torch.stack(out, dim=1))
        weights.append(torch.stack(rows, dim=1))
    return torch.cat(heads, dim=-1), torch.stack(weights, dim=2)


def sentence_log_probs(log_conditionals: Tensor, symbols: Tensor) -> Tensor:
    """(B,) from (B, T, V): each sentence's own symbols, added up."""
    return sum((log_conditionals[range(len(symbols)), i, s] for i, s in enumerate(symbols.unbind(1))), torch.zeros(()))


# ---- random models ---------------------------------------------------------------------------------------------------


def random_model(config: TransformerConfig, seed: int = 0, dtype: torch.dtype = torch.float64) -> Transformer:
    """A model none of whose parameters has a special value: biases are not 0, gains are not 1."""
    random = torch.Generator().manual_seed(seed)
    model = config.build(random).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random, dtype=torch.float64), alpha=0.3)
    return model.to(dtype)
