"""From a grid to published rows, to `verify`, on a grid small enough for a test."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from distributed import LocalCluster

from entropylens.cli import cli
from entropylens.experiments import EXPERIMENTS, low_entropy
from entropylens.experiments.experiment import Experiment, final_log_probs
from entropylens.measures.distribution import entropy_from_log
from entropylens.results import reference, sweep, verify
from entropylens.results.files import ForeignFileError
from entropylens.results.ledger import ledger
from entropylens.results.publish import Order, execute, plan
from entropylens.results.reference import load_reference
from entropylens.results.sweep import compute, tasks

ROOT = Path(__file__).parents[2]
GRID = low_entropy.Grid(widths=(8, 64), seeds=5, steps=3, n_snapshots=3)
EXPERIMENT = Experiment(
    "low_entropy", ("LE-1a", "LE-1b"), {"full": GRID.populations}, low_entropy.measure, final_log_probs
)


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


def _verify(root: Path, **how: Any) -> list[verify.Check]:
    return verify.verify(root, [EXPERIMENT], **how)[EXPERIMENT.name]


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


def test_several_experiments_are_verified_at_once_and_told_apart(project: Path) -> None:
    other = dataclasses.replace(EXPERIMENT, name="other", claims=())
    execute(Order(project, other, "full", "cpu"), jobs=1)
    found = verify.verify(project, [other, EXPERIMENT], sample=2, seed=1, jobs=1)
    assert list(found) == ["other", "low_entropy"]
    for name, checks in found.items():
        reference = load_reference(project, name)
        assert reference is not None
        assert len({check.population for check in checks} & set(reference.rows["population"])) == len(checks) == 2
        assert all(check.agrees for check in checks)


def test_verify_agrees_with_itself_and_notices_a_changed_number(project: Path) -> None:
    checks = _verify(project, sample=1, jobs=1)
    assert [c.agrees for c in checks] == [True]
    assert checks[0].same_platform
    frame = pd.read_csv(project / "results" / "low_entropy.csv")
    frame["kl"] += 1e-3
    text = frame.to_csv(index=False, lineterminator="\n")
    (project / "results" / "low_entropy.csv").write_text(text)
    record = project / "results" / "low_entropy.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "checksum": reference.digest(text)}))
    check = _verify(project, sample=1, jobs=1)[0]
    assert not check.agrees
    assert check.difference == pytest.approx(1e-3)
    assert "DIFFERS" in str(check)


def test_a_name_does_not_tell_processors_apart(project: Path) -> None:
    """Of an older record, numbers tell whether another processor of this name made it; of a newer one, it says so."""
    (check,) = _verify(project, sample=1, jobs=1)
    assert check.same_platform
    frame = pd.read_csv(project / "results" / "low_entropy.csv")
    frame["kl"] += 1e-5
    text = frame.to_csv(index=False, lineterminator="\n")
    (project / "results" / "low_entropy.csv").write_text(text)
    record = project / "results" / "low_entropy.json"
    stored = {**json.loads(record.read_text()), "checksum": reference.digest(text)}
    for features, same in (("others", False), (None, False)):
        for population in stored["populations"].values():
            population["cpu_features"] = features
            if features is None:
                del population["cpu_features"]
        record.write_text(json.dumps(stored))
        (check,) = _verify(project, sample=1, jobs=1)
        assert (check.same_platform, check.agrees) == (same, True)


def test_words_that_a_population_lacks_are_no_difference() -> None:
    whole = pd.read_csv(StringIO("x,variant\n1.0,full\n2.0,\n"))
    part, again = whole[1:].reset_index(drop=True), pd.read_csv(StringIO("x,variant\n2.0,\n"))
    assert verify._difference(part, again) == 0
    assert verify._difference(whole[:1], pd.read_csv(StringIO("x,variant\n1.0,fulls\n"))) == np.inf
    assert verify._difference(whole[:1], pd.read_csv(StringIO("x,variant\n1.0,\n"))) == np.inf
    assert verify._difference(part, pd.read_csv(StringIO("x,variant\n2.5,\n"))) == 0.5


def test_columns_that_a_population_lacks_are_no_difference_and_new_ones_are() -> None:
    whole = pd.read_csv(StringIO("x,share,variant\n1.0,0.5,full\n2.0,,\n"))
    part, again = whole[1:].reset_index(drop=True), pd.read_csv(StringIO("x\n2.0\n"))
    assert verify._difference(part, again) == 0
    assert verify._difference(whole[:1], pd.read_csv(StringIO("x,variant\n1.0,full\n"))) == np.inf
    assert verify._difference(part, pd.read_csv(StringIO("x,y\n2.0,1.0\n"))) == np.inf
    assert verify._difference(part, pd.read_csv(StringIO("x,share\n2.0,half\n"))) == np.inf


def test_beside_it_does_not_matter_who_made_the_published_rows(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other code's rows stand in for the published ones, which another processor made."""
    monkeypatch.setattr(sweep, "cpu_model", lambda: "another processor")
    added = {"kl": 0.0}
    known = []

    def rows_of(_: str, *arguments: Any) -> dict[str, pd.DataFrame]:
        known.extend(arguments[4])
        parts = {
            t.population: sweep.compute_rows(t).frame for t in tasks(EXPERIMENT, "full", project / "other", project)
        }
        return {p: parts[p].assign(**{c: parts[p].get(c, 0) + x for c, x in added.items()}) for p in arguments[3]}

    monkeypatch.setattr(verify, "rows_of", rows_of)
    monkeypatch.setattr(verify, "resolve_commit", lambda commit, _: 40 * commit)
    checks = _verify(project, sample=2, jobs=1, beside="a")
    assert [(c.agrees, c.same_platform, c.difference) for c in checks] == [(True, True, 0.0)] * 2
    assert "beside aaaaaaaaa): agrees" in str(checks[0])
    assert known == [sweep.measuring_code(EXPERIMENT)]
    assert verify.attest(project, EXPERIMENT, checks) == known[0]
    found = load_reference(project, "low_entropy")
    assert found is not None
    assert found.provenance["attested"]["beside"] == "a" * 40
    added["kl"] = 1e-3
    differing = _verify(project, sample=2, jobs=1, beside="a")
    assert [c.agrees for c in differing] == [False, False]
    with pytest.raises(ValueError, match="not all agrees"):
        verify.attest(project, EXPERIMENT, differing)
    added.pop("kl")
    added["new"] = 1.0
    assert _verify(project, sample=1, jobs=1, beside="a")[0].difference == np.inf


