"""Chapter 11's explorer in a page of its own, without a kernel: what it draws and tells is what Python computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

from entropylens.show.explorers.certainty import PLACES, RIGHT, WRONG, attention, certainty_explorer, costs
from tests.browser.alone import page_of, slider, spoiled
from tests.browser.test_explorers import opened

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_STATES = [  # lead, sharpness, strength, target
    (-0.5, 1.0, 1.0, 0.0), (-0.5, 1.0, 10.0, 0.0), (-1.0, 2.0, 18.0, 0.258579), (-3.0, 5.0, 1.0, 0.0),
    (-3.0, 0.3, 30.0, 0.6), (-0.2, 3.5, 0.5, 1.292893), (0.0, 2.0, 0.0, 0.0), (1.5, 0.8, 1.0, 1.1),
    (3.0, 8.0, 30.0, 0.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page as the book's are, with nothing but the explorer."""
    return page_of(certainty_explorer(), tmp_path_factory.mktemp("certainty")).as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def told(page: Page) -> Locator:
    return page.locator(".explorer .told").first  # the chapter has another explorer below


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def sums(page: Page) -> list[list[float | None]]:
    """Of cross-entropy, L_P, L_S and the loss: value, weight, what it adds, slope."""
    rows = page.locator(".explorer .sums tbody tr").all()
    return [[number(x) if x else None for x in row.locator("td").all_inner_texts()] for row in rows]


def way(slope: float) -> str:
    return "no change" if abs(slope) < 0.0005 else "less sharp" if slope > 0 else "sharper"


@pytest.mark.parametrize("state", _STATES)
def test_numbers_and_ways_are_python_s(page: Page, address: str, state: tuple[float, float, float, float]) -> None:
    lead, sharpness, strength, target = state
    page.goto(f"{address}?certainty=lead:{lead};sharpness:{sharpness};strength:{strength};target:{target}")
    beta = torch.tensor(sharpness, dtype=torch.float64, requires_grad=True)
    found = costs(torch.tensor(lead, dtype=torch.float64), beta, strength, target)
    slopes = [float(torch.autograd.grad(x, beta, retain_graph=True)[0]) for x in found]
    weights = (1.0, 0.1 * strength, 0.02 * strength)
    expect(told(page)).not_to_be_empty()
    for i, row in enumerate(sums(page)):
        added = float(found[i].detach()) * (weights[i] if i < 3 else 1)
        known = [float(found[i].detach()), weights[i]] if i < 3 else [None, None]
        assert row[:2] == [x if x is None else pytest.approx(x, abs=0.00051) for x in known]
        assert row[2:] == pytest.approx([added, slopes[i] * (weights[i] if i < 3 else 1)], abs=0.00051)
    alone, both = way(slopes[0]), way(slopes[3])
    expect(told(page)).to_contain_text(f"by cross-entropy alone: {alone}; with the terms: {both}.")
    arrows = {"less sharp": "←", "sharper": "→", "no change": "•"}
    drawn = page.locator(".explorer .chart").last.evaluate("x => x.textContent")
    assert f"cross-entropy: {arrows[alone]} {alone}with the terms: {arrows[both]} {both}" in drawn
    ways = page.locator(".explorer .cursor [data-way]").evaluate_all("all => all.map(x => x.dataset.way)")
    assert ways == [{"less sharp": "-1", "sharper": "1"}[x] for x in (alone, both) if x != "no change"]


@pytest.mark.parametrize("state", _STATES[::2])
def test_bars_and_curves_are_python_s(page: Page, address: str, state: tuple[float, float, float, float]) -> None:
    lead, sharpness, strength, target = state
    page.goto(f"{address}?certainty=lead:{lead};sharpness:{sharpness};strength:{strength};target:{target}")
    ahead = torch.tensor(lead, dtype=torch.float64)
    expect(page.locator(".explorer .bar")).to_have_count(PLACES)
    heights = torch.tensor(
        page.locator(".explorer .bar").evaluate_all("all => all.map(x => Number(x.getAttribute('height')))"),
        dtype=torch.float64,
    )
    p = attention(ahead, torch.tensor(sharpness, dtype=torch.float64))
    assert torch.allclose(heights / heights.sum(), p, atol=1e-6)
    expect(page.locator(".explorer .bar.part-0")).to_have_attribute("data-place", str(RIGHT + 1))
    chart = page.locator(".explorer .chart").last
    ticks = dict(
        chart.locator("text[text-anchor=end]").evaluate_all(
            "all => all.map(x => [Number(x.textContent), Number(x.getAttribute('y'))])"
        )
    )
    top = max(ticks)
    paths = chart.evaluate("x => ['alone', 'line'].map(kind => x.querySelector('.' + kind).getAttribute('d'))")
    sharp = torch.linspace(0, 8, 81, dtype=torch.float64)
    wanted = costs(ahead.expand(81), sharp, strength, target)
    for path, curve in zip(paths, (wanted.cross_entropy, wanted.loss), strict=True):
        heights = torch.tensor([float(y) for y in re.findall(r"[ML]\S+ (\S+?)(?=L|$)", path)], dtype=torch.float64)
        nats = top * (ticks[0] - heights) / (ticks[0] - ticks[top])
        assert torch.allclose(nats, curve, atol=0.06 * top / (ticks[0] - ticks[top]))  # drawn to a tenth of a pixel


