"""An executed copy, or its record, that has been damaged: a build refuses it by name, and a run executes it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from entropylens.book.execute import _plan
from entropylens.book.project import Project
from tests.conftest import list_chapters
from tests.faults.conftest import Done, forge


def rewrite(ending: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """A way to damage the copy or, beside it, the record."""

    def damage(copy: Path) -> None:
        victim = copy.with_suffix(ending)
        victim.write_bytes(change(victim.read_bytes()))

    return damage


def a_folder_instead(copy: Path) -> None:
    copy.unlink()
    copy.mkdir()


def without_a_field(record: bytes) -> bytes:
    fields = json.loads(record)
    del fields["key"]
    return json.dumps(fields).encode()


def with_parameters_of_another_type(record: bytes) -> bytes:
    return json.dumps({**json.loads(record), "parameters": None}).encode()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "copy cut short": rewrite(".ipynb", lambda data: data[: len(data) // 2]),
    "copy empty": rewrite(".ipynb", lambda _: b""),
    "copy with a bit flipped": rewrite(".ipynb", lambda data: data[:99] + bytes([data[99] ^ 4]) + data[100:]),
    "copy of bytes that are no text": rewrite(".ipynb", lambda _: bytes(range(256))),
    "copy of something else": rewrite(".ipynb", lambda _: b'{"cells": []}'),
    "copy that is a folder": a_folder_instead,
    "record cut short": rewrite(".json", lambda data: data[: len(data) // 2]),
    "record empty": rewrite(".json", lambda _: b""),
    "record of bytes that are no text": rewrite(".json", lambda _: bytes(range(256))),
    "record that is a list": rewrite(".json", lambda _: b"[1, 2]"),
    "record without a field": rewrite(".json", without_a_field),
    "record with a field of another type": rewrite(".json", with_parameters_of_another_type),
    "record gone": lambda copy: copy.with_suffix(".json").unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_by_a_build_and_noticed_by_a_run(
    book: Project, command: Callable[..., Done], kind: str
) -> None:
    copy = forge(book.root, "01_one")
    list_chapters(book.root, ["01_one"])
    wanted = {book.notebooks_folder / copy.name: {"profile": "quick", "device": "auto"}}
    project = Project(book.root)
    assert _plan(project, wanted, fresh=False)[0] == [], "current before it is damaged"
    DAMAGE[kind](copy)
    refused = command("build")
    assert refused.status == 1
    assert refused.errors == [
        "entropylens: stale pages are not published: notebooks/01_one.ipynb has a damaged executed copy. "
        "Run: entropylens run 01_one --profile quick"
    ]
    assert [task.notebook for task in _plan(project, wanted, fresh=False)[0]] == list(wanted)


def test_no_flipped_bit_of_a_record_stops_a_run(book: Project) -> None:
    copy = forge(book.root, "01_one")
    wanted = {book.notebooks_folder / copy.name: {"profile": "quick", "device": "auto"}}
    record, project = copy.with_suffix(".json"), Project(book.root, book.package)
    good = record.read_bytes()
    for place in range(len(good)):
        record.write_bytes(good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :])
        assert len(_plan(project, wanted, fresh=False)[0]) == 1
