"""Chapter 7's explorer: FFN neurons as keys and values, where each fires in the prefix trie and what it promotes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from numpy.typing import NDArray
from torch import Tensor

from entropylens.show.explorers import source, style
from entropylens.tasks.language import Language

ORDERS = ("matters most", "fires most", "as stored")
WIDTHS = ("equal", "by weight")


class NeuronExplorer(anywidget.AnyWidget):
    """Controls, the neurons of a layer as cells, and of the chosen one: an icicle of the trie, and what it promotes."""

    _esm = source("icicle.js", "neurons.js")
    _css = style()
    name = traitlets.Unicode("neuron").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    choices: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """For each control its name and its values; layers and neurons count from 1."""
    activations = traitlets.Bytes().tag(sync=True)
    """(layers, neurons, N), one byte each: 255 is the neuron's peak; 0 where it is silent, and nowhere else."""
    contexts = traitlets.Bytes().tag(sync=True)
    """(N) float32: how often each context occurs."""
    facts: traitlets.List[list[dict[str, Any]]] = traitlets.List().tag(sync=True)
    """(layers, neurons): see `_facts`."""
    rules: traitlets.List[str] = traitlets.List().tag(sync=True)
    """In words, what a fact's `rule` counts."""
    letters = traitlets.Unicode().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    selected = traitlets.Dict().tag(sync=True)
    """Control to the chosen value; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, str]:
        chosen = {key: str(value) for key, value in proposal["value"].items()}
        allowed = dict(self.choices)
        for key, value in chosen.items():
            if value not in allowed.get(key, ()):
                raise traitlets.TraitError(f"no {key} = {value}; choose from {allowed}")
        return {**self.selected, **chosen}


def neuron_explorer(
    language: Language, activations: Sequence[Tensor], promotes: Tensor, contexts: Tensor
) -> NeuronExplorer:
    """The explorer of one model; each neuron adds about 1.2 kB to the page.

    Args:
        language: whose contexts are looked at.
        activations: of each layer, (N, f), after the ReLU.
        promotes: (L, f, V), by how many nats one unit of activation raises each next symbol's logit, centred.
        contexts: (N), how often each context occurs; sums to 1.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    found, f = [tuple(a.shape) for a in activations], promotes.shape[1]
    wanted = ([(language.n_nodes, f)] * len(found), (len(found), f, language.vocab_size), (language.n_nodes,))
    if (found, tuple(promotes.shape), tuple(contexts.shape)) != wanted or not found:
        raise ValueError(f"activations, promotes and contexts are {found}, {tuple(promotes.shape)}, "
                         f"{tuple(contexts.shape)}; expected {wanted[0]}, {wanted[1]}, {wanted[2]}")  # fmt: skip
    layers = torch.stack(list(activations)).detach().double().cpu().numpy()
    weights, values = (x.detach().double().cpu().numpy() for x in (contexts, promotes))
    rules = simple_rules(language)
    facts = [_facts(a, v, weights, np.stack(list(rules.values()))) for a, v in zip(layers, values, strict=True)]
    shares = layers / np.maximum(layers.max(1, keepdims=True), np.finfo(np.float64).tiny)
    first = max(range(f), key=lambda i: facts[0][i]["matters"])
    return NeuronExplorer(
        choices=[
            ["layer", [str(i + 1) for i in range(len(layers))]], ["order", list(ORDERS)], ["widths", list(WIDTHS)],
            ["neuron", [str(i + 1) for i in range(f)]],
        ],
        activations=np.maximum(np.rint(255 * shares), shares > 0).astype(np.uint8).transpose(0, 2, 1).tobytes(),
        contexts=weights.astype(np.float32).tobytes(),
        facts=facts,
        rules=list(rules),
        letters=language.text(tuple(range(language.vocab_size))),
        length=language.length,
        selected={"layer": "1", "order": ORDERS[0], "widths": WIDTHS[0], "neuron": str(first + 1)},
    )  # fmt: skip


def simple_rules(language: Language) -> dict[str, NDArray[np.bool_]]:
    """Words to the contexts (N) that they name: first “everywhere”, then from the simplest to the pairs."""
    v, t, letters = language.vocab_size, language.length, language.text(tuple(range(language.vocab_size)))
    depth, node = np.repeat(np.arange(t), language.level_sizes), np.arange(language.n_nodes)
    last = np.where(depth > 0, (node - 1) % v, -1)
    before = np.where(depth > 1, last[(node - 1) // v], -1)
    place = {f"after {d} symbol{'s' * (d > 1)}" if d else "at the start": depth == d for d in range(t)}
    after = {f"after “{letters[s]}”": last == s for s in range(v)}
    earlier = {f"where “{letters[s]}” is last but one": before == s for s in range(v)}
    pairs = {f"{p}, the last one “{letters[s]}”": x & (last == s) for p, x in list(place.items())[1:] for s in range(v)}
    return {"everywhere": depth >= 0, **place, **after, **earlier, **pairs}


def _facts(
    activations: NDArray[np.float64], promotes: NDArray[np.float64], weights: NDArray[np.float64], rules: NDArray[Any]
) -> list[dict[str, Any]]:
    """What is told of each neuron of a layer: activations (N, f), promotes (f, V), weights (N), rules (R, N).

    `fires` counts contexts, `rate` is the share of inputs; `promotes` holds nats at the mean activation where it fires;
    `matters` is by how many nats it moves a logit, on average over inputs and symbols. `rule` is the one after
    “everywhere” with the highest F1, of `precision` and `recall` over inputs.
    """
    active = (activations > 0).astype(np.float64)
    fires, rate, mean = active.sum(0), weights @ active, weights @ activations
    typical = np.where(rate > 0, mean / np.where(rate > 0, rate, 1), activations.sum(0) / np.maximum(fires, 1))
    hit, named = (rules * weights) @ active, (rules @ weights)[:, None]
    f1 = 2 * hit / np.maximum(named + rate, np.finfo(np.float64).tiny)
    best, each = 1 + f1[1:].argmax(0), np.arange(len(rate))
    columns = {
        "rate": rate, "peak": activations.max(0), "matters": mean * np.abs(promotes).mean(-1),
        "precision": hit[best, each] / np.maximum(named[best, 0], np.finfo(np.float64).tiny),
        "recall": hit[best, each] / np.where(rate > 0, rate, 1),
    }  # fmt: skip
    return [
        {
            **{key: float(f"{of[i]:.4g}") for key, of in columns.items()},
            "fires": int(fires[i]),
            "rule": int(best[i]),
            "promotes": [float(f"{x:.4g}") for x in typical[i] * promotes[i]],
        }
        for i in each
    ]
