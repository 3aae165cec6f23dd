"""Numbers for the text: what a chapter says in words it takes from what its cells have computed."""

from __future__ import annotations

import torch
from IPython.display import display
from numpy.typing import ArrayLike

from entropylens.results.statistics import mean_interval

_HIDDEN = "application/papermill.record/"
"""MyST-NB's prefix for what is kept in a notebook and not shown (its own `glue` needs two seconds to import Sphinx)."""


def tell(**numbers: float | str | torch.Tensor) -> None:
    """Make numbers available to the text of the same notebook, as {glue:text}`name:.3f`; tensors must be scalars."""
    for name, value in numbers.items():
        plain = value.item() if hasattr(value, "item") else value
        display(  # type: ignore[no-untyped-call]
            {f"{_HIDDEN}text/plain": repr(plain)},
            raw=True,
            metadata={"scrapbook": {"name": name, "mime_prefix": _HIDDEN}},
        )


def tell_mean(name: str, values: ArrayLike) -> None:
    """Tell a mean, under its name, and its 95 % interval, `name`_low and `name`_high.

    Args:
        name: of the mean.
        values: independent ones, (n), two or more.
    """
    found = mean_interval(values)
    tell(**{name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high})
