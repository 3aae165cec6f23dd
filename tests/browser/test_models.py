"""The explorer of chapters 3 and 4 in a page of its own: at every training step it tells the rows' numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from entropylens.results.reference import published
from entropylens.show.explorers.models import bias_explorer, variant_explorer
from tests.browser.alone import page_of
from tests.browser.test_explorers import opened

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_SLIDER = ".explorer input[type=range]"
_PICTURE = "document.querySelector('.explorer canvas').toDataURL()"
_PALE = "at the end of training|Pale, since it is that of the end, step 1500"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    reference = published("low_entropy")
    explorer = bias_explorer(reference.rows, reference.tensors()["log_probs"], seeds=1)
    return page_of(explorer, tmp_path_factory.mktemp("models")).as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def row(step: int, width: int = 64, n_samples: int = 2000) -> pd.Series:
    rows = published("low_entropy").rows
    here = rows["main"] & (rows["d_model"] == width) & (rows["n_samples"] == n_samples) & (rows["seed"] == 0)
    return rows[here & (rows["step"] == step)].iloc[0]


def told(page: Page) -> str:
    return page.locator(".explorer .told").inner_text().replace("−", "-")


def numbers(page: Page) -> list[float]:
    """Bias, target entropy, KL, loss, and the two parts of the bias, as told."""
    return [float(x) for x in re.findall(r"[-+]?\d+\.\d+", told(page))]


@pytest.mark.parametrize("step", [0, 1, 105, 1500])
@pytest.mark.parametrize("width", [8, 64])
def test_words_bars_and_course_are_the_rows(page: Page, address: str, width: int, step: int) -> None:
    page.goto(f"{address}?bias=width:{width};step:{step}")
    expect(page.locator(".explorer .told")).to_contain_text(f"d = {width}, sample of 2000, seed 0")
    wanted = row(step, width)
    loss = wanted["target_entropy"] + wanted["sample_bias"] + wanted["excess_loss"]
    names = ["bias", "target_entropy", "kl", "loss", "sample_bias", "model_bias"]
    values = {**wanted[["bias", "target_entropy", "kl", "sample_bias", "model_bias"]], "loss": loss}
    near = [pytest.approx(values[name], abs=0.00501 if name == "target_entropy" else 0.00051) for name in names]
    assert numbers(page) == near
    bars = [float(b.split()[0].replace("−", "-")) for b in page.locator(".explorer .bars b").all_inner_texts()]
    assert bars == [pytest.approx(wanted[name], abs=0.00051) for name in ("sample_bias", "model_bias", "bias")]
    lines = page.locator(".explorer .course line[data-nats]").evaluate_all("all => all.map(x => +x.dataset.nats)")
    seen = wanted["target_entropy"] + wanted["sample_bias"]
    assert lines == [pytest.approx(h, abs=1e-5) for h in (wanted["target_entropy"], seen)]
    at = page.locator(".explorer .course .cursor circle").get_attribute("data-nats")
    assert float(str(at)) == pytest.approx(wanted["entropy"], abs=1e-5)
    assert bool(re.search(_PALE, page.locator(".explorer .panels").inner_text())) == (step < 1500)


def test_the_step_moves_by_keyboard_and_stays_in_the_address(page: Page) -> None:
    slider = page.locator(_SLIDER)
    expect(slider).to_have_attribute("aria-valuetext", "1500 of 1500")
    end, bars = page.evaluate(_PICTURE), page.locator(".explorer .bars").inner_html()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "1076 of 1500")
    expect(page.locator(".explorer .told")).to_contain_text("after 1076 of 1500 steps the model lies")
    assert page.locator(".explorer .bars").inner_html() != bars
    pale = page.evaluate(_PICTURE)
    assert pale != end
    page.keyboard.press("Home")
    expect(page.locator(".explorer .told")).to_contain_text("after 0 of 1500 steps")
    assert page.evaluate(_PICTURE) == pale  # it is that of the end, whatever the step
    page.locator(".explorer input[type=text]").fill("abcde")
    expect(page.locator(".explorer output")).to_contain_text("learned in the end")
    page.reload()
    expect(page.locator(_SLIDER)).to_have_attribute("aria-valuetext", "0 of 1500")
    page.goto(page.url.replace("step%3A0", "step%3A6"))  # no snapshot
    expect(page.locator(_SLIDER)).to_have_attribute("aria-valuetext", "1500 of 1500")


def test_the_course_answers_to_the_mouse(page: Page) -> None:
    course = page.locator(".explorer .course")  # redrawn inside, not itself replaced
    course.scroll_into_view_if_needed()
    box = course.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + box["height"] / 2)
    expect(page.locator(".explorer .told")).to_contain_text("after 0 of 1500 steps")
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    first = told(page)
    assert "after 0 of" not in first
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    second = told(page)
    assert second != first
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)  # no more than passing by
    assert told(page) == second
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]


def test_chapter_4_has_the_step_too(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    reference = published("ffn_or_attention")
    explorer = variant_explorer(reference.rows, reference.tensors()["log_probs"], seeds=1)
    page_at = page_of(explorer, tmp_path_factory.mktemp("variants")).as_uri()
    with opened(browser, f"{page_at}?variant=variant:attention only;step:0") as page:
        expect(page.locator(".explorer .told")).to_contain_text(
            "attention only, size 64, equal parameters, seed 0: after 0"
        )
