"""The files that hold members, the offsets that name them, and windows on byte ranges.

The index keeps the location with the offset, so that a reader never guesses: when a
converted copy was deleted it says so, and does not read other bytes from the archive.
"""

from __future__ import annotations

import io
import os
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from autods.containers.base import NESTED
from autods.core.root import DataRoot, inside

SHIFT = 56  # bits for the byte within one file: 64 PiB


class Location(IntEnum):
    """The file that holds a member, as the upper bits of the member's offset.

    Numbers are part of the sample index and never change their meaning.
    """

    ARCHIVE = 0  # archives/FILE, as published
    COPY = 1  # converted/FILE.tar, made from the archive
    ARRAYS = 2  # converted/FILE.arrays.tar, images made from its arrays
    INNER = 3  # converted/FILE!/INNER, an inner archive taken out as it is
    INNER_COPY = 4  # converted/FILE!/INNER.tar, made from an inner archive
    FOLDER = 5  # archives/FILE/INNER, an archive that lies in a folder

    @property
    def base(self) -> int:
        """What is added to the offsets of members at this location."""
        return self << SHIFT


def split_offset(offset: int) -> tuple[Location, int, bool]:
    """Return location, byte and whether the member is deflated; for any offset but -1."""
    code = offset if offset >= 0 else -2 - offset
    return Location(code >> SHIFT), code & ((1 << SHIFT) - 1), offset < 0


def location_path(
    root: DataRoot, dataset: str, file: str, location: Location, inner: str = ""
) -> Path:
    """Return the file at a location; ``inner`` is the name of the inner archive if it has one."""
    if location == Location.COPY:
        return root.converted(dataset, f"{file}.tar")
    if location == Location.ARRAYS:
        return root.converted(dataset, f"{file}.arrays.tar")
    if location == Location.INNER:
        return root.converted(dataset, file + NESTED + inner)
    if location == Location.INNER_COPY:
        return root.converted(dataset, f"{file}{NESTED}{inner}.tar")
    archive = root.archive(dataset, file)
    return inside(archive, inner) if location == Location.FOLDER else archive


def inner_archives(name: str) -> list[str]:
    """Return the candidates for the inner archive in a member's name: a folder may end in ``!``."""
    names = name.split(NESTED)
    return [NESTED.join(names[:count]) for count in range(1, len(names))]


class Slice(io.RawIOBase):
    """A read-only window of ``size`` bytes from ``start`` on another binary file.

    If it is ``owned``, that file is closed together with the window.
    """

    def __init__(self, handle: BinaryIO, start: int, size: int, *, owned: bool = False) -> None:
        self._handle = handle
        self._start = start
        self._size = size
        self._at = 0
        self._owned = owned

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move inside the window; a position before its start is an `OSError`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("negative position")
        self._at = base + offset
        return self._at

    # the base class takes any buffer; zipfile passes these two
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the window reaches."""
        self._handle.seek(self._start + self._at)
        data = self._handle.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the window, and the other file if it is owned."""
        if self._owned:
            self._handle.close()
        super().close()


def open_slice(path: Path, start: int, size: int) -> BinaryIO:
    """Open a byte range of a file as a seekable, buffered file."""
    return io.BufferedReader(Slice(path.open("rb"), start, size, owned=True))
