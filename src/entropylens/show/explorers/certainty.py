"""Chapter 11's explorer: a head that may be sure of the wrong place, and where descent takes it with Lam's terms."""

from __future__ import annotations

from typing import Any, NamedTuple

import anywidget
import torch
import traitlets
from torch import Tensor

from entropylens.models.entropies import largest_tsallis
from entropylens.show.explorers import source, style
from entropylens.training.regularizers import PAPER, Terms, entropy_gap, potential

WRONG = (-0.4, -0.8, -0.2, -0.6, 0.0, -0.5, -0.3)
"""Scores of the wrong places, all different; the best has 0, from which the right one's lead is counted."""
RIGHT = 2
"""The right place, counted from 0, of `PLACES`."""
PLACES = len(WRONG) + 1
GUESS = 0.05
"""ε, the share of the answer that is a guess among all symbols, so that no cross-entropy is infinite."""
SYMBOLS = 16
MOST_TARGET = float(largest_tsallis(PLACES, PAPER.q))
ENDS = {
    "lead": (-3.0, 3.0, 60),
    "sharpness": (0.0, 8.0, 80),
    "strength": (0.0, 30.0, 60),
    "target": (0.0, MOST_TARGET, 20),
}
"""Each slider's lowest and highest value, and its steps."""


class Costs(NamedTuple):
    """Of the toy, (...) each: cross-entropy and L_P in nats, L_S, and their weighted sum."""

    cross_entropy: Tensor
    potential: Tensor
    entropy: Tensor
    loss: Tensor


def attention(lead: Tensor, sharpness: Tensor) -> Tensor:
    """Of leads and sharpnesses, (...) each, p = softmax(β · scores), (..., PLACES)."""
    wrong = lead.new_tensor(WRONG).expand(*lead.shape, -1)
    scores = torch.cat([wrong[..., :RIGHT], lead[..., None], wrong[..., RIGHT:]], -1)
    return (sharpness[..., None] * scores).softmax(-1)


def costs(lead: Tensor, sharpness: Tensor, strength: float = 1.0, target: float = 0.0) -> Costs:
    """What the explorer computes in the page; autograd's slope in `sharpness` is what it tells, but at β = 0.

    There all places are the largest: autograd shares the slope of L_P among them, the explorer looks to the right.

    Args:
        lead: the right place's score less the best wrong one's, (...).
        sharpness: β, (...).
        strength: a factor of the paper's coefficients.
        target: η.
    """
    p = attention(lead, sharpness)
    answer = (1 - GUESS) * p[..., RIGHT] + GUESS / SYMBOLS  # every place holds another symbol
    once = p[None, ..., None, :]  # one loop and one row
    terms = Terms(torch.zeros_like(answer), potential(once), entropy_gap(once, PAPER.q, target))  # no states to move
    return Costs(-answer.log(), terms.potential, terms.entropy, -answer.log() + strength * PAPER.weigh(terms))


class CertaintyExplorer(anywidget.AnyWidget):
    """Four sliders; where the head looks, both losses over sharpness with the ways that descent takes, the sums."""

    _esm = source("certainty.js")
    _css = style()
    name = traitlets.Unicode("certainty").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    wrong: traitlets.List[float] = traitlets.List(list(WRONG)).tag(sync=True)
    right = traitlets.Int(RIGHT).tag(sync=True)
    guess = traitlets.Float(GUESS).tag(sync=True)
    symbols = traitlets.Int(SYMBOLS).tag(sync=True)
    order = traitlets.Float(PAPER.q).tag(sync=True)
    """q of Tsallis' entropy, not 1."""
    coefficients: traitlets.List[float] = traitlets.List([PAPER.potential, PAPER.entropy]).tag(sync=True)
    """The paper's λ_P and λ_S."""
    ends: traitlets.List[list[Any]] = traitlets.List([[name, *end] for name, end in ENDS.items()]).tag(sync=True)
    selected: traitlets.Dict[str, float] = traitlets.Dict().tag(sync=True)
    """Slider to value; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, float]:
        chosen = {**self.selected, **proposal["value"]}
        for key, value in chosen.items():
            low, high = ENDS.get(key, (1, 0))[:2]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                known = ", ".join(f"{name} {a:g} to {b:g}" for name, (a, b, _) in ENDS.items())
                raise traitlets.TraitError(f"no {key} = {value}; choose from {known}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        own = dict(self.selected)
        lead, sharpness = (torch.tensor(own.pop(key), dtype=torch.float64) for key in ("lead", "sharpness"))
        told = ", ".join(
            f"{key.replace('_', '-')} {float(x):.3f}" for key, x in costs(lead, sharpness, **own)._asdict().items()
        )
        return f"Explorer (needs JavaScript): lead {lead:g}, sharpness {sharpness:g}: {told}"


def certainty_explorer(
    lead: float = -0.5, sharpness: float = 1.0, strength: float = 1.0, target: float = 0.0
) -> CertaintyExplorer:
    """The explorer, as it starts: one row of attention that favours a wrong place a little.

    Args:
        lead: the right place's score less the best wrong one's, −3 to 3.
        sharpness: β, the factor of all scores, 0 to 8.
        strength: of the terms; 1 is the paper's, up to 30.
        target: η of L_S, from 0 to `MOST_TARGET`.

    Raises:
        traitlets.TraitError: for a value that its slider does not reach.
    """
    return CertaintyExplorer(selected={"lead": lead, "sharpness": sharpness, "strength": strength, "target": target})
