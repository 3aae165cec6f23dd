"""The benchmark compares like with like; it is never judged by its times."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from entropylens import bench
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language

CONFIG = TransformerConfig(Language(3, 3), d_model=8, n_layers=bench.LAYERS)


@pytest.mark.parametrize("rival", [bench._naive, bench._loop_on_trie, lambda c: bench._ours(c, False, logged=True)])
def test_rivals_do_the_same_work(rival: Callable[[TransformerConfig], bench.Step]) -> None:
    bench._check_same(bench._ours(CONFIG, compiled=False), rival(CONFIG), "rival")


def test_other_work_is_noticed() -> None:
    other = TransformerConfig(Language(3, 3), d_model=8, n_layers=bench.LAYERS, norm="none")
    with pytest.raises(RuntimeError, match="naive does other work than ours: at step 1"):
        bench._check_same(bench._ours(CONFIG, compiled=False), bench._naive(other), "naive")


def test_measurements_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "compiler_works", lambda: False)
    done = list(bench.run_benchmarks([8], ["naive", "floor", "unlogged"], seconds=0.01))
    rows = json.loads(json.dumps(bench.as_rows(done)))
    assert [row["versus"] for row in rows] == ["naive", "floor", "unlogged"]
    assert [row["name"] for row in rows] == ["full_batch_step", "full_batch_step", "logged_step"]
    for row in rows:
        assert {"name", "d_model", "versus", "ratio", "seconds"} <= set(row)
        assert row["rounds"] >= 5
        assert row["seconds"] > 0
    naive, floor, unlogged = rows
    assert naive["ratio"] == pytest.approx(naive["their_seconds"] / naive["seconds"])
    assert floor["ratio"] == pytest.approx(floor["seconds"] / floor["their_seconds"])
    assert unlogged["ratio"] == pytest.approx(unlogged["their_seconds"] / unlogged["seconds"])
