"""Unpack gzip, bzip2 and xz streams block by block, and tell what follows the last of them."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Generator
from typing import BinaryIO, Protocol

from autods.containers.sizes import unpacked_limit
from autods.core.files import BLOCK

MAGIC: dict[str, tuple[bytes, ...]] = {  # of each stream; of bzip2 with its first block or end
    "gzip": (b"\x1f\x8b\x08",),
    "bz2": tuple(
        b"BZh%d" % n + sign for n in range(1, 10) for sign in (b"1AY&SY", b"\x17rE8P\x90")
    ),
    "lzma": (b"\xfd7zXZ\0",),
}
XZ_MEMORY = 1 << 28  # bytes; the best preset of xz(1) needs 65 MB, a file may ask for 4 GB
ERRORS = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)  # of damaged streams


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """A decompressor of one gzip stream, like those of bz2 and lzma; it checks the CRC."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)


ENGINES: dict[str, Callable[[], _Engine]] = {
    "gzip": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "lzma": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
}


class TooMuchError(ValueError):
    """More comes out of a stream than its size explains."""


def unpacked(source: BinaryIO, module: str) -> Generator[bytes, None, int]:
    """Yield the content of all streams of a file; return how many bytes follow that are none.

    ``module`` is gzip, bz2 or lzma. gzip(1), bzip2(1) and xz(1) ignore what follows, too, and
    zeros between streams. One of `ERRORS` if a stream is damaged or cut off, or more comes out of
    it than `unpacked_limit` says.
    """
    left = limit = unpacked_limit(_size(source))
    data = source.read(BLOCK)
    while True:
        engine: _Engine = ENGINES[module]()
        left, data = yield from _one(engine, source, data, left)
        if left < 0:
            raise TooMuchError(f"more than {limit:,} bytes come out of it")
        while not data.strip(b"\0") and (more := source.read(BLOCK)):
            data = more
        data = data.lstrip(b"\0")
        if len(data) < len(MAGIC[module][0]):
            data += source.read(BLOCK)
        if not data.startswith(MAGIC[module]):
            rest = len(data)
            while block := source.read(BLOCK):
                rest += len(block)
            return rest


def _one(
    engine: _Engine, source: BinaryIO, data: bytes, left: int
) -> Generator[bytes, None, tuple[int, bytes]]:
    """Yield the content of one stream that begins with ``data``, up to ``left`` bytes.

    Return how many of these are left, and what was read beyond the stream.
    """
    while not engine.eof and left >= 0:
        if engine.needs_input and not data and not (data := source.read(BLOCK)):
            raise EOFError("it ends inside compressed data")
        if content := engine.decompress(data, BLOCK):
            left -= len(content)
            yield content
        data = b""
    return left, engine.unused_data


def _size(source: BinaryIO) -> int:
    at = source.tell()
    size = source.seek(0, io.SEEK_END)
    source.seek(at)
    return size
