"""Memory that runs out, and processes that are killed for it, where populations are computed."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from entropylens.book import faults
from entropylens.book.project import Project
from entropylens.experiments import EXPERIMENTS, low_entropy
from entropylens.experiments.experiment import Experiment
from tests.faults.conftest import Done

GRID = low_entropy.Grid(widths=(4,), seeds=1, steps=3, n_snapshots=3)
EXPERIMENT = Experiment("low_entropy", (), {"quick": lambda: GRID.populations()[:1]}, low_entropy.measure)


@pytest.mark.parametrize(
    "ask",
    [lambda: bytearray(2**62), lambda: np.empty(2**58), lambda: torch.empty(2**58)],
    ids=["python", "numpy", "torch"],
)
def test_each_library_s_word_for_no_memory_is_known(ask: Callable[[], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        ask()
    assert "not enough memory; close other programs" in str(faults.describe(caught.value))


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    assert faults.describe(RuntimeError("shapes do not match")) is None
    assert faults.describe(KeyError("memory")) is None


class Measure:
    """Measures nothing, because of a fault; its rows have the key that those of the real measure would have."""

    def __init__(self, fault: Callable[[], object]) -> None:
        self.fault, self.__module__ = fault, low_entropy.measure.__module__

    def __call__(self, *_: Any) -> None:
        self.fault()


def ask_for_too_much() -> None:
    """The limit counts addresses, so it has to be above what is in use."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**27, limits[1]))
    try:
        torch.zeros(2**28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def be_killed() -> None:
    """As the kernel does it, when the machine's memory has run out."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("fault", "jobs", "told"),
    [
        (ask_for_too_much, "1", "can't allocate memory"),
        (be_killed, "2", "terminated abruptly"),
    ],
    ids=["no memory", "killed"],
)
def test_a_computation_says_that_memory_ran_out_and_goes_on_from_there(
    book: Project,
    command: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[], object],
    jobs: str,
    told: str,
) -> None:
    monkeypatch.setitem(EXPERIMENTS, "low_entropy", dataclasses.replace(EXPERIMENT, measure=Measure(fault)))
    failed = command("compute", "low_entropy", "--jobs", jobs)
    assert (failed.status, len(failed.errors)) == (1, 1), failed
    assert told in failed.errors[0]
    assert "memory; close other programs, or do less at a time with --jobs 1" in failed.errors[0]
    assert list((book.root / "_store" / "trained").iterdir()), "what was trained is kept"
    monkeypatch.setitem(EXPERIMENTS, "low_entropy", EXPERIMENT)
    again = command("compute", "low_entropy", "--jobs", "1")
    assert (again.status, "1 trained" in again.out) == (0, True), again
