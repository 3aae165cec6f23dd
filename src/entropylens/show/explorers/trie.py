"""Chapter 2's explorer: one model at each prefix, what it predicts there, where it looks, and which neurons fire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from entropylens.show.explorers import source, style
from entropylens.tasks.language import Language

SHADES = ("target", "model", "KL")
WIDTHS = ("equal", "by weight")
SHOWN = 4
"""Neurons of a layer that are shown at a context: those that move its logits most."""


class TrieExplorer(anywidget.AnyWidget):
    """The trie to walk by letters, clicks and arrow keys; predictions, path, attention and neurons where one stands."""

    _esm = source("icicle.js", "trie.js")
    _css = style()
    name = traitlets.Unicode("trie").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    letters = traitlets.Unicode().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    choices: traitlets.List[list[Any]] = traitlets.List([["shade", list(SHADES)], ["widths", list(WIDTHS)]]).tag(
        sync=True
    )
    edges = traitlets.Bytes().tag(sync=True)
    """(N, V) float32: how often an input goes from a context to a letter."""
    log_q = traitlets.Bytes().tag(sync=True)
    """(N, V) float32, nats: the model's conditionals."""
    attention = traitlets.Bytes().tag(sync=True)
    """(L, N, H, T) uint16, 65535 is 1; nearest ancestor first, the context itself being the first."""
    firing = traitlets.Bytes().tag(sync=True)
    """(L, N) uint16: how many neurons fire at a context."""
    strongest = traitlets.Bytes().tag(sync=True)
    """(L, N, K) uint16: the neurons that move the logits most, counted from 0."""
    activations = traitlets.Bytes().tag(sync=True)
    """(L, N, K) float32, of the strongest; 0 where fewer fire."""
    promotes: traitlets.List[list[list[float]]] = traitlets.List().tag(sync=True)
    """(L, f, V) nats: what one unit of activation adds to each next letter's logit, centred."""
    selected: traitlets.Dict[str, str] = traitlets.Dict().tag(sync=True)
    """`at`, the letters of a context, `shade` and `widths`; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, str]:
        allowed = {name: list(values) for name, values in self.choices}
        for key, value in proposal["value"].items():
            if key == "at":
                known = isinstance(value, str) and len(value) < self.length and set(value) <= set(self.letters)
                choices = f"0 to {self.length - 1} letters of {self.letters}"
            else:
                known, choices = value in allowed.get(key, ()), str({"at": "letters", **allowed})
            if not known:
                raise traitlets.TraitError(f"no {key} = {value}; choose from {choices}")
        return {**self.selected, **proposal["value"]}

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        return f"Explorer (needs JavaScript) of one model on the trie, at “{self.selected['at']}”"


def trie_explorer(
    language: Language,
    target: Tensor,
    log_q: Tensor,
    attention: Sequence[Tensor],
    activations: Sequence[Tensor],
    promotes: Tensor,
    at: str = "",
) -> TrieExplorer:
    """The explorer of one model.

    Args:
        language: whose contexts are walked.
        target: p_tgt of each sentence, (S).
        log_q: the model's log p(letter | context), (N, V), nats.
        attention: of each layer, (N, H, T), nearest ancestor first, as a `Trace` of the trie has it.
        activations: of each layer, (N, f), after the ReLU.
        promotes: (L, f, V), by how many nats one unit of activation raises each next letter's logit, centred.
        at: the context to start from, as letters.

    Raises:
        ValueError: if the shapes do not fit together.
        traitlets.TraitError: if `at` is no context.
    """
    _check_shapes(language, target, log_q, attention, activations, promotes)
    fires = torch.stack(list(activations)).detach().double()  # (L, N, f)
    moved = fires * promotes.detach().abs().mean(-1)[:, None]
    top = moved.topk(min(SHOWN, fires.shape[-1]), dim=-1).indices
    letters = language.text(tuple(range(language.vocab_size)))
    return TrieExplorer(
        letters=letters, length=language.length,
        edges=_packed(language.edges(target), torch.float32), log_q=_packed(log_q, torch.float32),
        attention=_packed((65535 * torch.stack(list(attention))).round(), torch.uint16),
        firing=_packed((fires > 0).sum(-1), torch.uint16), strongest=_packed(top, torch.uint16),
        activations=_packed(fires.gather(-1, top), torch.float32),
        promotes=[[[float(f"{x:.4g}") for x in row] for row in layer] for layer in promotes.tolist()],
        selected={"at": at, "shade": SHADES[0], "widths": WIDTHS[0]},
    )  # fmt: skip


def _packed(x: Tensor, dtype: torch.dtype) -> bytes:
    return x.detach().cpu().to(dtype).numpy().tobytes()


def _check_shapes(
    language: Language,
    target: Tensor,
    log_q: Tensor,
    attention: Sequence[Tensor],
    activations: Sequence[Tensor],
    promotes: Tensor,
) -> None:
    n, v, (layers, f) = language.n_nodes, language.vocab_size, promotes.shape[:2]
    heads = attention[0].shape[1] if attention else 0
    found = {
        "target": [target.shape], "log_q": [log_q.shape], "attention": [x.shape for x in attention],
        "activations": [x.shape for x in activations], "promotes": [promotes.shape],
    }  # fmt: skip
    wanted = {
        "target": [(language.n_sentences,)], "log_q": [(n, v)], "attention": [(n, heads, language.length)] * layers,
        "activations": [(n, f)] * layers, "promotes": [(layers, f, v)],
    }  # fmt: skip
    for name, shapes in found.items():
        if [tuple(shape) for shape in shapes] != wanted[name]:
            raise ValueError(f"{name} is {[tuple(shape) for shape in shapes]}, expected {wanted[name]}")