def test_for_rows_of_a_gpu_the_quick_profile_stands_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    record = project / "results" / "low_entropy.json"
    stored = json.loads(record.read_text())
    for population in stored["populations"].values():
        population["device"] = "cuda"
    record.write_text(json.dumps(stored))
    smaller = [dataclasses.replace(spec, steps=4) for spec in GRID.populations()]
    quick = dataclasses.replace(EXPERIMENT, populations={**EXPERIMENT.populations, "quick": lambda: smaller})
    with pytest.raises(ValueError, match="--beside COMMIT"):
        verify.verify(project, [quick])
    added = {"kl": 0.0}

    def rows_of(*asked: Any) -> dict[str, pd.DataFrame]:
        assert asked[3] == "quick"
        parts = {t.population: sweep.compute_rows(t).frame for t in tasks(quick, "quick", project / "other", project)}
        return {p: parts[p].assign(kl=parts[p]["kl"] + added["kl"]) for p in asked[4]}

    monkeypatch.setattr(verify, "rows_of", rows_of)
    monkeypatch.setattr(verify, "resolve_commit", lambda commit, _: 40 * commit)
    checks = verify.verify(project, [quick], jobs=1, beside="a")["low_entropy"]
    assert [c.agrees for c in checks] == [True] * len(smaller)
    assert "beside aaaaaaaaa, quick profile on a CPU): agrees" in str(checks[0])
    verify.attest(project, quick, checks)
    assert json.loads(record.read_text())["attested"]["profile"] == "quick, on a CPU"
    added["kl"] = 1e-3
    assert not any(c.agrees for c in verify.verify(project, [quick], jobs=1, beside="a")["low_entropy"])


