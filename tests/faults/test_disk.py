"""A disk that is full, read-only, or holds something else: one line names the file, and what was good stays good."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from entropylens.book import provenance
from entropylens.book.execute import Crew, Task
from entropylens.book.files import replace_folder
from entropylens.book.project import Project
from entropylens.experiments import EXPERIMENTS, low_entropy
from entropylens.experiments.experiment import Experiment, final_log_probs
from entropylens.results import cluster, sweep
from entropylens.results.reference import load_reference
from tests.conftest import list_chapters
from tests.faults.conftest import Done, contents, file_limit, forge, read_only

Call = Callable[..., Done]

TOO_LARGE = "File too large: files may not be that large here; raise the limit (ulimit -f) or make room, then give"
NOT_OURS = "something else has the name of a file or folder of ours; move it away, then give the same command again"
NO_RIGHT = "Permission denied: make it writable for you, then give the same command again"


def the_only_line(done: Done) -> str:
    assert (done.status, len(done.errors)) == (1, 1), done
    return done.errors[0]


def test_a_run_without_room_keeps_the_earlier_copy(book: Project, command: Call) -> None:
    copy = forge(book.root, "01_one")
    before = contents(book.build_folder)
    launcher = book.notebooks_folder / "ipykernel_launcher.py"  # a kernel that a full disk, or memory, ends at once
    launcher.write_text("raise SystemExit(1)")
    line = the_only_line(command("run", "--fresh"))
    assert "before its first cell: RuntimeError: Kernel died before replying to kernel_info: it could not start" in line
    launcher.unlink()
    with file_limit(1000):
        line = the_only_line(command("run", "--fresh"))
    assert "01_one.ipynb failed: " in line
    assert f"/01_one/01_one.ipynb: {TOO_LARGE}" in line
    assert contents(book.build_folder) == before, "nothing is lost, and nothing is left lying about"
    copy.write_bytes(copy.read_bytes()[:100])
    assert "executed" in command("run").out
    assert "current" in command("run").out


def test_a_copy_whose_record_finds_no_room_does_not_replace_the_earlier_one(book: Project, tmp_path: Path) -> None:
    copy = forge(book.root, "01_one")
    notebook = book.notebooks_folder / copy.name
    made = tmp_path / "made" / copy.name
    made.parent.mkdir()
    made.write_text("{}")
    task = Task(notebook, {"profile": "quick", "device": "cpu"}, "a key", [])
    crew = Crew(Project(book.root), tmp_path, threads=1, timeout=1)
    with file_limit(10), pytest.raises(OSError, match=r"File too large: '.*01_one.json'"):
        crew._publish(task, made.parent, 1.0)
    assert provenance.why_stale(Project(book.root), "quick", notebook) is None


def test_a_build_keeps_the_earlier_site_whatever_is_wrong_with_the_disk(
    book: Project, command: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.build_folder.write_text("a file where a folder should be")
    assert the_only_line(command("build")) == f"entropylens: {book.build_folder}: File exists: {NOT_OURS}"
    book.build_folder.unlink()
    forge(book.root, "01_one")
    list_chapters(book.root, ["01_one"])
    page = book.site("quick") / "index.html"
    page.parent.mkdir()
    page.write_text("an earlier site")
    before = contents(book.build_folder)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with file_limit(6000):
        line = the_only_line(command("build"))
    assert "Jupyter Book failed, and the site of before stays in place: OSError: [Errno 27] " + TOO_LARGE in line
    assert f"while writing below {book.work_folder}" in line
    assert contents(temporary) == {}, "Sphinx keeps a traceback of each crash"
    with read_only(book.build_folder):
        assert NO_RIGHT in the_only_line(command("build"))
    assert contents(book.build_folder) == before
    assert command("build").status == 0
    assert "an earlier site" not in page.read_text()


def test_a_site_that_cannot_take_its_place_leaves_the_earlier_one(tmp_path: Path) -> None:
    site = tmp_path / "html"
    site.mkdir()
    (site / "index.html").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "gone", site)
    assert contents(tmp_path) == {"html/index.html": b"old"}


def test_a_run_that_may_not_write_says_so_before_it_executes(book: Project, command: Call) -> None:
    copy = forge(book.root, "01_one")
    before = contents(book.build_folder)
    with read_only(book.build_folder):
        assert the_only_line(command("run", "--fresh")).endswith(NO_RIGHT)
    assert contents(book.build_folder) == before
    assert copy.exists()


def experiment(steps: int) -> Experiment:
    grid = low_entropy.Grid(widths=(4,), seeds=1, steps=steps, n_snapshots=3)
    return Experiment("low_entropy", (), {"full": lambda: grid.populations()[:2]}, low_entropy.measure, final_log_probs)


@pytest.fixture
def compute(command: Call, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Done]:
    """Compute a tiny experiment at the full profile, in this process; another number of steps gives other rows."""

    def call(steps: int) -> Done:
        monkeypatch.setitem(EXPERIMENTS, "low_entropy", experiment(steps))
        return command("compute", "low_entropy", "--profile", "full", "--jobs", "1")

    return call


def test_a_computation_without_room_keeps_what_was_published(book: Project, compute: Callable[[int], Done]) -> None:
    assert compute(3).status == 0
    store, results = book.root / "_store", book.root / "results"
    before = {folder: contents(folder) for folder in (store, results)}
    with file_limit(500):
        line = the_only_line(compute(4))
    assert f"entropylens: {store / 'trained'}/" in line
    assert TOO_LARGE in line
    assert {folder: contents(folder) for folder in (store, results)} == before
    largest = max(map(len, before[results].values()))
    assert max(map(len, before[store].values())) > largest
    assert compute(4).status == 0
    before[results] = contents(results)
    with file_limit(1 + sorted(map(len, before[results].values()))[-2]):
        line = the_only_line(compute(3))  # all of it is in the store, and one of three files finds no room
    assert f"entropylens: {results}/low_entropy." in line
    assert contents(results) == before[results]
    assert load_reference(book.root, "low_entropy") is not None
    assert compute(3).status == 0


@pytest.mark.parametrize("name", ["_store", "results"])
def test_a_computation_that_may_not_write_says_where(
    book: Project, compute: Callable[[int], Done], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = book.root / name
    with monkeypatch.context() as patch:
        if name == "_store":
            patch.setattr(sweep, "train_population", lambda *_: pytest.fail("trained, though nothing can be kept"))
        folder.write_text("a file where a folder should be")
        assert the_only_line(compute(3)).endswith(NOT_OURS)
        folder.unlink()
        folder.mkdir()
        with read_only(folder):
            line = the_only_line(compute(3))
    assert line.startswith(f"entropylens: {folder}")
    assert line.endswith(NO_RIGHT)
    assert compute(3).status == 0


def test_a_cluster_that_is_none_is_named_and_a_full_disk_is_not_blamed_on_one(
    book: Project, command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "low_entropy", experiment(3))
    ask = ("compute", "low_entropy", "--profile", "full", "--scheduler")
    done = command(*ask, "no://address")
    assert (done.status, len(done.errors)) == (2, 1), done
    assert done.errors[0].startswith("entropylens: --scheduler no://address: ")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(book.root / "_store"))

    monkeypatch.setattr(cluster, "compute_on_cluster", full)
    line = the_only_line(command(*ask, "tcp://127.0.0.1:1"))
    assert line.startswith(f"entropylens: {book.root / '_store'}: No space left on device")
    assert "--scheduler" not in line
