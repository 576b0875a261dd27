"""A CUDA graph of the simulated device: operations recorded on their tensors, and run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SHAPING = {"squeeze_", "unsqueeze_", "t_", "transpose_"}  # change no number, and launch nothing


def leaves(value: Any) -> list[Any]:
    """Return what lists, tuples and dictionaries hold, however deep."""
    if isinstance(value, list | tuple):
        return [leaf for inner in value for leaf in leaves(inner)]
    return leaves(list(value.values())) if isinstance(value, dict) else [value]


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Return lists, tuples and dictionaries like these, with all that they hold changed."""
    if type(value) in (list, tuple):
        return type(value)([mapped(change, inner) for inner in value])
    if isinstance(value, dict):
        return {key: mapped(change, inner) for key, inner in value.items()}
    return change(value)


class Recording:
    """What `torch.cuda.CUDAGraph` is on CUDA: nothing of Python runs when it is replayed.

    Nor does a graph keep the memory that it reads: to replay one of which some was freed raises.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._before: dict[int, tuple[Any, Any]] = {}  # storages that capturing changed
        self._given: dict[int, str] = {}  # storages of before the capture, and who first read them
        self._made: set[int] = set()
        self._held: Counter[int] = Counter()  # how often this recording itself holds a storage

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Record one operation; it also runs, for the shapes of what follows."""
        written = _written(func, args, kwargs)
        for tensor in written:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = storage, storage.clone()
        if func._schema.name.split("::")[1] in SHAPING:
            return func(*args, **kwargs)
        for storage in _storages((args, kwargs)) - self._made:
            self._given.setdefault(storage, func._schema.name)
        kept = mapped(_alias, (args, kwargs))  # their shapes may be changed in place
        found = func(*args, **kwargs)
        self._made |= _storages(found) - self._given.keys()
        fresh = [] if _returns_alias(func) else leaves(found)
        outputs = [_alias(t) for t in fresh if isinstance(t, Tensor)]
        self._calls.append((func, *kept, outputs))
        return found

    def restore(self) -> None:
        """Undo what running changed: CUDA only records while it captures."""
        for storage, before in self._before.values():
            storage.copy_(before)
        self._before.clear()

    def replay(self) -> None:
        """Run all operations again, on the same memory."""
        self._check_alive()
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction(), torch.no_grad():
            for func, args, kwargs, outputs in self._calls:
                found = func(*args, **kwargs)
                fresh = [t for t in leaves(found) if isinstance(t, Tensor)]
                for old, new in zip(outputs, fresh, strict=False):
                    old.copy_(new)

    def _check_alive(self) -> None:
        if not self._held:
            tensors = (t for call in self._calls for t in leaves(call[1:]) if isinstance(t, Tensor))
            self._held.update(t.untyped_storage()._cdata for t in tensors)
        for storage, reader in self._given.items():
            # one holder more is what Python shows of a storage
            if torch._C._storage_Use_Count(storage) <= self._held[storage] + 1:
                raise RuntimeError(f"{reader}: memory that a graph reads was freed before a replay")


def _storages(value: Any) -> set[int]:
    tensors = (t for t in leaves(value) if isinstance(t, Tensor) and t.numel())
    return {t.untyped_storage()._cdata for t in tensors}


def _alias(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    written = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[number] if number < len(args) else kwargs.get(argument.name)
        written += [t for t in leaves(value) if isinstance(t, Tensor)]
    return written


def _returns_alias(func: Any) -> bool:
    return any(returned.alias_info is not None for returned in func._schema.returns)