def test_rows_are_computed_where_they_were_made_or_where_one_says(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that says cuda stands in for rows from a GPU: only the CPU is here to compute them."""
    (check,) = _verify(project, seed=0, jobs=1, device="cpu")
    assert check.same_platform
    monkeypatch.setattr(verify, "device_of", lambda *_: "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="were made on a GPU, which this machine lacks"):
        _verify(project, seed=0, jobs=1)
    (check,) = _verify(project, seed=0, jobs=1, device="cpu")
    assert check.agrees


def test_on_another_platform_the_verdict_decides(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "cpu_model", lambda: "another processor")
    check = _verify(project, sample=1, jobs=1)[0]
    assert not check.same_platform
    assert check.agrees
    assert not verify.Check("p", 5, False, 1e-9, ("LE-1a",)).agrees
    assert verify.Check("p", 5, False, 0.5, ()).agrees


def test_an_attestation_needs_agreement_and_enough_cells(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _verify(project, sample=2, jobs=1)
    edit_code(monkeypatch)
    checks = _verify(project, sample=2, jobs=1)
    few = [verify.Check("p", 2, True, 0.0, ())]
    with pytest.raises(ValueError, match="2 cells were computed again; 10 of 60 are needed"):
        verify.attest(project, EXPERIMENT, few)
    with pytest.raises(ValueError, match="not all agrees"):
        verify.attest(project, EXPERIMENT, [verify.Check("p", 60, True, 1.0, ())])
    with pytest.raises(ValueError, match="the code was edited while it was checked"):
        verify.attest(project, EXPERIMENT, before)
    assert verify.attest(project, EXPERIMENT, checks) == "edited"
    found = load_reference(project, "low_entropy")
    assert found is not None
    assert not found.stale
    assert found.provenance["attested"]["cells"] == 10


def test_verify_without_rows_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="entropylens compute low_entropy --profile full"):
        _verify(tmp_path, sample=1)


def test_a_budget_is_filled_at_random_and_never_empty(tmp_path: Path) -> None:
    todo = tasks(EXPERIMENT, "full", tmp_path, ROOT)
    seconds = {t.population: float(t.spec.config.d_model) for t in todo}  # 6 of 8 s and 6 of 64 s
    chosen = [verify._choose(todo, seconds, None, 100.0, seed) for seed in range(8)]
    assert all(sum(seconds[t.population] for t in c) <= 100 for c in chosen)
    assert all(len(c) in (5, 6) for c in chosen)  # whatever is drawn first, nothing that would still fit is left out
    assert len({tuple(t.population for t in c) for c in chosen}) > 1
    assert [seconds[t.population] for t in verify._choose(todo, seconds, None, 1.0, 0)] == [8.0]
    assert len(verify._choose(todo, seconds, 2, 1e9, 0)) == 2
    assert len(verify._choose(todo, seconds, None, None, None)) == 1


def test_fresh_rows_replace_the_old_ones_at_the_end(project: Path) -> None:
    before = sorted(p.name for p in (project / "_store" / "trained").glob("*"))
    execute(Order(project, EXPERIMENT, "full", "cpu", fresh=True), jobs=1)
    after = sorted(p.name for p in (project / "_store" / "trained").glob("*"))
    assert len(after) == len(before)
    assert not (project / "_store" / ".fresh").exists()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two workers; ENTROPYLENS_PROGRESS=0 keeps the bar out of the report."""
    monkeypatch.setenv("ENTROPYLENS_PROGRESS", "0")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two:
        yield two


@pytest.mark.weekly
def test_a_cluster_gives_the_same_rows_even_if_a_worker_dies_half_way(
    project: Path, tmp_path: Path, cluster: Any
) -> None:
    order = Order(project, EXPERIMENT, "full", "cpu")
    here = pd.concat([r.frame for r in compute(order.tasks(), jobs=1)], ignore_index=True)
    todo = tasks(EXPERIMENT, "full", tmp_path / "cluster", ROOT)
    left: list[int] = []

    def kill_one() -> None:
        while not (done := list((tmp_path / "cluster").glob("trained/*"))):
            time.sleep(0.01)
        left.append(len(todo) - len(done))
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    there = pd.concat([r.frame for r in compute(todo, scheduler=cluster.scheduler_address)], ignore_index=True)
    killer.join()
    assert left[0] > 1, "the worker died when there was still work to do"
    pd.testing.assert_frame_equal(here, there, check_exact=True)


@pytest.mark.weekly
def test_fresh_rows_can_come_from_a_cluster(project: Path, cluster: Any) -> None:
    before = load_reference(project, "low_entropy")
    told = execute(Order(project, EXPERIMENT, "full", "cpu", fresh=True), scheduler=cluster.scheduler_address)
    after = load_reference(project, "low_entropy")
    assert before is not None
    assert after is not None
    assert told.startswith(f"{len(after.rows)} rows")
    pd.testing.assert_frame_equal(before.rows, after.rows, check_exact=True)
    old, new = ({p["date"] for p in r.provenance["populations"].values()} for r in (before, after))
    assert min(new) > min(old)
    assert not (project / "_store" / ".fresh").exists()


def test_log_probabilities_are_published_in_the_order_of_the_final_rows(project: Path) -> None:
    reference = load_reference(project, "low_entropy")
    assert reference is not None
    log_p = reference.tensors()["log_probs"].double()
    final = reference.rows[reference.rows["final"]]
    assert log_p.shape == (len(final), 5**5)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(len(final), dtype=torch.float64), rtol=0, atol=2e-3)
    entropy = entropy_from_log(torch.log_softmax(log_p, -1)).numpy()
    np.testing.assert_allclose(entropy, final["entropy"], atol=5e-4)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: bytes([d[0] ^ 1]) + d[1:], lambda _: b""])
