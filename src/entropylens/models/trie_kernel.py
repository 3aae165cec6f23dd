"""Attention on the prefix trie as one operator, `entropylens::trie_attention`, with two implementations.

`attend_reference` is the definition in tensor operations; it runs on every device and is what the tests compare
against. On a CPU with a C compiler, `trie_attention.c` does the same about an order of magnitude faster: it is
compiled on first use (about a second) into the user's cache, under a name that hashes its source, flags and CPU.
Set ENTROPYLENS_KERNEL=0 to do without it.

Shapes: M members, R rows, N nodes, H heads, D = d_model / n_heads, T sentence length, V symbols.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SOURCE = Path(__file__).with_name("trie_attention.c")
FLAGS = ["-O3", "-march=native", "-fopenmp-simd", "-fno-math-errno", "-shared", "-fPIC", "-std=c11"]
REALS = {torch.float32: ["-DREAL=float", "-DEXP=exp_float"], torch.float64: ["-DREAL=double", "-DEXP=exp"]}


class Shape(ctypes.Structure):
    """The C struct shape_t."""

    _fields_ = [(name, ctypes.c_int64) for name in ("members", "nodes", "rows", "heads", "length")]


# ---- the definition ------------------------------------------------------------------------------------------------


def attend_reference(qkv: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q·k / √D) v over a node and its ancestors, level differences taken one at a time.

    Nodes on levels ≥ δ, in blocks of V**δ, share the ancestor δ levels up, and these ancestors are exactly the first
    nodes of the trie: broadcasting replaces gathering.

    Args:
        qkv: (*, R, 3, H, D).
        path: (N, T) the rows of a node and its ancestors, nearest first, -1 beyond the root.

    Returns:
        values (*, N, H, D) and weights (*, N, H, T), nearest ancestor (the node itself) first, 0 beyond the root.
    """
    nodes, length = path.shape
    q, k, v = qkv[..., path[:, 0], :, :, :].unbind(-3)
    vocab = _branching(nodes, length)
    starts = [sum(vocab**t for t in range(level)) for level in range(length + 1)]
    q = q * q.shape[-1] ** -0.5
    scores = []
    for up in range(length):
        n = starts[length - up]
        block = q[..., starts[up] :, :, :].unflatten(-3, (n, vocab**up)) * k[..., :n, None, :, :]
        scores.append(F.pad(block.sum(-1).flatten(-3, -2), (0, 0, starts[up], 0), value=-torch.inf))
    weights = torch.softmax(torch.stack(scores, dim=-1), dim=-1)
    out = torch.zeros_like(q)
    for up in range(length):
        n = starts[length - up]
        w = weights[..., starts[up] :, :, up].unflatten(-2, (n, vocab**up))
        block = (w[..., None] * v[..., :n, None, :, :]).flatten(-4, -3)
        out = out + F.pad(block, (0, 0, 0, 0, starts[up], 0))
    return out, weights


def _branching(nodes: int, length: int) -> int:
    """V, from N = 1 + V + … + V**(T-1)."""
    return next(v for v in range(1, nodes + 1) if sum(v**t for t in range(length)) == nodes)


# ---- the C implementation --------------------------------------------------------------------------------------------


