"""The C kernel against its definition in tensor operations, and what happens where there is no C compiler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from entropylens.models import trie_kernel
from entropylens.models.layouts import TrieLayout
from entropylens.models.trie_kernel import SOURCE, attend, attend_reference, has_kernel, library
from entropylens.tasks.language import Language

DTYPES = [torch.float32, torch.float64]
needs_compiler = pytest.mark.skipif(
    not has_kernel(torch.float32), reason="no working C compiler, or ENTROPYLENS_KERNEL=0"
)


@pytest.fixture
def fresh_look_for_a_compiler() -> Iterator[None]:
    """What is known about the compiler is forgotten, before and after."""
    library.cache_clear()
    yield
    library.cache_clear()


def random(*shape: int, dtype: torch.dtype, scale: float = 1.0, seed: int = 0) -> Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def paths(language: Language) -> dict[int, Tensor]:
    """Of whole tries, and of the first layer's shared rows."""
    return TrieLayout(language).paths


def check(qkv: Tensor, path: Tensor, tolerance: float) -> None:
    """Values, weights and gradients, to a tolerance relative to the largest entry."""
    nodes, heads, width = len(path), *qkv.shape[-2:]
    cotangent = random(*qkv.shape[:-4], nodes, heads, width, dtype=qkv.dtype, seed=1)
    results = []
    for function in (attend, attend_reference):
        inputs = qkv.clone().requires_grad_()
        out, weights = function(inputs, path)
        (grad,) = torch.autograd.grad(out, inputs, cotangent)
        results.append((out.detach(), weights.detach(), grad))
    for ours, true in zip(*results, strict=True):
        assert ours.dtype == qkv.dtype
        assert ours.shape == true.shape
        assert float((ours - true).abs().max()) < tolerance * max(1.0, float(true.abs().max()))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 2)])
@pytest.mark.parametrize(
    ("heads", "width"), [(1, 1), (3, 2), (2, 4), (1, 5), (2, 8), (1, 16), (1, 32), (1, 64), (2, 7)]
)
def test_kernel_equals_its_definition(dtype: torch.dtype, lead: tuple[int, ...], heads: int, width: int) -> None:
    for rows, path in paths(Language(3, 4)).items():
        check(random(*lead, rows, 3, heads, width, dtype=dtype), path, 2e-6 if dtype == torch.float32 else 1e-13)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("v", "t"), [(5, 5), (2, 6), (4, 1), (1, 3), (7, 2)])
def test_kernel_in_other_languages(dtype: torch.dtype, v: int, t: int) -> None:
    for rows, path in paths(Language(v, t)).items():
        check(random(2, rows, 3, 2, 4, dtype=dtype), path, 2e-6 if dtype == torch.float32 else 1e-13)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernel_with_enormous_scores(dtype: torch.dtype) -> None:
    """Scores of a few thousand: a softmax without its maximum subtracted would overflow."""
    for rows, path in paths(Language(3, 4)).items():
        check(random(2, rows, 3, 2, 4, dtype=dtype, scale=40), path, 2e-4 if dtype == torch.float32 else 1e-11)


@needs_compiler
def test_kernel_reads_strided_input() -> None:
    (path, *_) = paths(Language(3, 4)).values()
    wide = random(len(path), 2, 3, 2, 8, dtype=torch.float64).transpose(0, 1)[..., ::2]
    assert not wide.is_contiguous()
    torch.testing.assert_close(attend(wide, path), attend_reference(wide, path), rtol=0, atol=1e-13)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    path = paths(Language(3, 4))[40]
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            inputs = random(5, 40, 3, 2, 4, dtype=dtype).requires_grad_()
            out, weights = attend(inputs, path)
            results.append((out, weights, torch.autograd.grad(out.square().sum(), inputs)[0]))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [attend, attend_reference])
def test_nan_stays_with_its_member(function: object, dtype: torch.dtype, bad: float) -> None:
    assert callable(function)
    path = paths(Language(3, 4))[40]
    clean = random(3, 40, 3, 2, 4, dtype=dtype)
    dirty = clean.clone()
    dirty[1] = bad
    results = []
    for qkv in (clean, dirty):
        inputs = qkv.clone().requires_grad_()
        out, weights = function(inputs, path)
        results.append((out, weights, torch.autograd.grad(out.square().sum(), inputs)[0]))
    for before, after in zip(*results, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert results[1][0][1].isnan().all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_nan_shows_wherever_the_definition_says(dtype: torch.dtype) -> None:
    path = paths(Language(3, 4))[40]
    for part in range(3):
        qkv = random(1, 40, 3, 1, 4, dtype=dtype)
        qkv[0, 2, part, 0, 1] = torch.nan
        assert torch.equal(attend(qkv, path)[0].isnan(), attend_reference(qkv, path)[0].isnan())


@needs_compiler
def test_kernel_refuses_second_derivatives_rather_than_inventing_them() -> None:
    qkv = random(1, 40, 3, 1, 4, dtype=torch.float64).requires_grad_()
    out, _ = attend(qkv, paths(Language(3, 4))[40])
    (grad,) = torch.autograd.grad(out.square().sum(), qkv, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.square().sum(), qkv)


# ---- without a compiler --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_look_for_a_compiler")
@pytest.mark.parametrize(("variable", "value"), [
    ("ENTROPYLENS_KERNEL", "0"), ("CC", "no-such-compiler"), ("CC", "false"),
])  # fmt: skip
def test_without_a_kernel_the_definition_serves(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    language = Language(3, 3)
    qkv = random(2, 13, 3, 2, 4, dtype=torch.float64)
    usual = TrieLayout(language).attend(qkv)
    library.cache_clear()
    monkeypatch.setenv(variable, value)
    assert not has_kernel(torch.float64)
    torch.testing.assert_close(TrieLayout(language).attend(qkv), usual, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("fresh_look_for_a_compiler")
@needs_compiler
def test_the_kernel_is_built_once_and_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert has_kernel(torch.float32)
    (built,) = (cache / "entropylens").iterdir()
    stamp = built.stat().st_mtime_ns
    library.cache_clear()
    assert has_kernel(torch.float32)
    assert [built] == list((cache / "entropylens").iterdir())
    assert built.stat().st_mtime_ns == stamp


def test_other_number_types_take_the_definition() -> None:
    assert not has_kernel(torch.bfloat16)
    path = paths(Language(2, 2))[3]
    out, _ = attend(random(3, 3, 1, 2, dtype=torch.bfloat16), path)
    assert out.dtype == torch.bfloat16


# ---- could these tests fail? -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_look_for_a_compiler")
@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("scale * dot(q, head + (row * 3 + 1) * width, D)", "scale * dot(q, head + row * 3 * width, D)"),
        ("weights[j] * (dw[j] - mean)", "weights[j] * dw[j]"),
        ("axpy(1, dq, dhead", "axpy(1 + 1e-9, dq, dhead"),
    ],
)
def test_a_planted_fault_is_found(right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCE.read_text()
    assert source.count(right) == 1
    (tmp_path / SOURCE.name).write_text(source.replace(right, wrong))
    library.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trie_kernel, "SOURCE", tmp_path / SOURCE.name)
    monkeypatch.setattr(trie_kernel, "FLAGS", [flag.replace("-O3", "-O0") for flag in trie_kernel.FLAGS])
    with pytest.raises(AssertionError):
        check(random(2, 40, 3, 2, 4, dtype=torch.float64), paths(Language(3, 4))[40], 1e-13)
