"""What a browser sees on a page, gathered in as few visits as possible: opening a page is what costs time."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

_AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
_BARRIERS = Path(__file__).with_name("barriers.js").read_text(encoding="utf-8")
_MATH = "document.querySelectorAll('.math').length"
_TYPESET = "document.querySelectorAll('mjx-container').length"
_MATH_ERRORS = "[...document.querySelectorAll('mjx-merror')].map(e => e.textContent)"
_UNTOLD = "[...document.images].filter(i => !i.alt.trim() || /\\.(png|svg|jpe?g)$/.test(i.alt)).map(i => i.src)"
_WIDTH = "document.documentElement.scrollWidth"
_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility())
    .slice(0, 5).map(e => `${e.tagName}.${e.className}`)"""
# No redirect is under way, explorers stand in their places, and MathJax, where needed, has begun.
_STARTED = """() => document.readyState === 'complete' && !document.querySelector('meta[http-equiv=refresh]')
    && [...document.querySelectorAll('script[type$="widget-view+json"]')]
        .every(s => s.nextElementSibling?.matches('div') && s.nextElementSibling.textContent)
    && (!document.querySelector('.math') || window.MathJax?.startup?.promise)"""
_UNFOLD = """() => {
    document.querySelectorAll('details').forEach(e => (e.open = true));
    document.querySelectorAll('.toggle-button-hidden').forEach(e => e.click());
}"""
MOVING = """() => {
    const lasts = (times) => times.split(',').some(t => parseFloat(t) > 0);
    const moves = (s) => s.animationName !== 'none' || lasts(s.transitionDuration) || s.scrollBehavior !== 'auto';
    return [...document.querySelectorAll('*')]
        .filter(e => ['', '::before', '::after'].some(part => moves(getComputedStyle(e, part))))
        .map(e => `${e.tagName}.${e.className}`).slice(0, 5);
}"""


@dataclass
class Report:
    """What a browser saw on one page; from `weight` on, only a close look tells.

    Attributes:
        weight: bytes of the page and of all files that it asked for.
        moving: what would move although the reader wants no motion.
        barriers: what axe-core calls serious or critical, by colour scheme.
        unreachable: what scrolls on a phone, and not by keyboard.
    """

    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    title: str = ""
    formulas: int = 0
    typeset: int = 0
    math_errors: list[str] = field(default_factory=list)
    weight: int = 0
    untold_images: list[str] = field(default_factory=list)
    moving: list[str] = field(default_factory=list)
    barriers: dict[str, list[str]] = field(default_factory=dict)
    phone_width: int = 0
    too_wide: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


def look_at(context: BrowserContext, base: str, name: str) -> Report:
    """Open a page and note whether it is whole and quiet; look closely at one from disk, where files can be weighed."""
    report, page = Report(), context.new_page()
    _listen(page, base, report)
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(f"{base}/{name}")
    page.wait_for_function(_STARTED)
    report.formulas = page.evaluate(_MATH)
    if report.formulas:
        page.evaluate("MathJax.startup.promise")
    report.title = page.title()
    report.typeset = page.evaluate(_TYPESET)
    report.math_errors = page.evaluate(_MATH_ERRORS)
    if base.startswith("file:"):
        _look_closely(page, report)
    complaints = list(report.complaints)  # closing breaks off what is under way, which is nobody's fault
    page.close()
    report.complaints = complaints
    return report


def _look_closely(page: Page, report: Report) -> None:
    report.weight = sum(Path(unquote(urlsplit(url).path)).stat().st_size for url in report.asked)
    report.untold_images = page.evaluate(_UNTOLD)
    page.evaluate(_UNFOLD)
    report.moving = page.evaluate(MOVING)
    report.barriers["light"] = barriers(page, "structure") + barriers(page, "colours")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    report.barriers["dark"] = barriers(page, "colours")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.wait_for_function("width => innerWidth === width", arg=PHONE["width"])
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # observers follow
    report.phone_width = page.evaluate(_WIDTH)
    report.too_wide = page.evaluate(_WIDE)
    report.unreachable = barriers(page, "scrolling")


def barriers(page: Page, what: str) -> list[str]:
    """Return what axe-core calls serious or critical, of "structure", "colours" or "scrolling": a line an element."""
    if not page.evaluate("'barriers' in window"):
        page.evaluate(_AXE + _BARRIERS)
    found: list[str] = page.evaluate(f"barriers.{what}()")
    return found


def _listen(page: Page, base: str, report: Report) -> None:
    def request(sent: Request) -> None:
        if sent.url.startswith(base):
            report.asked.add(sent.url.partition("#")[0].partition("?")[0])
        elif not sent.url.startswith(("data:", "blob:", "about:")):
            report.complaints.append(f"outside request: {sent.url}")

    def response(received: Response) -> None:
        if received.status >= 400:
            report.complaints.append(f"status {received.status}: {received.url}")

    def console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            report.complaints.append(f"console {message.type}: {message.text}")

    page.on("request", request)
    page.on("response", response)
    page.on("console", console)
    page.on("requestfailed", lambda failed: report.complaints.append(f"failed: {failed.url} {failed.failure}"))
    page.on("pageerror", lambda error: report.complaints.append(f"uncaught: {error}"))
