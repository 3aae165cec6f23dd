"""Two keyed stages: what is stored is not computed again, and rows do not depend on how they came to be."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from entropylens.experiments import EXPERIMENTS, low_entropy
from entropylens.experiments.experiment import Experiment, run_live
from entropylens.models.routed import RoutedConfig
from entropylens.results import sweep
from entropylens.results.store import Store
from entropylens.results.sweep import Task, compute, estimate, tasks
from entropylens.training.spec import PopulationSpec, TargetSpec

ROOT = Path(__file__).parents[2]
GRID = low_entropy.Grid(widths=(4, 8), seeds=2, steps=8, n_snapshots=4)
EXPERIMENT = Experiment("tiny", (), {"quick": GRID.populations}, low_entropy.measure)


@pytest.fixture(autouse=True)
def one_thread():  # type: ignore[no-untyped-def] # noqa: ANN201
    """As in worker processes: with the same number of threads a population has the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def todo(folder: Path) -> list[Task]:
    return tasks(EXPERIMENT, "quick", folder, ROOT)


def frames(folder: Path, jobs: int = 2) -> pd.DataFrame:
    return pd.concat([rows.frame for rows in compute(todo(folder), jobs)], ignore_index=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    torch.set_num_threads(1)
    return frames(tmp_path_factory.mktemp("whole"), jobs=1)


def test_rows_are_those_of_a_live_run(uninterrupted: pd.DataFrame) -> None:
    live = run_live(GRID.populations(), low_entropy.measure, jobs=1)
    pd.testing.assert_frame_equal(uninterrupted, live, check_exact=True)


def test_a_second_call_computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = frames(tmp_path, jobs=1)
    monkeypatch.setattr(sweep, "train_population", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(sweep, "map_processes", lambda *_, **__: pytest.fail("started processes"))
    pd.testing.assert_frame_equal(first, frames(tmp_path), check_exact=True)
    assert estimate(todo(tmp_path)) == 0


def test_what_a_population_once_took_beats_a_guess(tmp_path: Path) -> None:
    first, *others = todo(tmp_path)
    guess = estimate([first, *others])
    assert estimate([first, *others], {first.population: 1000.0}) == pytest.approx(
        1000 + guess - first.spec.work() / sweep.FLOPS
    )
    assert estimate([first, first], {first.population: 1000.0}) == 1000  # one training, though two ask for it


def test_a_changed_measure_measures_again_and_does_not_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames(tmp_path, jobs=1)
    changed = [dataclasses.replace(t, rows_key="0" * 32) for t in todo(tmp_path)]  # as after an edit of the measure
    monkeypatch.setattr(sweep, "train_population", lambda *_: pytest.fail("trained again"))
    for task in changed:
        assert len(sweep.compute_rows(task).frame) > 0
    assert estimate(changed) == 0


def test_keys_cover_specification_code_and_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    basis = todo(tmp_path)
    assert len({t.rows_key for t in basis} | {t.training_key for t in basis}) == 2 * len(basis)
    assert [t.rows_key for t in todo(tmp_path)] == [t.rows_key for t in basis]
    assert tasks(EXPERIMENT, "quick", tmp_path, ROOT, "cuda")[0].training_key != basis[0].training_key
    monkeypatch.setattr(sweep, "code_hash", lambda *modules: f"edited {sweep.TRAINING_CODE in modules}")
    edited = todo(tmp_path)
    assert all(
        a.training_key != b.training_key and a.rows_key != b.rows_key for a, b in zip(basis, edited, strict=True)
    )


def test_the_code_of_a_kind_of_model_is_part_of_its_own_key_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> dict[bool, set[str]]:
        found = tasks(EXPERIMENTS["residual_dominance"], "quick", tmp_path, ROOT)
        return {
            kind: {t.training_key for t in found if isinstance(t.spec.config, RoutedConfig) is kind}
            for kind in (True, False)
        }

    basis, real = keys(), sweep.code_hash
    routed = "entropylens.models.routed"
    monkeypatch.setattr(sweep, "code_hash", lambda *m: real(*m) + ("edited" if routed in m else ""))
    edited = keys()
    assert edited[False] == basis[False] != set()
    assert not edited[True] & basis[True]
    standard = {t.training_key for t in tasks(EXPERIMENTS["low_entropy"], "full", tmp_path, ROOT)}
    twins = [t for t in tasks(EXPERIMENTS["residual_dominance"], "full", tmp_path, ROOT) if t.spec.design == "main"]
    assert {t.training_key for t in twins if not isinstance(t.spec.config, RoutedConfig)} <= standard


def test_an_edit_of_the_measure_alone_keeps_what_was_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    basis, real = todo(tmp_path), sweep.code_hash
    monkeypatch.setattr(sweep, "code_hash", lambda *m: real(*m) if sweep.TRAINING_CODE in m else "edited")
    edited = todo(tmp_path)
    assert [t.training_key for t in edited] == [t.training_key for t in basis]
    assert all(a.rows_key != b.rows_key for a, b in zip(basis, edited, strict=True))


@pytest.mark.parametrize("damage", [lambda d: d[:-7], lambda d: d[:40] + bytes([d[40] ^ 4]) + d[41:], lambda _: b"#"])
def test_damaged_artefacts_are_computed_again(tmp_path: Path, uninterrupted: pd.DataFrame, damage) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    frames(tmp_path, jobs=1)
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="computed again"):
        pd.testing.assert_frame_equal(uninterrupted, frames(tmp_path, jobs=1), check_exact=True)


PROGRAM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.results.test_sweep import frames
if __name__ == "__main__":
    frames(Path(sys.argv[1]), jobs=1)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "ENTROPYLENS_PROGRESS": "0"}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], cwd=ROOT, env=environment)


