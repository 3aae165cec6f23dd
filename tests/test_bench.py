"""The benchmark compares like with like; it is never judged by its times."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from entropylens import bench, bench_devices, bench_looped
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language
from tests._devices import Strict

CONFIG = TransformerConfig(Language(3, 3), d_model=8, n_layers=bench.LAYERS)
LOOPED = LoopedConfig(5, n_loops=3)


@pytest.mark.parametrize("rival", [bench._naive, bench._loop_on_trie, lambda c: bench.ours(c, False, logged=True)])
def test_rivals_do_the_same_work(rival: Callable[[TransformerConfig], bench.Step]) -> None:
    bench._check_same(bench.ours(CONFIG, compiled=False), rival(CONFIG), "rival")


def test_other_work_is_noticed() -> None:
    other = TransformerConfig(Language(3, 3), d_model=8, n_layers=bench.LAYERS, norm="none")
    with pytest.raises(RuntimeError, match="naive does other work than ours: at step 1"):
        bench._check_same(bench.ours(CONFIG, compiled=False), bench._naive(other), "naive")


@pytest.fixture
def few_short_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MEMBERS": 2, "SEQUENCES": 3, "LENGTH": 9, "CONFIG": LOOPED}.items():
        monkeypatch.setattr(bench_looped, name, value)


@pytest.mark.usefixtures("few_short_sequences")
@pytest.mark.parametrize("rival", [bench_looped.naive, bench_looped.one_by_one])
def test_looped_rivals_do_the_same_work(rival: Callable[..., bench.Step]) -> None:
    ours, theirs = bench_looped.ours(LOOPED, torch.float64), rival(LOOPED, torch.float64)
    bench._check_same(ours, theirs, "rival")
    with pytest.raises(RuntimeError, match="rival does other work than ours"):
        bench._check_same(ours, rival(LoopedConfig(5, n_loops=2), torch.float64), "rival")


@pytest.mark.usefixtures("few_short_sequences")
@pytest.mark.parametrize("causal", [True, False])
def test_the_floor_counts_every_pair_once(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """9 tokens are 45 pairs under a mask, and 81 without; M B = 6 sequences."""
    pairs = []
    exp = torch.exp
    monkeypatch.setattr(torch, "exp", lambda x, out: pairs.append(x.numel()) or exp(x, out=out))
    assert bench_looped.floor(LoopedConfig(5, n_loops=3, causal=causal))() == []
    assert pairs == 3 * [6 * (45 if causal else 81)]


@pytest.mark.usefixtures("few_short_sequences")
def test_measurements_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "compiler_works", lambda: False)
    versus = ["naive", "floor", "unlogged", "one_by_one"]
    done = list(bench.run_benchmarks([8], versus, seconds=0.01))
    rows = json.loads(json.dumps(bench.as_rows(done)))
    assert [row["versus"] for row in rows] == ["naive", "floor", "unlogged", "naive", "floor", "one_by_one"]
    assert [row["name"] for row in rows] == ["full_batch_step"] * 2 + ["logged_step"] + ["looped_step"] * 3
    assert len(rows) == sum(len(names) for *_, names in bench.planned([8], versus))
    for row in rows:
        assert {"name", "d_model", "versus", "ratio", "seconds"} <= set(row)
        assert row["rounds"] >= 5
        assert row["seconds"] > 0
    naive, floor, unlogged, looped_naive, looped_floor, _ = rows
    assert naive["ratio"] == pytest.approx(naive["their_seconds"] / naive["seconds"])
    assert floor["ratio"] == pytest.approx(floor["seconds"] / floor["their_seconds"])
    assert unlogged["ratio"] == pytest.approx(unlogged["their_seconds"] / unlogged["seconds"])
    assert looped_naive["ratio"] == pytest.approx(looped_naive["their_seconds"] / looped_naive["seconds"])
    assert looped_floor["ratio"] == pytest.approx(looped_floor["seconds"] / looped_floor["their_seconds"])


def test_looped_models_are_measured_at_their_width_only() -> None:
    assert [(c.work, d, names) for c, d, names in bench.planned([16, 8], ["one_by_one", "unlogged"])] == [
        ("logged_step", 16, ["unlogged"]),
        ("logged_step", 8, ["unlogged"]),
        ("looped_step", 8, ["one_by_one"]),
    ]


@pytest.mark.usefixtures("few_short_sequences")
def test_a_device_is_timed_against_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands in for the device."""
    monkeypatch.setattr(bench_devices, "MEMBERS", 2)
    monkeypatch.setattr(bench, "compiler_works", lambda: False)
    done = list(bench.run_benchmarks([8], ["cpu"], 0.01, bench_devices.contests("cpu")))
    assert [(m.name, m.versus) for m in done] == [
        ("full_batch_step", "cpu"),
        ("looped_step", "cpu"),
        ("text_step", "cpu"),
    ]
    for m in done:
        assert m.ratio == pytest.approx(m.their_seconds / m.seconds)


@pytest.mark.usefixtures("few_short_sequences")
def test_what_is_timed_on_a_device_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "compiler_works", lambda: False)
    for contest in bench_devices.contests("meta"):
        with Strict() as device:
            told = contest.ours(contest.config(8))()
        assert all(type(x) is float for x in told), contest.work
        assert device.operators > 0
