"""The playground in a page of its own, without a kernel or a network: it trains, stays responsive, and obeys."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ipywidgets.embed import dependency_state, embed_data
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from entropylens.show.explorers.playground import CHOICES, FIRST, PRESETS, VIEW, playground
from tests._trie_model import in_node
from tests.browser.conftest import _QuietHandler
from tests.conftest import ROOT

pytestmark = pytest.mark.browser

_SMALL = {"width": 360, "height": 740}
_TINY = {"width": 4, "layers": 1, "heads": 1}
_SPY = """
window.orders = []; window.news = 0; window.last = {};
window.Worker = class extends Worker {
  constructor(address) {
    super(address);
    this.addEventListener("message", ({ data }) => { window.news++; window.last = data });
  }
  postMessage(order) { window.orders.push(order); super.postMessage(order) }
};
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With page.html, a page as the book's are, with nothing but the playground."""
    explorer = playground()
    state = dependency_state([explorer], drop_defaults=False)
    data = embed_data(views=[explorer], state=state, drop_defaults=False)
    kind, script = "application/vnd.jupyter.widget", (ROOT / "book" / "_static" / "explorers.js").read_text()
    texts = [json.dumps(x).replace("</", r"<\/") for x in (data["manager_state"], data["view_specs"][0])]
    found: Path = tmp_path_factory.mktemp("playground")
    (found / "page.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="data:,"><style>[data-theme=dark] { color: #ddd; background: #111 }</style><body>'
        f'<script type="{kind}-state+json">{texts[0]}</script><script type="{kind}-view+json">{texts[1]}</script>'
        f"<script>{script}</script></body></html>"
    )
    return found


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/page.html"
        http.shutdown()


@pytest.fixture
def address(folder: Path) -> str:
    return (folder / "page.html").as_uri()


