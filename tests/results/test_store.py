"""The store: what is damaged, foreign or half-written is never read; what is read has the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropylens.results.files import write_atomically
from entropylens.results.store import Store, rows_from_csv, rows_to_csv

TENSORS = {"a": torch.arange(6, dtype=torch.float64).reshape(2, 3) / 7, "steps": torch.tensor([0, 5])}
ROWS = pd.DataFrame({"name": ["x", "y"], "value": [1 / 3, np.pi], "seed": [0, 1], "final": [True, False]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.write_tensors("trained", "k1", TENSORS, {"seconds": 1.5})
    store.write_rows("rows", "k1", ROWS, {"commit": "abc"})
    return store


def files(store: Store) -> list[Path]:
    return sorted(p for p in store.folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def test_what_is_read_is_what_was_written(store: Store) -> None:
    tensors, rows = store.read_tensors("trained", "k1"), store.read_rows("rows", "k1")
    assert tensors is not None
    assert rows is not None
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors.tensors[name], tensor)
        assert tensors.tensors[name].dtype == tensor.dtype
    pd.testing.assert_frame_equal(rows.frame, ROWS, check_exact=True)
    assert tensors.record == {"seconds": 1.5}
    assert rows.record == {"key": "k1", "commit": "abc"}


def test_what_was_never_written_is_not_there(store: Store) -> None:
    assert store.read_tensors("trained", "k2") is None
    assert store.read_rows("elsewhere", "k1") is None
    assert not Store(store.folder / "nowhere").has("trained", "k1")


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
    "lengthened": lambda data: data + b"\0",
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "middle bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 16]) + data[len(data) // 2 + 1 :],
    "replaced": lambda _: b"something else entirely",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_noticed_reported_and_mended(store: Store, kind: str) -> None:
    for path in files(store):
        path.write_bytes(DAMAGE[kind](path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged: it will be computed again"):
        assert store.read_tensors("trained", "k1") is None
    with pytest.warns(UserWarning, match="is damaged: it will be computed again"):
        assert store.read_rows("rows", "k1") is None
    assert not store.has("trained", "k1")
    store.write_tensors("trained", "k1", TENSORS, {})
    assert store.read_tensors("trained", "k1") is not None


def test_another_artefact_under_this_name_is_foreign(store: Store) -> None:
    store.write_tensors("trained", "k2", TENSORS, {})
    store.write_rows("rows", "k2", ROWS, {})
    for path in files(store):
        if path.name.startswith("k2"):  # a valid file with a valid checksum, under the key of another
            shutil.move(path, path.with_name(path.name.replace("k2", "k3")))
    for read, kind in ((store.read_tensors, "trained"), (store.read_rows, "rows")):
        with pytest.warns(UserWarning, match="is not what its name says"):
            assert read(kind, "k3") is None


def test_a_good_copy_is_found_beside_a_bad_one(store: Store) -> None:
    store.write_tensors("trained", "k1", TENSORS, {"seconds": 2.5})  # two processes computed the same
    first, second = files(store)[1:]
    first.write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        found = store.read_tensors("trained", "k1")
    assert found is not None
    assert second.exists()


def test_a_write_that_is_cut_short_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "x", b"data")
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.text(max_size=5))
def test_floats_survive_text_bit_for_bit(values: list[float], name: str) -> None:
    frame = pd.DataFrame({"value": values})
    back = rows_from_csv(rows_to_csv(frame, {"name": name}))
    assert back.frame["value"].to_numpy().astype(float).tobytes() == frame["value"].to_numpy().tobytes()
    assert back.record == {"name": name}


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "# not json\na\n1\n", "# {}", "# {\na\n"])
def test_text_that_is_no_table_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a table of this project|Expecting"):
        rows_from_csv(text)
