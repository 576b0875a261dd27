"""Tensors in memory of which other processes of this machine can make views, while they exist."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SharedFile:
    """Memory of a tensor as a file without a name: how a process of this user opens it."""

    path: str
    size: int  # bytes
    address: int  # of the memory, here


_files: dict[int, tuple[int, int]] = {}  # by address: descriptor and bytes of the memory there


def shared_empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor on the host, in memory that processes share.

    The memory is freed with the last tensor on it, whatever becomes of the process. Where the
    system has no files without a name the tensor is an ordinary one, and so is an empty one.
    """
    size = math.prod(shape) * dtype.itemsize
    if not size or not hasattr(os, "memfd_create"):
        return torch.empty(shape, dtype=dtype)
    descriptor = os.memfd_create("features")
    os.ftruncate(descriptor, size)
    memory = mmap.mmap(descriptor, size)
    table = torch.frombuffer(memory, dtype=dtype).view(shape)
    _files[table.data_ptr()] = descriptor, size
    weakref.finalize(memory, _close, table.data_ptr())
    return table


def _close(address: int) -> None:
    os.close(_files.pop(address)[0])


def shared_files() -> list[SharedFile]:
    """Return the memory of all tensors of `shared_empty` that exist."""
    return [
        SharedFile(f"/proc/{os.getpid()}/fd/{descriptor}", size, address)
        for address, (descriptor, size) in _files.items()
    ]
