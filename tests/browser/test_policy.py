"""Each page's security policy: what is planted in data does not run, what the page itself needs does, over http and
from a folder whose name has blanks and letters beyond ASCII."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
import traitlets
from anywidget import AnyWidget
from ipywidgets.embed import dependency_state, embed_data
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page, expect

from entropylens.book import provenance
from entropylens.book.build import build
from entropylens.book.keys import execution_key
from entropylens.book.project import Project
from entropylens.show import claims, ledger
from entropylens.show.explorers.playground import playground
from tests.browser.conftest import _QuietHandler
from tests.conftest import ROOT, list_chapters
from tests.security.test_escaping import entry

pytestmark = pytest.mark.browser

_PWN = "window.pwned = 1"
_TEXTS = [
    f"<script>{_PWN}</script>",
    f'"><img src=x onerror="{_PWN}">',
    f"</SCRIPT ><script>{_PWN}</script>",
    f"<!--<script>{_PWN}</script>",
]
_RAW = (
    f"<script>{_PWN}</script><img src='../favicon.svg' onload='{_PWN}' alt='x'><button onclick='{_PWN}'>press</button>"
    f"<a href='javascript:{_PWN}'>follow</a><script src='data:text/javascript,{_PWN}'></script>"
    f"<iframe srcdoc='<script>parent.{_PWN}</script>'></iframe><form action='https://example.org/'><input></form>"
)


class Words(AnyWidget):
    """An explorer that shows its words."""

    _esm = "export default { render({ model, el }) { el.textContent = model.get('words').join(' ') } }"
    words = traitlets.List(_TEXTS).tag(sync=True)


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book whose data are attacks, and one page on which they were let through; its copies are forged."""
    root = tmp_path_factory.mktemp("book") / "Büchlein, größer als 1 %"
    shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
    for name in ("_config.yml", "book/references.bib"):
        shutil.copy(ROOT / name, root / name)
    (root / "book" / "intro.md").write_text("# A book\n\nSome words.\n", encoding="utf-8")
    (root / "notebooks").mkdir()
    explorers = [Words(), playground()]
    data = embed_data(views=explorers, state=dependency_state(explorers, drop_defaults=False), drop_defaults=False)
    shown = [new_output("display_data", {"text/html": html}) for html in _boxes()]
    shown += [
        new_output("display_data", {"application/vnd.jupyter.widget-view+json": v, "text/plain": ""})
        for v in data["view_specs"]
    ]
    figure = {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>"}
    shown.append(new_output("display_data", figure, metadata={"image/svg+xml": {"alt": _TEXTS[1]}}))
    state = {"application/vnd.jupyter.widget-state+json": data["manager_state"]}
    title = "# One `" + _TEXTS[0] + "`\n\n```{admonition} More\n:class: dropdown\n$x^2$\n```"
    _write(root, "01_one", [new_markdown_cell(title), _cell(shown)], {"widgets": state})
    _write(root, "02_raw", [new_markdown_cell("# Raw"), _cell([new_output("display_data", {"text/html": _RAW})])], {})
    list_chapters(root, ["01_one", "02_raw"])
    assert build(Project(root), "full")
    return Project(root).site("full")


def _boxes() -> list[str]:
    tables = [ledger.ledger_table([entry(text)], "lam2026energy") for text in _TEXTS]
    boxes = [box for text in _TEXTS for box in (claims.claim_box(entry(text).claim), claims.entry_box(entry(text)))]
    return [html.data for html in (*tables, *boxes)]


def _cell(outputs: list[nbformat.NotebookNode]) -> nbformat.NotebookNode:
    return new_code_cell("1", outputs=outputs, execution_count=1)


def _write(root: Path, stem: str, cells: list[nbformat.NotebookNode], metadata: dict[str, object]) -> None:
    book, notebook = Project(root), root / "notebooks" / f"{stem}.ipynb"
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata={**python, **metadata}), notebook)
    copy, values = book.executed(notebook, "full"), {"profile": "full", "device": "cpu"}
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(notebook, copy)
    key = execution_key(book, notebook, values)
    provenance.write(book, "full", notebook, provenance.record(book, notebook, key, values, 1.0, 1, copy.read_bytes()))


