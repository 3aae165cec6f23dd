"""Chapter 9's explorer: looped heads on a sequence that the reader edits, computed in the page, loop by loop."""

from __future__ import annotations

import copy
import string
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from entropylens.models.looped import LoopedTransformer, LoopTrace
from entropylens.show.explorers import source, style

FEWEST_TOKENS, MOST_TOKENS = 2, 24
"""The most fit a phone, in three rows."""
MOST_NUMBERS = 16
"""Of a state: a map has a row for each."""
LOOPS = 25
"""How far one may go on, whatever a model was made for: as far as the paper's, or farther if one was made for it."""
ONLY = {"n_heads": 1, "n_blocks": 1, "update": "plain", "residual": True, "step_size": 1, "start": "zero"}
"""What `loops_model.js` computes."""


class LoopExplorer(anywidget.AnyWidget):
    """Tokens to edit, shaded by where the chosen one looks; its state and its answer, in the loop one steps to."""

    _esm = source("loops_model.js", "loops_pictures.js", "loops.js")
    _css = style()
    name = traitlets.Unicode("loop").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    letters = traitlets.Unicode().tag(sync=True)
    """(V)"""
    sequences: traitlets.List[str] = traitlets.List().tag(sync=True)
    """(S), to start from."""
    titles: traitlets.List[str] = traitlets.List().tag(sync=True)
    """(S); what is special about each sequence, or nothing."""
    fewest = traitlets.Int(FEWEST_TOKENS).tag(sync=True)
    most = traitlets.Int(MOST_TOKENS).tag(sync=True)
    """How many tokens there may be."""
    models: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    """(M), each with its `name`, its `loops`, `causal`, `position_scale`, and `shapes`, [name, rows, columns] of each
    parameter."""
    parameters = traitlets.Bytes().tag(sync=True)
    """All models', one after the other, float64, in the order of `shapes`."""
    loops = traitlets.Int().tag(sync=True)
    """The last that one can step to."""
    selected: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """`model`, a name; `sequence` and `token`, which count from 1; `text`, the letters, which are the sequence's until
    they are edited; `loop`, 0 before the first. In JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        given = proposal["value"]
        chosen = {**self.selected, **given}
        self._check("sequence", chosen["sequence"], range(1, len(self.sequences) + 1))
        if "sequence" in given and "text" not in given:
            chosen["text"] = self.sequences[chosen["sequence"] - 1]
        self._check_text(chosen["text"])
        length = len(chosen["text"])
        if "token" not in given:
            chosen["token"] = min(chosen["token"], length)
        for key in chosen.keys() - {"sequence", "text"}:
            ends = {
                "loop": range(self.loops + 1),
                "token": range(1, length + 1),
                "model": [m["name"] for m in self.models],
            }
            self._check(key, chosen[key], ends.get(key, ()))
        return chosen

    def _check(self, key: str, value: object, known: Sequence[Any]) -> None:
        kind = int if isinstance(known, range) else str
        if not isinstance(value, kind) or value not in known:
            choices = f"{known[0]} to {known[-1]}" if isinstance(known, range) else ", ".join(known) or "other keys"
            raise traitlets.TraitError(f"no {key} = {value}; choose from {choices}")

    def _check_text(self, text: object) -> None:
        known = isinstance(text, str) and FEWEST_TOKENS <= len(text) <= MOST_TOKENS and set(text) <= set(self.letters)
        if not known:
            raise traitlets.TraitError(
                f"no text = {text}; choose from {FEWEST_TOKENS} to {MOST_TOKENS} letters of {self.letters}"
            )

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        models = ", ".join(f"{m['name']} ({m['loops']} loops)" for m in self.models)
        return f"Explorer (needs JavaScript): {len(self.sequences)} sequences to edit, on {models}"


def loop_explorer(
    models: Mapping[str, LoopedTransformer],
    tokens: Tensor,
    names: Sequence[str] | None = None,
    letters: str | None = None,
) -> LoopExplorer:
    """The explorer of one or more models of the same symbols; one of width 8 adds about 13 kB to the page.

    Args:
        models: by name, of one head and at most `MOST_NUMBERS` wide, see `ONLY`; they are computed in double precision.
        tokens: sequences to start from, (S, n), of `FEWEST_TOKENS` to `MOST_TOKENS` tokens.
        names: (S), what each sequence is called, beside its number.
        letters: (V), one for each symbol; a to z, then A to Z by default.

    Raises:
        ValueError: if these do not fit together, if a model has what the page does not compute, or if its attention,
            states or answers are not finite.
    """
    if not models:
        raise ValueError("needs a model, at least")
    v = next(iter(models.values())).config.vocabulary
    letters = string.ascii_letters[:v] if letters is None else letters
    names = [""] * len(tokens) if names is None else names
    if len(letters) != v or len(set(letters)) != v or not letters.isalpha():
        raise ValueError(f"{v} symbols need as many different letters, got {letters!r}")
    _check_sequences(tokens, names, v)
    loops = max(LOOPS, *(model.config.n_loops for model in models.values()))
    for name, model in models.items():
        _check_model(name, model, v)
        _check_finite(name, model, tokens, loops)
    texts = ["".join(letters[s] for s in sequence) for sequence in tokens.tolist()]
    return LoopExplorer(
        letters=letters, sequences=texts, titles=list(names),
        models=[_described(name, model) for name, model in models.items()],
        parameters=b"".join(_packed(model) for model in models.values()), loops=loops,
        selected={"model": next(iter(models)), "sequence": 1, "text": texts[0], "token": len(texts[0]), "loop": 1},
    )  # fmt: skip


def _described(name: str, model: LoopedTransformer) -> dict[str, Any]:
    c = model.config
    shapes = [[key, *p.shape] for key, p in model.state_dict().items()]
    return {"name": name, "loops": c.n_loops, "causal": c.causal, "position_scale": c.position_scale, "shapes": shapes}


def _packed(model: LoopedTransformer) -> bytes:
    return b"".join(p.detach().cpu().double().numpy().tobytes() for p in model.state_dict().values())


def _check_model(name: str, model: LoopedTransformer, v: int) -> None:
    c = model.config
    if not name or set(name) & set(";:"):
        raise ValueError(f"a model's name stands in addresses, and has no ; or : in it, got {name!r}")
    if c.vocabulary != v or c.d_model > MOST_NUMBERS:
        raise ValueError(f"{name} needs {v} symbols and a width up to {MOST_NUMBERS}, has {c.vocabulary}, {c.d_model}")
    for key, only in ONLY.items():
        if getattr(c, key) != only:
            raise ValueError(f"{name} has {key} = {getattr(c, key)}, and the page computes {only} only")


@torch.no_grad()
def _check_finite(name: str, model: LoopedTransformer, tokens: Tensor, loops: int) -> None:
    trace = LoopTrace()
    logits = copy.deepcopy(model).cpu().double()(tokens.cpu(), trace, loops)
    if not all(bool(x.isfinite().all()) for x in (logits, *trace.states, *trace.rows)):
        raise ValueError(f"{name}'s attention, states or answers are not finite: there is nothing to draw")


def _check_sequences(tokens: Tensor, names: Sequence[str], v: int) -> None:
    if tokens.ndim != 2 or not len(tokens) or not FEWEST_TOKENS <= tokens.shape[1] <= MOST_TOKENS:
        raise ValueError(f"tokens are (S, n), n from {FEWEST_TOKENS} to {MOST_TOKENS}, got {tuple(tokens.shape)}")
    if len(names) != len(tokens):
        raise ValueError(f"{len(tokens)} sequences have as many names, got {len(names)}")
    if int(tokens.min()) < 0 or int(tokens.max()) >= v:
        raise ValueError(f"tokens are symbols from 0 to {v - 1}, got {int(tokens.min())} to {int(tokens.max())}")
