"""The Sphinx extension of this book: publish executed copies, keep every page off the network, and mend its HTML.

Listed in `_config.yml` under `sphinx.extra_extensions`. `entropylens build` names the profile in the environment.
"""

from __future__ import annotations

import os
import shutil
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

from entropylens.book import execution, markup, pages, policy, provenance
from entropylens.book.build import chapters, documents
from entropylens.book.keys import surroundings_digest
from entropylens.book.project import Project

logger = logging.getLogger(__name__)

_MATHJAX_BUNDLE = "tex-chtml-full.js"
_MATHJAX_FONTS = "output/chtml/fonts/woff-v2"
_BANNER = (
    "This copy of the book was built at the <strong>quick</strong> profile: its numbers come from small, short runs "
    "that check the machinery. Run <code>make book</code> for the published ones."
)


def swap_in_executed_copy(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let Sphinx read a notebook's executed copy instead of its source (event `source-read`)."""
    notebook = Path(app.env.doc2path(docname))
    if notebook.suffix != ".ipynb":
        return
    project, profile = Project(Path(app.srcdir)), app.config.entropylens_profile
    reason = provenance.why_stale(project, profile, notebook, _surroundings(app, project))
    if reason:
        command = provenance.command_for(profile, [notebook])
        logger.warning("%s %s. Run: %s", notebook.name, reason, command, location=docname, type="entropylens")
        return
    copy = project.executed(notebook, profile)
    app.env.note_dependency(str(copy))
    executed = nbformat.reads(copy.read_text(encoding="utf-8"), as_version=4)
    for problem in pages.prepare(executed):
        logger.warning("%s: %s", notebook.name, problem, location=docname, type="entropylens")
    record = provenance.read(project, profile, notebook)
    if record:
        executed.cells.append(pages.colophon(record))
    source[0] = nbformat.writes(executed)


def tell_the_cost(app: Sphinx, docname: str, source: list[str]) -> None:
    """Fill in what execution cost, on the page that asks for it (event `source-read`)."""
    if execution.MARKER not in source[0] or Path(app.env.doc2path(docname)).suffix != ".md":
        return
    project = Project(Path(app.srcdir))
    notebooks = chapters(project, documents(project))
    told = execution.tables(project, app.config.entropylens_profile, notebooks)
    source[0] = source[0].replace(execution.MARKER, told)
    app.env.note_reread()


def _surroundings(app: Sphinx, project: Project) -> str:
    """Return the digest of what all notebooks depend on, computed once per build."""
    if not hasattr(app, "entropylens_surroundings"):
        app.entropylens_surroundings = surroundings_digest(project)  # type: ignore[attr-defined]
    return str(app.entropylens_surroundings)  # type: ignore[attr-defined]


def configure(app: Sphinx, config: Config) -> None:
    """Point MathJax at our own copy and announce a quick build (event `config-inited`)."""
    config["mathjax_path"] = f"vendor/mathjax/{_MATHJAX_BUNDLE}"
    # The menu would fetch its dictionaries and speech rules, which we do not carry.
    mathjax: dict[str, Any] = dict(config["mathjax3_config"] or {})
    mathjax["options"] = {**mathjax.get("options", {}), "enableMenu": False}
    config["mathjax3_config"] = mathjax
    if app.config.entropylens_profile == "quick":
        config["html_theme_options"]["announcement"] = _BANNER


def drop_thebe(app: Sphinx) -> None:
    """Disconnect sphinx-thebe, which Jupyter Book always loads: it puts a CDN's address and an error on every page."""
    for event, listeners in app.events.listeners.items():
        kept = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
        app.events.listeners[event] = kept
    app.registry.css_files = [entry for entry in app.registry.css_files if "thebe" not in entry[0]]


def seal_data(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
    """Keep texts that stand outside the article from becoming HTML (event `html-page-context`).

    The theme prints a page's title as it stands, and MyST-NB the state of explorers almost so.
    """
    if "pagetitle" in context:
        context["pagetitle"] = escape(context["pagetitle"])
    for script in context.get("script_files", ()):
        attributes = getattr(script, "attributes", {})
        if attributes.get("type", "").endswith("+json"):
            attributes["body"] = markup.json_in_script(attributes["body"])


def mend_markup(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
    """Mend the HTML of a page's article (event `html-page-context`)."""
    if context.get("body"):
        context["body"] = markup.mend(context["body"])


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax and its fonts, from the installed wheel, into the site (event `build-finished`)."""
    if error or app.builder.format != "html":
        return
    wheel = metadata.distribution("sphinx-mathjax-offline")
    source = Path(str(wheel.locate_file("sphinx-mathjax-offline"))) / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "vendor" / "mathjax"
    shutil.copytree(source / _MATHJAX_FONTS, target / _MATHJAX_FONTS, dirs_exist_ok=True)
    shutil.copy(source / _MATHJAX_BUNDLE, target / _MATHJAX_BUNDLE)


def finish_pages(app: Sphinx, error: Exception | None) -> None:
    """Give each page a colour scheme, since the theme's "auto" has none without its script, and its policy.

    Last of all (event `build-finished`): the policy names what the page has become.
    """
    if error or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        text = text.replace('data-theme="auto"', 'data-theme="light"', 1)
        page.write_text(policy.guard(text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("entropylens_profile", os.environ.get("ENTROPYLENS_PROFILE", "full"), "env", [str])
    drop_thebe(app)
    app.connect("config-inited", configure)
    app.connect("source-read", swap_in_executed_copy)
    app.connect("source-read", tell_the_cost)
    app.connect("html-page-context", mend_markup)
    app.connect("html-page-context", seal_data, priority=900)  # after MyST-NB and the theme have put it there
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", finish_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
