"""The same populations on a Dask cluster: an executor and nothing more.

Workers need this package, and no shared disk: each computes in a folder of its own and sends back the finished
artefacts, whose checksums are in their names. Dask itself repeats what a worker that died was computing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from entropylens.results.files import write_atomically
from entropylens.results.sweep import Task, compute_rows
from entropylens.training.population import bar_hidden


class NoClusterError(ConnectionError):
    """No scheduler answers at an address, or it is no address."""


def compute_on_cluster(waiting: Sequence[Task], scheduler: str, label: str) -> None:
    """Compute tasks on the cluster whose scheduler listens at `scheduler` (tcp://host:port) into their stores.

    Raises:
        NoClusterError: if no scheduler answers at that address.
        OSError: for what a disk refuses to keep.
    """
    from distributed import Client, as_completed

    try:
        connected = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise NoClusterError(str(error)) from None
    with connected as client:
        futures = {client.submit(_compute_elsewhere, task, pure=False): task for task in waiting}
        with tqdm(total=len(futures), desc=label, unit="population", disable=bar_hidden(label), leave=False) as bar:
            for future in as_completed(futures):
                for name, data in future.result().items():
                    write_atomically(futures[future].folder / name, data)
                bar.update()


def _compute_elsewhere(task: Task) -> dict[str, bytes]:
    """On a worker: the artefacts of a task by their names in a store."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        compute_rows(dataclasses.replace(task, folder=Path(folder)))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
