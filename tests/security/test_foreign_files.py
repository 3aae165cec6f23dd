"""Whatever lies where our files should be is read, or refused in one of our ways: never a crash, never a wrong read."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from entropylens.book import execution, provenance
from entropylens.book.build import documents
from entropylens.book.errors import BadInput, BookError
from entropylens.book.keys import notebook_digest
from entropylens.book.project import Project
from entropylens.results import store as store_module
from entropylens.results.files import ForeignFileError, digest
from entropylens.results.ledger import ledger
from entropylens.results.reference import load_reference
from entropylens.results.registry import load_claims
from entropylens.results.store import Store
from entropylens.tasks.corpus import read_corpus
from tests.conftest import ROOT, write_notebook
from tests.security.damage import damaged, other_headers, swapped

MANY = settings(max_examples=60, deadline=None, derandomize=True)
NAME = "residual_dominance"
RULE = {
    "metric": "x",
    "unit": "nats",
    "smallest_effect": 0.1,
    "arm": {"d": 8},
    "versus": {"d": 64},
    "primary": {"r": 1},
}
CLAIM = yaml.safe_load((ROOT / "book" / "claims.yml").read_text(encoding="utf-8"))[0]
CLAIM |= {"experiment": NAME, "rule": RULE}
ROWS = {"d": np.repeat([8, 64], 5), "r": 1, "seed": list(range(5)) * 2, "x": np.arange(10) ** 2 / 7, "final": True}
TABLE = pd.DataFrame(ROWS).assign(population="p").to_csv(index=False).encode()
POPULATION = {"seconds": 1.5, "device": "cpu", "date": "2026-01-02", "commit": "a" * 40, "dirty": False, "cpu": "one"}
RECORD = {
    "experiment": NAME, "profile": "full", "measuring_code": "c", "rules": {"LE-1a": "h"}, "cost": {"training": 1.0},
    "attested": {"code": "d"}, "populations": {"p": POPULATION},
}  # fmt: skip
TENSORS = save({"log_probs": torch.zeros(2, 3), "steps": torch.tensor([1])}, {"made": "here"})
DEEP = b"[" * 1_500
TEXT = (" = One = \n\n" + "some words of a text, é and ü\n\n" * 40).encode() * 4


@contextmanager
def refused(*kinds: type[Exception], naming: str = "") -> Iterator[None]:
    """What is done here may be refused: by an error of these very kinds, in one line of bearable length."""
    try:
        yield
    except kinds as error:
        told = str(error)
        if type(error) not in kinds or "\n" in told or len(told) > 1000 or not re.search(naming, told):
            raise


def as_json(draw: st.DataObject, whole: bytes) -> bytes:
    """A JSON file, damaged or with other fields."""
    found = draw.draw(swapped(json.loads(whole)) | damaged(whole) | st.just(DEEP))
    return found if isinstance(found, bytes) else json.dumps(found).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    for name in ("book", "results", "notebooks"):
        (root / name).mkdir()
    (root / "book" / "claims.yml").write_text(yaml.safe_dump([CLAIM]), encoding="utf-8")
    write_notebook(root / "notebooks" / "01_one.ipynb", ["x = 1", "#md # One"])
    return root


def sealed(table: bytes, tensors: bytes) -> bytes:
    """A record with checksums that fit, so that what is damaged reaches those who read it."""
    text = table.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return json.dumps(RECORD | {"checksum": digest(text), "tensors_checksum": digest(tensors)}).encode()


def published(root: Path, table: bytes = TABLE, tensors: bytes = TENSORS, record: bytes | None = None) -> str:
    """Publish results and do what a reader's commands and pages do with them; return the claim's verdict."""
    files = {"csv": table, "safetensors": tensors, "json": sealed(table, tensors) if record is None else record}
    for ending, data in files.items():
        (root / "results" / f"{NAME}.{ending}").write_bytes(data)
    execution.tables(Project(root), "quick", [])
    (entry,) = ledger(root, lambda root, name: load_reference(root, name, "c"))
    found = load_reference(root, NAME, "c")
    assert found is not None
    found.tensors()
    return entry.word


def published_or_refused(root: Path, **files: bytes) -> None:
    with refused(ForeignFileError, LookupError, ValueError, naming=rf"LE-1a|{NAME}"):
        published(root, **files)


def test_what_is_whole_is_read(folder: Path) -> None:
    assert published(folder) == "refuted"


@MANY
@given(st.data())
def test_tables(folder: Path, data: st.DataObject) -> None:
    published_or_refused(folder, table=data.draw(damaged(TABLE)))


@MANY
@given(st.data())
def test_records(folder: Path, data: st.DataObject) -> None:
    published_or_refused(folder, record=as_json(data, sealed(TABLE, TENSORS)))


@MANY
@given(st.data())
def test_tensors(folder: Path, data: st.DataObject) -> None:
    published_or_refused(folder, tensors=data.draw(damaged(TENSORS) | other_headers(TENSORS)))


@pytest.mark.parametrize(("column", "value"), [("x", "words"), ("final", "no"), ("final", 1.5), ("seed", None)])
def test_tables_that_fuzzing_found(folder: Path, column: str, value: object) -> None:
    rows = pd.DataFrame(ROWS).astype({column: object}).assign(population="p")
    rows.loc[7, column] = value
    with pytest.raises(ValueError, match="LE-1a, rows of"):
        published(folder, rows.to_csv(index=False).encode())


@pytest.mark.parametrize("change", [{"source": ["P"]}, {"rule": RULE | {"arm": {1: 2, "a": 3}}}], ids=str)
def test_claims_that_fuzzing_found(folder: Path, change: dict[str, object]) -> None:
    path = folder / "claims.yml"
    path.write_text(yaml.safe_dump([CLAIM | change]), encoding="utf-8")
    with pytest.raises(ForeignFileError, match="LE-1a"):
        load_claims(path)


@MANY
@given(st.data())
def test_claims(folder: Path, data: st.DataObject) -> None:
    by_hand = [b'!!int ""', b"!!bool x", b"!!timestamp x", b"2001-13-01", b"- {? [a] : b}", b"!!python/name:os.x", DEEP]
    whole = yaml.safe_dump([CLAIM], allow_unicode=True).encode()
    trees = swapped([CLAIM]).map(lambda tree: yaml.dump(tree, Dumper=yaml.CSafeDumper).encode())
    path = folder / "claims.yml"
    path.write_bytes(data.draw(trees | damaged(whole) | st.sampled_from(by_hand)))
    with refused(ForeignFileError):
        assert all(claim.rule is None or claim.rule.hash for claim in load_claims(path).values())


@MANY
@given(st.data())
def test_artefacts(folder: Path, data: st.DataObject) -> None:
    """The checksum in the name is that of the damaged file, as an enemy would have it: its content has to be ours."""
    tensors = save({"a": torch.arange(3)}, {"key": "k", "record": "{}"})
    rows = b'# {"key": "k", "seconds": 1}\n' + TABLE
    by_hand = st.sampled_from([b"# {" + DEEP, b"# {}\n", b'# {"key": "k"}\n\0'])
    kinds = {"safetensors": damaged(tensors) | other_headers(tensors), "csv": damaged(rows) | by_hand}
    ending = data.draw(st.sampled_from(sorted(kinds)))
    content = data.draw(kinds[ending])
    store = Store(folder / "store")
    path = store.folder / "kind" / f"k.{store_module._checksum(content)}.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = store.read_tensors("kind", "k") or store.read_rows("kind", "k")
    assert found is None or isinstance(found.record, dict)
    path.unlink(missing_ok=True)


@MANY
@given(st.data())
def test_records_of_executed_notebooks(folder: Path, data: st.DataObject) -> None:
    book = Project(folder, folder / "book")
    notebook = folder / "notebooks" / "01_one.ipynb"
    copy = book.executed(notebook, "quick")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(notebook.read_bytes())
    values = {"profile": "quick", "device": "cpu"}
    record = provenance.record(book, notebook, "k", values, 1.0, 1, copy.read_bytes())
    provenance.write(book, "quick", notebook, record)
    beside = copy.with_suffix(".json")
    beside.write_bytes(as_json(data, beside.read_bytes()))
    assert provenance.why_stale(book, "quick", notebook, "s") is not None
    execution.tables(book, "quick", [notebook])


@MANY
@given(st.data())
def test_notebooks_and_the_table_of_contents(folder: Path, data: st.DataObject) -> None:
    notebook = folder / "02_two.ipynb"
    notebook.write_bytes(as_json(data, (folder / "notebooks" / "01_one.ipynb").read_bytes()))
    with refused(BadInput, naming="02_two.ipynb"):
        notebook_digest(notebook)
    book = Project(folder)
    book.toc.write_bytes(data.draw(damaged((ROOT / "book" / "_toc.yml").read_bytes())))
    with refused(BookError, naming="^book/_toc.yml: "):
        documents(book)


@MANY
@given(st.data(), st.sampled_from(["character", "byte"]))
def test_texts(folder: Path, data: st.DataObject, level: Any) -> None:
    path = folder / "text.txt"
    path.write_bytes(data.draw(damaged(TEXT)))
    with refused(ValueError, naming=f"{re.escape(str(path))}|min_count"):
        assert read_corpus(path, level, min_count=1).train
