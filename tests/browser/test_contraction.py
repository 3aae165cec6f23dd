"""Chapter 10's explorer in a page of its own, without a kernel: what it computes and draws is what Python computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from entropylens.measures.contraction import softmax_derivative
from entropylens.measures.operators import derivative
from entropylens.models.entropies import tsallis
from entropylens.show.explorers import source
from entropylens.show.explorers.contraction import (
    CASES,
    COLD,
    FIRST,
    HOT,
    MAPS,
    VALUES,
    apart,
    contraction_explorer,
    instance,
    measured,
    promised,
)
from tests.browser.alone import charts, page_of, slider, told
from tests.browser.test_explorers import opened, press

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_MOST_BYTES = 70_000
_BOUNDS = ("printed", "frobenius", "corrected", "ours")
_STATES: list[dict[str, Any]] = [
    *CASES.values(),
    {**FIRST, "tokens": 6, "turn": 35.0, "temperature": 0.7, "map": "mirrors", "q": 1.5},
    {**FIRST, "tokens": 6, "token": 5, "turn": -140.0, "temperature": 0.3, "map": "one direction", "size": -0.85},
    {**FIRST, "turn": 80.0, "temperature": HOT, "values": "one direction", "size": 0.0},
    {**FIRST, "tokens": 2, "token": 4, "places": [[2.0, 2.0], [-2.0, 1.5], *FIRST["places"][2:]], "temperature": COLD},
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    page = page_of(contraction_explorer(), tmp_path_factory.mktemp("contraction"))
    assert page.stat().st_size < _MOST_BYTES
    return page.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def link(address: str, chosen: dict[str, Any]) -> str:
    places = ",".join(f"{x}" for place in chosen["places"] for x in place)
    return f"{address}?contraction=" + ";".join(f"{key}:{value}" for key, value in {**chosen, "places": places}.items())


def close(found: Any, wanted: torch.Tensor) -> None:
    """Within 1e-9, of what is larger than 1 relatively."""
    assert torch.allclose(torch.tensor(found, dtype=torch.float64), wanted, rtol=1e-9, atol=1e-9)


def check_numbers(page: Page, code: str) -> None:
    explorer = contraction_explorer()
    toy = {name: getattr(explorer, name) for name in ("radius", "loops", "apart")} | {"maps": MAPS, "values": VALUES}
    page.evaluate(
        """async (code) => {
            window.toy = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        }""",
        code + "\nexport { sizes, apart, entropy, softmax };",
    )
    for chosen in _STATES:
        at = instance(chosen)
        found = page.evaluate(
            """([own, chosen]) => {
                const now = toy.sizes(own, chosen, true);
                const ways = [false, true].map((residual) => toy.apart(own, now.head, now.direction, residual));
                const rows = { entropies: now.rows.map(toy.entropy), bends: now.rows.map(toy.softmax) };
                return { ...now, ...rows, ways, again: toy.sizes(own, chosen).exact };
            }""",
            [toy, chosen],
        )
        for name, parts in measured(chosen).items():
            close(
                found["exact"] if name == "exact" else found["bounds"][name], torch.tensor(parts, dtype=torch.float64)
            )
        assert found["again"] == found["exact"][2]
        close(found["rows"], at.head.rows(at.y))
        close(found["entropies"], tsallis(at.head.rows(at.y), 1.0))
        close([each["tsallis"] for each in found["bends"]], tsallis(at.head.rows(at.y), 2.0))
        for row, each in zip(at.head.rows(at.y), found["bends"], strict=True):
            jacobian = softmax_derivative(row.expand(len(row), -1), torch.eye(len(row)).double())
            close(each["norm"], torch.linalg.matrix_norm(jacobian, ord=2))
            assert each["norm"] <= min(each["most"], each["tsallis"]) + 1e-12
            close(each["most"], 2 * (row * (1 - row)).max())
        direction = torch.tensor(found["direction"], dtype=torch.float64)
        close(found["exact"][2], derivative(at.head, at.y).push(direction).norm())
        assert float(direction.norm()) == pytest.approx(1, abs=1e-12)
        for residual, way in enumerate(found["ways"]):
            close(way, apart(at, direction, residual=bool(residual)))


def test_numbers_are_python_s(page: Page) -> None:
    check_numbers(page, source("contraction_toy.js"))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("share * (u[i][j] - mean)", "share * u[i][j]"),
        ("-share * Math.log(share)", "-share * Math.log2(share)"),
        ("sweep < 60", "sweep < 1"),
    ],
)
def test_a_planted_fault_is_found(page: Page, right: str, wrong: str) -> None:
    code = source("contraction_toy.js")
    assert code.count(right) == 1
    with pytest.raises(AssertionError):
        check_numbers(page, code.replace(right, wrong))


@pytest.mark.parametrize("chosen", [_STATES[0], _STATES[1], _STATES[2], _STATES[-1]])
def test_table_marks_and_words_are_python_s(page: Page, address: str, chosen: dict[str, Any]) -> None:
    page.goto(link(address, chosen))
    expect(told(page)).not_to_be_empty()
    found, at = measured(chosen), instance(chosen)
    fits = float(at.y.norm()) < 2.000001 and float(at.head.w_v.norm()) < 0.500001
    rows = page.locator(".explorer .sums tbody tr").all()
    for row, name in zip(rows, (*_BOUNDS, "exact"), strict=True):
        exactly = row.locator("td[data-exactly]").evaluate_all("all => all.map(x => Number(x.dataset.exactly))")
        close(exactly, torch.tensor(found[name], dtype=torch.float64))
        holds = found["exact"][2] <= found[name][2] * (1 + 1e-9)
        mark = "–" if name in _BOUNDS[:2] and not fits else "✓" if holds else "✗"
        expect(row.locator("td").last).to_have_text("" if name == "exact" else mark)
    over = found["exact"][2] / found["printed"][2]
    if over > 1 and fits:
        expect(told(page)).to_contain_text(f"Broken, by a factor of {over:.2f}: a counterexample.")
    else:
        expect(told(page)).not_to_contain_text("Broken")
    due = re.search(r"promised by the printed bound: ×\s(\S+) at most", told(page).inner_text())
    assert (due is not None) == (fits and promised(chosen) < 1)
    if due is not None:
        assert float(due[1]) == pytest.approx(promised(chosen), abs=0.005)


def test_pictures_are_python_s(page: Page, address: str) -> None:
    chosen = {**_STATES[1], "tokens": 4, "token": 3, "temperature": 0.5}
    page.goto(link(address, chosen))
    at = instance(chosen)
    expect(page.locator(".explorer .bar")).to_have_count(4)
    heights = page.locator(".explorer .bar").evaluate_all("all => all.map(x => Number(x.getAttribute('height')))")
    shares = torch.tensor(heights, dtype=torch.float64)
    row = at.head.rows(at.y)[2]
    close((shares / shares.sum()).tolist(), row)
    looks = page.locator(".explorer .look").evaluate_all("all => all.map(x => Number(x.dataset.share))")
    close(looks, row)
    curve = page.locator(".explorer path[data-bound=printed]").get_attribute("d")
    heights = [float(y) for y in re.findall(r"[ML]\S+ (\S+?)(?=L|$)", str(curve))]
    by_temperature = [measured({**chosen, "temperature": 2 ** (k / 4 - 6)}) for k in range(49)]
    wanted = [each["exact"][2] / each["printed"][2] for each in by_temperature]
    assert [(236 - y) / 70 for y in heights] == pytest.approx(wanted, abs=0.001)  # drawn to a tenth of a pixel
    mark = page.locator(".explorer [data-at=printed]").get_attribute("y")
    assert (236 - float(str(mark))) / 70 == pytest.approx(wanted[20], abs=1e-9)


def test_cases_are_chosen_by_keyboard(page: Page) -> None:
    texts = set()
    for case, values in CASES.items():
        page.get_by_role("button", name=case, exact=True).focus()
        page.keyboard.press("Enter")
        size = float(instance(values).head.w_v.norm())
        expect(page.locator(".explorer .plane text").first).to_contain_text(f"‖W_V‖ {size:.2f} ≤ ½")
        texts.add(told(page).inner_text())
    assert len(texts) == len(CASES)
    page.get_by_role("button", name="the chapter's counterexample").click()
    expect(told(page)).to_contain_text("both alike: 0.69 nats of entropy, of 0.69 at most")
    page.get_by_role("button", name="sent out of the ball").click()
    expect(told(page)).to_contain_text("leaves the unit ball: ‖F(X\u00a0+\u00a0Z)‖ is 1.016")


def test_chance_finds_no_counterexample_and_climbing_does(page: Page, address: str) -> None:
    page.add_init_script(
        """(() => {
            let seed = 1; // the same numbers each time
            Math.random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
        })();"""
    )
    page.goto(link(address, {**FIRST, "tokens": 2}))
    texts = set()
    for _ in range(30):
        page.get_by_role("button", name="at random").click()
        expect(told(page)).to_contain_text("It holds here.")
        texts.add(told(page).inner_text())
    assert len(texts) == 30
    page.goto(link(address, {**FIRST, "tokens": 2, "temperature": 0.25}))
    for _ in range(4):
        page.get_by_role("button", name="climb").focus()
        page.keyboard.press("Enter")
    expect(told(page)).to_contain_text(": a counterexample.")
    expect(slider(page, "temperature τ")).to_have_attribute("aria-valuetext", "0.25")
    text = told(page).inner_text()
    page.reload()
    expect(told(page)).to_have_text(text)


def test_each_control_changes_what_is_drawn_and_stays_in_the_address(page: Page) -> None:
    def pictures() -> str:
        return str(page.locator(".explorer .panels").last.evaluate("x => x.innerHTML"))

    for name, key, words in (
        ("temperature τ", "ArrowLeft", "0.84"), ("turned by", "ArrowRight", "5°"), ("across", "ArrowLeft", "+0.95"),
        ("size of W_V", "ArrowLeft", "+0.45"), ("up", "ArrowRight", "+0.45"),
    ):  # fmt: skip
        before = pictures()
        slider(page, name).focus()
        page.keyboard.press(key)
        expect(slider(page, name)).to_have_attribute("aria-valuetext", words)
        assert pictures() != before, name
    for name in ("M", "W_V", "tokens", "look from token", "q"):
        before = pictures()
        press(page, name, "ArrowLeft" if name == "q" else "ArrowRight")
        assert pictures() != before, name
    text, labels = told(page).inner_text(), charts(page)
    page.reload()
    expect(told(page)).to_have_text(text)
    assert charts(page) == labels
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_a_token_is_dragged_and_only_those_that_are_there_can_be_chosen(page: Page) -> None:
    page.locator(".explorer .token[data-token='3']").scroll_into_view_if_needed()
    box = page.locator(".explorer .token[data-token='3'] circle").bounding_box()
    plane = page.locator(".explorer .plane").bounding_box()
    assert box is not None
    assert plane is not None
    x, y, unit = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, plane["width"] / 300 * 63
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + unit / 2, y + unit / 4, steps=4)
    page.mouse.up()
    page.mouse.move(x, y)
    expect(page.locator(".explorer fieldset:has(legend:text-is('look from token')) input:checked")).to_have_value("3")
    expect(slider(page, "across")).to_have_attribute("aria-valuetext", "0.00")
    expect(slider(page, "up")).to_have_attribute("aria-valuetext", "−0.85")
    page.locator(".explorer fieldset:has(legend:text-is('tokens')) input[value='2']").check()
    token = page.locator(".explorer fieldset:has(legend:text-is('look from token'))")
    expect(token.locator("input:visible")).to_have_count(2)
    expect(token.locator("input:checked")).to_have_value("2")
    expect(page.locator(".explorer .token:visible")).to_have_count(2)


def test_a_finger_drags_a_token_and_does_not_scroll(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport=_SMALL, has_touch=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    circle = page.locator(".explorer .token[data-token='2'] circle")
    circle.scroll_into_view_if_needed()
    box, scrolled = circle.bounding_box(), page.evaluate("scrollY")
    assert box is not None
    x, y, finger = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, context.new_cdp_session(page)
    places = [(x + 4 * k, y - 6 * k) for k in range(7)]
    for kind, at in zip(["touchStart", *["touchMove"] * 6, "touchEnd"], [*places, None], strict=True):
        points = [{"x": at[0], "y": at[1]}] if at else []
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    moved = circle.bounding_box()
    assert moved is not None
    assert (moved["x"] - box["x"], moved["y"] - box["y"]) == pytest.approx((24, -36), abs=4)  # to the grid
    assert page.evaluate("scrollY") == scrolled
    context.close()


def test_outside_of_the_hypotheses_nothing_is_a_counterexample(page: Page, address: str) -> None:
    page.goto(link(address, {**CASES["the chapter's counterexample"], "size": 0.6}))
    expect(told(page)).to_contain_text("hypotheses do not hold here, so this is no counterexample")
    expect(page.locator(".explorer .sums tbody tr td:last-child")).to_have_text(["–", "–", "✓", "✓", ""])


def test_what_is_zero_or_far_away_stays_in_the_picture(page: Page, address: str) -> None:
    for chosen in _STATES[-2:]:
        page.goto(link(address, chosen))
        expect(told(page)).to_contain_text("takes two starts to")
        ends = page.locator(".explorer .chart :is(path, circle, rect)").evaluate_all(
            """all => all.map(x => [x.getBoundingClientRect(), x.ownerSVGElement.getBoundingClientRect()])
                .filter(([a]) => a.width + a.height > 0) // not hidden
                .every(([a, b]) => a.left >= b.left - 1 && a.right <= b.right + 1
                    && a.top >= b.top - 1 && a.bottom <= b.bottom + 1)"""
        )
        assert ends
        assert "NaN" not in page.content()


def test_colours_follow_the_scheme(page: Page) -> None:
    line = page.locator(".explorer .chart path.line").first
    colour = line.evaluate("x => getComputedStyle(x).stroke")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(".explorer .chart path.line").first).not_to_have_css("stroke", colour)


@pytest.mark.parametrize(
    "bad",
    [
        "temperature:0;turn:181", "nonsense", "tokens:3;token:;map:bends", "places:1,2,3", "size:1e9;q:constructor",
        "values:constructor;places:,,,,,,,,,,,", "temperature:1e-99", "size:--1;turn:0x1",
    ],
)  # fmt: skip
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first, labels = told(page).inner_text(), charts(page)
    page.goto(f"{address}?contraction={bad}")
    expect(told(page)).to_have_text(first)
    assert charts(page) == labels


def test_it_lives_in_chapter_10(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/10_entropy_and_contraction.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        before = told(page).inner_text()
        slider(page, "temperature τ").focus()
        page.keyboard.press("ArrowRight")
        expect(told(page)).not_to_have_text(before)
        page.get_by_role("button", name="the chapter's counterexample").click()
        expect(told(page)).to_contain_text("a counterexample")
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
