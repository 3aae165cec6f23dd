"""Faults of the machine, not of a request or a notebook: no room, no right to write, no memory, a killed process.

Python, PyTorch, NumPy, nbclient and Sphinx tell of them each in its own words. What they have in common is a phrase, by
which the advice is found here.
"""

from __future__ import annotations

import re
import signal
from concurrent.futures import BrokenExecutor

_AGAIN = "then give the same command again"
_ASIDE = "something else has the name of a file or folder of ours; move it away"
_LESS = "close other programs, or do less at a time with --jobs 1"

_ADVICE = {
    "No space left on device|Disk quota exceeded|No usable temporary dir": f"the disk is full; make room, {_AGAIN}",
    "File too large": f"files may not be that large here; raise the limit (ulimit -f) or make room, {_AGAIN}",
    "Permission denied|Read-only file system|Operation not permitted": f"make it writable for you, {_AGAIN}",
    "Not a directory|Is a directory|File exists": f"{_ASIDE}, {_AGAIN}",
    "MemoryError|[Oo]ut of memory|OutOfMemory|an't allocate memory|annot allocate memory": (
        f"there is not enough memory; {_LESS}"
    ),
    "Kernel died before replying": f"it could not start; see whether disk or memory is full, {_AGAIN}",
    "DeadKernelError|SIGKILL|terminated abruptly": f"killed or crashed, most likely for lack of memory; {_LESS}",
}


def advice(told: str) -> str:
    """Return what to do about the fault that `told` tells of, or nothing if it is of no kind that is known here."""
    return next((remedy for phrase, remedy in _ADVICE.items() if re.search(phrase, told)), "")


def with_advice(told: str) -> str:
    """Return `told`, and what to do about it."""
    remedy = advice(told)
    return f"{told}: {remedy}" if remedy else told


def describe(error: BaseException) -> str | None:
    """Return one line on a fault of the machine; None if `error` is of another kind, most likely a mistake of ours."""
    if isinstance(error, OSError) and error.filename is not None:
        return with_advice(f"{error.filename}: {error.strerror}")
    told = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":.")
    known = isinstance(error, OSError | MemoryError | BrokenExecutor) or advice(told)
    return with_advice(told) if known else None


def ending(status: int) -> str:
    """Return how a process ended that should have ended otherwise; `status` is negative if a signal did it."""
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return with_advice(f"its process {how}")


def in_log(log: str) -> str | None:
    """Return the first line of another program's log that tells of a fault of the machine, with what to do."""
    lines = (line.strip() for line in log.splitlines() if _ERROR.search(line))
    return next((with_advice(line) for line in lines if advice(line)), None)


_ERROR = re.compile(r"\[Errno \d+\]|Error\(\d+, |^MemoryError")
