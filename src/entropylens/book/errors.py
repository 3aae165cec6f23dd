"""What can go wrong, in two kinds: the caller asked for something that is not there, or the work itself failed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """The request cannot be understood: one line that names the thing and the choices. Nothing has been written."""


class BookError(RuntimeError):
    """The request was fine and the work failed: a notebook raised, a page is stale, Sphinx warned."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> BadInput:
    """Return the error for a `name` that is not among `choices`, with the nearest of them as a suggestion.

    Args:
        kind: what the name was meant to be, for example "notebook".
        name: what was asked for.
        choices: what exists.
    """
    options = list(choices)
    close = difflib.get_close_matches(name, options, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return BadInput(f"unknown {kind} {name!r}{hint}; choose from: {', '.join(options) or 'none exist'}")
