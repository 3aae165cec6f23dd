"""Chapter 10's explorer: an attention step on a few tokens in the plane, its exact norm, and the bounds on it."""

from __future__ import annotations

import math
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from entropylens.measures.contraction import RADIUS, Bound, Head, Instance, corrected, data_bound, extremal, leaving
from entropylens.measures.contraction import printed as as_printed
from entropylens.measures.contraction_steps import sizes
from entropylens.models.entropies import tsallis
from entropylens.show.explorers import source, style

COUNTS = (2, 4, 6)
"""How many tokens there may be."""
PLACES = [[1.0, 0.4], [-0.6, 0.7], [-0.5, -0.6], [0.7, -0.8], [0.1, 1.0], [-1.0, 0.0]]
"""Where tokens are as it starts: four of them inside the theorem's ball."""
ORDERS = (1.5, 2.0)
"""q: the paper's, and the tightest that is a bound."""
MAPS = {"turns": 1.0, "mirrors": -1.0, "one direction": 0.0}
"""The second singular value of M over the first, with the sign of its determinant."""
VALUES = {"both directions": 1.0, "one direction": 0.0}
"""The second entry of the diagonal of W_V over the first."""
COLD, HOT = 2.0**-6, 2.0**6
ENDS = {
    "across": (-2.0, 2.0, 80),
    "up": (-2.0, 2.0, 80),
    "temperature": (math.log2(COLD), math.log2(HOT), 48),
    "turn": (-180.0, 180.0, 72),
    "size": (-1.0, 1.0, 40),
}
"""Each slider's lowest and highest value, and its steps; the temperature's are of its binary logarithm."""
LOOPS = 20
APART = 1e-3
"""How far from each other two starts are."""
FIRST: dict[str, Any] = {
    "tokens": 4, "token": 1, "places": PLACES, "temperature": 1.0, "turn": 0.0, "map": "turns",
    "values": "both directions", "size": 0.5, "q": 2.0,
}  # fmt: skip


# ---- what is chosen, in the terms of the measures --------------------------------------------------------------------


def instance(chosen: dict[str, Any]) -> Instance:
    """X = Z = Y/2, (tokens, 2) each, and the head.

    M = R diag(1, s) / τ, with R turning a query anticlockwise and s of `MAPS`: up to a rotation of the plane this is
    every M of width two for which s is 1, −1 or 0. No other factors W_Q W_Kᵀ of M τ have smaller Frobenius norms.
    """
    y = torch.tensor(chosen["places"], dtype=torch.float64)[: chosen["tokens"]]
    angle, second = math.radians(chosen["turn"]), MAPS[chosen["map"]]
    across, up = math.cos(angle), math.sin(angle)
    root = abs(second) ** 0.5
    w_q = y.new_tensor([[across, up * root], [-up, across * root]])
    w_k = y.new_tensor([[1.0, 0.0], [0.0, math.copysign(root, second)]])
    w_v = torch.diag(y.new_tensor([1.0, VALUES[chosen["values"]]]))
    return Instance(y / 2, y / 2, Head(w_q, w_k, chosen["size"] * w_v / w_v.norm(), 1 / chosen["temperature"]))


def controls_of(at: Instance) -> dict[str, Any]:
    """What the controls say at an instance of the measures, of width two or less: `instance` the other way round.

    Raises:
        ValueError: for one that the controls do not reach.
    """
    pad, wide = torch.nn.functional.pad, 2 - at.y.shape[-1]
    y, m, w_v = pad(at.y, (0, wide)), pad(at.head.m, (0, wide, 0, wide)), pad(at.head.w_v, (0, wide, 0, wide))
    size = float(m[:, 0].norm())
    chosen = {
        **FIRST,
        "tokens": len(y),
        "places": [*y.tolist(), *PLACES[len(y) :]],
        "temperature": 1 / size,
        "turn": math.degrees(math.atan2(-float(m[1, 0]), float(m[0, 0]))) + 0.0,  # no -0
        "map": _named(MAPS, float(m.det()) / size**2),
        "values": _named(VALUES, float(w_v[1, 1] / w_v[0, 0])),
        "size": math.copysign(float(w_v.norm()), float(w_v[0, 0])),
    }
    made = instance(chosen)
    if not all(torch.allclose(*both) for both in ((made.y, y), (made.head.m, m), (made.head.w_v, w_v))):
        raise ValueError("no setting of the controls gives this instance")
    return chosen


def _named(values: dict[str, float], value: float) -> str:
    return min(values, key=lambda name: abs(values[name] - value))


# ---- what is measured ------------------------------------------------------------------------------------------------


def measured(chosen: dict[str, Any]) -> dict[str, list[float]]:
    """Of the score part, of the value part, and of all: the exact norms, and what each bound allows.

    Returns:
        `exact`; `printed` and `frobenius`, the theorem's with ‖W_Q‖ and ‖W_K‖ read in either way; `corrected`, which
        outside of the ball takes ‖Y‖² for 4; and `ours`.
    """
    at, q = instance(chosen), chosen["q"]
    exact = sizes(at.head, at.y, q)
    return {
        "exact": [exact["score"], exact["value"], exact["exact"]],
        "printed": _parts(as_printed(at.head, at.y, q, "spectral")),
        "frobenius": _parts(as_printed(at.head, at.y, q, "frobenius")),
        "corrected": _parts(corrected(at.head, at.y, q, "spectral", max(RADIUS, float(at.y.norm())))),
        "ours": _parts(data_bound(at.head, at.y)),
    }


