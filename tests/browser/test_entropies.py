"""Chapter 14's explorer in a page of its own: what it draws and tells are the rows' numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from entropylens.results.reference import published
from entropylens.show.explorers.entropies import entropy_explorer
from tests.browser.alone import page_of, told
from tests.browser.test_explorers import opened, press

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_SAMPLE = "of:a source of known entropy;data:a sample of 131k, 12 times;width:128;seed:3"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    explorer = entropy_explorer([published(name).rows for name in ("known_source", "larger_text")])
    return page_of(explorer, tmp_path_factory.mktemp("entropies")).as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def drawn(page: Page) -> dict[str, float]:
    """The value of each mark."""
    marks = page.locator(".explorer [data-quantity]").all()
    return {str(m.get_attribute("data-quantity")): float(str(m.get_attribute("data-value"))) for m in marks}


def rows(width: int, regime: str, seed: int) -> pd.DataFrame:
    models = published("known_source").rows.query("kind == 'model' and design == 'main'")
    chosen = models[(models["d_model"] == width) & (models["regime"] == regime) & (models["seed"] == seed)]
    return chosen.sort_values("step")


def test_a_link_shows_the_model_s_numbers(browser: Browser, address: str) -> None:
    row = rows(128, "finite", 3).iloc[-1]
    with opened(browser, f"{address}?entropies={_SAMPLE}") as page:
        wanted = {"cross": row["cross_entropy"], "forced": row["forced"], "loss": row["loss"], "own": row["entropy"]}
        assert drawn(page) == {key: pytest.approx(value, abs=5e-5) for key, value in wanted.items()}
        expect(told(page)).to_contain_text(f"it is {row['overconfidence']:.3f} surer than it is right")
        expect(told(page)).to_contain_text(f"lies {row['source'] - row['entropy']:.3f} below the source's")


def test_every_control_changes_what_is_drawn_by_keyboard(page: Page) -> None:
    start = rows(128, "fresh", 0).iloc[-1]
    assert drawn(page)["cross"] == pytest.approx(start["cross_entropy"], abs=5e-5)
    seen = [drawn(page)]
    for control, key in (
        ("seed", "ArrowRight"),
        ("width", "ArrowLeft"),
        ("data", "ArrowRight"),
        ("learns from", "ArrowRight"),
    ):
        press(page, control, key)
        seen.append(drawn(page))
    assert all(before != after for before, after in pairwise(seen))
    expect(told(page)).to_contain_text("on real text (the whole text, once)")
    press(page, "learns from", "ArrowLeft")
    expect(told(page)).to_contain_text("a source of known entropy")


def test_the_slider_goes_back_in_training(page: Page) -> None:
    path, slider = rows(128, "fresh", 0), page.locator(".explorer input[type=range]")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    earlier = path.iloc[-2]
    expect(told(page)).to_contain_text(f"After {earlier['step']} steps")
    assert drawn(page)["forced"] == pytest.approx(earlier["forced"], abs=5e-5)
    assert "own" not in drawn(page)
    assert re.search(r";at:3$", page.evaluate("new URLSearchParams(location.search).get('entropies')"))
    page.keyboard.press("ArrowRight")
    expect(told(page)).to_contain_text(f"After {path['step'].iloc[-1]} steps")


def test_of_a_text_it_claims_no_more_than_is_known(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}?entropies=of:real text;data:the whole text, 4 times") as page:
        expect(told(page)).to_contain_text("whether the model lies below it cannot be told")
        assert page.locator(".explorer .unknown").count() == 1


def test_a_link_that_cannot_be_read_is_ignored(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}?entropies=of:nothing;width:9999;at:x") as page:
        expect(told(page)).to_contain_text("width 128")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
