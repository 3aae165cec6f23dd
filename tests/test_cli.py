"""The command line's manners: one line on stderr, status 2, nothing written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from entropylens.book.project import Project
from entropylens.cli import main
from entropylens.results.registry import load_claims
from tests.conftest import ROOT, Command, write_notebook

BAD_INPUT = {
    "a misspelled parameter": (["run", "-p", "sedds=1"], ["'sedds'", "did you mean 'seeds'", "choose from: seeds"]),
    "a value of the wrong type": (["run", "-p", "seeds=many"], ["'seeds'", "int", "'many'", "str"]),
    "no NAME=VALUE": (["run", "-p", "seeds"], ["-p 'seeds' is not NAME=VALUE"]),
    "an unknown profile": (["run", "--profile", "quik"], ["profile 'quik'", "did you mean 'quick'", "quick, full"]),
    "an unknown device": (["run", "--device", "tpu"], ["device 'tpu'", "auto, cpu, cuda"]),
    "an unknown notebook": (["run", "01_on"], ["notebook '01_on'", "did you mean '01_one'"]),
    "an unknown chapter": (["run", "7"], ["notebook '7'", "01_one"]),
    "no budget": (["verify", "--budget", "0"], ["--budget must be above 0, not 0"]),
    "no job": (["run", "--jobs", "0"], ["--jobs", "0"]),
    "a job that is no number": (["run", "--jobs", "many"], ["--jobs", "many"]),
    "no time": (["run", "--cell-timeout", "0"], ["--cell-timeout", "0"]),
    "an unknown option": (["run", "--profle", "quick"], ["--profle", "--profile"]),
    "an unknown command": (["rum"], ["rum"]),
    "an unknown experiment": (["compute", "low_entropi"], ["experiment 'low_entropi'", "did you mean 'low_entropy'"]),
    "an unknown experiment to verify": (["verify", "high_entropy"], ["experiment 'high_entropy'", "low_entropy"]),
    "a width that does not fit": (["bench", "--width", "7"], ["--width must be even", "7"]),
    "a rival without a contest": (
        ["bench", "--versus", "naive", "--versus", "one_by_one", "--width", "16"],
        ["one_by_one compares looped models", "--width 8"],
    ),
    "an unknown rival": (["bench", "--versus", "numpy"], ["rival 'numpy'", "naive, loop_on_trie, jax, floor"]),
    "an unknown profile to build": (["build", "--profile", "quik"], ["profile 'quik'", "quick, full"]),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_gets_one_line_and_status_2(book: Project, entropylens: Command, what: str) -> None:
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["x = 1"])
    arguments, told = BAD_INPUT[what]
    done = entropylens(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [words for words in told if words not in done.stderr] == []
    assert done.stdout == ""
    assert not book.build_folder.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bench", "--device", "tpu"], "device 'tpu'"),
        (["verify", "--device", "tpu"], "device 'tpu'"),
        (["verify", "--device", "cpu", "--beside", "HEAD"], "--device and --beside exclude each other"),
    ],
)
def test_a_device_that_makes_no_sense_is_refused(
    arguments: list[str], told: str, book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(book.root)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert (stopped.value.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert told in said.err


@pytest.mark.parametrize("command", ["run", "compute", "verify", "bench"])
def test_cuda_without_a_gpu_is_refused(
    command: str, book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook(book.notebooks_folder / "01_one.ipynb", ["x = 1"])
    monkeypatch.chdir(book.root)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main([command, "--device", "cuda"])
    assert (stopped.value.code, capsys.readouterr()) == (
        2, ("", "entropylens: --device cuda: PyTorch sees no GPU here; choose from: auto, cpu\n")
    )  # fmt: skip
    assert not book.build_folder.exists()


def test_outside_a_book_it_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "entropylens.cli", "run"],
        cwd=tmp_path_factory.mktemp("elsewhere"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not inside a book" in done.stderr


def test_claims_lists_every_claim(
    book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, since each new one spends seconds on importing PyTorch."""
    shutil.copy(ROOT / "book" / "claims.yml", book.root / "book")
    monkeypatch.chdir(book.notebooks_folder)
    many = len(load_claims(ROOT / "book" / "claims.yml"))
    main(["claims"])
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["LE-1a", "untested", "03_low_entropy_bias"]
    assert table[-1] == f"{many} untested"
    main(["claims", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == many
    assert {claim["verdict"] for claim in listed} == {"untested"}


def test_a_damaged_registry_or_result_is_named_in_one_line(
    book: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(book.root)
    registry, result = book.root / "book" / "claims.yml", book.root / "results" / "low_entropy.csv"
    result.parent.mkdir()
    result.write_text("seed,x\n1,2\n")
    damage: list[tuple[str, Callable[[], object]]] = [
        ("No such file", lambda: None),
        ("T-1: missing 'paper'", lambda: registry.write_text("- id: T-1\n  claim: x\n")),
        ("results/low_entropy", lambda: shutil.copy(ROOT / "book" / "claims.yml", registry)),
        ("while parsing", lambda: registry.write_text("- id: [T-1\n")),
    ]
    for told, make in damage:
        make()
        with pytest.raises(SystemExit) as stopped:
            main(["claims"])
        said = capsys.readouterr()
        assert (stopped.value.code, said.out, len(said.err.splitlines())) == (2, "", 1), said.err
        assert told in said.err


def processor_time() -> float:
    """Seconds that the processes which this one has waited for took."""
    return sum(os.times()[2:4])


def test_help_answers_at_once() -> None:
    """Heavy imports stay inside the commands; of processor time, since other tests run beside this one."""
    start = processor_time()
    subprocess.run([sys.executable, "-m", "entropylens.cli", "--help"], check=True, capture_output=True)
    assert processor_time() - start < 2
    code = "import sys, entropylens.cli; print({'torch', 'papermill', 'sphinx', 'numpy'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "set()"
