"""No page tells a measured number that nobody computed: numbers in prose come from results, or are declared here.

Looked for, in Markdown outside of code, formulas, links and roles: decimals, thousands, and numbers with a unit.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, write_notebook

UNITS = (
    "nats?|bits?|%|percent|percentage points?|points?|×|x|times|s|ms|seconds?|minutes?|hours?|min|h|MB|GB|"
    "steps?|seeds?|models?|neurons?|samples?|tokens?|epochs?|standard (?:deviations?|errors?)|learning rates?"
)
NUMBER = re.compile(
    r"(?<![\w.])[+\-−±~≈]?"
    rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d*\.\d+(?:e[+\-]?\d+)?|\d+(?=[\s\u00a0\u202f]?(?:{UNITS})(?!\w)))"
    r"(?!\w|\.\d)"
)
"""1,234 or 0.5 or 12 nats; not chapter 3, d = 64 or 2504.18929."""

NOT_PROSE = [
    re.compile(r"^(`{3,}|~{3,})(?!\{).*?^\1\s*$", re.DOTALL | re.MULTILINE),  # code; directives are prose
    re.compile(r"^:\w[\w-]*:.*$", re.MULTILINE),  # a directive's options
    re.compile(r"^```\{[^\n]*$", re.MULTILINE),
    re.compile(r"<[^>]*>"),  # HTML, and addresses in angles
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"\$[^$]+\$"),
    re.compile(r"\{[\w:]+\}`[^`]*`"),  # roles: glue, cite, prf:ref …
    re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL),
    re.compile(r"(?<=\])\([^)]*\)"),  # where a link leads
    re.compile(r"https?://\S+"),
    re.compile(r"arXiv:\S+|\b\d{4}\.\d{5}\b"),
]

DECLARED = {
    r"95 %": "the level of every interval",
    r"\d+ minutes to read": "a guess of ours, for the reader's planning",
    r"2 layers, 2 heads": "the models' declared size",
}
"""What may stand on any page, and why."""

DECLARED_ON = {
    "02_a_transformer_in_your_head": {r"for example 0\.999": "the value that the seed's quick check asks about"},
    "03_low_entropy_bias": {
        r"cosine to 2 %": "the declared end of the learning rate's schedule",
        r"0\.2 nats below": "an imagined model in a quick check",
    },
    "04_ffn_or_attention": {
        r"between −0\.2 and 0\.2": "the declared scale of a figure",
    },
    "05_is_there_an_alpha": {r"between −0\.95 and 3": "declared ranges of a search"},
    "06_residual_dominance": {
        r"× 0\.1 and × 10": "declared settings of controls",
        r"AdamW, 0\.1": "a declared setting of a control",
        r"weight of 0\.[19]": "an imagined model in a quick check",
    },
    "07_active_neurons": {
        r"activation of 0\.001": "an imagined neuron",
    },
    "08_deaths_and_spikes": {
        r"0\.01 (?:means|is small)": "an example of a learning rate",
        r"the last 50 steps": "a declared setting of the detector",
        r"in 10,000(?: quiet steps)?|in 1000 steps": "units of rates",
        r"p ≤ 0\.05": "the level of the tests",
        r"blocks of 100 steps": "a declared setting of the null",
        r"slope of 0\.01|β₂ is 0\.9": "declared settings of branches",
        r"β₂ = 0\.99?|usual 0\.999|\(0\.999\)|0\.999 for Adam": "declared settings of optimizers",
        r"within 0\.2 nats": "the declared criterion of the edge",
        r"every 25 steps|within 20 steps": "an imagined log in a quick check",
    },
    "09_one_head_looped": {
        r"of 1000 tokens": "the length that the paper names",
        r"rate\*\*, 0\.01,": "a declared setting",
        r"20,000(?: steps)?|decay of 0\.1|rate 0\.001": "settings of the paper",
        r"is 100 % at": "an imagined model in a quick check",
    },
    "10_entropy_and_contraction": {
        r"For 1000 tokens": "an example of a size",
        r"20,000 random": "a declared setting of the cell",
        r"\(64 tokens|of 64 symbols": "a declared length",
        r"with 1\.5, the paper's": "the paper's order",
        r"block is 1\.2|is 0\.01\. Does|0\.99 and 1\.01": "imagined blocks in quick checks",
    },
}
"""What may stand on one page, and why."""


def prose(markdown: str) -> str:
    """The words of a Markdown text, with all that is no prose blanked."""
    for pattern in NOT_PROSE:
        markdown = pattern.sub(" ", markdown)
    return markdown


def typed_numbers(markdown: str, page: str) -> list[str]:
    """Numbers that look measured, were typed by hand, and are not declared for the page."""
    text = prose(markdown)
    for pattern in (*DECLARED, *DECLARED_ON.get(page, {})):
        text = re.sub(pattern.replace(" ", r"\s+"), " ", text)
    return [text[m.start() : m.end() + 14].strip().replace("\n", " ") for m in NUMBER.finditer(text)]


def complaints(path: Path) -> list[str]:
    """One line a number: notebook, cell, and the number with what follows it."""
    if path.suffix == ".md":
        return [f"{path.name}: {n!r}" for n in typed_numbers(path.read_text(encoding="utf-8"), path.stem)]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    words = [(c["id"], "".join(c["source"])) for c in cells if c["cell_type"] == "markdown"]
    return [f"{path.name}, cell {name}: {n!r}" for name, text in words for n in typed_numbers(text, path.stem)]


PAGES = sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted((ROOT / "book").glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_numbers_in_prose_come_from_results(path: Path) -> None:
    found = complaints(path)
    assert found == [], "render them, see `entropylens.show.prose.tell`, or declare them here with a reason"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The model ends 0.13 nats below.", "0.13"),
        ("It ends at −0.131.", "−0.131"),
        ("a drop of\n12 nats", "12"),
        ("It took 40 seconds.", "40"),
        ("after 600 steps", "600"),
        ("a share of 37%", "37"),
        ("a share of 37 % of it", "37"),
        ("It is 12× faster", "12"),
        ("3,905 positions", "3,905"),
        ("| d = 8 | +0.25 |", "+0.25"),
        ("p = .003", ".003"),
        ("about 1.5e-3 of it", "1.5e-3"),
        ("```{exercise} Try\n:label: ex\nReach 0.25 nats.\n```", "0.25"),
        (":::{admonition} Why\n:class: tip\nAll of 0.7 nats.\n:::", "0.7"),
        ("{glue:text}`n` seeds, and 0.4 of them", "0.4"),
        ("[a table](x.md) of 0.5 and $x$", "0.5"),
    ],
)
def test_a_typed_number_is_found(text: str, number: str) -> None:
    (found,) = typed_numbers(text, "any")
    assert found.startswith(number)


@pytest.mark.parametrize(
    "text",
    [
        "In chapter 3, claim 1a, at d = 64 with d ∈ {8, 16, 32, 64}.",
        "{glue:text}`bias:+.3f` nats, with `x = 0.5` and $0.5$ and $$\n0.25\n$$",
        "```python\nx = 0.5\n```\n~~~\n0.7 nats\n~~~",
        "[arXiv:2504.18929](https://arxiv.org/abs/2504.18929) and <https://x.org/1.5>",
        "the 95 % interval; 25 minutes to read; of 2025",
        ":::{figure} x.png\n:width: 0.5\n:::",
        "{cite:t}`lam2026energy` says so",
        "version 3.11.7 of it",
    ],
)
def test_what_is_no_measurement_passes(text: str) -> None:
    assert typed_numbers(text, "any") == []


def test_a_complaint_names_notebook_cell_and_number(tmp_path: Path) -> None:
    cells = ["#md # One\n\nGood: {glue:text}`x:.2f` nats.", "x = 0.5", "#md It ends 0.13 nats below."]
    notebook = write_notebook(tmp_path / "01_one.ipynb", cells)
    assert complaints(notebook) == ["01_one.ipynb, cell cell-3: '0.13 nats below.'"]


@pytest.mark.parametrize("page", list(DECLARED_ON))
def test_every_exception_is_still_needed(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allow-list that is longer than it has to be hides what it should find."""
    path = next(path for path in PAGES if path.stem == page)
    exceptions = DECLARED_ON[page]
    for pattern in exceptions:
        monkeypatch.setitem(DECLARED_ON, page, {p: why for p, why in exceptions.items() if p != pattern})
        assert complaints(path), f"nothing on the page needs {pattern}"
