"""Where the book's things lie, and how a reader may name a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import entropylens
from entropylens.book.errors import BadInput, unknown

PROFILES = ("quick", "full")
DEVICES = ("auto", "cpu", "cuda")

_SITE_FOLDER = {"quick": "html-quick", "full": "html"}


def _installed_package() -> Path:
    return Path(entropylens.__file__).parent


@dataclass(frozen=True)
class Project:
    """A book on disk.

    Attributes:
        root: the folder that holds `_config.yml`, `book/` and `notebooks/`.
        package: the Python sources that a notebook may import; their content is part of a copy's key.
    """

    root: Path
    package: Path = field(default_factory=_installed_package)

    @property
    def notebooks_folder(self) -> Path:
        """The folder of sources: one notebook per chapter, without outputs."""
        return self.root / "notebooks"

    @property
    def build_folder(self) -> Path:
        """Everything that is computed and not kept in git."""
        return self.root / "_build"

    @property
    def work_folder(self) -> Path:
        """Where unfinished work lies; whatever a killed process left here is deleted by the next one."""
        return self.build_folder / ".work"

    @property
    def toc(self) -> Path:
        """Jupyter Book's table of contents."""
        return self.root / "book" / "_toc.yml"

    def site(self, profile: str) -> Path:
        """Return the folder of the published pages."""
        return self.build_folder / _SITE_FOLDER[profile]

    def executed(self, notebook: Path, profile: str) -> Path:
        """Return where the executed copy of `notebook` is published."""
        return self.build_folder / "executed" / profile / notebook.name

    def notebooks(self) -> list[Path]:
        """Return all sources, in chapter order."""
        return sorted(self.notebooks_folder.glob("*.ipynb"))

    def select(self, names: Iterable[str]) -> list[Path]:
        """Return the notebooks that `names` mean, in chapter order and once each; all of them when nothing is named.

        Args:
            names: paths, stems (`03_low_entropy_bias`) or chapter numbers (`3`).

        Raises:
            BadInput: a name means no notebook, or there is none at all.
        """
        available = self.notebooks()
        if not available:
            raise BadInput(f"there is no notebook in {self.notebooks_folder.name}/")
        chosen = {_match(name, available) for name in names}
        return [path for path in available if not chosen or path in chosen]


def _match(name: str, available: list[Path]) -> Path:
    for path in available:
        if name in (path.stem, path.name) or Path(name).resolve() == path.resolve():
            return path
        number = re.match(r"\d+", path.stem)
        if number and name.isdigit() and int(name) == int(number.group()):
            return path
    raise unknown("notebook", Path(name).stem, [path.stem for path in available])


def find_project(start: Path) -> Project:
    """Return the project whose folder is `start` or one of its parents.

    Raises:
        BadInput: no folder on the way up holds a `_config.yml` beside a `notebooks/`.
    """
    for folder in (start, *start.parents):
        if (folder / "_config.yml").is_file() and (folder / "notebooks").is_dir():
            return Project(folder)
    raise BadInput("this is not inside a book: no folder upwards of here holds _config.yml and notebooks/")


def check_choice(kind: str, name: str, choices: tuple[str, ...]) -> str:
    """Return `name` if it is one of `choices`.

    Raises:
        BadInput: it is not.
    """
    if name not in choices:
        raise unknown(kind, name, choices)
    return name
