"""Chapter 12's explorer: what a gate does to a loop, beside the constant of the same mean, in a toy of one number."""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import anywidget
import torch
import traitlets
from torch import Tensor

from entropylens.measures.settling import TOLERANCE
from entropylens.models.entropies import tsallis
from entropylens.models.gates import Gate, opened
from entropylens.models.loop_kernel import ORDER
from entropylens.show.explorers import source, style

PLACES = (-0.9, -0.6, -0.3, 0.1, 0.4, 0.6, 0.8, 1.0)
"""What stands at each place, key and value in one; their mean is not 0, so that a token that looks everywhere moves."""
LOOPS = 40
NAMES: tuple[str, ...] = get_args(Gate)
ENDS = {
    "sharpness": (0.0, 20.0, 40),
    "start": (-2.0, 2.0, 40),
    "gain": (0.5, 3.0, 25),
    "a": (-6.0, 6.0, 24),
    "b": (-12.0, 12.0, 24),
    "c": (0.05, 1.0, 19),
    "loop": (0, LOOPS, LOOPS),
}
"""Each slider's lowest and highest value, and its steps."""
CASES: dict[str, dict[str, Any]] = {
    "as it starts": {"gate": "diffuse", "sharpness": 8.0, "start": 0.0, "gain": 1.0},
    "the plain step swings": {"gate": "open", "sharpness": 8.0, "start": 0.2, "gain": 2.5},
    "a gate brakes it": {"gate": "exponential", "sharpness": 8.0, "start": 0.2, "gain": 2.5},
    "a constant does better": {"gate": "sharp", "sharpness": 4.0, "start": 0.2, "gain": 1.0},
    "a gate shuts at once": {"gate": "sharp", "sharpness": 8.0, "start": 0.0, "gain": 1.0},
    "a gate shuts on the way": {"gate": "sharp", "sharpness": 2.5, "start": -2.0, "gain": 2.5},
}
"""What the buttons choose."""
FIRST: dict[str, Any] = {**CASES["as it starts"], "a": 0.0, "b": 0.0, "c": 0.5, "loop": 0}


class Journey(NamedTuple):
    """Where a token goes, from before the first loop to after the last: T + 1 of each."""

    states: Tensor
    rows: Tensor
    """(T + 1, PLACES) attention."""
    entropies: Tensor
    gates: Tensor
    """Of the loop that would follow; so only the first T are used."""
    pulls: Tensor
    """F."""


def attention(states: Tensor, sharpness: float) -> Tensor:
    """Where tokens look, softmax(β z · places), (...) to (..., PLACES)."""
    return (sharpness * states[..., None] * states.new_tensor(PLACES)).softmax(-1)


def gates_of(gate: str, rows: Tensor, a: float = 0.0, b: float = 0.0, c: float = 1.0) -> Tensor:
    """G of rows of attention, (*, PLACES) to (*): a gate of `models/gates.py`, or the constant c."""
    entropy = tsallis(rows, ORDER)
    if gate == "constant":
        return torch.full_like(entropy, c)
    among = entropy[..., None].expand(rows.shape)  # as of as many tokens as there are places: n is read off
    learned = entropy.new_tensor([a, b]) if gate == "learned" else None
    return opened(gate, among, False, learned)[..., 0]  # type: ignore[arg-type]


def travel(gate: str, sharpness: float, start: float, gain: float, **parameters: float) -> Journey:
    """A token's way: `LOOPS` times z ← z + g F(z), with F(z) = gain · (mean of what it looks at − z)."""
    z, steps = torch.tensor(start, dtype=torch.float64), []
    for _ in range(LOOPS + 1):
        row = attention(z, sharpness)
        pull = gain * ((row * row.new_tensor(PLACES)).sum() - z)
        g = gates_of(gate, row, **parameters)
        steps.append((z, row, tsallis(row, ORDER), g, pull))
        z = z + g * pull
    return Journey(*(torch.stack(each) for each in zip(*steps, strict=True)))


