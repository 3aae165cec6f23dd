"""Numbers for the text: what a chapter says in words it takes from what its cells have computed."""

from __future__ import annotations

import torch
from myst_nb import glue  # type: ignore[import-untyped]


def tell(**numbers: float | str | torch.Tensor) -> None:
    """Make numbers available to the text of the same notebook, as {glue:text}`name:.3f`; tensors must be scalars."""
    for name, value in numbers.items():
        glue(name, value.item() if isinstance(value, torch.Tensor) else value, display=False)
