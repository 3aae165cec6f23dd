"""Explorers in the built pages, without a kernel: by keyboard, on a phone, over http and from disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import lean_context
from tests.browser.looks import PHONE

pytestmark = pytest.mark.browser

_PAGE = "notebooks/03_low_entropy_bias.html"
_PICTURE = "document.querySelector('.explorer canvas').toDataURL()"


@pytest.fixture
def page(browser: Browser, base_url: str) -> Iterator[Page]:
    context = lean_context(browser, viewport=PHONE)
    opened = context.new_page()
    opened.goto(f"{base_url}/{_PAGE}")
    expect(opened.locator(".explorer .told")).to_contain_text("nats from its target")
    yield opened
    context.close()


def press(page: Page, control: str, key: str) -> None:
    """Focus the chosen button of a group of radio buttons, and press a key."""
    page.locator(f".explorer fieldset:has(legend:text-is('{control}')) input:checked").focus()
    page.keyboard.press(key)


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page on a phone, whose first explorer has started; afterwards, no error may have happened on it."""
    context, errors = lean_context(browser, viewport=PHONE), list[str]()
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    expect(page.locator(".explorer .told").first).not_to_be_empty()
    yield page
    assert errors == []
    context.close()


def changes(locator: Locator, page: Page, control: str, key: str) -> None:
    """Expect that a key changes an element's text."""
    before = locator.inner_text()
    press(page, control, key)
    expect(locator).not_to_have_text(before)


def test_it_answers_to_the_keyboard(page: Page) -> None:
    told, before = page.locator(".explorer .told"), page.evaluate(_PICTURE)
    expect(told).to_contain_text("d = 64, sample of 2000, seed 0")
    press(page, "width", "ArrowLeft")
    expect(told).to_contain_text("d = 32, sample of 2000, seed 0")
    press(page, "data", "ArrowLeft")
    press(page, "seed", "ArrowRight")
    expect(told).to_contain_text("d = 32, sample of 500, seed 1")
    assert page.evaluate(_PICTURE) != before


def test_what_the_bars_say_adds_up(page: Page) -> None:
    for width in ("8", "16", "32", "64"):
        page.locator(f".explorer input[value='{width}']").check()
        parts = [
            float(text.split()[0].replace("−", "-")) for text in page.locator(".explorer .bars b").all_inner_texts()
        ]
        assert parts[0] + parts[1] == pytest.approx(parts[2], abs=0.0021)
        assert page.locator(".explorer .bars b").nth(2).inner_text().split()[0] in page.locator(".told").inner_text()


def test_a_sentence_is_answered_and_a_wrong_one_refused(page: Page) -> None:
    sentence, answer = page.locator(".explorer input[type=text]"), page.locator(".explorer output")
    sentence.fill("abcde")
    expect(answer).to_contain_text("true probability")
    expect(answer).to_contain_text("× in the sample")
    sentence.fill("abx")
    expect(answer).to_contain_text("5 letters, each a to e, please")
    sentence.fill("")
    expect(answer).to_have_text("")


def test_the_address_holds_its_state(page: Page) -> None:
    press(page, "width", "ArrowLeft")
    expect(page.locator(".explorer .told")).to_contain_text("d = 32")
    page.reload()
    expect(page.locator(".explorer .told")).to_contain_text("d = 32, sample of 2000, seed 0")
    page.goto(page.url.replace("width%3A32", "width%3A31"))  # nonsense is left aside
    expect(page.locator(".explorer .told")).to_contain_text("d = 64, sample of 2000, seed 0")


def test_it_fits_a_phone_and_follows_the_colour_scheme(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    light = page.evaluate(_PICTURE)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"() => {_PICTURE} !== {light!r}")


def test_a_browser_that_refuses_the_address_stops_nothing(browser: Browser, base_url: str) -> None:
    context = lean_context(browser)
    page = context.new_page()
    page.add_init_script("history.replaceState = () => { throw new Error('too often') }")
    page.goto(f"{base_url}/{_PAGE}")
    press(page, "width", "ArrowLeft")
    expect(page.locator(".explorer .told")).to_contain_text("d = 32")
    context.close()


def test_typing_repeats_nothing_to_those_who_listen(page: Page) -> None:
    page.evaluate("""() => {
        window.spoken = 0;
        new MutationObserver(() => window.spoken++).observe(
            document.querySelector('.explorer .told'), {childList: true, characterData: true, subtree: true});
    }""")
    page.locator(".explorer input[type=text]").press_sequentially("abcde")
    expect(page.locator(".explorer output")).to_contain_text("true probability")
    assert page.evaluate("window.spoken") == 0
    press(page, "width", "ArrowLeft")
    expect(page.locator(".explorer .told")).to_contain_text("d = 32")
    assert page.evaluate("window.spoken") == 1


