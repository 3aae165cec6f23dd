"""Chapter 9's explorer in the built page, without a kernel: by keyboard, by touch, on a small phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.alone import told
from tests.browser.test_explorers import opened

pytestmark = pytest.mark.browser

_LOOPS = "notebooks/09_one_head_looped.html"
_SMALL = {"width": 360, "height": 740}
_CELLS = ".explorer .tokens label:not([hidden])"
_TOKENS = f"{_CELLS} input"


def move(page: Page, control: str, key: str) -> None:
    """Press a key on a slider."""
    page.locator(f".explorer label:has(span:text-matches('^{control} ')) input[type=range]").press(key)


def labels(page: Page) -> list[str]:
    """What is said of each token."""
    found: list[str] = page.locator(_TOKENS).evaluate_all("all => all.map(x => x.getAttribute('aria-label'))")
    return found


def shades(page: Page) -> list[float]:
    """How much each token is looked at."""
    found: list[float] = page.locator(f"{_CELLS} > span").evaluate_all(
        "all => all.map(x => Number(x.style.getPropertyValue('--share')))"
    )
    return found


def share(text: str) -> float:
    """The first percentage in a text."""
    found = re.search(r"(<?)(\d+)\s%", text)
    assert found is not None
    return 0 if found[1] else int(found[2]) / 100


def test_sequence_loop_and_token_are_chosen_by_keyboard_and_kept_in_the_address(
    browser: Browser, base_url: str
) -> None:
    with opened(browser, f"{base_url}/{_LOOPS}") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        expect(told(page)).to_have_text(
            re.compile("^Sequence 1, trained here, after loop 1: the right answer, “.”, has")
        )
        move(page, "sequence", "ArrowRight")
        expect(told(page)).to_have_text(re.compile("^Sequence 2.*, after loop 1: "))
        move(page, "loop", "ArrowRight")
        expect(told(page)).to_have_text(re.compile("^Sequence 2.*, after loop 2: "))
        last = page.locator(_TOKENS).count()
        expect(told(page)).to_contain_text(f"Token {last}, ")
        page.locator(f"{_TOKENS}:checked").focus()
        page.keyboard.press("ArrowLeft")
        expect(told(page)).to_contain_text(f"Token {last - 1}, ")
        page.locator(".explorer .tokens label").nth(2).click()
        expect(told(page)).to_contain_text("Token 3, ")
        text, said = told(page).inner_text(), labels(page)
        page.reload()
        expect(told(page)).to_have_text(text)
        assert labels(page) == said
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_before_the_first_loop_nothing_is_looked_at(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_LOOPS}") as page:
        move(page, "loop", "Home")
        expect(told(page)).to_contain_text("before the first loop")
        assert set(shades(page)) == {0}
        assert all("not looked at yet" in label for label in labels(page))
        move(page, "loop", "End")
        expect(told(page)).to_contain_text("after loop")
        assert sum(shades(page)) == pytest.approx(1, abs=0.05)


def test_a_token_sees_those_before_it_and_is_told_where_to_look(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_LOOPS}") as page:
        move(page, "loop", "End")
        tokens, letters = page.locator(_TOKENS), page.locator(f"{_CELLS} > span").all_inner_texts()
        for chosen in range(tokens.count()):
            tokens.nth(chosen).check(force=True)  # it lies, unseen, over its letter
            expect(told(page)).to_contain_text(f"Token {chosen + 1}, “{letters[chosen]}”")
            said = labels(page)
            assert [i for i, label in enumerate(said) if "not seen" in label] == list(range(chosen + 1, len(said)))
            due = [i for i, label in enumerate(said) if "should be looked at" in label]
            earlier = [i for i in range(chosen) if letters[i] == letters[chosen]]
            assert due == [i + 1 for i in earlier[-1:]]
            marks = page.locator(f"{_CELLS} > i").all_inner_texts()
            assert [i for i, mark in enumerate(marks) if mark] == due
            if due:
                there = re.search(r"should look at .*: that gets (.*) of its attention", told(page).inner_text())
                assert there is not None
                assert share(there[1]) == pytest.approx(shades(page)[due[0]], abs=0.0051)
            else:
                expect(told(page)).to_contain_text("did not occur before")


def test_bars_and_line_agree_with_the_words(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_LOOPS}") as page:
        for key in ("Home", "ArrowRight", "End"):
            move(page, "loop", key)
            right = re.search(r"the right answer, “(.)”, has a probability of (\S+\s%)", told(page).inner_text())
            assert right is not None
            heights = page.locator(".explorer [data-symbol]").evaluate_all(
                "all => Object.fromEntries(all.map(x => [x.dataset.symbol, Number(x.getAttribute('height'))]))"
            )
            whole = sum(heights.values())
            assert heights[right[1]] / whole == pytest.approx(share(right[2]), abs=0.0051)
            expect(page.locator(".explorer .bar.part-0")).to_have_attribute("data-symbol", right[1])
            line = page.locator(".explorer .chart").nth(1)
            expect(line).to_have_attribute("aria-label", re.compile(re.escape(right[2])))


def test_it_is_computed_anew_on_what_the_reader_types(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_LOOPS}") as page:
        page.get_by_label("set by hand").check()
        move(page, "loop", "End")
        field = page.get_by_role("textbox", name="edit")
        for text, answer in (("abcdefghijklmnopa", "b"), ("abcdefghijcla", "b"), ("hbhedcgfd", "c")):
            field.fill(text)
            expect(told(page)).to_contain_text(
                f"the right answer, “{answer}”, has a probability of 100\u00a0%, the highest"
            )
        field.fill("abcq")
        expect(page.locator(".explorer output")).to_contain_text("“q” is no symbol")
        expect(told(page)).to_contain_text("the right answer, “c”")


def test_numbers_come_with_the_focus_and_colours_with_the_scheme(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_LOOPS}") as page:
        number, bar = page.locator(".explorer .tokens small").first, page.locator(".explorer .bar:not(.part-0)").first
        move(page, "loop", "End")
        expect(number).to_have_css("visibility", "hidden")
        page.locator(f"{_TOKENS}:checked").focus()
        expect(number).to_have_css("visibility", "visible")
        colour = bar.evaluate("x => getComputedStyle(x).fill")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        expect(bar).not_to_have_css("fill", colour)


def test_an_address_that_says_nonsense_leaves_the_loops_as_they_were(browser: Browser, server: str) -> None:
    with opened(browser, f"{server}/{_LOOPS}") as page:
        first = told(page).inner_text()
        for bad in (
            "sequence:0;loop:9999;token:-1", "nonsense", "loop:;;token:", "sequence:constructor;loop:1e0", "token:0"
        ):  # fmt: skip
            page.goto(f"{server}/{_LOOPS}?loop={bad}")
            expect(told(page), bad).to_have_text(first)
