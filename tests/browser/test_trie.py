"""Chapter 2's explorer in a page of its own, without a kernel: at each context it shows what Python computes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from torch import Tensor

from entropylens.measures.distribution import kl_from_log
from entropylens.measures.neurons import promoted
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.show.explorers.trie import SHOWN, trie_explorer
from entropylens.tasks.language import Language, entropy
from entropylens.tasks.targets import rule_pattern
from tests.browser.alone import page_of, told
from tests.browser.test_explorers import opened, press

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_LANGUAGE = Language()
_TARGET = rule_pattern(_LANGUAGE, "palindromes", seed=0)
_EDGES = _LANGUAGE.edges(_TARGET)
_MOST_BYTES = 250_000


class Inside(NamedTuple):
    log_q: Tensor
    trace: Trace
    promotes: Tensor


@pytest.fixture(scope="module")
def inside() -> Inside:
    """An untrained model: what the explorer shows has nothing to do with whether it is good."""
    trace, model = Trace(), TransformerConfig(norm="none").build(torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        return Inside(model(TrieLayout(_LANGUAGE), trace), trace, promoted(model))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, inside: Inside) -> str:
    """A page as the book's are, with nothing but the explorer."""
    log_q, trace, promotes = inside
    explorer = trie_explorer(_LANGUAGE, _TARGET, log_q, trace.attention, trace.neurons, promotes, at="bda")
    page = page_of(explorer, tmp_path_factory.mktemp("trie"))
    assert page.stat().st_size < _MOST_BYTES
    return page.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def walk(page: Page) -> Locator:
    return page.locator(".explorer .walk")


def node_of(text: str) -> int:
    node = 0
    for letter in text:
        node = 5 * node + 1 + "abcde".index(letter)
    return node


def rows(page: Page, caption: str) -> list[tuple[str, list[str]]]:
    """Of a table, each row's own head, and its cells."""
    table = page.locator(f".explorer table:has(caption:text-matches('^{caption}'))")
    found = table.locator("tbody tr").all()
    return [(row.locator("th").inner_text(), row.locator("td").all_inner_texts()) for row in found]


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def bars(page: Page, kind: str) -> list[float]:
    found = page.locator(f".explorer .{kind}[data-of]")
    return [h / 126 for h in found.evaluate_all("all => all.map(x => Number(x.getAttribute('height')))")]


def shades(page: Page) -> list[float]:
    found = page.locator(".explorer .trie .fires")
    return list(found.evaluate_all("all => all.map(x => Number(x.getAttribute('fill-opacity')))"))


@pytest.mark.parametrize("at", ["", "e", "bd", "bda", "caba", "bdad"])
def test_predictions_and_costs_are_python_s(page: Page, address: str, inside: Inside, at: str) -> None:
    page.goto(f"{address}?trie=at:{at}")
    node, mass = node_of(at), float(_EDGES[node_of(at)].sum())
    q, p = inside.log_q[node].exp(), _EDGES[node] / mass
    expect(told(page)).to_contain_text(f"“{at}”" if at else "the start")
    assert bars(page, "hollow") == pytest.approx(q.tolist(), abs=1e-6)
    assert bars(page, "bar") == pytest.approx(p.tolist(), abs=1e-6)
    kl = float(kl_from_log(p, inside.log_q[node]))
    in_all = float(kl_from_log(_TARGET, _LANGUAGE.sentence_log_probs(inside.log_q)))
    found = re.search(
        r"surprise is (\S+) nats on average, of which (\S+) cannot be avoided; the rest is the KL divergence, (\S+)\. "
        r"Times how often it is met: (\S+), or .+ of the (\S+) in all",
        told(page).inner_text(),
    )
    assert found is not None
    wanted = [kl + float(entropy(p)), float(entropy(p)), kl, mass * kl, in_all]
    assert [float(x) for x in found.groups()] == pytest.approx(wanted, abs=0.00051, rel=0.051)
    *steps, last = rows(page, "the way here")
    assert len(steps) == len(at)
    log_path = 0.0
    for i, (_, cells) in enumerate(steps):
        parent, letter = node_of(at[:i]), "abcde".index(at[i])
        known, log_step = float(_EDGES[parent, letter] / _EDGES[parent].sum()), float(inside.log_q[parent, letter])
        log_path += log_step
        assert [float(x) for x in cells] == pytest.approx(
            [known, math.exp(log_step), -math.log(known), -log_step], abs=0.00051, rel=0.051
        )
    assert [float(x) for x in last[1]] == pytest.approx(
        [mass, math.exp(log_path), -math.log(mass), -log_path], abs=0.00051, rel=0.051
    )


@pytest.mark.parametrize("at", ["", "bd", "bdaa"])
def test_attention_and_neurons_are_the_model_s(page: Page, address: str, inside: Inside, at: str) -> None:
    page.goto(f"{address}?trie=at:{at}")
    node = node_of(at)
    expect(told(page)).to_contain_text(f"“{at}”" if at else "the start")
    looks = rows(page, "where each head looks")
    assert [head for head, _ in looks] == [f"layer {i}, head {j}" for i in (1, 2) for j in (1, 2)]
    wanted = torch.cat([layer[node, :, : len(at) + 1].flip(-1) for layer in inside.trace.attention])
    assert [[float(x) for x in cells] for _, cells in looks] == [
        pytest.approx(row, abs=0.0051) for row in wanted.tolist()
    ]
    found = rows(page, "neurons that fire")
    for layer, fires in enumerate(inside.trace.neurons):
        promotes = inside.promotes[layer]
        moved = fires[node] * promotes.abs().mean(-1)
        best = moved.topk(SHOWN).indices.tolist()
        assert [head for head, _ in found[layer * SHOWN :][:SHOWN]] == [f"{layer + 1} · {j}" for j in best]
        for j, (_, cells) in zip(best, found[layer * SHOWN :], strict=False):
            adds = (fires[node, j] * promotes[j]).tolist()
            assert [number(x) for x in cells] == pytest.approx([float(fires[node, j]), *adds], abs=0.0052)
        count = int((fires[node] > 0).sum())
        expect(page.locator("caption", has_text="neurons that fire")).to_contain_text(f"{count} of layer {layer + 1}")


