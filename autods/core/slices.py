"""Windows on byte ranges of files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from typing_extensions import override

# Systems lack some of these: Windows has no ``O_CLOEXEC``, and only there files may be texts.
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
BELOW_FOLDERS = os.open in os.supports_dir_fd  # whether files can be opened below an open folder
_one_at_a_time = Lock()


def read_at(descriptor: int, size: int, position: int) -> bytes:
    """Return up to ``size`` bytes at a position of an open file; several threads may call it."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, position)
    with _one_at_a_time:
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.read(descriptor, size)


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

    def window(self) -> tuple[BinaryIO, int, int]:
        """Return the other file, and start and size of the window on it."""
        return self._handle, self._start, self._size

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


class Headers(io.BufferedReader):
    """A window of which small pieces are read; one that a file asks for is not allocated first."""

    def __init__(self, window: Slice, most: int) -> None:
        super().__init__(window)
        self._most = most

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self._most:
            raise OSError(f"a header of {size:,} bytes" if size else "a header without a size")
        return super().read(size)


def open_slice(path: Path, start: int, size: int) -> BinaryIO:
    """Open a byte range of a file as a seekable, buffered file."""
    return io.BufferedReader(Slice(path.open("rb"), start, size, owned=True))
