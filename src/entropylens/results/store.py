"""What has been computed, kept under a hash of what it was computed from.

An artefact is one file, `<kind>/<key>.<checksum>.<ending>`. The key tells what was asked for (configuration and code),
the checksum what the file must contain; the key stands inside the file, too. So a truncated, altered, renamed or
foreign file does not count as an answer: it is moved out of the way, reported, and computed again. Files are written
beside their place and renamed into it, so that a killed process leaves none by halves, and two processes that compute
the same do no harm. Nothing is pickled: tensors are safetensors, rows are CSV.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from entropylens.results.files import parse_json, write_atomically

Record = dict[str, Any]
"""Provenance: whatever JSON can hold."""


@dataclass(frozen=True)
class Tensors:
    """An artefact of the training stage."""

    tensors: dict[str, Tensor]
    record: Record


@dataclass(frozen=True)
class Rows:
    """An artefact of the measuring stage."""

    frame: pd.DataFrame
    record: Record


class Store:
    """A folder of artefacts.

    Args:
        folder: created when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, and see that it can be written to: hours of training should not end in finding that out.

        Raises:
            OSError: it cannot.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self.folder).close()

    def write_tensors(self, kind: str, key: str, tensors: Mapping[str, Tensor], record: Record) -> None:
        """Keep tensors under a key."""
        header = {"key": key, "record": json.dumps(record, sort_keys=True)}
        self._write(kind, key, "safetensors", save_tensors({k: v.contiguous() for k, v in tensors.items()}, header))

    def read_tensors(self, kind: str, key: str) -> Tensors | None:
        """The tensors kept under a key, or None if there are none that can be trusted."""
        for path, data in self._read(kind, key, "safetensors"):
            try:
                header = _safetensors_header(data)
                if header.get("key") == key:
                    return Tensors(load_tensors(data), parse_json(header["record"]))
            except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
                pass
            self._set_aside(path, "is not what its name says")
        return None

    def write_rows(self, kind: str, key: str, frame: pd.DataFrame, record: Record) -> None:
        """Keep a table under a key; its values are written such that reading gives the same bits."""
        self._write(kind, key, "csv", rows_to_csv(frame, {"key": key, **record}).encode())

    def read_rows(self, kind: str, key: str) -> Rows | None:
        """The table kept under a key, or None if there is none that can be trusted."""
        for path, data in self._read(kind, key, "csv"):
            try:
                rows = rows_from_csv(data.decode())
                if rows.record.get("key") == key:
                    return rows
            except ValueError:
                pass
            self._set_aside(path, "is not what its name says")
        return None

    def has(self, kind: str, key: str) -> bool:
        """Whether there is a file for the key; whether it can be trusted is seen when it is read."""
        return any(self._candidates(kind, key, "*"))

    def adopt(self, other: Path, kind: str, key: str) -> None:
        """Move the artefacts of a key here from another store's folder; they replace those that are here."""
        arrived = sorted((other / kind).glob(f"{key}.*"))
        for path in self._candidates(kind, key, "*"):
            if path.name not in {p.name for p in arrived}:
                path.unlink()
        for path in arrived:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
            path.replace(self.folder / kind / path.name)

    def _write(self, kind: str, key: str, ending: str, data: bytes) -> None:
        write_atomically(self.folder / kind / f"{key}.{_checksum(data)}.{ending}", data)

    def _candidates(self, kind: str, key: str, ending: str) -> list[Path]:
        return sorted((self.folder / kind).glob(f"{key}.*.{ending}"))

    def _read(self, kind: str, key: str, ending: str) -> Iterator[tuple[Path, bytes]]:
        for path in self._candidates(kind, key, ending):
            data = path.read_bytes()
            if path.name == f"{key}.{_checksum(data)}.{ending}":
                yield path, data
            else:
                self._set_aside(path, "is damaged")

    def _set_aside(self, path: Path, why: str) -> None:
        warnings.warn(f"{path} {why}: it will be computed again", stacklevel=4)
        path.replace(path.with_name(f".{path.name}.damaged"))


def rows_to_csv(frame: pd.DataFrame, record: Record) -> str:
    """A table as text: a line of JSON behind a `#`, then CSV; floats by their shortest exact decimal."""
    return f"# {json.dumps(record, sort_keys=True)}\n" + frame.to_csv(index=False, lineterminator="\n")


def rows_from_csv(text: str) -> Rows:
    """The reverse of `rows_to_csv`, bit for bit.

    Raises:
        ValueError: if the text does not begin with a line of JSON behind a `#`, or no table follows.
    """
    first, _, rest = text.partition("\n")
    if not first.startswith("# {") or not rest:
        raise ValueError("not a table of this project: no record in its first line")
    return Rows(pd.read_csv(StringIO(rest)), parse_json(first[2:]))


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def _safetensors_header(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:8], "little")
    header: dict[str, str] = parse_json(data[8 : 8 + size]).get("__metadata__", {})
    return header


def bits(tensors: Mapping[str, Tensor]) -> str:
    """A digest of tensors' contents, to compare two computations."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
