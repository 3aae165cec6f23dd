"""Notebooks that raise, hang, leave, run out of memory or are killed: each is named, and the others finish."""

from __future__ import annotations

from collections.abc import Callable

from entropylens.book.project import Project
from tests.conftest import write_notebook
from tests.faults.conftest import Done, contents

LITTLE_MEMORY = """
import psutil, resource
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**27, -1))
bytearray(2**30)
"""
LESS = "close other programs, or do less at a time with --jobs 1"

FAILURES = {
    "01_raises": ("raise ValueError('no\\nluck')", "ValueError: no luck"),
    "02_hangs": (
        "import time; time.sleep(60)",
        "CellTimeoutError: ran for more than 6 s; allow more with --cell-timeout SECONDS",
    ),
    "03_leaves": ("raise SystemExit(0)", "RuntimeError: the kernel exited here, and later cells were not executed"),
    "04_has_no_memory": (LITTLE_MEMORY, f"MemoryError: there is not enough memory; {LESS}"),
    "05_is_killed": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        f"DeadKernelError: Kernel died: killed or crashed, most likely for lack of memory; {LESS}",
    ),
}
WORKER_IS_KILLED = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"


def test_failing_notebooks_are_named_and_the_others_finish(book: Project, command: Callable[..., Done]) -> None:
    for stem, (code, _) in FAILURES.items():
        write_notebook(book.notebooks_folder / f"{stem}.ipynb", ["x = 1", code, "y = 2"])
    write_notebook(book.notebooks_folder / "06_worker.ipynb", [WORKER_IS_KILLED])
    write_notebook(book.notebooks_folder / "07_good.ipynb", ["z = 3"])
    old = book.executed(book.notebooks_folder / "01_raises.ipynb", "quick")
    old.parent.mkdir(parents=True)
    old.write_text("an earlier, good copy")
    done = command("run", "--cell-timeout", "6", "--jobs", "2")
    assert done.status == 1
    *lines, worker = done.errors
    assert lines == [
        f"entropylens: {stem}.ipynb failed: cell index 2 (id cell-2): {told}" for stem, (_, told) in FAILURES.items()
    ]
    how = "its process was ended by SIGKILL: killed or crashed, most likely for lack of memory"
    assert worker == f"entropylens: 06_worker.ipynb failed: {how}; {LESS}"
    left = ["executed/quick/07_good.ipynb", "executed/quick/07_good.json"]
    assert list(contents(book.build_folder)) == left, "an older copy must not look current"
    for stem in ("02_hangs", "06_worker"):
        write_notebook(book.notebooks_folder / f"{stem}.ipynb", ["x = 1"])
    mended = command("run", "2", "6", "7")
    assert (mended.status, mended.out.count("executed"), mended.out.count("current")) == (0, 2, 1)
