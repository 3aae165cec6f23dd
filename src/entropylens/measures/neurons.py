"""Which FFN neurons fire, exactly: over all contexts of a language, and over those that the training data reach.

Four things are called the share of active, or of dead, neurons, and they differ:

* on *one input*, the share of neurons that fire (`active_share`, on average over inputs); its complement is the
  sparsity of Li et al.'s "lazy neurons";
* over *inputs*, the share of them on which one neuron fires (`firing_rates`);
* *dead*: never fires, in any of the N contexts (`silent`);
* *unreached*: never fires in any context that the training weights reach (`silent` among `reached`). Its gradient is
  zero, so that it cannot revive by itself; another weight, earlier in the model, may still revive it.

Shapes: * any leading (members of a population), N contexts, f neurons of one layer; ReLU activations are (*, N, f), as
`models.transformer.Trace` keeps them.
"""

from __future__ import annotations

from torch import Tensor

from entropylens.training.recording import reached, silent

__all__ = ["active_share", "context_weights", "firing_rates", "reached", "silent"]


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
