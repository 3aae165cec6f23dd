"""What is changed in an executed notebook before a reader sees it."""

from __future__ import annotations

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from entropylens.book import pages

PICTURE = {"image/png": "iVBORw0KGgo="}


def _prepare(cell: NotebookNode) -> list[str]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# One"), cell])
    return pages.prepare(notebook)


def test_the_injected_cell_is_removed_from_the_page() -> None:
    cell = new_code_cell("seeds = 3", metadata={"tags": ["injected-parameters"]})
    assert _prepare(cell) == []
    assert "remove-cell" in cell.metadata["tags"]


def test_progress_bars_go_and_warnings_stay() -> None:
    bar = new_output("stream", name="stderr", text="\r  0%|   |\r100%|###|\n")
    both = new_output("stream", name="stderr", text="\r 50%|#\nUserWarning: look out\n")
    cell = new_code_cell(outputs=[bar, both, new_output("stream", text="a\rb")])
    _prepare(cell)
    assert [output.text for output in cell.outputs] == ["UserWarning: look out\n", "a\rb"]


def test_alternative_text_is_taken_from_the_output() -> None:
    shown = new_output("display_data", PICTURE, metadata={"image/png": {"alt": "A falling curve"}})
    cell = new_code_cell(outputs=[shown])
    assert _prepare(cell) == []
    assert cell.metadata["mystnb"]["image"]["alt"] == "A falling curve"


def test_alternative_text_of_the_cell_wins() -> None:
    shown = new_output("display_data", PICTURE, metadata={"image/png": {"alt": "A falling curve"}})
    cell = new_code_cell(outputs=[shown], metadata={"mystnb": {"image": {"alt": "Loss against step"}}})
    assert _prepare(cell) == []
    assert cell.metadata["mystnb"]["image"]["alt"] == "Loss against step"


def test_an_image_without_words_is_a_problem() -> None:
    cell = new_code_cell(outputs=[new_output("display_data", PICTURE)], id="plot")
    (problem,) = _prepare(cell)
    assert problem.startswith("cell plot shows an image without alternative text")


def test_links_to_notebooks_lead_to_their_pages() -> None:
    html = '<a href="03_bias.ipynb">three</a> <a href="03_bias.ipynb#x">x</a> <a href="https://x.org/a.ipynb">far</a>'
    cell = new_code_cell(outputs=[new_output("execute_result", {"text/html": html, "text/plain": "03_bias.ipynb"})])
    _prepare(cell)
    data = cell.outputs[0].data
    assert data["text/html"] == html.replace("03_bias.ipynb", "03_bias.html")
    assert data["text/plain"] == "03_bias.ipynb"
