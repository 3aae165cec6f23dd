"""What book/troubleshooting.md quotes is what the commands say: its words are in the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "book" / "troubleshooting.md"


def quoted(page: str) -> list[str]:
    """Of each term that is explained, what stands in code: a message, with … for what differs."""
    terms = re.findall(r"^(?!:)(.+)\n: ", page, flags=re.MULTILINE)
    return [words for term in terms for words in re.findall(r"`([^`]+)`", term)]


def said() -> str:
    """All that a command may say, as it stands in the source; strings that go on in the next line are joined."""
    files = [*(ROOT / "src").rglob("*.py"), ROOT / "Makefile"]
    return re.sub(r'"\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))


def unknown(page: str, source: str) -> list[str]:
    return [part for words in quoted(page) for part in map(str.strip, words.split("…")) if part not in source]


def test_every_message_is_one_of_ours() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(quoted(page)) > 8
    assert unknown(page, said()) == []


@pytest.mark.parametrize("planted", ["the disc is full", "ran for over … s"])
def test_a_message_that_nothing_says_is_found(planted: str) -> None:
    assert unknown(f"# A page\n\n`{planted}`\n: Do something.\n", said())


def test_the_page_is_in_the_book() -> None:
    assert "book/troubleshooting" in Path(ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
