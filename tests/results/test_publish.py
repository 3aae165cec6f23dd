"""From a grid to published rows, to `verify`, on a grid small enough for a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from entropylens.experiments import EXPERIMENTS, low_entropy
from entropylens.experiments.experiment import Experiment
from entropylens.results import reference, sweep, verify
from entropylens.results.publish import Order, execute, plan
from entropylens.results.reference import ForeignFileError, load_reference
from entropylens.results.sweep import compute, tasks

ROOT = Path(__file__).parents[2]
GRID = low_entropy.Grid(widths=(8, 64), seeds=5, steps=3, n_snapshots=3)
EXPERIMENT = Experiment("low_entropy", ("LE-1a", "LE-1b"), {"full": GRID.populations}, low_entropy.measure)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("project")
    (root / "book").mkdir()
    shutil.copy(ROOT / "book" / "claims.yml", root / "book")
    execute(Order(root, EXPERIMENT, "full", "cpu"), jobs=1)
    return root


@pytest.fixture
def project(computed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(EXPERIMENTS, "low_entropy", EXPERIMENT)
    return Path(shutil.copytree(computed, tmp_path / "project"))


def edit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the measure's source had been edited."""
    for module in (sweep, reference, verify):
        monkeypatch.setattr(module, "measuring_code", lambda _: "edited")


def test_published_rows_are_those_of_the_store(project: Path) -> None:
    found = load_reference(project, "low_entropy")
    assert found is not None
    order = Order(project, EXPERIMENT, "full", "cpu")
    stored = pd.concat([r.frame for r in compute(order.tasks(), jobs=1)], ignore_index=True)
    pd.testing.assert_frame_equal(found.rows.drop(columns="population"), stored, check_exact=True)
    assert not found.stale
    assert set(found.rule_hashes) == {"LE-1a", "LE-1b"}
    assert found.provenance["populations"].keys() == set(found.rows["population"])
    for record in found.provenance["populations"].values():
        assert {
            "commit",
            "cpu",
            "device",
            "seconds",
            "threads",
            "torch",
            "compiled",
            "profile",
            "date",
        } <= record.keys()
    assert "0 core-minutes" in plan(order) or "0.0 core-minutes" in plan(order)


def test_edited_code_makes_them_stale(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_code(monkeypatch)
    found = load_reference(project, "low_entropy")
    assert found is not None
    assert found.stale


@pytest.mark.parametrize("victim", ["low_entropy.csv", "low_entropy.json"])
def test_damaged_or_foreign_files_are_refused_by_name(project: Path, victim: str) -> None:
    path = project / "results" / victim
    path.write_text(path.read_text().replace("0", "1", 1))
    with pytest.raises(ForeignFileError, match="low_entropy"):
        load_reference(project, "low_entropy")
    path.unlink()
    with pytest.raises(ForeignFileError, match="cannot be read"):
        load_reference(project, "low_entropy")


def test_what_was_never_published_is_none(tmp_path: Path) -> None:
    assert load_reference(tmp_path, "low_entropy") is None


def test_verify_agrees_with_itself_and_notices_a_changed_number(project: Path) -> None:
    checks = verify.verify(project, EXPERIMENT, sample=1, jobs=1)
    assert [c.agrees for c in checks] == [True]
    assert checks[0].same_platform
    frame = pd.read_csv(project / "results" / "low_entropy.csv")
    frame["kl"] += 1e-3
    text = frame.to_csv(index=False, lineterminator="\n")
    (project / "results" / "low_entropy.csv").write_text(text)
    record = project / "results" / "low_entropy.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "checksum": reference.digest(text)}))
    check = verify.verify(project, EXPERIMENT, sample=1, jobs=1)[0]
    assert not check.agrees
    assert check.difference == pytest.approx(1e-3)
    assert "DIFFERS" in str(check)


def test_on_another_platform_the_verdict_decides(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "cpu_model", lambda: "another processor")
    check = verify.verify(project, EXPERIMENT, sample=1, jobs=1)[0]
    assert not check.same_platform
    assert check.agrees
    assert not verify.Check("p", 5, False, 1e-9, ("LE-1a",)).agrees
    assert verify.Check("p", 5, False, 0.5, ()).agrees


def test_an_attestation_needs_agreement_and_enough_cells(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = verify.verify(project, EXPERIMENT, sample=2, jobs=1)
    edit_code(monkeypatch)
    few = [verify.Check("p", 2, True, 0.0, ())]
    with pytest.raises(ValueError, match="2 cells were computed again; 10 of 30 are needed"):
        verify.attest(project, EXPERIMENT, few)
    with pytest.raises(ValueError, match="not all that was computed again agrees"):
        verify.attest(project, EXPERIMENT, [verify.Check("p", 30, True, 1.0, ())])
    assert verify.attest(project, EXPERIMENT, checks) == "edited"
    found = load_reference(project, "low_entropy")
    assert found is not None
    assert not found.stale
    assert found.provenance["attested"]["cells"] == 30


def test_verify_without_rows_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="entropylens compute low_entropy --profile full"):
        verify.verify(tmp_path, EXPERIMENT, sample=1)


def test_a_budget_takes_the_cheapest_first(tmp_path: Path) -> None:
    todo = tasks(EXPERIMENT, "full", tmp_path, ROOT)
    assert [t.spec.config.d_model for t in verify._within(todo, 0.0)] == [8]
    assert len(verify._within(todo, 1e9)) == len(verify._within(todo, None)) == 2


def test_fresh_rows_replace_the_old_ones_at_the_end(project: Path) -> None:
    before = sorted(p.name for p in (project / "_store" / "trained").glob("*"))
    execute(Order(project, EXPERIMENT, "full", "cpu", fresh=True), jobs=1)
    after = sorted(p.name for p in (project / "_store" / "trained").glob("*"))
    assert len(after) == len(before)
    assert not (project / "_store" / ".fresh").exists()


def test_a_cluster_gives_the_same_rows_even_if_a_worker_dies(project: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="pip install distributed to test the Dask executor")
    order = Order(project, EXPERIMENT, "full", "cpu")
    here = pd.concat([r.frame for r in compute(order.tasks(), jobs=1)], ignore_index=True)
    todo = tasks(EXPERIMENT, "full", tmp_path / "cluster", ROOT)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        next(iter(cluster.workers.values())).process.process.kill()
        there = pd.concat([r.frame for r in compute(todo, scheduler=cluster.scheduler_address)], ignore_index=True)
    pd.testing.assert_frame_equal(here, there, check_exact=True)
