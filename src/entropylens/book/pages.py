"""An executed notebook, made fit to be read: what papermill and progress bars left is cleared away.

A picture's alternative text can be given where the picture is made, `display(figure, metadata={"image/png": {"alt":
"…"}})`, or in the cell's metadata, `{"mystnb": {"image": {"alt": "…"}}}`.
"""

from __future__ import annotations

import re
from typing import Any

import nbformat

from entropylens.book.markup import literal
from entropylens.book.provenance import Provenance


def prepare(notebook: nbformat.NotebookNode) -> list[str]:
    """Change an executed notebook for publication, in place.

    Returns:
        What an author must mend before it can be published, one line each.
    """
    problems = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if "injected-parameters" in cell.metadata.get("tags", []):
            _hide(cell)
        cell.outputs = _without_progress_bars(cell.outputs)
        _lead_to_pages(cell.outputs)
        if not _describe_images(cell):
            problems.append(f"cell {cell.id} shows an image without alternative text; {_REMEDY}")
    return problems


_REMEDY = 'say display(figure, metadata={"image/png": {"alt": "…"}})'


def _hide(cell: Any) -> None:
    cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]


def _without_progress_bars(outputs: list[Any]) -> list[Any]:
    """Drop stderr lines that were drawn over and over (with a carriage return); warnings stay, for a reader to see."""
    kept = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            output.text = _steady_lines(output.text)
            if not output.text.strip():
                continue
        kept.append(output)
    return kept


def _steady_lines(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if "\r" not in line)


def _lead_to_pages(outputs: list[Any]) -> None:
    """Let links to notebooks, which work in JupyterLab, lead to their pages: Sphinx does not look into raw HTML."""
    for output in outputs:
        data = output.get("data", {})
        if "text/html" in data:
            data["text/html"] = _NOTEBOOK_LINK.sub(r"\1.html\2", data["text/html"])


_NOTEBOOK_LINK = re.compile(r'(href="\w+)\.ipynb((?:#[^"]*)?")')


def _describe_images(cell: Any) -> bool:
    """Hand the alternative text of a cell's images on to MyST; False if an image is left without any."""
    images = [(output, kind) for output in cell.outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    options = cell.metadata.setdefault("mystnb", {}).setdefault("image", {}) if images else {}
    for output, kind in images:
        alt = output.get("metadata", {}).get(kind, {}).get("alt")
        if alt:
            options.setdefault("alt", alt)
    return not images or bool(options.get("alt"))


def colophon(record: Provenance) -> nbformat.NotebookNode:
    """Return a closing cell that tells how, when and with what the page was made."""
    commit = record.commit[:10] + (" with uncommitted changes" if record.dirty else "")
    facts = [
        f"Executed on {record.date[:10]} in {record.seconds:.0f} s by papermill",
        f"profile {record.profile}, device {record.device}, {record.threads} thread(s)",
        f"Python {record.python}, PyTorch {record.torch}, entropylens {record.entropylens}, commit {commit}",
        record.cpu,
    ]
    text = "\n".join(
        [":::{admonition} How this page was made", ":class: dropdown note colophon", "", *_bullets(facts), ":::"]
    )
    cell: nbformat.NotebookNode = nbformat.v4.new_markdown_cell(text, id="colophon")
    return cell


def _bullets(lines: list[str]) -> list[str]:
    return [f"* {literal(line)}" for line in lines]
