"""Chapter 1's explorer: the entropy of a handful of symbols, and of samples from them, which lies lower on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray
from scipy.special import entr

from entropylens.show.explorers import source, style

FIRST: dict[str, float] = {"a": 8, "b": 4, "c": 2, "d": 1, "e": 1}
"""Symbol to weight: at first surprises are 1 to 4 bits."""
HEAVIEST = 10.0
SIZES = [m * 10**k for k in range(4) for m in (1, 2, 3, 5, 7)] + [10_000]
"""Of samples, about evenly spaced on a logarithmic scale."""
SAMPLES = 100
"""Samples of one size, numbered from 1; the number is the seed."""
ENDS = {**dict.fromkeys(FIRST, (0.0, HEAVIEST, 20)), "dial": (0.0, 1.0, 40)}
"""Each slider's lowest and highest value, and its steps."""


def turned(weights: Sequence[float], dial: float) -> NDArray[np.float64]:
    """Weights to the power β = dial / (1 − dial), normalised, (V): even at 0, as weighed at ½, certain at 1.

    What has no weight cannot happen, wherever the dial stands; at 1, equally large weights share.
    """
    w = np.asarray(weights, np.float64) / max(weights)
    raised = np.where(w > 0, w ** (dial / (1 - dial)) if dial < 1 else w == 1, 0.0)
    return np.asarray(raised / raised.sum())


def uniforms(n: int, seed: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), the same here and in the page: the generator mulberry32, whose state is 32 bits."""
    state = np.uint32(seed) + np.arange(1, n + 1, dtype=np.uint32) * np.uint32(0x6D2B79F5)
    z = (state ^ (state >> 15)) * (state | 1)
    z ^= z + (z ^ (z >> 7)) * (z | 61)
    return np.asarray((z ^ (z >> 14)) / 2**32)


def counted(p: NDArray[np.float64], n: int, seed: int) -> NDArray[np.int64]:
    """How often each symbol, (V), is among n that are drawn from p."""
    possible = np.flatnonzero(p)
    found = np.searchsorted(np.cumsum(p[possible])[:-1], uniforms(n, seed), side="right")
    return np.bincount(possible[found], minlength=len(p))


class DialExplorer(anywidget.AnyWidget):
    """Sliders for weights, dial and sample size; p beside the sample's p̂, and H(p̂) over N beside its expectation."""

    _esm = source("dial.js")
    _css = style()
    name = traitlets.Unicode("entropy").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    symbols = traitlets.Unicode("".join(FIRST)).tag(sync=True)
    sizes: traitlets.List[int] = traitlets.List(SIZES).tag(sync=True)
    samples = traitlets.Int(SAMPLES).tag(sync=True)
    ends: traitlets.List[list[Any]] = traitlets.List([[name, *end] for name, end in ENDS.items()]).tag(sync=True)
    selected: traitlets.Dict[str, float] = traitlets.Dict().tag(sync=True)
    """Symbol to weight, `dial`, `size` and `sample`; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, float]:
        chosen = {**self.selected, **proposal["value"]}
        for key, value in chosen.items():
            if isinstance(value, bool) or not _known(key, value):
                known = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high, _) in ENDS.items())
                raise traitlets.TraitError(
                    f"no {key} = {value}; choose from {known}, sample 1 to {SAMPLES}, size among {SIZES}"
                )
        if not any(chosen[symbol] for symbol in FIRST):
            raise traitlets.TraitError("one symbol at least needs a weight")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        now = self.selected
        p = turned([now[symbol] for symbol in FIRST], now["dial"])
        h, seen = entr(p).sum(), counted(p, int(now["size"]), int(now["sample"])) / now["size"]
        return (
            f"Explorer (needs JavaScript): p = ({', '.join(f'{x:.3f}' for x in p)}), H(p) = {h:.3f} nats, perplexity "
            f"{np.exp(h):.2f}; of a sample of {now['size']}, H(p̂) = {entr(seen).sum():.3f} nats"
        )


def _known(key: str, value: Any) -> bool:
    if key in ("size", "sample"):
        return isinstance(value, int) and value in (SIZES if key == "size" else range(1, SAMPLES + 1))
    low, high = ENDS.get(key, (1, 0))[:2]
    return isinstance(value, int | float) and low <= value <= high


def dial_explorer(**chosen: float) -> DialExplorer:
    """The explorer, as it starts: five symbols of unequal probability, and a small sample of them.

    Args:
        chosen: weights of symbols, see `FIRST`, 0 to `HEAVIEST`; `dial`, 0 (even) to 1 (certain), at first ½; `size` of
            the sample, one of `SIZES`; which `sample`, 1 to `SAMPLES`.

    Raises:
        traitlets.TraitError: for a name that is not known, a value out of reach, or weights that are all 0.
    """
    return DialExplorer(selected={**FIRST, "dial": 0.5, "size": 20, "sample": 1, **chosen})
