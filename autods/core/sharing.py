"""Memory that processes share, whatever size the system gives to ``/dev/shm``."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any

import numpy as np
import numpy.typing as npt

NOWHERE = -1  # in place of a descriptor: memory of this process
# Windows hands no descriptors to other processes.
AVAILABLE = hasattr(reduction, "DupFd")


class SharedArray:
    """An array in memory that a process shares with those it starts.

    Pass it to a process when it is started. On Linux the memory belongs to no mounted file
    system, so containers with a small ``/dev/shm`` are no obstacle. ``alone`` means that no
    process will be started: plain memory will do. `OSError` is raised when it would take more than
    half of the machine's memory, or the system refuses.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], *, alone: bool = False
    ) -> None:
        size = max(1, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        try:
            most = _half_of_memory()
            if most is not None and size > most:
                raise OSError(errno.ENOMEM, f"at most {most / 2**20:,.0f} MiB are taken")
            if not alone and not AVAILABLE:
                raise OSError(errno.ENOSYS, "this system does not share it: use one process")
            descriptor = NOWHERE if alone else _nameless_file(size)
        except OSError as error:
            told = f"{size / 2**20:,.0f} MiB of shared memory could not be had: {error.strerror}"
            raise OSError(error.errno, told) from None
        self._hold(descriptor, size, shape, dtype)

    def _hold(
        self, descriptor: int, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._descriptor, self._size = descriptor, size
        memory = mmap.mmap(descriptor, size)
        numbers = np.frombuffer(memory, dtype, int(np.prod(shape)))
        self.array: npt.NDArray[Any] = numbers.reshape(shape)

    def __getstate__(self) -> tuple[Any, ...]:
        return reduction.DupFd(self._descriptor), self._size, self.array.shape, self.array.dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._hold(state[0].detach(), *state[1:])

    def __del__(self) -> None:
        if getattr(self, "_descriptor", NOWHERE) != NOWHERE:
            os.close(self._descriptor)


def _half_of_memory() -> int | None:
    """Return half of the machine's memory in bytes, ``None`` if the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _nameless_file(size: int) -> int:
    """Return the descriptor of a new file of zeros that has no name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("autods")
    else:
        with tempfile.TemporaryFile() as handle:
            descriptor = os.dup(handle.fileno())
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
