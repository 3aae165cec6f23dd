"""Chapter 11's explorer of trainings in a page of its own: what it draws and tells are the rows' numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from entropylens.results.reference import published
from entropylens.results.statistics import mean_interval
from entropylens.show.explorers import source
from entropylens.show.explorers.regularisation import regularisation_explorer
from tests.browser.alone import page_of, slider
from tests.browser.test_explorers import opened, press

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_MOST_BYTES = 150_000
_WHERE = {
    "all three terms": ("main", "all"), "cross-entropy alone": ("main", "plain"), "P alone": ("terms", "P"),
    "without K": ("terms", "no K"),
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return published("energy_entropy").rows


@pytest.fixture(scope="module")
def address(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    page = page_of(regularisation_explorer(rows), tmp_path_factory.mktemp("regularisation"))
    assert page.stat().st_size < _MOST_BYTES
    return page.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        yield page


def told(page: Page) -> Locator:
    return page.locator(".explorer.regularisation .told")


def lists(page: Page, name: str) -> Locator:
    return page.locator(f".explorer label:has(b:text-is('{name}')) select")


def seeds(page: Page, panel: int) -> dict[str, dict[int, float]]:
    """The dots of a picture of seeds, the first or the second, by arm."""
    found: dict[str, dict[int, float]] = {"own": {}, "beside": {}}
    for dot in page.locator(f".panels > div:nth-child({2 * panel}) [data-seed]").all():
        of, seed, value = (str(dot.get_attribute(f"data-{name}")) for name in ("arm", "seed", "value"))
        found[of][int(seed)] = float(value)
    return found


def shapes(page: Page) -> list[str]:
    """What is drawn in each panel."""
    return [panel.inner_html() for panel in page.locator(".explorer .panels > div").all()]


def by_seed(rows: pd.DataFrame, setup: str, loss: str, kind: str = "model") -> pd.DataFrame:
    design, name = _WHERE[loss]
    here = rows[(rows["kind"] == kind) & (rows["setup"] == setup) & (rows["loss_name"] == name)]
    return here[here["design"] == design].set_index("seed")


def numbers(text: str) -> list[float]:
    return [float(x.replace("−", "-")) for x in re.findall(r"[-−+]?\d+\.\d{3}\b", text)]


def wanted(own: pd.Series, beside: pd.Series) -> list[float]:
    """Means and intervals of both, and of their paired difference, as the package computes them."""
    found = [mean_interval(x) for x in (own, beside, (own - beside).dropna())]
    return [x for each in found for x in (each.mean, each.low, each.high)]


@pytest.mark.parametrize(
    ("setup", "loss"), [("short", "P alone"), ("hint", "without K"), ("clipped", "all three terms")]
)
def test_accuracies_and_differences_after_training_are_python_s(
    page: Page, address: str, rows: pd.DataFrame, setup: str, loss: str
) -> None:
    page.goto(f"{address}?regularisation=setup:{setup};loss:{loss};length:32")
    own, beside = (by_seed(rows, setup, name)["accuracy_32"] for name in (loss, "cross-entropy alone"))
    expect(told(page)).to_contain_text(f"at 32 tokens, accuracy is {own.mean():.3f}")
    assert seeds(page, 2) == {of: pytest.approx(x.to_dict(), abs=1e-5) for of, x in (("own", own), ("beside", beside))}
    sentence = told(page).inner_text().split("After training")[1].split("Learning")[0].split("Both")[0]
    assert numbers(sentence) == pytest.approx(wanted(own, beside), abs=0.00056)
    expect(told(page)).to_contain_text(f"by the {min(len(own), len(beside))} seeds of both")


def test_courses_are_the_rows_curves(page: Page, address: str, rows: pd.DataFrame) -> None:
    for measure, called in (("entropy", "entropy / largest"), ("loss", "cross-entropy")):
        page.goto(f"{address}?regularisation=setup:clipped;measure:{measure};point:7")
        tables = [by_seed(rows, "clipped", name, "curve") for name in ("all three terms", "cross-entropy alone")]
        own, beside = (table[table["step"] == 350][measure] for table in tables)
        expect(told(page)).to_contain_text(f"after 350 steps, {called} is {own.mean():.3f}")
        found = seeds(page, 1)
        assert found["own"] == pytest.approx(own.to_dict(), abs=5e-5)
        assert found["beside"] == pytest.approx(beside.to_dict(), abs=5e-5)
        sentence = told(page).inner_text().split("After training")[0]
        assert numbers(sentence) == pytest.approx(wanted(own, beside), abs=0.0006)


def test_without_a_course_levels_are_shown(page: Page, address: str, rows: pd.DataFrame) -> None:
    own = by_seed(rows, "short", "P alone")
    for point in (6, 30):
        page.goto(f"{address}?regularisation=loss:P alone;measure:accuracy;point:{point}")
        expect(told(page)).to_contain_text("accuracy (as two levels) is")
        later = 50 * point > own["accuracy_step"]
        levels = own["accuracy_before"].where(~later, own["accuracy_after"])
        assert seeds(page, 1)["own"] == pytest.approx(levels.to_dict(), abs=1e-5)
    page.goto(f"{address}?regularisation=loss:P alone;measure:loss;point:6")
    expect(told(page)).to_contain_text("after 2000 steps, cross-entropy (only the end was kept)")
    expect(slider(page, "training steps")).to_be_hidden()
    assert seeds(page, 1)["own"] == pytest.approx(own["loss"].to_dict(), abs=5e-5)


def test_intervals_are_the_package_s(page: Page, rows: pd.DataFrame) -> None:
    code = source("regularisation.js") + "\nexport { summary, compare };"
    page.evaluate(
        """async (code) => {
            window.own = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        }""",
        code,
    )
    x, y = [0.1, 0.5, 0.2, 0.9], [0.3, 0.2, 0.8]
    arms = [{"seeds": [0, 1, 2, 4], "values": x}, {"seeds": [4, 2, 1], "values": y}]
    quantiles = regularisation_explorer(rows).quantiles
    found = page.evaluate("([a, b, t]) => window.own.compare(a, b, t)", [*arms, quantiles])
    for name, values in (("own", x), ("beside", y), ("gap", [-0.3, 0.0, 0.6])):
        interval = mean_interval(values)
        told = [found[name][key] for key in ("mean", "low", "high")]
        assert told == pytest.approx([interval.mean, interval.low, interval.high], abs=1e-12)
        assert found[name]["n"] == interval.n


def test_every_control_changes_what_is_drawn_by_keyboard(page: Page) -> None:
    before = shapes(page)
    for control, key, changed in (
        ("training steps", "ArrowRight", (0, 1)),
        ("after training, at", "ArrowLeft", (2, 3)),
    ):
        slider(page, control).focus()
        page.keyboard.press(key)
        after = shapes(page)
        assert [i for i in range(4) if before[i] != after[i]] == list(changed)
        before = after
    for name in ("loss", "beside"):
        lists(page, name).focus()
        page.keyboard.press("ArrowDown")
        after = shapes(page)
        assert all(x != y for x, y in zip(before, after, strict=True))
        before = after
    expect(told(page)).to_contain_text("with K alone")
    for control, key in (("in training", "ArrowLeft"), ("set-up", "ArrowLeft")):
        press(page, control, key)
        after = shapes(page)
        assert before[:2] != after[:2]
        before = after
    expect(told(page)).to_contain_text("In the set-up “hint”")
    address = page.evaluate("new URLSearchParams(location.search).get('regularisation')")
    held = "beside:all three terms;length:32;loss:K alone;measure:potential;point:5;setup:hint"
    assert sorted(address.split(";")) == held.split(";")
    text = told(page).inner_text()
    page.reload()
    expect(told(page)).to_have_text(text)


def test_every_control_changes_what_is_drawn_by_mouse(page: Page) -> None:
    before = shapes(page)
    page.locator(".explorer label:has-text('kinetic')").click()
    assert shapes(page)[:2] != before[:2]
    lists(page, "loss").select_option("S alone")
    expect(told(page)).to_contain_text("with S alone")
    slider(page, "after training, at").click(position={"x": 3, "y": 5})
    expect(told(page)).to_contain_text("at 10 tokens")
    slider(page, "training steps").click(position={"x": 3, "y": 5})
    expect(told(page)).to_contain_text("after 50 steps")
    page.locator(".explorer label:has-text('20,000 steps')").click()
    expect(told(page)).to_contain_text("after 500 steps, kinetic / n is")
    expect(told(page)).to_contain_text("all three terms")  # as that set-up has no S alone


def test_chance_is_marked_where_there_is_one(page: Page) -> None:
    expect(page.locator(".explorer path.chance")).to_have_count(1)  # over lengths
    press(page, "in training", "ArrowRight")  # to the first, accuracy
    expect(told(page)).to_contain_text("steps, accuracy is")
    assert page.locator(".explorer path.chance").count() >= 2
    page.goto(f"{page.url.split('?')[0]}?regularisation=measure:kinetic;length:1000")
    expect(page.locator(".explorer path.chance")).to_have_count(2)  # over lengths, and at a length where it is in sight


def test_what_is_drawn_is_in_the_picture_and_follows_the_scheme(page: Page, address: str) -> None:
    page.goto(f"{address}?regularisation=setup:hint;loss:entropy target 0.5;measure:kinetic;point:40")
    expect(told(page)).not_to_be_empty()
    inside = page.locator(".explorer .chart :is(path, circle, rect)").evaluate_all(
        """all => all.map(x => [x.getBoundingClientRect(), x.ownerSVGElement.getBoundingClientRect()])
            .every(([a, b]) => !a.width && !a.height || a.left >= b.left - 1 && a.right <= b.right + 1
                && a.top >= b.top - 1 && a.bottom <= b.bottom + 1)"""
    )
    assert inside
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
    assert not any("NaN" in drawn for drawn in shapes(page))
    line = page.locator(".explorer .chart path.line").first
    colour = line.evaluate("x => getComputedStyle(x).stroke")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(".explorer .chart path.line").first).not_to_have_css("stroke", colour)


@pytest.mark.parametrize("bad", ["setup:long;point:41;length:65", "nonsense", "loss:;measure:constructor;point:1e1"])
def test_an_address_that_says_nonsense_leaves_it_as_it_was(page: Page, address: str, bad: str) -> None:
    first = told(page).inner_text()
    page.goto(f"{address}?regularisation={bad}")
    expect(told(page)).to_have_text(first)


def test_it_lives_in_chapter_11(browser: Browser, base_url: str) -> None:
    with opened(browser, f"{base_url}/notebooks/11_the_regularised_landscape.html") as page:
        page.set_viewport_size(_SMALL)  # type: ignore[arg-type]
        before = told(page).inner_text()
        lists(page, "loss").focus()
        page.keyboard.press("ArrowDown")
        expect(told(page)).not_to_have_text(before)
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