def test_a_story_s_parameter_moves_by_keyboard_and_stays_in_the_address(browser: Browser, base_url: str) -> None:
    context = lean_context(browser, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{base_url}/notebooks/05_is_there_an_alpha.html")
    told = page.locator(".explorer .told")
    expect(told).to_contain_text("Best on this scale")
    before = told.inner_text()
    page.locator(".explorer input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(told).not_to_have_text(before)
    moved = told.inner_text()
    page.reload()
    expect(page.locator(".explorer .told")).to_have_text(moved)
    page.locator(".explorer").get_by_text("β: target mixed with the sample").click()
    page.locator(".explorer").get_by_text("fresh", exact=True).click()
    expect(told).to_contain_text("saw no sample")
    assert page.locator(".explorer input[type=range]").is_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    context.close()


def test_an_explorer_that_breaks_says_so_and_the_page_stays(browser: Browser, base_url: str) -> None:
    context = lean_context(browser)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.add_init_script("Uint8Array.from = () => { throw new Error('planted') }")
    page.goto(f"{base_url}/{_PAGE}")
    expect(page.get_by_text("This explorer could not be started (planted)")).to_be_visible()
    assert any("planted" in text for text in errors)
    context.close()


def test_a_router_s_weights_are_renamed_by_keyboard_and_nothing_else_changes(browser: Browser, base_url: str) -> None:
    context = lean_context(browser, viewport=PHONE)
    page = context.new_page()
    page.goto(f"{base_url}/notebooks/06_residual_dominance.html")
    told, slider = page.locator(".explorer .told"), page.locator(".explorer input[type=range]")
    expect(told).to_contain_text("learned a weight of")

    def edges() -> str:
        return page.locator(".explorer svg").get_attribute("aria-label") or ""

    costs = edges()
    assert "Edges show what cutting costs: layer 1 residual" in costs
    page.locator(".explorer").get_by_text("router's weight", exact=True).click()
    weights = edges()
    slider.focus()
    page.keyboard.press("End")
    expect(told).to_contain_text("goes by the name of 0.98")
    assert edges() != weights
    assert "layer 1 residual 0.980" in edges()
    page.reload()
    expect(page.locator(".explorer .told")).to_contain_text("goes by the name of 0.98")
    page.locator(".explorer").get_by_text("what cutting costs", exact=True).click()
    assert edges() == costs
    page.locator(".explorer").get_by_text("as learned").click()
    page.locator(".explorer").get_by_text("standard", exact=True).click()
    expect(told).to_contain_text("has no router")
    assert slider.is_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    context.close()


def test_an_address_that_says_nonsense_leaves_the_flow_as_it_was(browser: Browser, server: str) -> None:
    address = f"{server}/notebooks/06_residual_dominance.html"
    with opened(browser, address) as page:
        for bad in ("named:7", "named:abc", "width:31;named:-0.5", "nonsense", "edges:;;named:"):
            page.goto(f"{address}?flow={bad}")
            expect(page.locator(".explorer .told"), bad).to_contain_text("learned a weight of")
            assert page.locator(".explorer input[value='64']").is_checked(), bad


_NEURONS = "notebooks/07_active_neurons.html"


def test_neurons_are_chosen_by_keyboard_and_kept_in_the_address(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/{_NEURONS}") as page:
        told, trie = page.locator(".explorer .told"), page.locator(".explorer .trie")
        promoted = page.locator(".explorer .promoted").inner_text()
        changes(told, page, "neurons of layer 1", "ArrowRight")
        expect(page.locator(".explorer .promoted")).not_to_have_text(promoted)
        changes(told, page, "layer", "ArrowRight")
        expect(told).to_contain_text("of layer 2")
        press(page, "order", "ArrowLeft")
        cells = page.locator(".explorer .neurons input")
        assert cells.evaluate_all("all => all.map(x => x.value)") == [str(i + 1) for i in range(cells.count())]
        expect(trie).to_have_attribute("aria-label", re.compile("of one length are equally large"))
        press(page, "widths", "ArrowRight")
        expect(trie).to_have_attribute("aria-label", re.compile("in proportion to how often each occurs"))
        changes(told, page, "neurons of layer 2", "ArrowRight")
        text, label = told.inner_text(), trie.get_attribute("aria-label") or ""
        page.reload()
        expect(told).to_have_text(text)
        expect(trie).to_have_attribute("aria-label", label)
        for legend, value in (("layer", "2"), ("order", "as stored"), ("widths", "by weight")):
            chosen = page.locator(f".explorer fieldset:has(legend:text-is('{legend}')) input:checked")
            expect(chosen).to_have_value(value)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_as_many_contexts_are_shaded_as_a_neuron_is_said_to_fire_in(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_NEURONS}") as page:
        for _ in range(3):
            told = re.search(r"fires in (\d+) of (\d+) contexts", page.locator(".explorer .told").inner_text())
            assert told is not None
            shades = page.locator(".explorer .trie .fires").evaluate_all(
                "all => all.map(x => x.getAttribute('fill-opacity'))"
            )
            assert (sum(float(shade) > 0 for shade in shades), len(shades)) == (int(told[1]), int(told[2]))
            changes(page.locator(".explorer .told"), page, "neurons of layer 1", "ArrowRight")


def test_a_context_is_answered_and_a_wrong_one_refused(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_NEURONS}") as page:
        context, answer = page.locator(".explorer input[type=text]"), page.locator(".explorer output")
        expect(answer).to_contain_text("at the start: 20")
        context.fill("Ca")
        expect(answer).to_have_text(re.compile("^“ca”: .* of inputs, (silent|activation)"))
        context.fill("cx")
        expect(answer).to_have_text("up to 4 letters, each a to e, please")
        context.fill("")
        expect(answer).to_contain_text("at the start")


def test_an_address_that_says_nonsense_leaves_the_neurons_as_they_were(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_NEURONS}") as page:
        first = page.locator(".explorer .told").inner_text()
        for bad in ("layer:0", "neuron:65000;layer:x", "nonsense", "order:;;widths:", "constructor:1"):
            page.goto(f"{server}/{_NEURONS}?neuron={bad}")
            expect(page.locator(".explorer .told"), bad).to_have_text(first)


_TRACES = "notebooks/08_deaths_and_spikes.html"  # where there is a raster, too
_CURSOR = ".trainings svg[role=slider]"


def to_the_largest_rate(page: Page) -> None:
    """Where there are events for sure."""
    page.locator(".trainings fieldset:has(legend:text-is('learning rate')) input").last.check()


def test_a_training_is_chosen_by_keyboard_and_kept_in_the_address(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/{_TRACES}") as page:
        told = page.locator(".trainings .told")
        expect(told).to_contain_text("Adam at learning rate")
        to_the_largest_rate(page)
        changes(told, page, "seed", "ArrowRight")
        changes(told, page, "learning rate", "ArrowLeft")
        to_the_largest_rate(page)
        press(page, "optimizer", "ArrowRight")  # which was not trained at Adam's largest rate
        expect(told).to_have_text(re.compile(r"^AdamW at learning rate \S+ \(edge\), seed 1: "))
        curves = page.locator(".trainings .traces .line").first.get_attribute("d") or ""
        press(page, "loss shown", "ArrowRight")
        expect(page.locator(".trainings .traces .line").first).not_to_have_attribute("d", curves)
        page.locator(_CURSOR).focus()
        page.keyboard.press("ArrowRight")
        text, answer = told.inner_text(), page.locator(".trainings output").inner_text()
        page.reload()
        expect(told).to_have_text(text)
        expect(page.locator(".trainings output")).to_have_text(answer)
        expect(page.locator(".trainings input[value='lowest half nat']")).to_be_checked()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_cursor_goes_by_arrows_and_from_event_to_event(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/{_TRACES}") as page:
        to_the_largest_rate(page)
        cursor, answer = page.locator(_CURSOR), page.locator(".trainings output")
        expect(answer).to_have_text(re.compile(r"^steps? 0\b.*: loss \d+\.\d\d nats, \d+ of \d+ neurons dead$"))
        cursor.focus()
        for key in ("End", "ArrowRight", "ArrowLeft", "PageDown", "Home", "ArrowLeft", "ArrowRight"):
            page.keyboard.press(key)
            expect(cursor).to_have_attribute("aria-valuetext", answer.inner_text())
        assert int(cursor.get_attribute("aria-valuenow") or 0) > 0
        following = page.locator(".trainings").get_by_text("next event")
        following.focus()
        page.keyboard.press("Enter")
        expect(answer).to_have_text(re.compile(r"a (spike|jump|collapse) begins at step \d{3,}"))
        first = answer.inner_text()
        following.click()
        expect(answer).not_to_have_text(first)
        page.locator(".trainings").get_by_text("previous event").click()
        expect(answer).to_have_text(first)
        page.locator(".trainings").get_by_text("previous event").click()
        expect(answer).to_have_text(f"no earlier event; {first}")
        box = cursor.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        share = int(cursor.get_attribute("aria-valuenow") or 0) / int(cursor.get_attribute("aria-valuemax") or 1)
        assert share == pytest.approx(0.46, abs=0.05)  # beside the axis's labels


def test_as_many_events_are_marked_as_are_told(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_TRACES}") as page:
        to_the_largest_rate(page)
        hidden = "all => all.filter(x => getComputedStyle(x).display === 'none').length"
        for seed in page.locator(".trainings fieldset:has(legend:text-is('seed')) input").all():
            seed.check()
            told = page.locator(".trainings .told").inner_text()
            for kind in ("spike", "jump", "collapse"):
                found = re.search(rf"(\d+) {kind}(s|es)?\b", told)
                count = page.locator(f".trainings .event[data-kind={kind}]").count()
                assert count == (int(found[1]) if found else 0)
            assert page.locator(".trainings .event").evaluate_all(hidden) == 0


def test_an_address_that_says_nonsense_leaves_the_training_as_it_was(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_TRACES}") as page:
        told, answer = (page.locator(f".trainings {part}") for part in (".told", "output"))
        first, under = told.inner_text(), answer.inner_text()
        for bad in (
            "optimizer:lion", "rate:7;seed:-1;step:-5", "nonsense", "axis:;;step:", "optimizer:constructor;step:1e9"
        ):  # fmt: skip
            page.goto(f"{server}/{_TRACES}?trace={bad}")
            expect(told, bad).to_have_text(first)
            expect(answer, bad).to_have_text(under)
