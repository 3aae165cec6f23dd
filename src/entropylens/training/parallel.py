"""Several populations at a time: one single-threaded process each, one progress bar for all.

On a few cores this beats one population on several threads, whose threads wait for each other at every operation.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from entropylens.training.population import bar_hidden

Item = TypeVar("Item")
Result = TypeVar("Result")

_done: Synchronized[int] | None = None
_bar: tqdm[Any] | None = None


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_steps(steps: int) -> None:
    """Add to the progress bar of `map_processes`; pass it to `train` inside a mapped function."""
    if _done is not None:
        with _done.get_lock():
            _done.value += steps
    elif _bar is not None:
        _bar.update(steps)


def map_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, steps: int, jobs: int | None = None, label: str = ""
) -> list[Result]:
    """[function(item) for item in items], in processes of their own, in the order of the items.

    Args:
        function: importable by name; an exception in it is raised here.
        items: whatever can be pickled; the most expensive should come first.
        steps: how many calls of `count_steps` are expected in all; 0 counts items on the bar instead.
        jobs: processes at a time; None takes one a core; 1 starts none and works here, on one thread as they would.
        label: of the progress bar.
    """
    if jobs == 1:
        return _map_here(function, items, steps, label)
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    workers = min(len(items), jobs or cores())
    with ProcessPoolExecutor(workers, context, _start_worker, (done, os.getpid())) as pool:
        futures = [pool.submit(function, item) for item in items]
        with _steps_or_items(steps, len(items), label) as bar:
            pending = set(futures)
            try:
                while pending:
                    finished, pending = wait(pending, timeout=0.2)
                    bar.update(done.value - bar.n if steps else len(finished))
                    for future in finished:
                        future.result()
            except BaseException:
                # Leaving the pool would wait for hours of work that nobody wants any more.
                for process in pool._processes.values():
                    process.kill()
                raise
        return [future.result() for future in futures]


def _map_here(function: Callable[[Item], Result], items: Sequence[Item], steps: int, label: str) -> list[Result]:
    global _bar  # noqa: PLW0603 - where count_steps finds it
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _steps_or_items(steps, len(items), label) as bar:
            _bar = bar if steps else None
            return [function(item) for item in (items if steps else _counted(items, bar))]
    finally:
        _bar = None
        torch.set_num_threads(threads)


def _steps_or_items(steps: int, items: int, label: str) -> tqdm[Any]:
    """A bar over steps, or, where none are expected, over items."""
    total, unit = (steps, "step") if steps else (items, "item")
    return tqdm(total=total, desc=label, unit=unit, leave=False, disable=bar_hidden(label))


def _counted(items: Sequence[Item], bar: tqdm[Any]) -> Iterator[Item]:
    for item in items:
        yield item
        bar.update()


def _start_worker(done: Synchronized[int], parent: int) -> None:
    global _done  # noqa: PLW0603 - a pool's initializer has no other way to hand something to its tasks
    _done = done
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    if sys.platform == "linux":  # a parent that is killed takes its workers with it
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
