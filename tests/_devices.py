"""A stand-in for a GPU: tensors on PyTorch's `meta` device, which has shapes and no numbers, under the rules of CUDA.

PyTorch's own meta operators let much pass that a GPU refuses: a product with a matrix on the CPU, an index on it.
`Strict` refuses what CUDA refuses and allows what CUDA allows:

* two devices in one operator: refused, but for a copy, for an index or a new value at an index that lies on the CPU,
  and for a single number (0 dimensions) on the CPU in an operator that works element by element
* random numbers on the device from a generator of the CPU: refused
* reading numbers back (`.cpu()`, `.item()`): allowed; since there are none, they are ones
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
COPIES = {aten._to_copy, aten.copy_}
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
FILLED = {aten.masked_fill, aten.masked_fill_}


class MixedDevices(RuntimeError):
    """What a GPU would refuse."""


class Strict(TorchDispatchMode):
    """Under it, `meta` is a GPU without numbers; `operators` counts what ran there."""

    operators = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator, or refuse it."""
        kwargs, packet = dict(kwargs or {}), func.overloadpacket
        tensors = list(_tensors((*args, *kwargs.values())))
        there = {x.device.type for x in tensors}
        self.operators += "meta" in there
        if packet is aten._local_scalar_dense and "meta" in there:
            return torch.ones((), dtype=args[0].dtype).item()
        if packet in COPIES:
            return _copy(func, args, kwargs)
        if len(there) > 1:
            _refuse(func, list(_tensors(_without_indices(args))) if packet in INDEXED else tensors)
            args = tuple(x.to("meta") if isinstance(x, Tensor) and x.ndim == 0 else x for x in args)
        result = func(*args, **kwargs)
        if any(isinstance(x, torch.Generator) for x in (*args, *kwargs.values())):
            _refuse_generator(func, result)
        return result


def _tensors(values: Any) -> Iterator[Tensor]:
    for x in values:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors(x)


def _without_indices(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of an indexing's arguments those that have to lie where the table lies: all but indices on the CPU."""
    table, indices, *rest = args
    return (table, [i for i in indices if i is not None and i.device.type != "cpu"], *rest)


def _refuse(func: Any, tensors: Sequence[Tensor]) -> None:
    numbers = func.overloadpacket in INDEXED | FILLED or torch.Tag.pointwise in func.tags
    for i, x in enumerate(tensors):
        changed = i == 0 and func._schema.is_mutable  # in place: it has to lie on the device, whatever its size
        if x.device.type != "meta" and (changed or x.ndim > 0 or not numbers):
            raise MixedDevices(f"{func}: " + ", ".join(f"{t.device.type} {tuple(t.shape)}" for t in tensors))


def _refuse_generator(func: Any, result: Any) -> None:
    """The project's generators are all of the CPU, so that a seed draws the same everywhere."""
    if any(x.device.type == "meta" for x in _tensors([result])):
        raise MixedDevices(f"{func}: random numbers on a device from a generator of the CPU")


def _copy(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A copy from the device to the CPU has to have numbers."""
    if func.overloadpacket is aten.copy_:
        into, source = args[:2]
        return into.fill_(1) if into.device.type == "cpu" and source.device.type == "meta" else func(*args, **kwargs)
    x, device = args[0], kwargs.get("device")
    if x.device.type == "meta" and device is not None and device.type == "cpu":
        return torch.ones(x.shape, dtype=kwargs.get("dtype") or x.dtype)
    return func(*args, **kwargs)
