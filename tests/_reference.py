"""What the engine must agree with, by the plainest route: loops over strings, and a transformer on whole sentences.

Nothing here looks at the trie, at a layout or at the model's code; only parameters are read, by their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from torch import Tensor

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
    mixed: list[Tensor] = field(default_factory=list)
    neurons: list[Tensor] = field(default_factory=list)
    recalled: list[Tensor] = field(default_factory=list)


def forward(config: TransformerConfig, parameters: Mapping[str, Tensor], symbols: Tensor) -> Forward:
    """The whole transformer, written out for sentences (B, T)."""
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
                mixed, weights = _attention(linear(seen, f"{block}.mix.qkv"), config.n_heads)
                mixed = linear(mixed, f"{block}.mix.out")
                result.attention.append(weights)
            result.mixed.append(mixed)
            x = x + mixed
            x = normalise(x, f"{block}.norm_mix") if config.norm == "post" else x
        if config.variant != "attention_only":
            seen = normalise(x, f"{block}.norm_ffn") if config.norm == "pre" else x
            before = linear(seen, f"{block}.ffn.keys")
            neurons = torch.where(before > 0, before, 0.0)
            recalled = linear(neurons, f"{block}.ffn.values")
            result.neurons.append(neurons)
            result.recalled.append(recalled)
            x = x + recalled
            x = normalise(x, f"{block}.norm_ffn") if config.norm == "post" else x
        result.residual.append(x)
    logits = linear(normalise(x, "norm") if config.norm == "pre" else x, "unembed")
    result.log_conditionals = logits - logits.exp().sum(-1, keepdim=True).log()
    return result


def _attention(qkv: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    """(B, T, 3 d), queries, then keys, then values, each head after head; one head and one position at a time."""
    length, d = qkv.shape[1], qkv.shape[2] // 3
    width, heads, weights = d // n_heads, [], []
    for h in range(n_heads):
        q, k, v = (qkv[..., part * d + h * width : part * d + (h + 1) * width] for part in range(3))
        out, rows = [], []
        for i in range(length):
            raised = torch.stack([(q[:, i] * k[:, j]).sum(-1) / width**0.5 for j in range(i + 1)], dim=-1).exp()
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
    model = Transformer(config, random).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random, dtype=torch.float64), alpha=0.3)
    return model.to(dtype)
