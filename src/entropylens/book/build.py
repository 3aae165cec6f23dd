"""Build the site with Jupyter Book 1, and publish it only if it is whole.

The build happens in a work folder; a failed or killed one leaves the site of before untouched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from entropylens.book import faults, provenance
from entropylens.book.errors import BookError
from entropylens.book.files import exclusive, replace_folder, restore_folder
from entropylens.book.keys import files_in, surroundings_digest
from entropylens.book.project import Project
from entropylens.results.files import digest, digest_files

#: In the site: the digest of what it was built from.
RECORD = "site.json"

_LONGEST_LOG = 6000

_FRONT_DOOR = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; base-uri 'none'">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={page}">
<link rel="icon" href="data:,">
</head>
<body><a href="{page}">{title}</a></body>
</html>
"""


def build(project: Project, profile: str, *, fresh: bool = False) -> bool:
    """Build the site of `profile` from its executed notebooks.

    Args:
        project: the book.
        profile: whose executed copies to publish.
        fresh: build even if nothing has changed since the last time.

    Returns:
        False if the site was up to date already.

    Raises:
        BookError: a copy is missing or stale, Sphinx warned, or pages are missing; the old site is still there.
    """
    _check_jupyter_book()
    with exclusive(project) as work:
        site = project.site(profile)
        restore_folder(site)
        pages = documents(project)
        _check_copies(project, profile, pages)
        wanted = site_digest(project, profile)
        if not fresh and _digest_of(site) == wanted:
            return False
        _run_jupyter_book(project, profile, work)
        made = work / "_build" / "html"
        _check_pages(made, pages)
        _write_front_door(made, pages[0])
        (made / ".nojekyll").touch()  # GitHub Pages would drop folders that begin with an underscore
        (made / RECORD).write_text(json.dumps({"profile": profile, "digest": wanted}) + "\n", encoding="utf-8")
        replace_folder(made, site)
    return True


def documents(project: Project) -> list[str]:
    """Return the book's pages as the table of contents lists them, as paths without suffix.

    Raises:
        BookError: there is no readable table of contents.
    """
    from sphinx_external_toc.parsing import parse_toc_yaml

    try:
        return [str(name) for name in parse_toc_yaml(project.toc)]
    except Exception as error:  # whatever a parser of YAML trips over, the file is at fault
        raise BookError(f"book/_toc.yml: {' '.join(str(error).split())}") from error


def chapters(project: Project, pages: list[str]) -> list[Path]:
    """Return those notebooks that the table of contents lists."""
    listed = {Path(page).with_suffix("").name for page in pages if Path(page).parts[0] == "notebooks"}
    return [path for path in project.notebooks() if path.stem in listed]


def site_digest(project: Project, profile: str) -> str:
    """Return a digest of everything that the site of `profile` is built from."""
    executed = [project.executed(path, profile) for path in project.notebooks()]
    sources = [
        *files_in(project.root / "book"),
        *files_in(project.root / "results"),
        *project.notebooks(),
        *(path for copy in executed for path in (copy, copy.with_suffix(".json")) if path.is_file()),
        *(project.root / name for name in ("_config.yml", "requirements.txt") if (project.root / name).is_file()),
    ]
    machinery = files_in(project.package / "book")
    return digest(profile, digest_files(sources, project.root), digest_files(machinery, project.package))


def _digest_of(site: Path) -> str | None:
    try:
        return str(json.loads((site / RECORD).read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_jupyter_book() -> None:
    version = metadata.version("jupyter-book")
    if version.partition(".")[0] != "1":
        raise BookError(f"jupyter-book {version} is installed, and this book needs version 1 (see requirements.txt)")


def _check_copies(project: Project, profile: str, pages: list[str]) -> None:
    surroundings = surroundings_digest(project)
    reasons = {path: provenance.why_stale(project, profile, path, surroundings) for path in chapters(project, pages)}
    stale = {path: reason for path, reason in reasons.items() if reason}
    if stale:
        told = "; ".join(f"notebooks/{path.name} {reason}" for path, reason in stale.items())
        command = provenance.command_for(profile, list(stale))
        raise BookError(f"stale pages are not published: {told}. Run: {command}")


def _run_jupyter_book(project: Project, profile: str, work: Path) -> None:
    options = ["-W", "-n", "--keep-going", "--all", "--toc", str(project.toc), "--path-output", str(work)]
    with subprocess.Popen(
        [sys.executable, "-m", "entropylens.book.sphinx_process", "build", str(project.root), *options],
        cwd=project.root,
        # Sphinx keeps the traceback of each crash in the temporary folder: here it disappears with the work.
        env={**os.environ, "ENTROPYLENS_PROFILE": profile, "NO_COLOR": "1", "TMPDIR": str(work)},
        stdin=subprocess.PIPE,  # never written to: its end tells the process that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            log = process.stdout.read()
            process.wait()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        fault = faults.ending(process.returncode) if process.returncode < 0 else faults.in_log(log)
        told = f" {fault} (while writing below {work})" if fault else f"\n{_telling(log)}"
        raise BookError(f"Jupyter Book failed, and the site of before stays in place:{told}")


def _telling(log: str) -> str:
    """Return the warnings and errors of a Sphinx log, or its end where there are none."""
    lines = [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line]
    return ("\n".join(dict.fromkeys(lines)) or log)[-_LONGEST_LOG:]


def _check_pages(made: Path, pages: list[str]) -> None:
    missing = [page for page in [*pages, "index"] if not (made / Path(page).with_suffix(".html")).is_file()]
    if missing:
        raise BookError(f"Jupyter Book reported success and did not write: {', '.join(missing)}")


def _write_front_door(made: Path, first: str) -> None:
    """Replace Jupyter Book's redirect at index.html, which has no title and makes browsers ask for /favicon.ico."""
    page = Path(first).with_suffix(".html").as_posix()
    if page != "index.html":
        (made / "index.html").write_text(_FRONT_DOOR.format(title="Open the book", page=page), encoding="utf-8")