def test_damaged_log_probabilities_are_refused(project: Path, damage: Callable[[bytes], bytes]) -> None:
    reference = load_reference(project, "low_entropy")
    assert reference is not None
    path = project / "results" / "low_entropy.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ForeignFileError, match=r"low_entropy\.safetensors is missing, or not what"):
        reference.tensors()
    path.unlink()
    with pytest.raises(ForeignFileError, match="missing"):
        reference.tensors()


def test_a_run_says_what_it_cost(project: Path) -> None:
    order = Order(project, EXPERIMENT, "full", "cpu", fresh=True)
    assert re.match(r"\d+ rows after \d+ s of training and \d+ s of all else", execute(order, jobs=1))
    reference = load_reference(project, "low_entropy")
    assert reference is not None
    cost = reference.provenance["cost"]
    seconds = sum(p["seconds"] for p in reference.provenance["populations"].values())
    assert (cost["jobs"], cost["training"]) == (1, pytest.approx(seconds, abs=0.1))
    assert cost["other"] > 0
    assert execute(dataclasses.replace(order, fresh=False)) == f"{len(reference.rows)} rows: results/low_entropy.csv"
    again = load_reference(project, "low_entropy")
    assert again is not None
    assert again.provenance["cost"] == cost  # nothing was trained: what it did cost is still known


def test_the_cost_of_a_resumed_run_is_that_of_all_its_models(project: Path) -> None:
    order = Order(project, EXPERIMENT, "full", "cpu")
    for path in list((project / "_store").rglob("*"))[:9]:
        path.unlink() if path.is_file() else None
    (project / "results" / "low_entropy.json").unlink()
    (project / "results" / "low_entropy.csv").unlink()
    execute(order, jobs=1)
    found = load_reference(project, "low_entropy")
    assert found is not None
    seconds = sum(p["seconds"] for p in found.provenance["populations"].values())
    assert found.provenance["cost"]["training"] == pytest.approx(seconds, abs=0.1)
    assert found.provenance["cost"]["other"] is None  # what the first session spent besides is not known any more