def test_the_strength_that_turns_it_is_told(page: Page) -> None:
    expect(told(page)).to_contain_text("place 6, a wrong one")
    found = re.search(r"The terms would make it sharper from strength ×\s(\S+) on", told(page).inner_text())
    assert found is not None
    strength = slider(page, "strength")
    strength.focus()
    for _ in range(int((float(found[1]) - 1) / 0.5)):
        page.keyboard.press("ArrowRight")
    expect(told(page)).to_contain_text("alone: less sharp; with the terms: less sharp")
    page.keyboard.press("ArrowRight")
    expect(told(page)).to_contain_text("alone: less sharp; with the terms: sharper")
    expect(told(page)).to_contain_text(f"The terms turn it from strength ×\u00a0{found[1]} on")


def test_a_head_that_looks_everywhere_alike_cannot_look_more_so(page: Page) -> None:
    slider(page, "sharpness").focus()
    page.keyboard.press("Home")
    expect(told(page)).to_contain_text("looks at all places alike (13\u00a0% each)")
    expect(told(page)).to_contain_text("alone: no change; with the terms: no change")
    slider(page, "strength").focus()
    page.keyboard.press("End")
    expect(told(page)).to_contain_text("alone: no change; with the terms: sharper")
    mean = (sum(WRONG) - 0.5) / PLACES  # of the scores; below the best, 0, by as much as L_P falls
    assert sums(page)[1][3] == pytest.approx(3 * mean, abs=0.00051)


def test_without_a_lead_two_places_are_looked_at_alike(page: Page, address: str) -> None:
    page.goto(f"{address}?certainty=lead:0")
    expect(told(page)).to_contain_text("looks most at places 3 and 6, one of them right (17\u00a0% each)")


def test_sliders_move_by_keyboard_and_stay_in_the_address(page: Page) -> None:
    for control, key, words in (
        ("lead", "ArrowRight", "−0.4"), ("sharpness β", "ArrowLeft", "0.9"), ("strength", "End", "×\u00a030.0"),
        ("target η", "End", "1.29"),
    ):  # fmt: skip
        slider(page, control).focus()
        page.keyboard.press(key)
        expect(slider(page, control)).to_have_attribute("aria-valuetext", words)
        expect(slider(page, control)).to_have_attribute("aria-label", control)
    text, table = told(page).inner_text(), sums(page)
    page.reload()
    expect(told(page)).to_have_text(text)
    assert sums(page) == table
    expect(slider(page, "target")).to_have_js_property("value", "20")
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_colours_follow_the_scheme(page: Page) -> None:
    line = page.locator(".explorer .chart path.line").first
    colour = line.evaluate("x => getComputedStyle(x).stroke")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(".explorer .chart path.line").first).not_to_have_css("stroke", colour)


@pytest.mark.parametrize(
    "bad",
    ["lead:-3.1;strength:31", "nonsense", "lead:;;target:", "sharpness:constructor;lead:1e0", "target:1.3", "lead:--1"],
)
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first = told(page).inner_text()
    page.goto(f"{address}?certainty={bad}")
    expect(told(page)).to_have_text(first)


def test_it_lives_in_chapter_11(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/11_the_regularised_landscape.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        before = told(page).inner_text()
        slider(page, "lead").focus()
        page.keyboard.press("ArrowRight")
        expect(told(page)).not_to_have_text(before)
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_a_planted_fault_is_found(page: Page, tmp_path: Path) -> None:
    address = spoiled(
        page_of(certainty_explorer(), tmp_path), "sharpness * (score - best)", "1.01 * sharpness * (score - best)"
    )
    with pytest.raises(AssertionError):
        test_bars_and_curves_are_python_s(page, address, (-1.0, 2.0, 18.0, 0.258579))
