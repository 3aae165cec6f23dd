"""Chapter 8's raster in a page of its own: what it draws and tells is what the neurons did."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from entropylens.show.explorers.raster import LEVELS, Watched, raster_explorer
from tests.browser.alone import page_of
from tests.browser.test_explorers import opened, press
from tests.show.explorers import _planted as planted
from tests.show.explorers.test_raster import NAMES, unpack

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def watched() -> Watched:
    return planted.watched()


@pytest.fixture(scope="module")
def address(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(raster_explorer(watched, NAMES), tmp_path_factory.mktemp("raster")).as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def slider(page: Page, name: str) -> Locator:
    return page.locator(f".explorer input[aria-label='{name}']")


def moment(page: Page) -> Locator:
    return page.locator(".explorer .steer output")


def own(page: Page) -> Locator:
    return page.locator(".explorer .own")


def opacities(page: Page) -> np.ndarray:
    """Of the middle of each cell, (neurons, T)."""
    found = page.evaluate("""() => {
        const canvas = document.querySelector('.explorer .sheet canvas'), context = canvas.getContext('2d');
        const { width, height } = canvas, data = context.getImageData(0, 0, width, height).data;
        return { width, height, alpha: Array.from({ length: width * height }, (_, i) => data[4 * i + 3]) };
    }""")
    whole, f, columns = np.array(found["alpha"]).reshape(found["height"], found["width"]), 16, 54
    x = ((np.arange(columns) + 0.5) / columns * found["width"]).astype(int)
    tall = (found["height"] - 20) // (2 * f)
    y = np.concatenate([np.arange(f), np.arange(f) + f]) * tall + tall // 2 + np.repeat([0, 20], f)
    return np.asarray(whole[np.ix_(y, x)])


@pytest.mark.parametrize("number", [0, 1])
def test_a_cell_is_as_full_as_its_neuron_fires(page: Page, address: str, watched: Watched, number: int) -> None:
    page.goto(f"{address}?raster=training:{NAMES[number][0]}")
    expect(page.locator(".explorer .told")).to_contain_text(NAMES[number][1])
    levels = unpack(raster_explorer(watched, NAMES))[number].astype(float)
    wanted = np.where(levels > 0, 45 + 210 * levels / LEVELS, 0)
    np.testing.assert_allclose(opacities(page), wanted, atol=1.5)


@pytest.mark.parametrize("step", [0, 60, 159])
def test_words_are_the_neurons(page: Page, address: str, watched: Watched, step: int) -> None:
    page.goto(f"{address}?raster=training:beyond;step:{step};row:20")
    expect(page.locator(".explorer .told")).to_contain_text("beyond it")
    column, explorer = step // watched.every, raster_explorer(watched, NAMES)
    dead = (watched.levels[column, 1] == 0).sum(-1)
    loss = float(watched.run.losses[step : step + watched.every, 1].max())
    told = re.search(r"loss ([\d.]+) nats, (\d+) of 32 neurons dead \((\d+) in layer 1, (\d+) in layer 2\)",
                     moment(page).inner_text())  # fmt: skip
    assert told is not None
    assert float(told[1]) == pytest.approx(loss, abs=0.0051)
    assert [int(x) for x in told.groups()[1:]] == [dead.sum(), *dead]
    neuron, levels = explorer.models[1]["order"][19], unpack(explorer)[1][19]
    expect(own(page)).to_contain_text(f"layer 2, neuron {neuron + 1}")
    blank, level = int((levels == 0).sum()), int(levels[column])
    shares = f"fires on {round(100 * (level - 1) / 15)} to {round(100 * level / 15)}\u00a0%"
    expect(own(page)).to_contain_text(shares if level else "dead here; ")
    expect(own(page)).to_contain_text(f"dead in {blank} of 54 columns" if blank else "never dead in 54 columns")


def test_lives_and_events_are_counted(page: Page, address: str, watched: Watched) -> None:
    expect(page.locator(".explorer .told")).to_contain_text(
        "at the edge: 1 spike, 1 jump. Of 32 neurons 8 are dead at most"
    )
    assert page.locator(".explorer .event").evaluate_all("all => all.map(x => x.dataset.kind)") == ["spike", "jump"]
    page.goto(f"{address}?raster=training:beyond")
    expect(page.locator(".explorer .told")).to_contain_text("beyond it")
    alive = unpack(raster_explorer(watched, NAMES))[1] > 0
    first = 100 // watched.every + 1  # the first column after step 100
    ends = ~alive[:, first:] & alive[:, first - 1 : -1]
    died = ends.any(1)
    back = [row[first + np.argmax(end) :].any() for row, end in zip(alive[died], ends[died], strict=True)]
    told = page.locator(".explorer .told").inner_text()
    if died.any():
        assert re.search(
            rf"{died.sum()} (was|were) seen to die after step 100, and {sum(back)} of them to fire again", told
        )
    else:
        assert "None was seen to die after step 100." in told


def test_it_moves_by_keyboard_and_stays_in_the_address(page: Page) -> None:
    before, first = page.locator(".explorer .sheet svg").inner_html(), opacities(page)
    slider(page, "training step").focus()
    page.keyboard.press("ArrowRight")
    expect(moment(page)).to_contain_text("step 3: ")
    expect(slider(page, "training step")).to_have_attribute("aria-valuetext", moment(page).inner_text())
    slider(page, "row").focus()
    page.keyboard.press("End")
    expect(own(page)).to_contain_text("Row 32: layer 2")
    assert page.locator(".explorer .sheet svg").inner_html() != before
    following = page.get_by_text("next event")
    following.focus()
    page.keyboard.press("Enter")
    expect(moment(page)).to_contain_text(f"a spike begins at step {planted.SPIKE} (+1.00 nats)")
    page.keyboard.press("Enter")
    expect(moment(page)).to_contain_text(f"a jump begins at step {planted.JUMP} (+8 neurons)")
    page.keyboard.press("Enter")
    expect(moment(page)).to_contain_text("no later event; step")
    press(page, "training", "ArrowRight")
    assert (opacities(page) != first).any()
    told = page.locator(".explorer .told").inner_text()
    page.reload()
    expect(page.locator(".explorer .told")).to_have_text(told)
    expect(own(page)).to_contain_text("Row 32: layer 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_the_picture_answers_to_the_mouse(page: Page) -> None:
    sheet = page.locator(".explorer .sheet")
    sheet.scroll_into_view_if_needed()
    canvas = page.locator(".explorer .sheet canvas").bounding_box()
    assert canvas is not None
    tall = (canvas["height"] - 20) / 32
    page.mouse.click(canvas["x"] + 10.5 / 54 * canvas["width"], canvas["y"] + 4.5 * tall)
    expect(moment(page)).to_contain_text("step 30: ")
    expect(own(page)).to_contain_text("Row 5: layer 1")
    page.mouse.move(canvas["x"] + 0.9 * canvas["width"], canvas["y"] + 5)  # no more than passing by
    expect(moment(page)).to_contain_text("step 30: ")


def test_it_follows_the_colour_scheme(page: Page) -> None:
    picture = "document.querySelector('.explorer .sheet canvas').toDataURL()"
    light = page.evaluate(picture)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"() => {picture} !== {light!r}")


@pytest.mark.parametrize(
    "bad", ["training:lion", "step:160;row:33", "nonsense", "row:0;step:-3", "training:constructor"]
)
def test_an_address_that_says_nonsense_changes_nothing(page: Page, address: str, bad: str) -> None:
    texts = [page.locator(".explorer .told").inner_text(), moment(page).inner_text(), own(page).inner_text()]
    page.goto(f"{address}?raster={bad}")
    for where, text in zip((page.locator(".explorer .told"), moment(page), own(page)), texts, strict=True):
        expect(where).to_have_text(text)