def test_killed_at_random_moments_and_resumed_gives_the_same_rows(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    moments, ended = random.Random(0), []
    for _ in range(3):
        process, enough = start(tmp_path), len(list(tmp_path.rglob("*"))) + moments.randint(3, 6)
        while process.poll() is None and len(list(tmp_path.rglob("*"))) < enough:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        ended.append(process.wait())
    assert ended[0] == -signal.SIGKILL, "the first had work left; a later one may not"
    pd.testing.assert_frame_equal(uninterrupted, frames(tmp_path, jobs=1), check_exact=True)


@pytest.mark.weekly
def test_two_computations_of_the_same_at_once_do_no_harm(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert [p.wait(timeout=240) for p in both] == [0, 0]
    pd.testing.assert_frame_equal(uninterrupted, frames(tmp_path, jobs=1), check_exact=True)
    assert Store(tmp_path).folder == tmp_path


def test_an_unknown_profile_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'tiny' has no profile 'fulll'; choose from quick"):
        tasks(EXPERIMENT, "fulll", tmp_path, ROOT)


def test_a_specification_is_plain_data() -> None:
    spec = GRID.populations()[0]
    assert isinstance(spec, PopulationSpec)
    assert spec.canonical() == dataclasses.replace(spec).canonical()
    assert spec.canonical() != dataclasses.replace(spec, steps=9).canonical()
    assert GRID.populations()[-1].work() > spec.work()
    assert dataclasses.replace(spec, design="variation").canonical() == spec.canonical()  # a label trains nothing


@pytest.mark.parametrize("family", ["autoregressive", "sparse", "no_repeats"])
def test_targets_by_name_reach_their_entropy(family: str) -> None:
    from entropylens.tasks.language import Language, entropy

    p = TargetSpec(family, seed=1, k=50, entropy=2.5).build(Language(4, 4))
    assert float(entropy(p)) == pytest.approx(2.5, abs=1e-6)


def test_an_unknown_family_is_refused() -> None:
    from entropylens.tasks.language import Language

    with pytest.raises(ValueError, match="unknown rule 'wild'"):
        TargetSpec("wild", seed=0).build(Language(3, 3))
