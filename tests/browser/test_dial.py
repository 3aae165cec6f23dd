"""Chapter 1's explorer in a page of its own, without a kernel: its entropies, samples and means are Python's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from scipy.special import entr
from scipy.stats import binom

from entropylens.show.explorers import source
from entropylens.show.explorers.dial import ENDS, FIRST, SAMPLES, SIZES, counted, dial_explorer, turned
from tests.browser.alone import page_of, spoiled, told
from tests.browser.test_explorers import opened

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_STATES: list[dict[str, float]] = [
    {**FIRST, "dial": 0.5, "size": 20, "sample": 4},
    {"a": 3, "b": 3, "c": 3, "d": 3, "e": 3, "dial": 0.0, "size": 1, "sample": 1},
    {"a": 10, "b": 0.5, "c": 0, "d": 0.5, "e": 7.5, "dial": 0.4, "size": 700, "sample": 100},
    {"a": 0, "b": 0, "c": 2, "d": 1, "e": 0, "dial": 0.975, "size": 10_000, "sample": 3},
    {"a": 1, "b": 9, "c": 9, "d": 2, "e": 0, "dial": 1.0, "size": 5, "sample": 7},
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page as the book's are, with nothing but the explorer."""
    return page_of(dial_explorer(), tmp_path_factory.mktemp("dial")).as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def link(address: str, state: dict[str, Any]) -> str:
    return f"{address}?entropy=" + ";".join(f"{key}:{value}" for key, value in state.items())


def p_of(state: dict[str, float]) -> Any:
    return turned([state[symbol] for symbol in FIRST], state["dial"])


def mean_entropy(p: Any, n: int) -> float:
    """E[H(p̂)] over samples of n, nats, from SciPy's binomials."""
    k = np.arange(n + 1)
    return float((binom.pmf(k, n, p[:, None]) * entr(k / n)).sum())


def slider(page: Page, control: str) -> Locator:
    return page.locator(f".explorer input[type=range][aria-label='{control}']")


def table(page: Page) -> list[list[str]]:
    """Of each symbol p, −log p, its part of H, p̂, and its part; then H."""
    return [row.locator("td").all_inner_texts() for row in page.locator(".explorer .sums tbody tr").all()]


def heights(page: Page, kind: str) -> list[float]:
    bars = page.locator(f".explorer .{kind}[data-of]")
    return list(bars.evaluate_all("all => all.map(x => Number(x.getAttribute('height')))"))


@pytest.mark.parametrize("state", _STATES)
def test_numbers_are_python_s(page: Page, address: str, state: dict[str, float]) -> None:
    page.goto(link(address, state))
    n, p = int(state["size"]), p_of(state)
    all_seen = [counted(p, n, seed) / n for seed in range(1, int(state["sample"]) + 1)]
    h, sampled, k = float(entr(p).sum()), [float(entr(seen).sum()) for seen in all_seen], int((p > 0).sum())
    expect(told(page)).to_contain_text(f"H(p)\u00a0=\u00a0{h:.3f} nats, or {h / math.log(2):.3f} bits")
    mean = mean_entropy(p, n)
    for words in (
        f"choice among {math.exp(h):.2f} symbols", f"H(p̂)\u00a0=\u00a0{sampled[-1]:.3f} nats",
        f"Over all samples of {n} the mean is {mean:.3f}, too low by {h - mean:.3f}",
        f"= {(k - 1) / 2 / n:.3f}".replace(" ", "\u00a0"), f"K\u00a0=\u00a0{k} symbol",
    ):  # fmt: skip
        expect(told(page)).to_contain_text(words)
    if len(sampled) > 1:
        expect(told(page)).to_contain_text(f"samples 1 to {len(sampled)} is {np.mean(sampled):.3f}")
    *rows, last = table(page)
    for x, seen, row in zip(p, all_seen[-1], rows, strict=True):
        surprise = f"{-math.log(x):.3f}".replace("-0.000", "0.000") if x else "∞"
        assert row[1] == surprise
        numbers = [float(text) for text in (row[0], *row[2:])]
        assert numbers == pytest.approx([x, entr(x), seen, entr(seen)], abs=0.00051)
    assert [float(last[2]), float(last[4])] == pytest.approx([h, sampled[-1]], abs=0.00051)
    full = 196 - 70  # pixels of 100 %
    assert heights(page, "bar") == pytest.approx((full * p).tolist())
    assert heights(page, "hollow") == pytest.approx((full * all_seen[-1]).tolist())


@pytest.mark.parametrize("state", _STATES)
def test_the_curve_is_the_exact_mean(page: Page, address: str, state: dict[str, float]) -> None:
    page.goto(link(address, state))
    expect(page.locator(".explorer .chart path.line").first).to_be_attached()
    p, p_hat = p_of(state), counted(p_of(state), int(state["size"]), int(state["sample"])) / state["size"]
    path = page.locator(".explorer .chart path.line").first.get_attribute("d") or ""
    nats = [(196 - float(y)) / 126 * math.log(5) for y in re.findall(r"[ML]\S+ (\S+?)(?=L|$)", path)]
    assert nats == pytest.approx([mean_entropy(p, n) for n in SIZES], abs=1e-4)  # drawn to a hundredth of a pixel
    mark = page.locator(".explorer .cursor circle[data-nats]")
    assert float(mark.get_attribute("data-nats") or "") == pytest.approx(entr(p_hat).sum(), abs=1e-12)
    assert page.locator(".explorer .cursor .before").count() == state["sample"] - 1


