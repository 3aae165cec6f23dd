"""When is an executed copy current? When nothing that its content depends on has changed.

Jupyter's own caches look at the notebook alone; this key also covers the package that the notebook imports, the
pinned requirements, the claim registry and the stored results, so that an edit there executes the notebook again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entropylens.book.errors import BadInput
from entropylens.book.project import Project
from entropylens.results.files import digest, digest_files, read_json

#: Parts of the package that no notebook imports.
_MACHINERY = ("book", "cli.py")

#: Cell metadata that changes what a page shows; all else (folding, time stamps) is an editor's business.
_CELL_METADATA = ("tags", "mystnb")


def files_in(folder: Path) -> list[Path]:
    """Return the files under `folder`, without what an interpreter or an editor leaves there."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    ]


def notebook_digest(notebook: Path) -> str:
    """Return a digest of what a notebook's author wrote: cells' types, ids, sources and telling metadata.

    Raises:
        BadInput: the file is no notebook.
    """
    try:
        cells = [
            [
                cell["cell_type"],
                cell.get("id"),
                "".join(cell["source"]),
                {key: cell["metadata"].get(key) for key in _CELL_METADATA},
            ]
            for cell in read_json(notebook)["cells"]
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInput(f"{notebook.name} is not a notebook that can be read: {error!r}") from None
    return digest(json.dumps(cells, sort_keys=True))


def surroundings_digest(project: Project) -> str:
    """Return a digest of everything outside the notebooks that an executed copy depends on."""
    package = [
        path for path in files_in(project.package) if path.relative_to(project.package).parts[0] not in _MACHINERY
    ]
    inputs = [project.root / "requirements.txt", project.root / "book" / "claims.yml"]
    inputs += files_in(project.root / "results")
    return digest(
        digest_files(package, project.package),
        digest_files([path for path in inputs if path.is_file()], project.root),
    )


def execution_key(
    project: Project, notebook: Path, parameters: Mapping[str, Any], surroundings: str | None = None
) -> str:
    """Return the key of a notebook executed with `parameters` as things stand now.

    Args:
        project: the book.
        notebook: the source.
        parameters: all injected values, profile and device included.
        surroundings: `surroundings_digest(project)` where the caller has it already, to read those files once only.
    """
    around = surroundings_digest(project) if surroundings is None else surroundings
    return digest(notebook_digest(notebook), json.dumps(dict(parameters), sort_keys=True, default=repr), around)
