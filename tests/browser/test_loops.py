"""Chapter 9's explorer in a page of its own: each control, by mouse and by keyboard; what is drawn is PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

from entropylens.models.handset import by_hand
from entropylens.models.looped import LoopedConfig
from entropylens.show.explorers.loops import FEWEST_TOKENS, MOST_TOKENS, loop_explorer
from entropylens.tasks.induction import InductionTask, sample
from tests._loops_model import by_torch
from tests.browser.alone import page_of, told
from tests.browser.test_explorers import opened

pytestmark = pytest.mark.browser

_V, _N, _LETTERS = 6, 9, "abcdef"
_SMALL = {"width": 360, "height": 740}
_MODELS = {
    "drawn at random": LoopedConfig(_V, n_loops=2, hint=True).build(torch.Generator().manual_seed(1)),
    "by hand": by_hand(_V),
}
_TOKENS = sample(InductionTask(_V, "repeat"), 3, _N, torch.Generator().manual_seed(0)).tokens
_SEQUENCES = ["".join(_LETTERS[i] for i in tokens) for tokens in _TOKENS.tolist()]
_STATES: list[dict[str, Any]] = [
    {"model": "drawn at random", "sequence": 1, "text": _SEQUENCES[0], "token": _N, "loop": 1},
    {"model": "drawn at random", "sequence": 2, "text": "fa" * 12, "token": 17, "loop": 25},
    {"model": "by hand", "sequence": 3, "text": "abcdefaabbcdeaf", "token": 15, "loop": 3},
    {"model": "by hand", "sequence": 3, "text": "abcdef", "token": 4, "loop": 2},
    {"model": "drawn at random", "sequence": 1, "text": "ba", "token": 1, "loop": 0},
]
_DRAWN = """() => {
    const all = (found) => [...document.querySelectorAll(`.explorer ${found}`)], panels = all(".panels > div");
    const values = (panel, kind) =>
        [...panels[panel].querySelectorAll(`${kind}[data-value]`)].map((x) => Number(x.dataset.value));
    const tokens = all(".tokens label:not([hidden]) > span"), marks = all(".tokens label:not([hidden]) > i");
    return {
        text: tokens.map((x) => x.textContent).join(""), marks: marks.map((x) => x.textContent),
        looks: tokens.map((x) => Number(x.style.getPropertyValue("--share"))),
        token: all(".tokens input:checked")[0].value, letter: all(".neurons input:checked")[0].value,
        answer: values(0, "rect"), right: values(1, "circle"), state: values(2, ".bar"), before: values(2, ".hollow"),
        move: values(3, "circle"), states: values(4, "rect"), field: all("input[type=text]")[0].value,
    };
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    page = page_of(loop_explorer(_MODELS, _TOKENS, ["", "", "the third"]), tmp_path_factory.mktemp("loops"))
    assert page.stat().st_size < 85_000
    return page.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def drawn(page: Page) -> dict[str, Any]:
    expect(told(page)).not_to_be_empty()  # a page that was opened again may not have begun
    found: dict[str, Any] = page.evaluate(_DRAWN)
    return found


def link(address: str, chosen: dict[str, Any]) -> str:
    return f"{address}?loop=" + ";".join(f"{key}:{value}" for key, value in chosen.items())


def check(page: Page, *, model: str, text: str, token: int, loop: int, **_: object) -> None:
    """That all that is drawn is of this state."""
    found, symbols, at = drawn(page), [_LETTERS.index(x) for x in text], token - 1
    assert (found["text"], found["token"], found["letter"]) == (text, str(token), text[at])
    assert found["field"].replace(" ", "").lower() == text  # what was typed stays
    places = [i + 1 for i in range(at) if text[i] == text[at]][-1:]
    assert [i for i, mark in enumerate(found["marks"]) if mark] == places
    right, nothing = by_torch(_MODELS[model], symbols, 25), torch.zeros(0)
    wanted = {
        "looks": right.rows[loop - 1, at] if loop else torch.zeros(len(text)),
        "answer": right.answers[loop, at],
        "right": right.answers[loop, at, [symbols[place] for place in places]],
        "state": right.states[loop, at],
        "before": right.states[loop - 1, at] if loop else nothing,
        "move": right.moves[loop - 1, at, None] if loop else nothing,
        "states": right.states[loop].flatten(),
    }
    for name, values in wanted.items():
        got = torch.tensor(found[name], dtype=torch.float64)
        assert torch.allclose(got, values.double(), rtol=1e-9, atol=1e-9), name


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_link_leads_to_what_pytorch_computes(page: Page, address: str) -> None:
    for chosen in _STATES:
        page.goto(link(address, chosen))
        expect(told(page)).to_contain_text(f"Sequence {chosen['sequence']}")
        check(page, **chosen)
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_a_link_of_an_edition_without_edits_is_understood(page: Page, address: str) -> None:
    page.goto(f"{address}?loop=sequence:3;loop:2;token:5")
    expect(told(page)).to_contain_text("Sequence 3 (the third), drawn at random, after loop 2: ")
    check(page, model="drawn at random", text=_SEQUENCES[2], token=5, loop=2)


def test_an_address_that_says_nonsense_is_not_believed(page: Page, address: str) -> None:
    for bad in (
        "sequence:0;loop:26;token:-1", "nonsense", "loop:;;token:;text:", "sequence:constructor;loop:1e0",
        "model:toString", "token:0;text:abz", "text:a", "text:" + 25 * "a", "model:by foot",
    ):  # fmt: skip
        page.goto(f"{address}?loop={bad}")
        expect(told(page)).to_contain_text("Sequence 1, drawn at random, after loop 1: ")
        check(page, **_STATES[0])


def test_it_is_told_in_words(page: Page, address: str) -> None:
    page.goto(link(address, _STATES[2]))
    expect(told(page)).to_have_text(re.compile(
        r"^Sequence 3, edited, by hand, after loop 3: "
        r"the right answer, “a”, has a probability of \d+\s%, the highest\. "
        r"Token 15, “f”, should look at token 7, “a”: that gets \d+\s% of its attention, the most\. "
        r"This loop moved its state by 0\.\d+; it now has a length of 0\.\d+\.$"
    ))  # fmt: skip
    page.goto(link(address, _STATES[3]))
    expect(told(page)).to_contain_text("no answer is right, as token 4, “d”, did not occur before")
    page.goto(link(address, _STATES[1]))
    expect(told(page)).to_contain_text("after loop 25 (it was made for 2)")


# ---- controls --------------------------------------------------------------------------------------------------------


def slider(page: Page, name: str) -> Locator:
    return page.locator(f".explorer label:has(span:text-matches('^{name} ')) input[type=range]")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def token(page: Page, number: int) -> Locator:
    return page.locator(f".explorer .tokens input[value='{number}']")


def pressed(control: Callable[[Page], Locator], key: str) -> Callable[[Page], None]:
    return lambda page: control(page).press(key)


_FIRST = _STATES[0]
_OTHER = next(x for x in _LETTERS if x != _SEQUENCES[0][-1])
_EDITED = _SEQUENCES[0][:-1] + _OTHER
_CONTROLS: dict[str, tuple[Callable[[Page], None], dict[str, Any]]] = {
    "model, mouse": (lambda page: page.get_by_label("by hand").click(), {"model": "by hand"}),
    "model, key": (pressed(lambda page: page.get_by_label("drawn at random"), "ArrowRight"), {"model": "by hand"}),
    "sequence": (pressed(lambda page: slider(page, "sequence"), "End"), {"text": _SEQUENCES[2]}),
    "loop": (pressed(lambda page: slider(page, "loop"), "Home"), {"loop": 0}),
    "loop on, mouse": (lambda page: button(page, "one loop on").click(), {"loop": 2}),
    "loop back, key": (pressed(lambda page: button(page, "one loop back"), "Enter"), {"loop": 0}),
    "token, mouse": (lambda page: page.locator(".explorer .tokens label").nth(2).click(), {"token": 3}),
    "token, key": (pressed(lambda page: token(page, _N), "ArrowLeft"), {"token": _N - 1}),
    "token, in the map": (lambda page: page.locator(".explorer [data-token='4']").click(), {"token": 4}),
    "letter, mouse": (lambda page: page.locator(f".neurons label:has([value={_OTHER}])").click(), {"text": _EDITED}),
    "letter, key": (
        pressed(lambda page: page.locator(".neurons input:checked"), "ArrowRight"),
        {"text": _SEQUENCES[0][:-1] + _LETTERS[(_LETTERS.index(_SEQUENCES[0][-1]) + 1) % _V]},
    ),
    "letter, typed on its token": (pressed(lambda page: token(page, _N), _OTHER), {"text": _EDITED}),
    "field": (lambda page: page.get_by_role("textbox", name="edit").fill("fade Ad"), {"text": "fadead", "token": 6}),
    "shorter": (pressed(lambda page: button(page, "shorter"), "Enter"), {"text": _SEQUENCES[0][1:], "token": _N - 1}),
}  # fmt: skip


def test_each_control_changes_what_is_drawn_and_the_link(page: Page, address: str) -> None:
    for use, changed in _CONTROLS.values():
        page.goto(address)
        use(page)
        wanted = {**_FIRST, **changed}
        check(page, **wanted)
        page.reload()
        check(page, **wanted)


def test_longer_puts_a_token_in_front_and_the_chosen_one_stays(page: Page) -> None:
    token(page, 3).check(force=True)
    for _ in range(MOST_TOKENS - _N):
        button(page, "longer").press("Enter")
    found = drawn(page)["text"]
    assert (len(found), found[-_N:]) == (MOST_TOKENS, _SEQUENCES[0])
    check(page, **{**_FIRST, "text": found, "token": MOST_TOKENS - _N + 3})
    button(page, "longer").click()
    expect(page.locator(".explorer output")).to_have_text(f"2 to {MOST_TOKENS} tokens, please: these are 25")
    for _ in range(MOST_TOKENS):
        button(page, "shorter").click()
    assert drawn(page)["text"] == _SEQUENCES[0][-FEWEST_TOKENS:]
    expect(page.locator(".explorer output")).to_have_text("2 to 24 tokens, please: these are 1")
    button(page, "undo edits").click()
    expect(page.locator(".explorer output")).to_be_empty()
    assert drawn(page)["text"] == _SEQUENCES[0]


def test_another_sequence_has_an_answer(page: Page) -> None:
    found = set()
    for _ in range(8):
        button(page, "another sequence").click()
        text = drawn(page)["text"]
        assert len(text) == _N
        assert text[-1] in text[:-1]
        found.add(text)
    assert len(found) > 6
    expect(told(page)).to_contain_text("Sequence 1, edited, ")
    expect(told(page)).to_contain_text("should look at token")


def test_what_cannot_be_read_is_told_and_changes_nothing(page: Page) -> None:
    field, note, before = page.get_by_role("textbox", name="edit"), page.locator(".explorer output"), drawn(page)
    for typed, said in (
        ("abz", "“z” is no symbol of these models: a to f, please"),
        ("a;b", "“;” is no symbol of these models: a to f, please"),
        ("", "2 to 24 tokens, please: these are 0"),
        ("a", "2 to 24 tokens, please: these are 1"),
        ("abcde" * 5, "2 to 24 tokens, please: these are 25"),
    ):
        field.fill(typed)
        expect(note).to_have_text(said)
        expect(field).to_have_attribute("aria-invalid", "true")
        assert drawn(page) == {**before, "field": typed}
    page.set_viewport_size({"width": 700, "height": 700})  # drawn anew, and nothing that was typed is lost
    expect(page.locator(".explorer .chart").first).to_have_attribute("width", re.compile("^3"))
    expect(field).to_have_value(typed)
    expect(note).to_have_text(said)
    slider(page, "loop").press("ArrowRight")
    expect(note).to_be_empty()
    expect(field).to_have_attribute("aria-invalid", "false")
    check(page, **{**_FIRST, "loop": 2})


def test_colours_go_with_the_scheme(page: Page) -> None:
    for mark in (".bar:not(.part-0)", ".states .above"):
        colour = page.locator(f".explorer {mark}").first.evaluate("x => getComputedStyle(x).fill")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        expect(page.locator(f".explorer {mark}").first).not_to_have_css("fill", colour)
        page.evaluate("document.documentElement.dataset.theme = 'light'")
