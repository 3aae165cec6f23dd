"""Valid files made invalid: bytes that are flipped, cut, doubled or random, and fields of another kind."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

STRANGERS: list[Any] = [
    None, True, -1, 0, 2.5, float("inf"), float("nan"), 10**400, "", "x", [], [[]], ["x"], {}, {"x": 1}, {"x": {}}
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that once were `data`."""
    a, b = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
    flipped = bytes([data[a % len(data)] ^ (1 << draw(st.integers(0, 7)))])
    return draw(
        st.sampled_from([data[:a] + data[b:], data[:b] + data[a:], data[:a] + flipped + data[a + 1 :]])
        | st.binary(max_size=12).map(lambda noise: data[:a] + noise + data[b:])
        | st.binary(max_size=200)
    )


@st.composite
def swapped(draw: st.DrawFn, tree: Any) -> Any:
    """JSON or YAML in which one to three fields are of another kind, or missing."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(tree)) or [([tree], 0)]))
        if draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(STRANGERS)))
    return tree


def other_headers(whole: bytes) -> st.SearchStrategy[bytes]:
    """Safetensors whose header has fields of another kind."""
    size = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    texts = swapped(header).map(lambda tree: json.dumps(tree).encode())
    return texts.map(lambda text: len(text).to_bytes(8, "little") + text + body)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)
