"""A block of a looped transformer as one operator on a CPU, `entropylens::loop_block`, by loop_block.c.

A second operator, `entropylens::loop_block_entropy`, has the entropies of the attention rows as well, at little cost.

A loop of T steps is T small blocks one after the other, and in tensor operations each of them is twenty passes over
memory. Here a block is one pass forward and one backward, a sequence at a time, and no attention matrix outlives its
sequence. What a block is, models/looped.py says; the tests hold this to it.

Shapes: M models, B sequences, n tokens, D width, P parameters of a block.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from entropylens.models.native import compiled

SOURCE = Path(__file__).with_name("loop_block.c")
CONTRACT = "-ffp-contract=fast"
"""A product and a sum may be one operation, rounded once."""
NORMS = ("none", "pre", "post")
"""In the order of the C source."""
ORDER = 1.5
"""Of the Tsallis entropy of attention rows: one whose power needs no more than a square root."""


class Shape(ctypes.Structure):
    """The C struct shape_t."""

    _fields_ = [(name, ctypes.c_int64) for name in ("models", "batch", "tokens", "neurons", "causal", "norm")]


def has_kernel(dtype: torch.dtype) -> bool:
    """Whether the C kernel serves this number type here."""
    return compiled(SOURCE, dtype, CONTRACT) is not None


def loop_block(y: Tensor, theta: Tensor, neurons: int, causal: bool, norm: str) -> Tensor:
    """F(Y), (M, B, n, D) to the same; first derivatives only.

    Args:
        y: states plus inputs.
        theta: (M, P) parameters, in the order qkv, the MLP's keys, their bias, values, their bias, and gain and bias of
            the norms before the head, before the MLP and at the end, of those that there are.
        neurons: of the MLP.
        causal: whether tokens see those before them only.
        norm: of `NORMS`.

    Raises:
        ValueError: for parameters that do not fit, or states of other dimensions.
        TypeError: for tensors that are not on the CPU, or of different number types, or of one without a kernel.
        MemoryError: if there is none to work in.
    """
    _check(y, theta, neurons, norm)
    result: Tensor = _block(y, theta, neurons, causal, NORMS.index(norm))
    return result


def loop_block_entropy(y: Tensor, theta: Tensor, neurons: int, causal: bool, norm: str) -> tuple[Tensor, Tensor]:
    """What `loop_block` gives, to the last bit, and the Tsallis entropy of each token's attention row, (M, B, n).

    S_i = (1 − Σ_j p_ij^q) / (q − 1) with q = `ORDER`: 0 for a row that is certain, and below 2; at q = 1 it would be in
    nats. Both can be differentiated, once. Arguments and errors are those of `loop_block`.
    """
    _check(y, theta, neurons, norm)
    result: tuple[Tensor, Tensor] = _block_entropy(y, theta, neurons, causal, NORMS.index(norm))
    return result


def _check(y: Tensor, theta: Tensor, neurons: int, norm: str) -> None:
    if y.ndim != 4 or neurons < 0 or norm not in NORMS:
        raise ValueError(
            f"needs states (M, B, n, D), 0 neurons or more and a norm of {', '.join(NORMS)}, "
            f"got {tuple(y.shape)}, {neurons} and {norm!r}"
        )
    if y.dtype != theta.dtype or {y.device.type, theta.device.type} != {"cpu"} or not has_kernel(y.dtype):
        raise TypeError(f"no kernel for states {y.dtype} on {y.device}, parameters {theta.dtype} on {theta.device}")


def _call(name: str, y: Tensor, theta: Tensor, neurons: int, causal: bool, norm: int, *others: Tensor | None) -> None:
    kernel, width = compiled(SOURCE, y.dtype, CONTRACT), ctypes.c_int64(y.shape[-1])
    assert kernel is not None
    shape = Shape(*y.shape[:3], neurons, int(causal), norm)
    kernel.parameters.restype = ctypes.c_int64
    if theta.shape != (y.shape[0], wanted := kernel.parameters(ctypes.byref(shape), width)):
        raise ValueError(
            f"a block of this shape has {wanted} parameters, got {tuple(theta.shape)} for {y.shape[0]} models"
        )
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (theta, y, *others)]
    if getattr(kernel, name)(ctypes.byref(shape), width, *pointers):
        raise MemoryError(f"no memory for a block over {y.shape[-2]} tokens")


@torch.library.custom_op("entropylens::loop_block", mutates_args=())
def _block(y: Tensor, theta: Tensor, neurons: int, causal: bool, norm: int) -> Tensor:
    y = y.contiguous()
    f = torch.empty_like(y)
    _call("forward", y, theta.contiguous(), neurons, causal, norm, f, None)
    return f


@torch.library.custom_op("entropylens::loop_block_entropy", mutates_args=())
def _block_entropy(y: Tensor, theta: Tensor, neurons: int, causal: bool, norm: int) -> tuple[Tensor, Tensor]:
    y = y.contiguous()
    f, entropy = torch.empty_like(y), y.new_empty(y.shape[:-1])
    _call("forward", y, theta.contiguous(), neurons, causal, norm, f, entropy)
    return f, entropy


@torch.library.custom_op("entropylens::loop_block_backward", mutates_args=())
def _block_backward(
    df: Tensor, dentropy: Tensor | None, y: Tensor, theta: Tensor, neurons: int, causal: bool, norm: int
) -> tuple[Tensor, Tensor]:
    y, theta, dentropy = y.contiguous(), theta.contiguous(), None if dentropy is None else dentropy.contiguous()
    dy, dtheta = torch.empty_like(y), torch.empty_like(theta)
    _call("backward", y, theta, neurons, causal, norm, df.contiguous(), dentropy, dy, dtheta)
    return dy, dtheta


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - nothing of it is needed
    ctx.save_for_backward(*inputs[:2])
    ctx.how = inputs[2:]


def _differentiate(ctx: Any, df: Tensor, dentropy: Tensor | None = None) -> tuple[Tensor | None, ...]:
    return *_block_backward(df, dentropy, *ctx.saved_tensors, *ctx.how), None, None, None


for _operator in (_block, _block_entropy):
    _operator.register_autograd(_differentiate, setup_context=_save)
