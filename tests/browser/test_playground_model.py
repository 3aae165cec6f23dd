"""The playground's engine in a Web Worker of a real browser: what it computes is what Python computes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser

from entropylens.show.explorers import engine
from tests._trie_model import ANSWERS, CASES, TRAININGS, compare, compare_trained

pytestmark = pytest.mark.browser

_IN_WORKER = """async ([code, cases]) => {
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" })), worker = new Worker(address);
    const told = new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
    });
    worker.postMessage(cases);
    return told.finally(() => worker.terminate());
}"""


def test_a_worker_computes_what_python_computes(browser: Browser) -> None:
    cases = [*CASES[:5], *TRAININGS[1:]]
    code = f"{engine()}\n{ANSWERS}\nonmessage = ({{ data }}) => postMessage(answers(data));"
    page = browser.new_page()
    page.goto("about:blank")
    got: list[dict[str, Any]] = page.evaluate(_IN_WORKER, [code, [case.request() for case in cases]])
    page.close()
    for case, answer in zip(cases, got, strict=True):
        compare(case, answer)
        if case.optimizers:
            compare_trained(case, answer)
