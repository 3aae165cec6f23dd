"""Which FFN neurons fire, exactly: over all contexts of a language, and over those that the training data reach.

Four things are called the share of active, or of dead, neurons, and they differ:

* on *one input*, the share of neurons that fire (`active_share`, on average over inputs); its complement is the
  sparsity of Li et al.'s "lazy neurons";
* over *inputs*, the share of them on which one neuron fires (`firing_rates`);
* *dead*: never fires, in any of the N contexts (`silent`);
* *unreached*: never fires in any context that the training weights reach (`silent` among `reached`). Its gradient is
  zero, so that it cannot revive by itself; another weight, earlier in the model, may still revive it.

A neuron can also be read as a key and a value: its column of W_1 says in which contexts it fires, its row of W_2 what
it then adds. How much of the firing is decided by simple properties of the context (`decided`), and whether what it
adds promotes the symbols that do follow there (`promise`), can be counted.

Shapes: * any leading (members of a population), N contexts, f neurons of one layer; ReLU activations are (*, N, f), as
`models.transformer.Trace` keeps them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropylens.models.transformer import FeedForward, Transformer
from entropylens.training.recording import reached, silent

__all__ = [
    "active_share", "context_weights", "decided", "firing_rates", "promise", "promoted", "reached", "silent",
]  # fmt: skip


def active_share(activations: Tensor, contexts: Tensor) -> Tensor:
    """The share of neurons that fire on an input, on average over inputs: (*, N, f) and weights (*, N) to (*).

    Args:
        activations: after the ReLU; a neuron fires where it is above zero.
        contexts: how much each context counts, (*, N); sums to 1.
    """
    return ((activations > 0).to(contexts).mean(-1) * contexts).sum(-1)


def firing_rates(activations: Tensor, contexts: Tensor) -> Tensor:
    """The share of inputs on which each neuron fires: (*, N, f) and weights (*, N), which sum to 1, to (*, f)."""
    return ((activations > 0).to(contexts) * contexts[..., None]).sum(-2)


def context_weights(edges: Tensor) -> Tensor:
    """How often a symbol is predicted in each context: weights on the trie (*, N, V) to (*, N), which sum to 1."""
    mass = edges.sum(-1)
    result: Tensor = mass / mass.sum(-1, keepdim=True)
    return result


def promoted(model: Transformer) -> Tensor:
    """By how much a neuron raises each next symbol's logit when it gives 1, (L, f, V), nats; symbols sum to 0.

    Its row of W_2 through the unembedding: what it says directly, past the layers above and the last normalisation's
    division by the stream's spread, a positive number that differs from context to context.
    """
    norm, out = model.norm, model.unembed.weight
    gained = norm.gain[0, :, None] * out if norm.on else out
    values: list[Tensor] = [module.values.weight for module in model.modules() if isinstance(module, FeedForward)]
    said = (torch.stack([*values]) @ gained).detach()
    return said - said.mean(-1, keepdim=True)


def promise(fires: Tensor, contexts: Tensor, next_symbol: Tensor, promotes: Tensor) -> Tensor:
    """Whether a neuron promotes what the target has next where it fires: the cosine of the two, (f).

    Args:
        fires: bool (N, f).
        contexts: how often each context occurs, (N).
        next_symbol: p_tgt(symbol | context), (N, V).
        promotes: logits, (f, V), as of `promoted`.

    Returns:
        The cosine between `promotes` and E[next symbol | it fires] − E[next symbol]; NaN for a neuron that fires in no
        context that occurs, or in all of them.
    """
    among = fires.to(contexts) * contexts[:, None]  # (N, f)
    mass = among.sum(0)
    usual = contexts @ next_symbol
    more = among.T @ next_symbol / mass[:, None] - usual
    cosine = torch.cosine_similarity(more, promotes, dim=-1)
    return torch.where((mass > 0) & (mass < contexts.sum() * (1 - 1e-9)), cosine, torch.nan)


def decided(fires: Tensor, contexts: Tensor, groups: Tensor) -> Tensor:
    """How much of a neuron's firing a grouping of contexts decides: I(fires; group) / H(fires), (f), from 0 to 1.

    Args:
        fires: bool (N, f).
        contexts: how often each context occurs, (N), summing to 1.
        groups: the group of each context, (N) integers.

    Returns:
        NaN where there is nothing to be decided: a neuron that always fires, or never.
    """
    member = torch.nn.functional.one_hot(groups).to(contexts) * contexts[:, None]  # (N, groups)
    sizes = member.sum(0)
    rate = member.T @ fires.to(contexts) / sizes.clamp(min=1e-300)[:, None]  # (groups, f)
    whole = _binary_entropy(contexts @ fires.to(contexts))
    left = sizes @ _binary_entropy(rate)
    return torch.where(whole > 1e-12, 1 - left / whole, torch.nan)


def _binary_entropy(p: Tensor) -> Tensor:
    p = p.clamp(0, 1)
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
