"""Chapter 13's explorer in a page of its own: what it draws and tells are Python's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from torch import Tensor

from entropylens.experiments.looped_induction import SETTINGS
from entropylens.models.looped import LoopedConfig, LoopedTransformer
from entropylens.show.explorers.motion import QUANTITIES, along, motion_explorer
from entropylens.tasks.induction import sample
from entropylens.training.data import generator
from tests.browser.alone import page_of, told
from tests.browser.test_explorers import opened, press

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_LOOPS = 20
_BATCH = sample(replace(SETTINGS["hint"].task, scored="last"), 4, 12, generator(0, "evaluation"))
_DRAWN = {
    "potential": "potential", "of motion": "kinetic", "pull to F": "pull", "slope of the energy": "slope",
    "F's": "row_f", "the energy's": "row_e", "right answer": "answer",
}  # fmt: skip


def looped(seed: int, pull: float) -> LoopedTransformer:
    config = LoopedConfig(
        16, n_loops=4, norm="pre", hint=True, update="hamiltonian", damping=0.5, pull=pull, slope=0.1
    )  # fmt: skip
    return config.build(torch.Generator().manual_seed(seed)).double()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    models = {name: [looped(seed, pull) for seed in (0, 1)] for name, pull in (("with F", 0.5), ("energy alone", 0.0))}
    return page_of(motion_explorer(models, _BATCH, _LOOPS, 4), tmp_path_factory.mktemp("motion")).as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def drawn(page: Page) -> dict[str, float]:
    """What is marked in the pictures at the chosen loop."""
    marks = page.locator(".explorer [data-of]").all()
    return {str(mark.get_attribute("data-of")): float(str(mark.get_attribute("data-value"))) for mark in marks}


def way(seed: int, pull: float, sequence: int) -> dict[str, Tensor]:
    found = along(looped(seed, pull), _BATCH.tokens, _BATCH.answers[:, -1], _LOOPS)[sequence - 1]
    return dict(zip(QUANTITIES, found.unbind(-1), strict=True))


@pytest.mark.parametrize(("dynamics", "pull"), [("with F", 0.5), ("energy alone", 0.0)])
def test_a_link_shows_the_model_s_numbers(page: Page, address: str, dynamics: str, pull: float) -> None:
    page.goto(f"{address}?motion=dynamics:{dynamics};model:2;sequence:3;loop:9")
    expect(told(page)).to_contain_text(f"{dynamics}, model 2, sequence 3, after 9 loops")
    own, found = way(1, pull, 3), drawn(page)
    assert found.pop("H") == pytest.approx(float(own["potential"][9] + own["kinetic"][9]), rel=1e-5)
    assert found == {name: pytest.approx(float(own[_DRAWN[name]][9]), rel=1e-5) for name in found}
    assert ("pull to F" in found) == (pull > 0)
    rises = int(((own["potential"] + own["kinetic"]).diff() > 1e-5).sum())
    expect(told(page)).to_contain_text(f"H rises in {rises} of {_LOOPS} loops")


def test_every_control_changes_what_is_drawn_by_keyboard(page: Page) -> None:
    seen = [drawn(page)]
    for control, key in (("sequence", "ArrowRight"), ("model", "ArrowRight"), ("dynamics", "ArrowRight")):
        press(page, control, key)
        seen.append(drawn(page))
    page.locator(".explorer input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    seen.append(drawn(page))
    assert all(before != after for before, after in pairwise(seen))
    expect(told(page)).to_contain_text("energy alone, model 2, sequence 2, after 5 loops")
    expect(told(page)).to_contain_text("nothing pulls against it")
    text = told(page).inner_text()
    page.reload()
    expect(told(page)).to_have_text(text)


def test_every_control_changes_what_is_drawn_by_mouse(page: Page) -> None:
    page.locator(".explorer label:has-text('energy alone')").click()
    expect(told(page)).to_contain_text("energy alone, model 1")
    page.locator(".explorer fieldset:has(legend:text-is('sequence')) label").nth(3).click()
    expect(told(page)).to_contain_text("sequence 4")
    page.locator(".explorer input[type=range]").click(position={"x": 3, "y": 5})
    expect(told(page)).to_contain_text("before the first loop")


def test_it_fits_a_phone_and_follows_the_scheme(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
    line = page.locator(".explorer .chart path.line").first
    colour = line.evaluate("x => getComputedStyle(x).stroke")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(".explorer .chart path.line").first).not_to_have_css("stroke", colour)


@pytest.mark.parametrize("bad", ["dynamics:plain;model:3;sequence:0;loop:21", "nonsense", "loop:1.5;model:"])
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first = told(page).inner_text()
    page.goto(f"{address}?motion={bad}")
    expect(told(page)).to_have_text(first)


def test_it_lives_in_chapter_13(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/13_hamiltonian_dynamics.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        before = told(page).inner_text()
        press(page, "dynamics", "ArrowRight")
        expect(told(page)).not_to_have_text(before)
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
