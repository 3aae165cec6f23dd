"""Whatever stands in claims, results, records and names is text on a page: no element, no handler, no address."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from entropylens.book import markup, pages, provenance
from entropylens.book.execution import tables
from entropylens.book.project import Project
from entropylens.results.claims import Claim, Rule, Verdict
from entropylens.results.ledger import Entry
from entropylens.results.statistics import Interval
from entropylens.show import claims, ledger, story
from entropylens.show.figures import Picture, contrasts
from entropylens.show.tweak import _html
from tests.conftest import ROOT, write_notebook

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "'><svg onload=alert(1)>",
    "</ScRiPt ><script>alert(1)</script>",
    "javascript:alert(1)//",
    "| [x](javascript:alert(1)) `<b>` $<i>$ {{x}} | <!-- ",
]
HARMLESS = re.compile(
    "div|p|strong|ul|ol|li|h2|code|b|abbr|table|caption|thead|tbody|tr|th|td|span|svg|rect|path|text|circle|a|img"
)


class Reader(HTMLParser):
    """Notes what is more than text, and the text itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.harm: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            address = name in ("href", "src") and ":" in (value or "")
            if name.startswith("on") or (address and not (value or "").startswith("data:image/svg+xml;base64,")):
                self.harm.append(f"{name}={value}")
        if not HARMLESS.fullmatch(tag) or (tag == "img" and len(attrs) != 3):
            self.harm.append(tag)

    def handle_comment(self, data: str) -> None:
        self.harm.append(data)

    def handle_data(self, data: str) -> None:
        self.text += data


def entry(payload: str) -> Entry:
    """A claim, with all its words and conditions and its verdict's, that are the payload."""
    where, interval = {payload: payload}, Interval(1.0, 0.5, 1.5, 0.4, 1.6, 7)
    rule = Rule(payload, payload, 0.1, where, where, where, where)
    words = dict.fromkeys(("id", "claim", "says", "chapter", "quantity", "experiment"), payload)
    claim = Claim(**words, paper="lam2026energy", source="P", confounds=[payload], rule=rule)
    return Entry(claim, Verdict("depends", payload, interval, interval, payload, 0.5, True, True), payload)


MAKERS: dict[str, Callable[[Entry, str], str]] = {
    "claim box": lambda e, _: claims.claim_box(e.claim).data,
    "verdict box": lambda e, _: claims.entry_box(e).data,
    "box without a verdict": lambda e, _: claims.entry_box(replace(e, verdict=None)).data,
    "ledger": lambda e, _: ledger.ledger_table([e], "lam2026energy").data,
    "findings": lambda e, p: story.findings([replace(e, claim=replace(e.claim, id="x"))], "x", p).data,
    "notice": lambda e, p: story.written_for([replace(e, claim=replace(e.claim, id="".join(p.split())))],
                                             {"supported": "".join(p.split())}).data,
    "panel's picture": lambda _, p: _html(Picture("<svg/>", p)),
}  # fmt: skip
TABLE = pd.DataFrame({"contrast": ["<b>"], "effect": [0.1], "low": [0.0], "high": [0.2]})


@pytest.mark.parametrize("maker", MAKERS)
def test_html_made_from_data_is_text(maker: str) -> None:
    for payload in PAYLOADS:
        read = Reader(MAKERS[maker](entry(payload), payload))
        assert read.harm == [], payload


def test_figures_hold_no_script() -> None:
    for payload in PAYLOADS[:-1]:
        picture = contrasts({payload: TABLE.assign(contrast=payload)}, payload, 1.0)
        assert payload in picture.alt
        names = {element.tag.rpartition("}")[2] for element in ET.fromstring(picture.svg).iter()}
        assert not names & {"script", "image", "a", "foreignObject"}


def rendered(text: str) -> Reader:
    return Reader(MarkdownIt().enable("table").render(text))


@given(
    st.text(
        alphabet=st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("<>&|[]()`*_\\!{}$\"'#~:=-\n"),
        max_size=40,
    )
)
def test_literal_markdown_shows_what_it_was_given(text: str) -> None:
    tokens = MarkdownIt().enable("table").parse(f"|a|\n|---|\n|.{markup.literal(text)}.|")
    cell = [token for token in tokens if token.type == "inline"][1]
    assert {child.type for child in cell.children or ()} <= {"text", "text_special"}
    assert "".join(child.content for child in cell.children or ()) == f".{' '.join(text.split())}."


def test_the_page_of_costs_shows_names_and_records_as_text(book: Project) -> None:
    for payload in PAYLOADS:
        notebook = write_notebook(book.notebooks_folder / f"01_{payload.replace('/', '')}.ipynb", ["x = 1"])
        copy = book.executed(notebook, "quick")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(notebook.read_bytes())
        made = provenance.record(book, notebook, "k", {"profile": "quick", "device": payload}, 1.0, 1, b"")
        made = replace(made, cpu=payload, gpu=payload, torch=payload, commit=payload, date=payload)
        provenance.write(book, "quick", notebook, made)
        population = {
            "seconds": 1,
            "date": payload,
            "commit": payload,
            "dirty": True,
            "cpu": payload,
            "device": payload,
        }
        record = {"experiment": payload, "profile": payload, "populations": {"p": population}}
        (book.root / "results").mkdir(exist_ok=True)
        (book.root / "results" / "x.json").write_text(json.dumps(record))
        table = rendered(tables(book, "quick", [notebook]))
        assert table.harm == [], payload
        assert table.text.count(" ".join(payload.split())[:10]) > 5
        assert rendered(pages.colophon(made).source.replace(":::", "")).harm == [], payload


@pytest.mark.parametrize("payload", [*PAYLOADS, "<!--<script>", "</script\n>", "a < b"])
def test_json_in_a_script_stays_there(payload: str) -> None:
    text = markup.json_in_script(json.dumps({"x": payload}))
    assert json.loads(text) == {"x": payload}
    assert not re.search(r"</|<!--|<script", text, re.IGNORECASE)


def test_no_script_of_ours_makes_elements_or_code_from_text() -> None:
    forbidden = re.compile(
        r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|eval|Function|DOMParser)\b"
    )
    scripts = [*(ROOT / "src").rglob("*.js"), *(ROOT / "book").rglob("*.js")]
    found = [f"{Path(s).name}: {m[0]}" for s in scripts for m in forbidden.finditer(s.read_text(encoding="utf-8"))]
    assert len(scripts) > 20
    assert found == []
