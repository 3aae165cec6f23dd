"""Numbers for the text arrive in a notebook the way MyST-NB's glue would write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from entropylens.results.statistics import mean_interval
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


def test_means_are_told_with_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}
    monkeypatch.setattr(prose, "tell", lambda **numbers: seen.update(numbers))
    prose.tell_mean("gain", values := [0.1, 0.2, 0.6])
    found = mean_interval(values)
    assert seen == {"gain": pytest.approx(0.3), "gain_low": found.low, "gain_high": found.high}
    assert found.low < 0 < found.high
    with pytest.raises(ValueError, match="two or more finite values"):
        prose.tell_mean("gain", [0.1])
