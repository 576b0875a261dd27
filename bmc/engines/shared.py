"""Tasks for other processes of this machine: messages that name memory, and do not hold it.

Tensors that are mapped from a file are mapped from it there, too. All others are copied once into
shared memory, whatever the number of processes.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autods.core.sharing import SharedArray
from bmc.train.shared import SharedFile, shared_files

MAPS = Path("/proc/self/maps")
ALIGNED = 64  # bytes; of each run of tensors in shared memory


@dataclass(frozen=True)
class FileRange:
    """Bytes of a file that this process has mapped."""

    path: str
    start: int  # in the file, in bytes
    length: int
    inode: tuple[int, int]  # device and number: another file may have the name by then
    address: int  # of the mapping, here

    @property
    def array(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Map the bytes, uint8 [length]; nothing that is written there reaches the file."""
        with Path(self.path).open("rb") as handle:
            found = os.fstat(handle.fileno())
            if (found.st_dev, found.st_ino) != self.inode:
                raise FileNotFoundError(f"{self.path} was replaced while experts trained")
            return np.memmap(handle, np.uint8, "c", self.start, (self.length,))


Block = FileRange | SharedArray  # a piece of memory that processes share
Place = tuple[int, int, torch.dtype, torch.Size]  # block, its byte, and what lies there


class Shared:
    """What several processes need of ``things``, whose tensors are found or put in shared memory.

    Keep it until the last process has read its message.
    """

    def __init__(self, *things: object) -> None:
        found = _Collector()
        found.dump(things)
        self._places: dict[int, Place] = {}  # by the identity of the tensor
        self._tensors = list(found.tensors.values())  # alive, so that the identities stay theirs
        files = _file_ranges()
        self._blocks: list[Block] = []
        rest = [tensor for tensor in self._tensors if not self._place_in_file(tensor, files)]
        self._copy(rest)

    def message(self, *things: object) -> bytes:
        """Return a message with some of the things, which another process reads by `opened`."""
        buffer = io.BytesIO()
        pickle.dump(self._blocks, buffer)  # descriptors anew for each message
        _Naming(buffer, self._places).dump(things)
        return buffer.getvalue()

    def _place_in_file(self, tensor: Tensor, files: Sequence[FileRange]) -> bool:
        if tensor.device.type != "cpu" or not tensor.is_contiguous() or not tensor.numel():
            return False
        first = tensor.data_ptr()
        for file in files:
            offset = first - file.address
            if offset >= 0 and offset + tensor.nbytes <= file.length:
                if offset % tensor.element_size():
                    return False  # torch has no views of such places
                if file not in self._blocks:
                    self._blocks.append(file)
                number = self._blocks.index(file)
                self._places[id(tensor)] = (number, offset, tensor.dtype, tensor.shape)
                return True
        return False

    def _copy(self, tensors: Sequence[Tensor]) -> None:
        """Copy tensors into one block; those side by side stay so, as `joined` wishes."""
        end, following, offsets = 0, -1, []
        ordered = sorted(tensors, key=lambda tensor: (tensor.dtype.itemsize, tensor.data_ptr()))
        for tensor in ordered:
            if tensor.data_ptr() != following or end % tensor.element_size():
                end += -end % ALIGNED
            offsets.append(end)
            end += tensor.nbytes
            following = tensor.data_ptr() + tensor.nbytes
        block = SharedArray((max(1, end),), np.dtype(np.uint8))
        bytes_there = torch.from_numpy(block.array)
        for tensor, offset in zip(ordered, offsets, strict=True):
            place = len(self._blocks), offset, tensor.dtype, tensor.shape
            _view(bytes_there, place).copy_(tensor)
            self._places[id(tensor)] = place
        self._blocks.append(block)


def opened(message: bytes) -> tuple[Any, ...]:
    """Return the things of a message of `Shared`, whose tensors lie in the shared memory."""
    buffer = io.BytesIO(message)
    blocks: list[Block] = pickle.load(buffer)
    reader = _Reader(buffer)
    reader.memory = [torch.from_numpy(block.array) for block in blocks]
    things: tuple[Any, ...] = reader.load()
    return things


def _view(memory: Tensor, place: Place) -> Tensor:
    _, offset, dtype, shape = place
    size = shape.numel() * dtype.itemsize
    return memory[offset : offset + size].view(dtype).view(shape)


class _Collector(pickle.Pickler):
    """Finds the tensors of things, each once."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.tensors: dict[int, Tensor] = {}

    def persistent_id(self, thing: Any) -> int | None:
        if not isinstance(thing, Tensor):
            return None
        self.tensors[id(thing)] = thing
        return id(thing)


class _Naming(pickle.Pickler):
    """Writes places instead of tensors."""

    def __init__(self, file: io.BytesIO, places: dict[int, Place]) -> None:
        super().__init__(file)
        self._places = places

    def persistent_id(self, thing: Any) -> Place | None:
        return self._places[id(thing)] if isinstance(thing, Tensor) else None


class _Reader(pickle.Unpickler):
    """Reads places as tensors."""

    memory: list[Tensor]

    def persistent_load(self, place: Any) -> Tensor:
        return _view(self.memory[place[0]], place)


def _file_ranges() -> list[FileRange]:
    """Return the files that this process has mapped, as far as others can map them, too."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []  # no Linux: everything is copied
    ranges = [_of_shared(file) for file in shared_files()]
    for line in lines:
        span, permissions, offset, _, inode, *path = line.split(maxsplit=5)
        if inode == "0" or not path or permissions[2] == "x":  # memory of no file; a program
            continue
        first, stop = (int(number, 16) for number in span.split("-"))
        try:
            found = Path(path[0]).stat()  # of a deleted file there is none
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_ino != int(inode):
            continue
        start = int(offset, 16)
        length = min(stop - first, found.st_size - start)  # the last page is longer than the file
        made = FileRange(path[0], start, length, (found.st_dev, found.st_ino), first)
        last = ranges[-1] if ranges else None
        if last and _continues(last, made):
            ranges[-1] = FileRange(
                last.path, last.start, last.length + made.length, last.inode, last.address
            )
        else:
            ranges.append(made)
    return ranges


def _of_shared(file: SharedFile) -> FileRange:
    found = Path(file.path).stat()
    return FileRange(file.path, 0, file.size, (found.st_dev, found.st_ino), file.address)


def _continues(last: FileRange, following: FileRange) -> bool:
    """Tell whether the system lists one mapping in two pieces."""
    return (
        last.inode == following.inode
        and last.address + last.length == following.address
        and last.start + last.length == following.start
    )