def test_a_rule_that_is_changed_afterwards_stays_a_changed_rule(project: Path) -> None:
    registry = project / "book" / "claims.yml"
    registry.write_text(registry.read_text().replace("smallest_effect: 0.02", "smallest_effect: 0.5", 1))
    order = Order(project, EXPERIMENT, "full", "cpu")
    for remeasure in (False, True):  # from the store, and measured anew
        if remeasure:
            shutil.rmtree(project / "_store" / "rows-low_entropy")
        execute(order, jobs=1)
        entry = next(e for e in ledger(project) if e.claim.id == "LE-1a")
        assert entry.verdict is not None
        assert entry.verdict.rule_changed
    execute(dataclasses.replace(order, fresh=True), jobs=1)  # trained under the new rule
    entry = next(e for e in ledger(project) if e.claim.id == "LE-1a")
    assert entry.verdict is not None
    assert not entry.verdict.rule_changed


def test_a_new_measure_leaves_what_is_known_of_the_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_reference(project, "low_entropy")
    assert before is not None
    shutil.rmtree(project / "_store" / "rows-low_entropy")
    monkeypatch.setattr(sweep, "git_state", lambda _: ("later", True))
    execute(Order(project, EXPERIMENT, "full", "cpu"), jobs=1)
    after = load_reference(project, "low_entropy")
    assert after is not None
    for name, record in after.provenance["populations"].items():
        old = before.provenance["populations"][name]
        assert {k: record[k] for k in ("commit", "dirty", "date", "seconds")} == {
            k: old[k] for k in ("commit", "dirty", "date", "seconds")
        }
        assert record["measured_at"] == {"commit": "later", "dirty": True}


def test_the_same_training_under_two_labels_is_done_once(tmp_path: Path) -> None:
    one = low_entropy.Grid(
        widths=(8,), seeds=2, steps=2, n_snapshots=2, regimes={"exact": low_entropy.REGIMES["exact"]}
    )
    twice = lambda: [*one.populations(), *dataclasses.replace(one, design="again").populations()]  # noqa: E731
    experiment = Experiment("twice", (), {"full": twice}, low_entropy.measure)
    todo = tasks(experiment, "full", tmp_path, ROOT)
    rows = compute(todo, jobs=1)
    assert [set(r.frame["design"]) for r in rows] == [{"main"}, {"again"}]
    assert len(list((tmp_path / "trained").glob("*"))) == 1
    assert len({t.population for t in todo}) == 2


def test_an_experiment_without_tensors_says_so(project: Path) -> None:
    found = load_reference(project, "low_entropy")
    assert found is not None
    bare = dataclasses.replace(found, provenance={"checksum": "x"})
    with pytest.raises(LookupError, match="'low_entropy' publishes rows only, no tensors"):
        bare.tensors()


def test_rows_carry_the_code_that_made_them_though_files_were_edited_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(project, EXPERIMENT, "full", "cpu")
    honest = sweep.measuring_code(EXPERIMENT)
    parts = compute(order.tasks(), jobs=1)
    edit_code(monkeypatch)
    reference.publish(project, EXPERIMENT, "full", parts, {})
    found = load_reference(project, "low_entropy")
    assert found is not None
    assert found.provenance["measuring_code"] == honest
    assert found.stale


def test_rows_from_a_gpu_are_not_computed_by_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    larger = EXPERIMENTS["larger_text"]
    assert verify.device_of(ROOT, larger) == "cuda"
    assert verify.device_of(ROOT, EXPERIMENTS["low_entropy"]) == "cpu"
    with pytest.raises(ValueError, match="'larger_text' were made on a GPU"):
        verify.verify(ROOT, [larger])
    monkeypatch.chdir(ROOT)
    told = CliRunner().invoke(cli, ["compute", "--profile", "full", "--dry-run"])
    assert told.exit_code == 0
    assert "larger_text: left out" in told.output
    assert "larger_text, full" not in told.output
