"""Chapter 12's explorer in a page of its own, without a kernel: what it computes and tells is what Python computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from entropylens.models.entropies import normalised_tsallis, tsallis
from entropylens.models.loop_kernel import ORDER
from entropylens.show.explorers import source
from entropylens.show.explorers.gates import (
    CASES,
    LOOPS,
    NAMES,
    PLACES,
    attention,
    control,
    gate_explorer,
    gates_of,
    loops_to_rest,
    travel,
)
from tests.browser.alone import charts, page_of, slider, told
from tests.browser.test_explorers import opened, press

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_MOST_BYTES = 60_000
_WAYS: list[dict[str, Any]] = [  # none in which rounding grows
    *CASES.values(),
    {"gate": "learned", "sharpness": 4.0, "start": -2.0, "gain": 1.5, "a": 2.0, "b": -6.0},
    {"gate": "constant", "sharpness": 20.0, "start": 2.0, "gain": 0.5, "c": 0.35},
    {"gate": "diffuse", "sharpness": 0.0, "start": 1.3, "gain": 1.0},
    {"gate": "sharp", "sharpness": 20.0, "start": -0.7, "gain": 1.2},
    {"gate": "open", "sharpness": 3.0, "start": 2.0, "gain": 3.0},
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page as the book's are, with nothing but the explorer."""
    page = page_of(gate_explorer(), tmp_path_factory.mktemp("gates"))
    assert page.stat().st_size < _MOST_BYTES
    return page.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def computing(page: Page, code: str) -> Page:
    """A page in which the functions of the explorer's own module can be called, as `window.toy`."""
    page.evaluate(
        """async (code) => {
            window.toy = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        }""",
        code + "\nexport { look, opened, travel };",
    )
    return page


@pytest.fixture
def computed(page: Page) -> Page:
    return computing(page, source("gates.js"))


def link(address: str, chosen: dict[str, Any]) -> str:
    return f"{address}?gate=" + ";".join(f"{key}:{value}" for key, value in chosen.items())


def toy() -> dict[str, Any]:
    explorer = gate_explorer()
    return {name: getattr(explorer, name) for name in ("places", "order", "loops", "tolerance")}


def close(found: Any, wanted: torch.Tensor, rounding: float) -> None:
    """Within `rounding`, of what is larger than 1 relatively."""
    assert torch.allclose(torch.tensor(found, dtype=torch.float64), wanted, rtol=rounding, atol=rounding)


def test_rows_entropies_and_gates_are_python_s(computed: Page) -> None:
    states = torch.cat([torch.linspace(-2, 2, 21), torch.tensor([1e-9, 40.0])]).double()
    for sharpness in (0.0, 0.5, 3.0, 8.0, 20.0):
        rows = attention(states, sharpness)
        seen = computed.evaluate(
            "([own, sharpness, states]) => states.map((z) => toy.look(own, sharpness, z))",
            [toy(), sharpness, states.tolist()],
        )
        close([each["p"] for each in seen], rows, 1e-12)
        close([each["entropy"] for each in seen], tsallis(rows, ORDER), 1e-12)
        close([each["open"] for each in seen], normalised_tsallis(rows, ORDER), 1e-12)
        close([each["mean"] for each in seen], (rows * rows.new_tensor(PLACES)).sum(-1), 1e-12)
        for gate in NAMES:
            a, b, c = 2.5, -7.0, 0.35
            opening = computed.evaluate(
                "([chosen, seen]) => seen.map((each) => toy.opened(chosen, each))",
                [{"gate": gate, "a": a, "b": b, "c": c}, seen],
            )
            close(opening, gates_of(gate, rows, a, b, c), 1e-12)


@pytest.mark.parametrize(
    ("right", "wrong"), [("(q - 1) * Math.log(x)", "q * Math.log(x)"), ("? h : 1 - h", "? h : 1 - h * (1 + 1e-9)")]
)
def test_a_planted_fault_is_found(page: Page, right: str, wrong: str) -> None:
    code = source("gates.js")
    assert code.count(right) == 1
    with pytest.raises(AssertionError):
        test_rows_entropies_and_gates_are_python_s(computing(page, code.replace(right, wrong)))


@pytest.mark.parametrize("chosen", _WAYS)
def test_ways_are_python_s(computed: Page, chosen: dict[str, Any]) -> None:
    way = travel(**chosen)
    found = computed.evaluate("([own, chosen]) => toy.travel(own, chosen)", [toy(), chosen])
    for name, wanted in (("z", way.states), ("gate", way.gates), ("pull", way.pulls), ("p", way.rows)):
        close([step[name] for step in found["steps"]], wanted, 1e-9)
    assert found["mean"] == pytest.approx(control(way), abs=1e-9)
    assert found["rest"] == loops_to_rest(way)