def test_where_no_sentence_begins_the_target_is_silent(page: Page) -> None:
    page.locator(".explorer input[type=text]").fill("bdaa")
    expect(told(page)).to_contain_text("no sentence of the language begins so, and an error costs nothing")
    assert bars(page, "bar") == []
    assert len(bars(page, "hollow")) == 5
    *_, (_, cells) = rows(page, "the way here")
    assert (cells[0], cells[2]) == ("0.000", "∞")


def test_shades_are_conditionals_and_parts_of_the_divergence(page: Page, inside: Inside) -> None:
    mass = _EDGES.sum(-1)
    p = torch.cat([torch.zeros(1, dtype=torch.float64), (_EDGES / mass[:, None]).nan_to_num(0)[:156].flatten()])
    q = torch.cat([torch.zeros(1, dtype=torch.float64), inside.log_q.exp()[:156].flatten()])
    paid = mass * kl_from_log((_EDGES / mass[:, None]).nan_to_num(0), inside.log_q)
    for value, wanted in (("target", p), ("model", q), ("KL", paid / paid.max())):
        page.locator(f".explorer input[value='{value}']").check()
        drawn = torch.tensor(shades(page), dtype=torch.float64)
        assert torch.allclose(drawn, torch.where(wanted < 0.01, 0.0, 0.15 + 0.85 * wanted), atol=1e-5)


def test_it_is_walked_by_arrow_keys(page: Page, inside: Inside) -> None:
    walk(page).focus()
    at = "bda"
    for key, to in (("ArrowRight", "bdb"), ("ArrowLeft", "bda"), ("ArrowLeft", "bce"), ("ArrowUp", "bc")):
        page.keyboard.press(key)
        at = to
        expect(told(page)).to_contain_text(f"At “{at}”")
        expect(walk(page)).to_have_attribute("aria-valuetext", " ".join(at))
        expect(page.locator(".explorer input[type=text]")).to_have_value(at)
        expect(page.locator(".explorer .trie .ring")).to_have_count(len(at))
    page.keyboard.press("ArrowDown")
    expect(told(page)).to_contain_text(f"At “bc{'abcde'[int(inside.log_q[node_of('bc')].argmax())]}”")
    page.keyboard.press("Home")
    expect(told(page)).to_contain_text("At the start")
    for key in ("ArrowUp", "ArrowLeft", "ArrowRight"):  # the ends of the trie
        page.keyboard.press(key)
        expect(told(page)).to_contain_text("At the start")
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    assert len(page.locator(".explorer input[type=text]").input_value()) == 4


def test_it_is_walked_by_letters_and_clicks(page: Page) -> None:
    text, answer = page.locator(".explorer input[type=text]"), page.locator(".explorer output")
    text.fill("Ca")
    expect(told(page)).to_contain_text("At “ca”")
    expect(text).to_have_value("Ca")
    text.fill("cx")
    expect(answer).to_have_text("up to 4 letters, each a to e, please")
    expect(told(page)).to_contain_text("At “ca”")
    page.set_viewport_size({"width": 700, "height": 700})  # drawn anew, and nothing that was typed is lost
    page.wait_for_timeout(100)
    expect(text).to_have_value("cx")
    expect(answer).to_have_text("up to 4 letters, each a to e, please")
    page.locator(f".explorer .trie [data-node='{node_of('eb')}']").click()
    expect(told(page)).to_contain_text("At “eb”")
    expect(text).to_have_value("eb")
    expect(answer).to_have_text("")


def test_choices_and_place_stay_in_the_address(page: Page) -> None:
    before = shades(page)
    press(page, "shade", "ArrowRight")
    assert shades(page) != before
    label: Any = page.locator(".explorer .trie").get_attribute("aria-label")
    press(page, "widths", "ArrowRight")
    expect(page.locator(".explorer .trie")).not_to_have_attribute("aria-label", label)
    page.locator(".explorer input[type=text]").fill("dd")
    text = told(page).inner_text()
    page.reload()
    expect(told(page)).to_have_text(text)
    for value in ("model", "by weight"):
        expect(page.locator(f".explorer input[value='{value}']")).to_be_checked()
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


@pytest.mark.parametrize("bad", ["at:abcde", "at:x;shade:y", "nonsense", "shade:;;widths:", "constructor:1"])
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first = told(page).inner_text()
    page.goto(f"{address}?trie={bad}")
    expect(told(page)).to_have_text(first)


def test_it_lives_in_chapter_2(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/02_a_transformer_in_your_head.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        expect(told(page)).to_contain_text("At “bda”")
        walk(page).focus()
        page.keyboard.press("ArrowRight")
        expect(told(page)).to_contain_text("At “bdb”")
        page.locator(".explorer input[type=text]").fill("bdaa")  # the widest tables
        expect(told(page)).to_contain_text("At “bdaa”")
        tables, cut = page.locator(".explorer table"), "all => all.filter(x => x.scrollWidth > x.clientWidth).length"
        assert tables.evaluate_all(cut) == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
        page.set_viewport_size({"width": 1200, "height": 800})
        assert tables.evaluate_all(cut) == 0