@pytest.fixture(scope="module", params=["http", "file"])
def address(request: pytest.FixtureRequest, small_site: Path) -> Iterator[str]:
    if request.param == "file":
        yield small_site.as_uri()
        return
    handler = functools.partial(_QuietHandler, directory=str(small_site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    opened = context.new_page()
    opened.complaints = []  # type: ignore[attr-defined]
    opened.on("console", lambda m: opened.complaints.append(m.text) if m.type in ("error", "warning") else None)  # type: ignore[attr-defined]
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))  # type: ignore[attr-defined]
    yield opened
    context.close()


def complaints(page: Page) -> list[str]:
    return page.complaints  # type: ignore[attr-defined,no-any-return]


def test_attacks_in_data_are_words_and_all_else_works(page: Page, address: str) -> None:
    page.goto(f"{address}/notebooks/01_one.html")
    expect(page.locator("mjx-container")).to_have_count(1, timeout=20_000)
    expect(page.locator("script[type$='widget-view+json'] + div").first).to_have_text(" ".join(_TEXTS))
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.get_by_text(re.compile(r"^step [1-9]"))).to_be_visible(timeout=20_000)  # its worker trains
    page.evaluate("window.print = () => (window.printed = 1); window.toggleFullScreen = () => (window.full = 1)")
    page.locator(".btn-fullscreen-button").dispatch_event("click")
    page.locator(".btn-download-pdf-button").dispatch_event("click")
    assert page.evaluate("[window.printed, window.full, window.pwned]") == [1, 1, None]
    assert page.locator("article img[src=x]").count() == 0
    assert complaints(page) == []


def test_what_was_let_through_does_not_run(page: Page, address: str) -> None:
    page.goto(f"{address}/notebooks/02_raw.html")
    page.get_by_text("press").click()
    page.get_by_text("follow").click()
    page.wait_for_function("() => document.images.length && [...document.images].every(i => i.complete)")
    evaluated = "new Promise(d => setTimeout(() => { try { d(eval('1')) } catch (e) { d(e.name) } }))"
    assert page.evaluate(evaluated) == "EvalError"
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.pwned = 1'; document.head.append(s)"
    )
    assert page.evaluate("window.pwned") is None
    refused = " ".join(complaints(page))
    assert len(re.findall("Content Security Policy", refused)) >= 5
    with pytest.raises(Exception, match="Failed to fetch"):
        page.evaluate("fetch('https://example.org/')")
    assert "connect-src" in " ".join(complaints(page))


def test_the_search_finds_and_quotes(page: Page, address: str) -> None:
    if address.startswith("file:"):
        pytest.skip("browsers read no page from disk to quote it, whatever the policy")
    page.goto(f"{address}/search.html?q=words")
    expect(page.locator("#search-results")).to_contain_text("Some words")
    assert complaints(page) == []


_META = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_SOURCES = re.compile(r"'(none|self|unsafe-inline|sha256-[A-Za-z0-9+/]{43}=)'|data:|blob:")


def test_each_page_has_a_policy_that_names_no_other_host(site: Path, page_name: str) -> None:
    text = (site / page_name).read_text(encoding="utf-8")
    (policy,) = _META.findall(text)
    assert text.index(policy) < text.index("<title>"), "what stands before a policy is not under it"
    directives = {name: sources for name, *sources in (part.split() for part in policy.split("; "))}
    assert directives["default-src"] == ["'none'"]
    assert directives["base-uri"] == ["'none'"]
    assert [source for sources in directives.values() for source in sources if not _SOURCES.fullmatch(source)] == []
    scripts = directives.get("script-src", [])
    assert "data:" not in scripts
    assert "'unsafe-inline'" not in scripts
    assert ("blob:" in scripts) == ("explorers.js" in text), "only explorers are modules made in the page"
