"""Files that are either whole or absent, that are ours or refused, and digests that no two contents share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


class ForeignFileError(ValueError):
    """A file that this project reads is damaged, or not what it writes there; the message names the file."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"JSON without fields: a {type(found).__name__}")
    return found


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` such that a reader, or a crash, finds the old file or the new one, nothing between."""
    write_together({path: content})


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Write files that belong together: none takes its place before all are written, so a full disk spoils none.

    Raises:
        OSError: naming the file that could not be written; all are as they were.
    """
    with contextlib.ExitStack() as stack:
        written = {path: stack.enter_context(_beside(path, content)) for path, content in contents.items()}
        for path, new in written.items():
            with _naming(path):
                new.replace(path)


@contextlib.contextmanager
def _beside(path: Path, content: str | bytes) -> Iterator[Path]:
    """Write `content` beside `path`; what has not been moved from there in the end is deleted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with _naming(path), os.fdopen(handle, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
        Path(name).chmod(0o644)  # mkstemp gives 600, which a web server could not read
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error name the file that was meant: `write` names none, and the others name the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of `parts`, in which no two different sequences of parts look the same."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()


def digest_files(paths: Iterable[Path], base: Path) -> str:
    """Return a digest of the files' names relative to `base`, and their content."""
    parts: list[bytes] = []
    for path in sorted(paths):
        parts += [path.relative_to(base).as_posix().encode(), path.read_bytes()]
    return digest(*parts)