def link(address: str, **chosen: Any) -> str:
    return f"{address}?playground={';'.join(f'{key}:{value}' for key, value in chosen.items())}"


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page whose first model is made; the network is cut then, and afterwards nothing may have gone wrong."""
    context, wrong = browser.new_context(viewport=_SMALL, **options), list[str]()  # type: ignore[arg-type]
    page = context.new_page()
    page.add_init_script(_SPY)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if _is_wrong(m) else None)
    page.goto(address)
    expect(curve(page, "entropy")).to_be_attached()
    context.set_offline(True)
    yield page
    assert wrong == []
    context.close()


def _is_wrong(message: ConsoleMessage) -> bool:
    """Browsers ask for the icon when they like, and may find the network cut."""
    return message.type in ("error", "warning") and "favicon" not in message.location["url"]


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, link(address, **_TINY)) as page:
        page.locator("summary").click()  # settings are folded on a phone
        yield page


def curve(page: Page, name: str) -> Locator:
    return page.locator(f"[data-curve={name}]")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def step(page: Page) -> int:
    return int(re.sub(r"\D", "", page.locator(".count").inner_text()))


def reached(page: Page, least: int) -> None:
    page.wait_for_function(
        f"() => Number(document.querySelector('.count').textContent.replace(/\\D/g, '')) >= {least}", timeout=20_000
    )


def settled(page: Page) -> None:
    """After a pause, once what was under way has arrived and is drawn: only a pause tells no rows."""
    page.wait_for_function(
        "() => window.last.rows?.length === 0"
        " && document.querySelector('.count').textContent.replace(/\\D/g, '') === String(window.last.step)"
    )


def orders(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("window.orders")
    return found


def next_order(page: Page, what: str, before: int) -> dict[str, Any]:
    """The settings of the next order of a kind that came after `before` others."""
    page.wait_for_function(f"() => window.orders.slice({before}).some((order) => order.do === '{what}')")
    settings: dict[str, Any] = next(order for order in orders(page)[before:] if order["do"] == what)["settings"]
    return settings


def control(page: Page, key: str) -> Locator:
    return page.locator(f".settings [data-key={key}]")


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_it_trains_pauses_steps_and_starts_anew(browser: Browser, address: str, served: str, scheme: str) -> None:
    names = ("entropy", "kl", "loss", "dead")
    with opened(browser, link({"http": served, "file": address}[scheme], **_TINY)) as page:
        first = [curve(page, name).get_attribute("d") for name in names]
        scattered = page.evaluate("document.querySelector('.playground canvas').toDataURL()")
        press(page, "Start")
        reached(page, 30)
        press(page, "Pause")
        assert all(curve(page, name).get_attribute("d") != d for name, d in zip(names, first, strict=True))
        page.wait_for_function(f"() => document.querySelector('.playground canvas').toDataURL() !== {scattered!r}")
        settled(page)
        at = step(page)
        page.wait_for_timeout(400)
        assert step(page) == at
        page.get_by_role("button", name="Step", exact=True).focus()
        page.keyboard.press("Enter")
        reached(page, at + 1)
        page.wait_for_timeout(200)
        assert step(page) == at + 1
        page.get_by_role("button", name="Go on").focus()
        page.keyboard.press("Space")
        reached(page, at + 10)
        press(page, "Reset")
        expect(page.locator(".count")).to_have_text("step 0")
        expect(page.locator(".sign")).to_contain_text("New model, step 0: the same settings")
        expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_what_is_told_is_what_the_engine_computes(page: Page) -> None:
    script = """((settings) => {
      const language = trieLanguage(5, 5), target = dirichletTarget(language, settings.concentration, settings.target);
      const shape = { vocab_size: 5, length: 5, d_model: 4, n_heads: 1, n_layers: 1, d_ff: null };
      const model = { ...shape, variant: "full", norm: "pre" };
      const data = { regime: "finite", n_samples: settings.n }, optimizer = { name: "adam", lr: settings.rate };
      const training = new Training({ model, optimizer, data, target, seed: settings.seed });
      for (let i = 0; i < 3; i++) training.step();
      return training.measure();
    })"""
    wanted = in_node(script, FIRST)
    for _ in range(3):
        press(page, "Step")
    expect(page.locator(".count")).to_have_text("step 3")
    for name, words in (("entropy", "entropy H(pθ)"), ("kl", "KL(p_tgt‖pθ)"), ("loss", "loss")):
        expect(page.locator(f"[data-panel={name}] text").first).to_have_text(f"{words}: {wanted[name]:.3f} nats")
    lines = page.locator("[data-panel=entropy] .halo").all_text_contents()
    seen = wanted["target_entropy"] + wanted["sample_bias"]
    assert lines == [f"target {wanted['target_entropy']:.2f}", f"sample {seen:.2f}"]
    dead = sum(layer["dead"] for layer in wanted["activity"])
    expect(page.locator("[data-panel=dead] text").first).to_contain_text(f"dead neurons: {dead} of 16")


def test_every_setting_starts_a_new_model_or_turns_the_one_that_trains(page: Page) -> None:
    expected = {**FIRST, **VIEW, **_TINY}
    tried = {"width": 8, "heads": 2, "layers": 2, "norm": "post", "variant": "attention_only", "data": "exact"}
    for key, value in tried.items():  # lists, by mouse
        before = len(orders(page))
        control(page, key).select_option(str(value))
        expected[key] = value
        assert next_order(page, "make", before) == expected
        expect(page.locator(".sign")).to_contain_text("New model, step 0")
    for key, stroke in (("data", "End"), ("optimizer", "End"), ("variant", "Home")):  # and by keyboard
        before = len(orders(page))
        control(page, key).focus()
        page.keyboard.press(stroke)
        expected[key] = CHOICES[key][-1 if stroke == "End" else 0]
        assert next_order(page, "make", before) == expected
    for key in ("target", "seed"):
        before = len(orders(page))
        control(page, key).focus()
        page.keyboard.press("ArrowUp")
        expected[key] += 1
        assert next_order(page, "make", before) == expected
    for key, what in (("concentration", "make"), ("batch", "make"), ("rate", "tune"), ("momentum", "tune")):
        before, values = len(orders(page)), CHOICES[key]
        control(page, key).focus()
        page.keyboard.press("ArrowRight")
        expected[key] = values[values.index(expected[key]) + 1]
        assert next_order(page, what, before) == expected
    before, box = len(orders(page)), control(page, "rate").bounding_box()
    assert box is not None
    control(page, "rate").click(position={"x": 1, "y": box["height"] / 2})  # a slider by mouse
    assert next_order(page, "tune", before)["rate"] == CHOICES["rate"][0]
    control(page, "seed").fill("1e9")
    control(page, "seed").press("Enter")
    expect(control(page, "seed")).to_have_value(str(expected["seed"]))


def test_sliders_that_do_not_matter_are_away(page: Page) -> None:
    for data, shown in (("exact", set()), ("finite", {"n"}), ("fresh", {"batch"})):
        control(page, "data").select_option(data)
        assert {key for key in ("n", "batch") if control(page, key).is_visible()} == shown
    for optimizer, shown in (("adam", {"beta2"}), ("rmsprop", {"beta2", "momentum"}), ("sgd", {"momentum"})):
        control(page, "optimizer").select_option(optimizer)
        assert {key for key in ("beta2", "momentum") if control(page, key).is_visible()} == shown
    control(page, "variant").select_option("attention_only")
    expect(page.locator("[data-panel=dead] text").first).to_have_text("no FFN, so no neurons to die")


def test_the_rate_may_change_on_the_way_and_the_model_stays(page: Page) -> None:
    press(page, "Start")
    reached(page, 20)
    control(page, "rate").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".sign")).to_contain_text(
        re.compile(r"From step [\d\s]+ on: learning rate 0\.007. The model stays")
    )
    expect(page.locator("[data-panel=loss] .turned")).to_have_count(1)
    at = step(page)
    reached(page, at + 5)
    assert [order["do"] for order in orders(page)] == ["make", "go", "tune"]


def test_the_run_before_stays_beside(page: Page) -> None:
    expect(page.get_by_label("the run before")).to_be_hidden()
    press(page, "Start")
    reached(page, 40)
    control(page, "optimizer").select_option("sgd")
    expect(page.locator("[data-panel=kl] .before")).to_have_count(1)
    expect(page.locator(".past")).to_contain_text("optimiser Adam")
    page.get_by_label("the run before").uncheck()
    expect(page.locator("[data-panel=kl] .before")).to_have_count(0)


def test_axes_change_what_is_drawn(page: Page) -> None:
    press(page, "Start")
    reached(page, 40)
    press(page, "Pause")
    page.wait_for_timeout(200)
    for group, words in (("steps", "logarithmic"), ("zoom", "near the target")):
        before = curve(page, "entropy").get_attribute("d")
        page.get_by_role("group", name=group).get_by_label(words).check()
        expect(curve(page, "entropy")).not_to_have_attribute("d", before or "")
    expect(page.locator("[data-panel=entropy]")).to_contain_text("steps (logarithmic)")


def test_buttons_load_settings_say_what_to_look_for_and_train(page: Page) -> None:
    for name, (look, settings) in PRESETS.items():
        before = len(orders(page))
        press(page, name)
        made = next_order(page, "make", before)
        assert {key: made[key] for key in settings} == settings
        expect(page.locator(".aim")).to_have_text(look)
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".cases [aria-pressed=true]")).to_have_count(1)
        next(order for order in orders(page)[before:] if order["do"] == "go")
    reached(page, 3)


def test_a_link_leads_back_and_nonsense_is_left_aside(browser: Browser, address: str, page: Page) -> None:
    press(page, "SGD with momentum beside it")
    control(page, "seed").fill("17")
    page.set_viewport_size({"width": 700, "height": 700})  # drawn anew, and nothing that was typed is lost
    page.wait_for_timeout(100)
    control(page, "seed").press("Enter")
    page.get_by_role("group", name="steps").get_by_label("logarithmic").check()
    press(page, "Copy link")
    page.wait_for_function("() => document.querySelector('.steer [role=status]').childNodes.length > 0")
    wanted = {**PRESETS["SGD with momentum beside it"][1], "seed": 17, "axis": "log", "near": "all"}
    with opened(browser, page.url) as other:
        assert orders(other)[0]["settings"] == wanted
        expect(other.locator(".count")).to_have_text("step 0")
        bad = "width:9;heads:;layers:two;rate:1e-3;seed:-1;target:1000;variant:constructor;norm:__proto__;;x;data:exact"
        other.context.set_offline(False)
        other.goto(f"{address}?playground={bad}")
        expect(curve(other, "entropy")).to_be_attached()
        assert orders(other)[0]["settings"] == {**FIRST, **VIEW, "data": "exact"}


def test_a_training_that_diverges_says_so(browser: Browser, address: str) -> None:
    with opened(browser, link(address, **_TINY, optimizer="sgd", rate=7)) as page:
        press(page, "Start")
        expect(page.locator(".told")).to_contain_text("It diverged at step")
        expect(page.locator(".go")).to_be_disabled()
        press(page, "Reset")
        expect(page.locator(".go")).to_be_enabled()


def test_the_speed_is_shown_and_can_be_measured(page: Page) -> None:
    press(page, "Start")
    expect(page.locator(".pace")).to_have_text(re.compile(r"^\d[\d.]* steps/s$"))
    press(page, "Measure the speed here")
    expect(page.get_by_role("status").filter(has_text="steps/s at d")).to_have_text(
        re.compile(r"Here: \d[\d.]* steps/s at d = 8, \d[\d.]* steps/s at d = 32"), timeout=60_000
    )


_WATCH = """async ([ms, busy]) => {
  const long = [], count = (list) => long.push(...list.getEntries().map((entry) => entry.duration));
  new PerformanceObserver(count).observe({ type: "longtask" });
  const from = performance.now(), news = window.news;
  if (busy) await new Promise((done) => setTimeout(() => {
    let x = 1;
    for (let i = 0; i < busy; i++) x = (x * 48271) % 2147483647;
    done(x);
  }));
  await new Promise((go) => setTimeout(go, ms));
  await new Promise((go) => setTimeout(go, 100)); // so that the last one is told
  return [long, (1000 * (window.news - news)) / (performance.now() - from)];
}"""
"""Milliseconds of each task over 50 ms on the main thread, and how often in a second the worker told something."""


def watched(page: Page, ms: int, busy: int = 0) -> tuple[list[float], float]:
    """What `_WATCH` finds, milliseconds in proportion to what the main thread got of a processor."""
    clocks = {domain: page.context.new_cdp_session(page) for domain in ("timeTicks", "threadTicks")}
    for domain, clock in clocks.items():
        clock.send("Performance.enable", {"timeDomain": domain})

    def spent() -> list[float]:
        told = [clock.send("Performance.getMetrics")["metrics"] for clock in clocks.values()]
        return [next(m["value"] for m in metrics if m["name"] == "TaskDuration") for metrics in told]

    before = spent()
    long, news = page.evaluate(_WATCH, [ms, busy])
    took, worked = (after - at for after, at in zip(spent(), before, strict=True))
    return [duration * min(1.0, worked / took) for duration in long], news


@pytest.mark.parametrize("width", [64, 4])
def test_the_page_stays_responsive_while_it_trains(browser: Browser, address: str, width: int) -> None:
    """At most one task takes over 100 ms of a processor, whatever else the machine does.

    Training in the page would make one of all the time. A control: such a task is seen if it is there.
    """
    with opened(browser, link(address, width=width, data="exact")) as page:
        press(page, "Start")
        reached(page, 3)
        for _ in range(3):  # a busy machine may take more from one task than from the average
            long, news = watched(page, 2500)
            assert 0 < news <= 22
            if sum(duration > 100 for duration in long) <= 1:
                break
        else:
            pytest.fail(f"tasks of so many milliseconds: {long}")
        if width == 4:
            assert any(max(watched(page, 200, busy=100_000_000)[0], default=0) > 100 for _ in range(3))


def test_those_who_listen_are_not_flooded(page: Page) -> None:
    page.evaluate("""() => {
        window.from = performance.now();
        ['told', 'heard'].forEach((kind) => {
            window[kind] = 0;
            new MutationObserver(() => window[kind]++).observe(document.querySelector('.' + kind), {childList: true});
        });
    }""")
    press(page, "Start")
    page.wait_for_timeout(2500)
    told, heard, ms = page.evaluate("[window.told, window.heard, performance.now() - window.from]")
    assert 1 <= told <= ms / 1000 + 1
    assert heard <= ms / 5000 + 2


def test_reduced_motion_is_respected(browser: Browser, address: str) -> None:
    with opened(browser, link(address, **_TINY), reduced_motion="reduce") as page:
        page.evaluate("""() => {
            window.draws = 0; window.from = performance.now();
            const panel = document.querySelector('[data-panel=kl]');
            new MutationObserver(() => window.draws++).observe(panel, {childList: true});
        }""")
        press(page, "Start")
        page.wait_for_timeout(2200)
        draws, ms = page.evaluate("[window.draws, performance.now() - window.from]")
        assert 1 <= draws <= ms / 1000 + 8, "one a second, and when it starts or its size changes"
        expect(page.locator(".sign")).to_have_css("animation-name", "none")


def test_it_fits_a_phone_and_follows_the_colour_scheme(page: Page) -> None:
    press(page, "See the bias")
    reached(page, 5)
    assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
    colour = curve(page, "kl").evaluate("x => getComputedStyle(x).stroke")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(curve(page, "kl")).not_to_have_css("stroke", colour)


def test_it_lives_in_the_book(browser: Browser, base_url: str) -> None:
    with opened(browser, link(f"{base_url}/notebooks/90_playground.html", **_TINY)) as page:
        press(page, "Start")
        reached(page, 10)
        assert page.evaluate("document.documentElement.scrollWidth") <= _SMALL["width"]
