"""Numbers for the text arrive in a notebook the way MyST-NB's glue would write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from entropylens.show import prose


def test_numbers_are_written_as_glue_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(prose, "display", lambda data, raw, metadata: seen.append((data, raw, metadata)))
    prose.tell(x=torch.tensor(0.5, dtype=torch.float64), n=3)
    kind = "application/papermill.record/"
    assert seen == [
        ({f"{kind}text/plain": "0.5"}, True, {"scrapbook": {"name": "x", "mime_prefix": kind}}),
        ({f"{kind}text/plain": "3"}, True, {"scrapbook": {"name": "n", "mime_prefix": kind}}),
    ]