def control(way: Journey) -> float:
    """The constant that is on average as open as the gates on the way."""
    return float(way.gates[:-1].mean())


def loops_to_rest(way: Journey) -> int:
    """After how many loops none moves the state by more than `TOLERANCE`; `LOOPS` if it moves to the end."""
    moving = way.states.diff().abs() > TOLERANCE
    return int(moving.nonzero().max()) + 1 if bool(moving.any()) else 0


def ending(way: Journey) -> str:
    """How a way ends, in words that follow "it"; what has stopped has not arrived if F is not about 0 there."""
    rest, pull = loops_to_rest(way), float(way.pulls[-1])
    z = f"z = {round(float(way.states[-1]), 2) + 0.0:+.2f}"  # no -0.00
    after = f"after {rest} loop{'s' * (rest != 1)}"
    if rest == LOOPS:
        return f"does not come to rest in {LOOPS} loops"
    if abs(pull) > 10 * TOLERANCE:
        return f"{f'stops {after},' if rest else 'stays'} at {z}, and has not arrived: F = {pull:+.2f} there"
    return f"{f'comes to rest {after}' if rest else 'is at rest from the start'}, at {z}"


class GateExplorer(anywidget.AnyWidget):
    """A gate and a few sliders; where the token looks, its way and its steps beside the control's, and how both end."""

    _esm = source("gates.js")
    _css = style()
    name = traitlets.Unicode("gate").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    places: traitlets.List[float] = traitlets.List(list(PLACES)).tag(sync=True)
    order = traitlets.Float(ORDER).tag(sync=True)
    """q of Tsallis' entropy, not 1."""
    loops = traitlets.Int(LOOPS).tag(sync=True)
    tolerance = traitlets.Float(TOLERANCE).tag(sync=True)
    gates: traitlets.List[str] = traitlets.List(list(NAMES)).tag(sync=True)
    ends: traitlets.List[list[Any]] = traitlets.List([[name, *end] for name, end in ENDS.items()]).tag(sync=True)
    cases: traitlets.List[list[Any]] = traitlets.List([[name, case] for name, case in CASES.items()]).tag(sync=True)
    selected: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """`gate`, and slider to value; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        chosen = {**self.selected, **proposal["value"]}
        for key, value in chosen.items():
            if not (value in NAMES if key == "gate" else _within(key, value)):
                known = ", ".join(f"{name} {a:g} to {b:g}" for name, (a, b, _) in ENDS.items())
                raise traitlets.TraitError(f"no {key} = {value}; choose from gate {' or '.join(NAMES)}, {known}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        own = {key: value for key, value in self.selected.items() if key != "loop"}
        gate, way = own["gate"], travel(**own)
        named = {"open": "plain step", "constant": f"constant {own['c']:.2f}", "learned": "gate by entropy"}
        told = [f"with the {named.get(gate, f'{gate} gate')} the state {ending(way)}"]
        if gate not in ("open", "constant"):
            mean = control(way)
            same = travel(**{**own, "gate": "constant", "c": mean})
            told.append(f"with the constant of the same mean, {mean:.2f}, it {ending(same)}")
        return f"Explorer (needs JavaScript): {'; '.join(told)}"


def _within(key: str, value: Any) -> bool:
    low, high = ENDS.get(key, (1, 0))[:2]
    known = isinstance(value, int) if key == "loop" else isinstance(value, int | float)
    return known and not isinstance(value, bool) and low <= value <= high


def gate_explorer(**chosen: Any) -> GateExplorer:
    """The explorer, as it starts: a diffuse gate, of a token that does not yet know where to look.

    Args:
        chosen: `gate`, one of `NAMES`, and values of the sliders, see `ENDS`, that are not those of `FIRST`.

    Raises:
        traitlets.TraitError: for a name that is not known, or a value that its slider does not reach.
    """
    return GateExplorer(selected={**FIRST, **chosen})