def test_means_are_exact_to_rounding(page: Page) -> None:
    page.evaluate(
        """async (code) => {
            window.toy = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        }""",
        source("dial.js") + "\nexport { drawn, expected };",
    )
    for state in _STATES:
        p = p_of(state)
        for n in (1, 2, 7, 100, 5000):
            found = page.evaluate("([p, n]) => toy.expected(p, n)", [p.tolist(), n])
            assert found == pytest.approx(mean_entropy(p, n), abs=1e-12)
        seen = page.evaluate("p => toy.drawn(p, 999, 42)", p.tolist())
        assert seen == (counted(p, 999, 42) / 999).tolist()


def test_every_slider_moves_by_keyboard_and_stays_in_the_address(page: Page) -> None:
    bars, curve = page.locator(".explorer .chart").first, page.locator(".explorer .chart path.line").first
    for control in (*(f"weight of {symbol}" for symbol in FIRST), "dial: power β"):
        before, drawn = told(page).inner_text(), (bars.inner_html(), curve.get_attribute("d"))
        slider(page, control).focus()
        page.keyboard.press("ArrowRight")
        expect(told(page)).not_to_have_text(before)
        assert bars.inner_html() != drawn[0]
        assert curve.get_attribute("d") != drawn[1]
    slider(page, "sample of N =").focus()
    page.keyboard.press("ArrowRight")
    expect(told(page)).to_contain_text("Sample 1, 30 symbols")
    page.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(told(page)).to_contain_text("Sample 2, 30 symbols")
    text, numbers = told(page).inner_text(), table(page)
    page.reload()
    expect(told(page)).to_have_text(text)
    assert table(page) == numbers
    expect(slider(page, "weight of a")).to_have_attribute("aria-valuetext", "8.5")
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_drawing_again_goes_through_all_samples_and_starts_over(page: Page, address: str) -> None:
    button = page.get_by_role("button")
    seen = heights(page, "hollow")
    button.click()
    expect(told(page)).to_contain_text("Sample 2, 20 symbols")
    assert heights(page, "hollow") != seen
    page.goto(link(address, {"sample": SAMPLES}))
    expect(button).to_have_text(f"start over (sample 1 of {SAMPLES})")
    button.click()
    expect(told(page)).to_contain_text("Sample 1, 20 symbols")


def test_even_and_certain_are_the_ends_of_the_dial_and_one_weight_stays(page: Page) -> None:
    dial = slider(page, "dial: power β")
    dial.focus()
    page.keyboard.press("Home")
    expect(told(page)).to_contain_text("a fair choice among 5.00 symbols")
    expect(dial).to_have_attribute("aria-valuetext", "0.00, even")
    page.keyboard.press("End")
    expect(told(page)).to_contain_text("H(p)\u00a0=\u00a00.000 nats")
    expect(dial).to_have_attribute("aria-valuetext", "∞, certain")
    for symbol in FIRST:
        slider(page, f"weight of {symbol}").focus()
        page.keyboard.press("Home")
    least = ENDS["e"][1] / ENDS["e"][2]
    expect(slider(page, "weight of e")).to_have_attribute("aria-valuetext", f"{least:.1f}")
    expect(slider(page, "weight of d")).to_have_attribute("aria-valuetext", "0.0")


def test_colours_follow_the_scheme(page: Page) -> None:
    bar = page.locator(".explorer .bar[data-of]").first
    colour = bar.evaluate("x => getComputedStyle(x).fill")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(".explorer .bar[data-of]").first).not_to_have_css("fill", colour)


@pytest.mark.parametrize(
    "bad",
    ["a:11;dial:2", "size:4;sample:0", "sample:101", "a:0;b:0;c:0;d:0;e:0", "nonsense", "size:1e3", "dial:;;a:-1"],
)
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first = told(page).inner_text()
    page.goto(f"{address}?entropy={bad}")
    expect(told(page)).to_have_text(first)


def test_it_lives_in_chapter_1(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/01_entropy_you_can_count.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        before = told(page).inner_text()
        slider(page, "weight of b").focus()
        page.keyboard.press("ArrowRight")
        expect(told(page)).not_to_have_text(before)
        tables, cut = page.locator(".explorer table"), "all => all.filter(x => x.scrollWidth > x.clientWidth).length"
        assert tables.evaluate_all(cut) == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
        page.set_viewport_size({"width": 1200, "height": 800})
        assert tables.evaluate_all(cut) == 0


def test_a_planted_fault_is_found(page: Page, tmp_path: Path) -> None:
    address = spoiled(page_of(dial_explorer(), tmp_path), "-x * Math.log(x)", "-x * Math.log2(x)")
    with pytest.raises(AssertionError):
        test_the_curve_is_the_exact_mean(page, address, _STATES[0])