@pytest.mark.parametrize("chosen", _WAYS)
def test_words_are_python_s(page: Page, address: str, chosen: dict[str, Any]) -> None:
    page.goto(link(address, chosen))
    own = travel(**chosen)
    same = travel(**{**chosen, "gate": "constant", "c": control(own)})
    plain = travel(**{**chosen, "gate": "open"})
    expect(told(page)).not_to_be_empty()
    text = told(page).inner_text().replace("−", "-").replace("\u00a0", " ")
    sentences = re.split(r"(?<=\.) (?=With)", text)
    ways = [own] if chosen["gate"] == "open" else [own, plain] if chosen["gate"] == "constant" else [own, same, plain]
    assert len(sentences) == len(ways)
    for sentence, way in zip(sentences, ways, strict=True):
        rest, pull, z = loops_to_rest(way), float(way.pulls[-1]), float(way.states[-1])
        if rest == LOOPS:
            assert re.search("not come to rest in 40 loops|is not at rest after 40 loops", sentence)
            continue
        at = re.search(r"(comes to rest|stops) after (\d+) loops?,|stays|is at rest from the start", sentence)
        assert at is not None
        assert int(at[2] or 0) == rest
        place = re.search(r"z = ([-+]?\d\.\d\d)", sentence)
        assert place is not None
        assert float(place[1]) == pytest.approx(z, abs=0.00501)
        assert ("has not arrived" in sentence) == (abs(pull) > 0.01)
    if chosen["gate"] not in ("open", "constant"):
        mean = re.search(r"of the same mean, (\S+),", sentences[1])
        assert mean is not None
        assert float(mean[1]) == pytest.approx(control(own), abs=0.00501)


@pytest.mark.parametrize("loop", [0, 1, 7, LOOPS])
def test_pictures_are_python_s(page: Page, address: str, loop: int) -> None:
    chosen = {**CASES["as it starts"], "loop": loop}
    page.goto(link(address, chosen))
    way = travel(**CASES["as it starts"])
    expect(page.locator(".explorer .bar")).to_have_count(len(PLACES))
    heights = page.locator(".explorer .bar").evaluate_all("all => all.map(x => Number(x.getAttribute('height')))")
    shares = torch.tensor(heights, dtype=torch.float64)
    close((shares / shares.sum()).tolist(), way.rows[loop], 1e-9)
    z = page.locator(".explorer .cursor [data-z]").get_attribute("data-z")
    assert float(str(z)) == pytest.approx(float(way.states[loop]), abs=1e-9)
    looks, states, steps = (label.replace("−", "-").replace("\u00a0", " ") for label in charts(page))
    h = float(normalised_tsallis(way.rows[loop], ORDER))
    assert re.search(rf"h {h:.2f} → gate {float(way.gates[loop]):.2f}", looks)
    assert f"after {loop} loop{'s' * (loop != 1)}: diffuse gate: " in states
    assert f"in loop {max(loop, 1)}: diffuse gate: " in steps
    paths = page.evaluate(
        "[1, 2].map(i => document.querySelectorAll('.explorer .chart')[i].querySelector('.line').getAttribute('d'))"
    )
    found = [[float(y) for y in re.findall(r"[ML]\S+ (\S+?)(?=L|$)", path)] for path in paths]
    assert [len(each) for each in found] == [LOOPS + 1, LOOPS]
    close(found[0], 131 - 65 * way.states, 0.06)  # from −1 to 1 in 130 pixels, drawn to a tenth
    close(found[1], 66 + 130 / 7 * (1 - way.states.diff().abs().log10().clamp(-6, 1)), 0.06)  # and 7 decades


def test_cases_are_chosen_by_keyboard(page: Page) -> None:
    texts = set()
    for case, values in CASES.items():
        button = page.get_by_role("button", name=case, exact=True)
        button.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".explorer fieldset input:checked")).to_have_value(values["gate"])
        texts.add(told(page).inner_text())
    assert len(texts) == len(CASES)
    page.get_by_role("button", name="the plain step swings").click()
    expect(told(page)).to_contain_text("does not come to rest in 40 loops: it swings to and fro")
    page.get_by_role("button", name="a gate shuts at once").click()
    expect(told(page)).to_contain_text(
        "the state stays at z\u00a0=\u00a00.00, and has not arrived: F\u00a0=\u00a0+0.14 there"
    )
    page.get_by_role("button", name="a gate shuts on the way").click()
    expect(told(page)).to_contain_text("the state stops after 18 loops, at z\u00a0=\u00a0−0.06, and has not arrived")
    page.get_by_role("button", name="as it starts").click()
    expect(told(page)).to_contain_text("With the diffuse gate the state comes to rest after 14 loops")