def _cpu() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({x for x in lines if x.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.processor() + platform.machine()


@cache
def library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled kernel for a number type, or None where there is no working C compiler (or it is switched off)."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if dtype not in REALS or not compiler or os.environ.get("ENTROPYLENS_KERNEL") == "0":
        return None
    flags = [*FLAGS, *REALS[dtype]]
    key = hashlib.sha256("\0".join([SOURCE.read_text(), *flags, compiler, _cpu()]).encode()).hexdigest()[:20]
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entropylens"
        target = folder / f"trie_attention-{key}.so"
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                built = Path(temporary) / "kernel.so"
                subprocess.run([compiler, *flags, str(SOURCE), "-o", built, "-lm"], check=True, capture_output=True)
                built.replace(target)
        return ctypes.CDLL(str(target))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        told = (
            error.stderr.decode(errors="replace").strip() if isinstance(error, subprocess.CalledProcessError) else error
        )
        warnings.warn(f"attention runs without its C kernel, several times slower: {told}", stacklevel=2)
        return None


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_kernel(dtype: torch.dtype) -> bool:
    """Whether the C kernel serves this number type here; a constant to torch.compile, which cannot trace this."""
    return library(dtype) is not None


def _over_members(function: Callable[..., None], shape: Shape, width: int, path: Tensor, tensors: list[Tensor]) -> None:
    """Call the kernel, with the members split over PyTorch's number of threads (ctypes lets go of the GIL)."""
    threads = max(1, min(torch.get_num_threads(), shape.members))
    bounds = [shape.members * i // threads for i in range(threads + 1)]

    def part(first: int, last: int) -> None:
        piece = Shape(last - first, shape.nodes, shape.rows, shape.heads, shape.length)
        pointers = [ctypes.c_void_p(t.data_ptr() + first * t.stride(0) * t.element_size()) for t in tensors]
        function(ctypes.byref(piece), ctypes.c_int64(width), ctypes.c_void_p(path.data_ptr()), *pointers)

    if threads == 1:
        part(0, shape.members)
    else:
        list(_pool(threads).map(part, bounds[:-1], bounds[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="trie-attention")


def _shape(qkv: Tensor, path: Tensor) -> Shape:
    members, rows, _, heads, _ = qkv.shape
    return Shape(members, len(path), rows, heads, path.shape[1])


@torch.library.custom_op("entropylens::trie_attention", mutates_args=())
def _attention(qkv: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
    members, _, _, heads, width = qkv.shape
    qkv = qkv.contiguous()
    out = qkv.new_empty(members, len(path), heads, width)
    weights = qkv.new_empty(members, len(path), heads, path.shape[1])
    kernel = library(qkv.dtype)
    assert kernel is not None
    _over_members(kernel.forward, _shape(qkv, path), width, path, [qkv, out, weights])
    return out, weights


@_attention.register_fake
def _(qkv: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
    members, _, _, heads, width = qkv.shape
    return qkv.new_empty(members, len(path), heads, width), qkv.new_empty(members, len(path), heads, path.shape[1])


@torch.library.custom_op("entropylens::trie_attention_backward", mutates_args=())
def _attention_backward(grad: Tensor, weights: Tensor, qkv: Tensor, path: Tensor) -> Tensor:
    qkv, weights, grad = qkv.contiguous(), weights.contiguous(), grad.contiguous()
    result = torch.empty_like(qkv)
    kernel = library(qkv.dtype)
    assert kernel is not None
    _over_members(kernel.backward, _shape(qkv, path), qkv.shape[-1], path, [qkv, weights, grad, result])
    return result


@_attention_backward.register_fake
def _(grad: Tensor, weights: Tensor, qkv: Tensor, path: Tensor) -> Tensor:  # noqa: ARG001 - as the operator
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
    qkv, path, weights = ctx.saved_tensors
    return _attention_backward(grad, weights, qkv, path), None


_attention.register_autograd(_differentiate, setup_context=_save)


def attend(qkv: Tensor, path: Tensor) -> tuple[Tensor, Tensor]:
    """Attention on the trie by the fastest means at hand; arguments and results as `attend_reference`.

    The C kernel gives first derivatives only, and none of the weights; take `attend_reference` for more.
    """
    if qkv.device.type != "cpu" or not has_kernel(qkv.dtype):
        return attend_reference(qkv, path)
    lead = qkv.shape[:-4]
    out, weights = _attention(qkv.reshape(-1, *qkv.shape[-4:]), path)
    return out.reshape(*lead, *out.shape[1:]), weights.reshape(*lead, *weights.shape[1:])
