"""Files that are either whole or absent, and digests that no two different contents share."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` such that a reader, or a crash, finds the old file or the new one, nothing between."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)  # mkstemp gives 600, which a web server could not read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
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