def test_controls_move_by_keyboard_and_stay_in_the_address(page: Page) -> None:
    for control_, key, words in (
        ("sharpness β", "ArrowRight", "8.5"), ("start z", "Home", "−2.0"), ("gain of F", "ArrowRight", "1.1"),
    ):  # fmt: skip
        slider(page, control_).focus()
        page.keyboard.press(key)
        expect(slider(page, control_)).to_have_attribute("aria-valuetext", words)
        expect(slider(page, control_)).to_have_attribute("aria-label", control_)
        expect(slider(page, control_).locator("xpath=../span")).to_have_text(f"{control_} {words}")
    slider(page, "loop").focus()
    page.keyboard.press("ArrowRight")
    way = travel("diffuse", 8.5, -2.0, 1.1)
    reached = f"1 of 40: z\u00a0=\u00a0{float(way.states[1]):+.2f}, gate {float(way.gates[1]):.2f}".replace("-", "−")
    expect(slider(page, "loop")).to_have_attribute("aria-valuetext", reached)
    for control_ in ("a", "b", "c"):
        expect(slider(page, control_)).to_be_hidden()
    press(page, "gate", "ArrowRight")
    expect(told(page)).to_contain_text("With the exponential gate")
    press(page, "gate", "ArrowRight")
    slider(page, "a").focus()
    page.keyboard.press("ArrowRight")
    expect(slider(page, "a")).to_have_attribute("aria-valuetext", "+0.5")
    expect(slider(page, "b")).to_be_visible()
    expect(told(page)).to_contain_text("With the gate by entropy the state")
    expect(slider(page, "c")).to_be_hidden()
    text, labels = told(page).inner_text(), charts(page)
    assert labels[0].startswith("where it looks after 1 loop: ")
    page.reload()
    expect(told(page)).to_have_text(text)
    assert charts(page) == labels
    press(page, "gate", "ArrowRight")
    expect(slider(page, "c")).to_be_visible()
    expect(slider(page, "a")).to_be_hidden()
    expect(told(page)).to_contain_text("With the constant 0.50 the state")
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_each_gate_is_there_once_by_the_chapter_s_name(page: Page) -> None:
    expect(page.get_by_role("radio")).to_have_count(len(NAMES))
    expect(page.get_by_role("radio", name="by entropy, σ(a + b\u00a0h)", exact=True)).to_have_value("learned")
    expect(page.get_by_role("radio", name="constant c", exact=True)).to_have_value("constant")


@pytest.mark.parametrize("gate", NAMES)
def test_only_what_is_no_constant_is_beside_one(page: Page, address: str, gate: str) -> None:
    page.goto(link(address, {"gate": gate, "loop": 3}))
    expect(page.locator(".explorer fieldset input:checked")).to_have_value(gate)
    beside = gate not in ("open", "constant")
    for chart, label in list(zip(page.locator(".explorer .chart").all(), charts(page), strict=True))[1:]:
        expect(chart.locator(".line")).to_have_count(2)  # one is in the key
        expect(chart.locator(".alone")).to_have_count(2 * beside)
        expect(chart.locator("circle")).to_have_count(1 + beside)
        assert label.count("constant ") == 2 * (beside or gate == "constant")  # now, and at the end


def test_what_is_read_out_waits_for_the_last_change(page: Page) -> None:
    heard = page.locator(".explorer [aria-live]")
    expect(heard).to_have_count(1)
    expect(heard).to_have_text(told(page).inner_text())
    page.evaluate(
        """() => {
            window.heard = [];
            const region = document.querySelector(".explorer [aria-live]");
            new MutationObserver(() => window.heard.push(region.textContent)).observe(region, { childList: true });
            const range = document.querySelector(".explorer .slide input");
            for (const value of [10, 9, 8]) { // at once, as if dragged
                range.value = value;
                range.dispatchEvent(new Event("input"));
            }
        }"""
    )
    expect(heard).to_have_text(told(page).inner_text())
    assert page.evaluate("window.heard") == [told(page).inner_text()]


def test_what_runs_away_stays_in_the_picture(page: Page, address: str) -> None:
    page.goto(link(address, {"gate": "open", "sharpness": 8, "start": 2, "gain": 3, "loop": LOOPS}))
    expect(told(page)).not_to_be_empty()
    ends = page.locator(".explorer .chart :is(path, circle, rect)").evaluate_all(
        """all => all.map(x => [x.getBoundingClientRect(), x.ownerSVGElement.getBoundingClientRect()])
            .every(([a, b]) => a.left >= b.left - 1 && a.right <= b.right + 1
                && a.top >= b.top - 1 && a.bottom <= b.bottom + 1)"""
    )
    assert ends
    expect(told(page)).to_contain_text("in 40 loops")
    assert "NaN" not in page.content()


def test_colours_follow_the_scheme(page: Page) -> None:
    line = page.locator(".explorer .chart path.line").first
    colour = line.evaluate("x => getComputedStyle(x).stroke")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(".explorer .chart path.line").first).not_to_have_css("stroke", colour)


def test_nobody_else_is_asked(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page, asked = context.new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(told(page)).not_to_be_empty()
    assert [url for url in asked if not url.startswith(("file:", "blob:"))] == []
    context.close()


@pytest.mark.parametrize(
    "bad",
    [
        "gate:shut;sharpness:21", "nonsense", "gate:;;loop:", "loop:1.5;start:1e0", "loop:41;c:0", "gate:constructor",
        "start:--1;gain:3.1",
    ],
)  # fmt: skip
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first, labels = told(page).inner_text(), charts(page)
    page.goto(f"{address}?gate={bad}")
    expect(told(page)).to_have_text(first)
    assert charts(page) == labels


def test_it_lives_in_chapter_12(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/12_entropy_gated_training.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        before = told(page).inner_text()
        slider(page, "start").focus()
        page.keyboard.press("ArrowRight")
        expect(told(page)).not_to_have_text(before)
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
