"""Processes: order, progress, errors, and no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from entropylens.training.parallel import count_steps, map_processes


def square(x: int) -> int:
    count_steps(1)
    time.sleep(0.02 * (3 - x))  # the first finishes last
    return x * x


def fail_on_two(x: int) -> int:
    if x == 2:
        raise ValueError("two is not welcome")
    time.sleep(60)
    return x


def test_results_come_in_the_order_of_the_items() -> None:
    assert map_processes(square, [0, 1, 2], steps=3, jobs=2) == [0, 1, 4]


def test_an_error_ends_the_others_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match="two is not welcome"):
        map_processes(fail_on_two, [1, 2], steps=2, jobs=2)
    assert time.monotonic() - start < 45


@pytest.mark.parametrize("jobs", [1, 2])
def test_where_no_steps_are_expected_the_bar_counts_items(
    jobs: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENTROPYLENS_PROGRESS", raising=False)  # whoever runs the tests may have hidden bars
    map_processes(square, [0, 1, 2], steps=0, jobs=jobs, label="measuring")
    shown = capsys.readouterr().err
    assert "measuring" in shown
    assert "/3" in shown
    assert "item" in shown
    assert "step" not in shown


def test_one_job_works_in_this_process() -> None:
    assert map_processes(square, [0, 1, 2], steps=3, jobs=1) == [0, 1, 4]
    assert map_processes(lambda _: os.getpid(), [0], steps=0, jobs=1) == [os.getpid()]  # type: ignore[arg-type, return-value]


def test_counting_outside_a_pool_does_nothing() -> None:
    count_steps(5)


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are prevented by a Linux system call")
def test_killing_the_parent_kills_the_workers() -> None:
    program = (
        "from tests.training.test_parallel import *\n"
        "if __name__ == '__main__': map_processes(fail_on_two, [1, 3], steps=2, jobs=2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    family: list[psutil.Process] = []
    for _ in range(300):
        family = [p for p in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        if len(family) == 2:
            break
        time.sleep(0.1)
    assert len(family) == 2
    time.sleep(3)  # so that they have begun
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
