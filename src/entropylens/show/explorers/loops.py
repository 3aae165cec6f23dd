"""Chapter 9's explorer: a looped head at work, where its tokens look in every loop, and what it would answer then."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from torch import Tensor

from entropylens.models.looped import LoopedTransformer, LoopTrace
from entropylens.show.explorers import source, style

MOST_TOKENS = 24
"""That fit a phone, three rows of them."""


class LoopExplorer(anywidget.AnyWidget):
    """Sliders over sequences and loops; tokens, shaded by where the chosen one looks; the last token's answer."""

    _esm = source("loops.js")
    _css = style()
    name = traitlets.Unicode("loop").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    letters = traitlets.Unicode().tag(sync=True)
    """(V)"""
    sequences: traitlets.List[str] = traitlets.List().tag(sync=True)
    """(S) of n letters each."""
    answers = traitlets.Unicode().tag(sync=True)
    """(S) letters."""
    titles: traitlets.List[str] = traitlets.List().tag(sync=True)
    """(S); what is special about each sequence, or nothing."""
    places: traitlets.List[list[int]] = traitlets.List().tag(sync=True)
    """(S, n), see `places_to_look_at`."""
    rows = traitlets.Bytes().tag(sync=True)
    """(T, S, n, n) attention, one byte each, 255 is 1; if `causal`, row i has but i + 1 bytes."""
    causal = traitlets.Bool().tag(sync=True)
    logits = traitlets.Bytes().tag(sync=True)
    """(T + 1, S, V) float32, of the last token, before the first loop and after each."""
    norms = traitlets.Bytes().tag(sync=True)
    """(T + 1, S, n) float32, Euclidean, of every token's state."""
    loops = traitlets.Int().tag(sync=True)
    """T."""
    selected: traitlets.Dict[str, int] = traitlets.Dict().tag(sync=True)
    """`sequence` and `token`, which count from 1, and `loop`, 0 before the first; in JupyterLab Python may set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, int]:
        chosen = {**self.selected, **proposal["value"]}
        ends = {"sequence": (1, len(self.sequences)), "loop": (0, self.loops), "token": (1, len(self.sequences[0]))}
        for key, value in chosen.items():
            low, high = ends.get(key, (1, 0))
            if not isinstance(value, int) or not low <= value <= high:
                known = ", ".join(f"{name} {a} to {b}" for name, (a, b) in ends.items())
                raise traitlets.TraitError(f"no {key} = {value}; choose from {known}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        many, length = len(self.sequences), len(self.sequences[0])
        last = np.frombuffer(self.logits, np.float32).reshape(-1, many, len(self.letters))[-1].argmax(-1)
        right = sum(self.letters[i] == answer for i, answer in zip(last, self.answers, strict=True))
        return f"Explorer (needs JavaScript): {many} × {length} tokens, {self.loops} loops, {right} of {many} right"


@torch.no_grad()
def loop_explorer(
    model: LoopedTransformer,
    tokens: Tensor,
    answers: Tensor,
    names: Sequence[str] | None = None,
    letters: str | None = None,
) -> LoopExplorer:
    """The explorer of one model; 6 sequences of 24 tokens and 25 loops add about 100 kB to the page.

    Args:
        model: with finite weights.
        tokens: sequences, (S, n), of 2 to `MOST_TOKENS` tokens.
        answers: of the last token, (S).
        names: (S), what each sequence is called, beside its number.
        letters: (V), one for each symbol; a to z, then A to Z by default.

    Raises:
        ValueError: if these do not fit together, or if a state of the model is not finite.
    """
    v = model.config.vocabulary
    letters = string.ascii_letters[:v] if letters is None else letters
    names = [""] * len(tokens) if names is None else names
    if len(letters) != v or len(set(letters)) != v:
        raise ValueError(f"{v} symbols need as many different letters, got {letters!r}")
    _check_sequences(tokens, answers, names, v)
    places = places_to_look_at(tokens)
    _check_answers(tokens, answers, places)
    rows, logits, norms = _passes(model, tokens)
    n = tokens.shape[1]
    seen = torch.ones(n, n, dtype=torch.bool).tril(0 if model.config.causal else n)
    return LoopExplorer(
        letters=letters,
        sequences=["".join(letters[s] for s in sequence) for sequence in tokens.tolist()],
        answers="".join(letters[s] for s in answers.tolist()),
        titles=list(names),
        places=places.tolist(),
        rows=np.rint(255 * rows[..., seen].double().numpy()).astype(np.uint8).tobytes(),
        causal=model.config.causal,
        logits=logits.float().numpy().tobytes(),
        norms=norms.float().numpy().tobytes(),
        loops=len(rows),
        selected={"sequence": 1, "loop": 1, "token": n},
    )


def places_to_look_at(tokens: Tensor) -> Tensor:
    """Where each token's answer stands, right after the latest earlier occurrence of the same symbol.

    Of (S, n) tokens, (S, n); 0 for tokens without an earlier occurrence, as nothing is right before place 0.
    """
    n = tokens.shape[-1]
    before = torch.arange(n, device=tokens.device)
    same = (tokens[..., :, None] == tokens[..., None, :]) & (before < before[:, None])  # (S, n, n)
    return (same * (before + 1)).amax(-1)


def _passes(model: LoopedTransformer, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attention rows (T, S, n, n), the last token's logits (T + 1, S, V), norms of states (T + 1, S, n)."""
    trace = LoopTrace()
    model(tokens.to(model.token.device), trace, last=True)
    states = torch.stack(trace.states)
    found = torch.stack(trace.rows), model.read(states[..., -1:, :])[..., 0, :], states.norm(dim=-1)
    if not all(bool(x.isfinite().all()) for x in found):
        raise ValueError("the model's attention, states or logits are not finite: there is nothing to draw")
    rows, logits, norms = (x.cpu() for x in found)
    return rows, logits, norms


def _check_sequences(tokens: Tensor, answers: Tensor, names: Sequence[str], v: int) -> None:
    if tokens.ndim != 2 or not len(tokens) or not 2 <= tokens.shape[1] <= MOST_TOKENS:
        raise ValueError(f"tokens are (S, n), n from 2 to {MOST_TOKENS}, got {tuple(tokens.shape)}")
    if answers.shape != tokens.shape[:1] or len(names) != len(tokens):
        raise ValueError(f"{len(tokens)} sequences have as many answers, of their last tokens, and names, "
                         f"got {tuple(answers.shape)} and {len(names)}")  # fmt: skip
    for what, symbols in (("tokens", tokens), ("answers", answers)):
        if int(symbols.min()) < 0 or int(symbols.max()) >= v:
            raise ValueError(f"{what} are symbols from 0 to {v - 1}, got {int(symbols.min())} to {int(symbols.max())}")


def _check_answers(tokens: Tensor, answers: Tensor, places: Tensor) -> None:
    """An answer that stands elsewhere than where the explorer says would mislead; one that stands nowhere may be."""
    there = tokens.gather(1, places[:, -1:])[:, 0]
    wrong = (places[:, -1] > 0) & (there != answers)
    if bool(wrong.any()):
        i = int(wrong.long().argmax())
        raise ValueError(f"sequence {i + 1} is answered by {int(answers[i])}, but after the latest earlier occurrence "
                         f"of its last token comes {int(there[i])}")  # fmt: skip
