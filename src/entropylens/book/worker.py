"""One process that executes one notebook: `python -m entropylens.book.worker SPEC`, started by `execute`.

It tells its parent what happens as JSON lines on standard output: `{"cell": i}` when cell i starts, at the end either
`{"done": true}`, `{"failed": "…"}`, or, where the notebook is not to blame, `{"fault": "…"}`. The executed notebook
goes to `spec["output"]`; whether it is published there or thrown away is the parent's decision.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from entropylens.book import faults
from entropylens.book.files import die_with_parent
from entropylens.results.files import write_atomically

_LONGEST_MESSAGE = 500


class Reporter:
    """Writes events to the parent and remembers which cell is being executed.

    Attributes:
        source_ids: the cells' ids in the source, which lacks the cell that papermill injects.
        cell_id: the id of the cell that started last, if any has.
    """

    def __init__(self, stream: TextIO, source_ids: list[str]) -> None:
        self.stream = stream
        self.source_ids = source_ids
        self.cell_id: str | None = None

    def send(self, **event: Any) -> None:
        """Tell the parent."""
        print(json.dumps(event), file=self.stream, flush=True)

    def on_cell_start(self, cell: Any, cell_index: int) -> None:
        """Be called by nbclient before each cell."""
        self.cell_id = cell.get("id")
        self.send(cell=cell_index)

    def where(self) -> str:
        """Return the current cell's position in the source, as an error message should name it."""
        if self.cell_id is None:
            return "before its first cell"
        if self.cell_id not in self.source_ids:
            return "cell with the injected parameters"
        return f"cell index {self.source_ids.index(self.cell_id)} (id {self.cell_id})"


def execute(spec: dict[str, Any], reporter: Reporter) -> None:
    """Execute the notebook and write the result to `spec["output"]`, whole or not at all.

    Raises:
        Exception: whatever stopped the notebook; `reporter.where()` tells at which cell.
    """
    import nbformat
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    executed = papermill.execute_notebook(
        spec["notebook"],
        None,
        parameters=spec["parameters"],
        cwd=str(Path(spec["notebook"]).parent),
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=spec["timeout"],
        on_cell_start=reporter.on_cell_start,
    )
    _check_complete(executed)
    write_atomically(Path(spec["output"]), nbformat.writes(executed))


def _check_complete(executed: Any) -> None:
    """Refuse a notebook that ended early without an error: papermill takes `exit()` in a cell for success."""
    for cell in executed.cells:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise RuntimeError("the kernel exited here, and later cells were not executed")


def describe(error: BaseException, timeout: int) -> str:
    """Return one line with the type and the message of what a cell raised."""
    from nbclient.exceptions import CellTimeoutError

    if isinstance(error, CellTimeoutError):
        return f"CellTimeoutError: ran for more than {timeout} s; allow more with --cell-timeout SECONDS"
    name = getattr(error, "ename", type(error).__name__)
    message = " ".join(str(getattr(error, "evalue", error)).split())
    return faults.with_advice(": ".join(filter(None, (name, message[:_LONGEST_MESSAGE]))))


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)  # an exception, so that nbclient shuts its kernel down on the way out


def main() -> None:
    """Execute what the first argument (JSON) describes; exit status 1 if the notebook failed."""
    die_with_parent()
    signal.signal(signal.SIGTERM, _terminate)
    spec = json.loads(sys.argv[1])
    reporter = Reporter(os.fdopen(os.dup(1), "w"), spec["cell_ids"])
    os.dup2(2, 1)  # whatever a library prints must not end up between the events
    try:
        execute(spec, reporter)
    except Exception as error:
        told = f"{reporter.where()}: {describe(error, spec['timeout'])}"
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            reporter.send(fault=faults.describe(error))  # ours: what a cell raises arrives as an error of nbclient's
        else:
            reporter.send(**{"failed" if reporter.cell_id else "fault": told})
        raise SystemExit(1) from error
    reporter.send(done=True)


if __name__ == "__main__":
    main()