def _parts(bound: Bound) -> list[float]:
    return [float(bound.score), float(bound.value), float(bound.total)]


def promised(chosen: dict[str, Any]) -> float:
    """The largest that the printed bound (spectral norms) can be in the ball: with all rows sharp its root is √n."""
    at = instance(chosen)
    score = as_printed(at.head, at.y, chosen["q"], "spectral").score
    return float(score + len(at.y) ** 0.5 * at.head.w_v.norm())


def apart(at: Instance, direction: Tensor, *, residual: bool) -> Tensor:
    """How far two starts are from each other after 0 … `LOOPS` loops, over how far they were, (LOOPS + 1).

    Args:
        at: its Z is one start.
        direction: of the other, `APART` away, (tokens, 2) of norm 1.
        residual: loop Z ← Z + F(X + Z), and not Z ← F(X + Z).
    """
    z = torch.stack([at.z, at.z + APART * direction])
    distances = [(z[1] - z[0]).norm()]
    for _ in range(LOOPS):
        z = at.head(at.x + z) + (z if residual else 0)
        distances.append((z[1] - z[0]).norm())
    return torch.stack(distances) / APART


COUNTEREXAMPLE = controls_of(extremal(4))
CASES: dict[str, dict[str, Any]] = {
    "as it starts": FIRST,
    "the chapter's counterexample": COUNTEREXAMPLE,
    "said to contract": {**COUNTEREXAMPLE, "size": 0.1},
    "sent out of the ball": controls_of(leaving()),
    "flat rows, residual loop": {**FIRST, "temperature": HOT, "size": 0.4},
    "sharp rows, residual loop": {
        **controls_of(leaving()), "places": [[1.0, 0.0], [-1.0, 0.0], *PLACES[2:]], "temperature": COLD, "size": -0.5,
    },
}  # fmt: skip
"""What the buttons choose."""


class ContractionExplorer(anywidget.AnyWidget):
    """Tokens to drag, a temperature and weights; a row of attention, norm over bounds, and two starts in two loops."""

    _esm = source("contraction_toy.js", "contraction.js")
    _css = style()
    name = traitlets.Unicode("contraction").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    counts: traitlets.List[int] = traitlets.List(list(COUNTS)).tag(sync=True)
    orders: traitlets.List[float] = traitlets.List(list(ORDERS)).tag(sync=True)
    maps: traitlets.List[list[Any]] = traitlets.List([[*each] for each in MAPS.items()]).tag(sync=True)
    values: traitlets.List[list[Any]] = traitlets.List([[*each] for each in VALUES.items()]).tag(sync=True)
    radius = traitlets.Float(RADIUS).tag(sync=True)
    """What the theorem allows ‖Y‖_F to be."""
    loops = traitlets.Int(LOOPS).tag(sync=True)
    apart = traitlets.Float(APART).tag(sync=True)
    ends: traitlets.List[list[Any]] = traitlets.List([[name, *end] for name, end in ENDS.items()]).tag(sync=True)
    cases: traitlets.List[list[Any]] = traitlets.List([[name, case] for name, case in CASES.items()]).tag(sync=True)
    selected: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """As `FIRST`; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        chosen = {**self.selected, **proposal["value"]}
        for key, value in chosen.items():
            if not _known(key, value):
                raise traitlets.TraitError(f"no {key} = {value}; {_CHOICES.get(key, _CHOICES['all'])}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        chosen = dict(self.selected)
        at, found = instance(chosen), measured(chosen)
        entropy = float(tsallis(at.head.rows(at.y), 1.0).mean())
        bounds = ", ".join(f"{name} {total:.3f}" for name, (_, _, total) in found.items() if name != "exact")
        return (
            f"Explorer (needs JavaScript): {len(at.y)} tokens, temperature {chosen['temperature']:g}, "
            f"rows' entropy {entropy:.3f} nats; exact norm {found['exact'][2]:.3f}, bounds: {bounds}"
        )


_ONE_OF = {"tokens": COUNTS, "token": range(1, len(PLACES) + 1), "q": ORDERS, "map": (*MAPS,), "values": (*VALUES,)}
_WITHIN = {"temperature": (COLD, HOT), **{key: ENDS[key][:2] for key in ("turn", "size")}}
_CHOICES = {
    "all": f"choose from {', '.join(FIRST)}",
    **{key: f"choose from {', '.join(str(each) for each in values)}" for key, values in _ONE_OF.items()},
    **{key: f"choose from {low:g} to {high:g}" for key, (low, high) in _WITHIN.items()},
    "places": f"needs {len(PLACES)} pairs of numbers from {ENDS['up'][0]:g} to {ENDS['up'][1]:g}",
}


def _known(key: str, value: Any) -> bool:
    if key == "places":
        pairs = isinstance(value, list) and len(value) == len(PLACES) and all(len(pair) == 2 for pair in value)
        return pairs and all(_number(x, *ENDS["up"][:2]) for pair in value for x in pair)
    if key in _ONE_OF:
        return not isinstance(value, bool) and value in _ONE_OF[key]
    return key in _WITHIN and _number(value, *_WITHIN[key])


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def contraction_explorer(**chosen: Any) -> ContractionExplorer:
    """The explorer, as it starts: four tokens, each of which looks at what is like itself, and no bound is broken.

    Args:
        chosen: what is not as in `FIRST`.

    Raises:
        traitlets.TraitError: for what is not known, or beyond its slider.
    """
    return ContractionExplorer(selected={**FIRST, **chosen})
